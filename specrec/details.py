"""The file that keeps what the one line of an error leaves out: the words and traces of Java and Python.

A process has one at most, in the folder for temporary files, for its user alone to read. It goes with the process,
unless an error named it.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

#: Variables of the environment whose values are written nowhere.
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "SPECREC_HASH_KEY")

_named: set[Path] = set()


@lru_cache(maxsize=1)
def details_file() -> Path:
    """Return this process's file, made if there is none yet.

    Raises
    ------
    OSError
        If there is no folder for temporary files, or it is full.
    """
    handle, name = tempfile.mkstemp(prefix="specrec-", suffix=".log")
    os.close(handle)
    path = Path(name)
    atexit.register(_forget, path)
    return path


def keep(text: str) -> str:
    """Add text to the file, without credentials, and return the words that name it; none if it cannot be written.

    Parameters
    ----------
    text : str
        Such as a trace.

    Returns
    -------
    str
        To be added to the one line: `` (details: PATH)``.
    """
    try:
        path = details_file()
        written = path.read_text(encoding="utf-8", errors="replace")  # Java writes to it by itself
        path.write_text(without_credentials(f"{written}{text.rstrip()}\n"), encoding="utf-8", errors="replace")
    except OSError:
        return ""
    _named.add(path)
    return f" (details: {path})"


def without_credentials(text: str) -> str:
    """Return a text without the values of :data:`CREDENTIALS`.

    Examples
    --------
    >>> os.environ["AWS_SESSION_TOKEN"] = "a long secret"
    >>> without_credentials("signed with a long secret")
    'signed with ***'
    >>> del os.environ["AWS_SESSION_TOKEN"]
    """
    for name in CREDENTIALS:
        if value := os.environ.get(name):
            text = text.replace(value, "***")
    return text


def _forget(path: Path) -> None:
    if path not in _named:
        with suppress(OSError):
            path.unlink()
