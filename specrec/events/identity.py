"""By which name a person stands in the tables, and by which those that were forgotten are told.

Where ``listeners.hash_users`` is true, a person is stored as a keyed hash of the user_id: without the key, which is
in the environment alone, nobody can tell whose rows they are, not even by trying all ids that there are. The key is
read where it is needed, on each executor, and is handed to nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping

from specrec.errors import ConfigError

#: The variable of the environment that holds the key.
HASH_KEY = "SPECREC_HASH_KEY"

#: How people are stored, as ``event_files`` remembers it: by their own ids, or hashed with the key of a check.
CLEAR, HASHED = "clear", "hashed"

#: A shorter key could be found by trying.
_LEAST_CHARACTERS = 16
#: Hexadecimal digits of a stored id, and of what tells one key from another.
_DIGITS, _CHECKED_DIGITS = 32, 8
#: What the hash of a forgotten person is of, before the id: so it is not that of the bare id.
FORGOTTEN_PREFIX = "specrec forgot "


def hash_key() -> bytes:
    """Return the key that users are hashed with.

    Raises
    ------
    ConfigError
        If the environment has none, or one that is too short.
    """
    key = os.environ.get(HASH_KEY, "")
    if len(key) < _LEAST_CHARACTERS:
        what = f"has fewer than {_LEAST_CHARACTERS} characters" if key else "is not set"
        raise ConfigError(
            f"listeners.hash_users needs a key, and the environment variable {HASH_KEY} {what}: set it to a long "
            "random text, the same each night, here and on the executors"
        )
    return key.encode()


def hashed(user_id: str, key: bytes) -> str:
    """Return the name by which a person stands in the tables: the first 128 bits of an HMAC-SHA256.

    Examples
    --------
    >>> hashed("ann", b"a key of sixteen") == hashed("ann", b"a key of sixteen") != hashed("ann", b"another key")
    True
    """
    return hmac.digest(key, user_id.encode(), "sha256").hex()[:_DIGITS]


def scheme(hash_users: bool) -> str:
    """Return how people are stored, and if hashed, a few digits that tell this key from others.

    Raises
    ------
    ConfigError
        If there is no key.

    Examples
    --------
    >>> scheme(hash_users=False)
    'clear'
    """
    if not hash_users:
        return CLEAR
    check = hmac.digest(hash_key(), b"specrec's check of the key", "sha256").hex()[:_CHECKED_DIGITS]
    return f"{HASHED} {check}"


def scheme_of(states: Mapping[str, str]) -> str:
    """Return how people are stored in a warehouse, by the states of ``event_files``; empty: nobody is stored yet.

    Examples
    --------
    >>> scheme_of({"event_files": "id-of-events id-of-refused hashed 0a1b2c3d"})
    'hashed 0a1b2c3d'
    """
    return " ".join(states.get("event_files", "").split(" ")[2:])


def require_key(wanted: str) -> bytes | None:
    """Return the key of a scheme; None if people are stored by their own ids.

    Raises
    ------
    ConfigError
        If this process has no key, or another.
    """
    if wanted == CLEAR:
        return None
    if scheme(hash_users=True) != wanted:
        raise ConfigError(
            f"the key in {HASH_KEY} is not the one that the people in the tables are hashed with: set that one, "
            "here and on the executors"
        )
    return hash_key()


def stored_ids(user_ids: Iterable[str], wanted: str) -> list[str]:
    """Return the names by which people stand in the tables of a scheme; blanks around an id are of no account.

    Raises
    ------
    ConfigError
        As :func:`require_key` does.

    Examples
    --------
    >>> stored_ids([" ann", "bob"], "clear")
    ['ann', 'bob']
    """
    key = require_key(wanted)
    plain = (user_id.strip() for user_id in user_ids)
    return [user_id if key is None else hashed(user_id, key) for user_id in plain if user_id]


def forgotten_hash(stored_id: str) -> str:
    """Return by what a forgotten person is told.

    Examples
    --------
    >>> len(forgotten_hash("ann"))
    64
    """
    return hashlib.sha256(f"{FORGOTTEN_PREFIX}{stored_id}".encode()).hexdigest()
