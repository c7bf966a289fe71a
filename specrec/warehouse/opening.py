"""Tables as delta-rs opens them: tried again where a store fails for a moment, and told in one line.

delta-rs tries requests again, but not what breaks in the middle of an answer, nor a write of which it cannot know
whether it was done. So whatever is read or written through it is tried again as a whole, as often as
``storage.max_attempts`` says, on stores that a network lies before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import (
    CommitFailedError,
    DeltaError,
    DeltaProtocolError,
    SchemaMismatchError,
    TableNotFoundError,
)

from specrec.errors import SpecrecError, StorageError
from specrec.storage import Location, for_delta_rs, join, scheme_of, uri_for_delta_rs
from specrec.storage.config import StorageConfig
from specrec.storage.retries import retrying

Result = TypeVar("Result")

#: What delta-rs and pyarrow throw of a table or of a store.
FAILURES = (DeltaError, pa.ArrowException, OSError)

#: Of these, and of refusals, no further try makes anything else.
_LASTING = (TableNotFoundError, DeltaProtocolError, SchemaMismatchError, CommitFailedError, FileNotFoundError)
_REFUSED = re.compile(
    r"Forbidden|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|NoSuchBucket|redential|\b40[013]\b"
)
#: Nor of what is not there, which the table's log says is.
_LOST = re.compile(r"NoSuchKey|\b404\b")

#: Of Delta's features that a reader must know, those that the reader of our tables without Spark knows.
_READABLE = frozenset({"timestampNtz", "variantType", "variantType-preview"})


def open_table(
    root: Location, name: str, storage: StorageConfig, version: int | None = None, *, any_features: bool = False
) -> DeltaTable:
    """Open a table.

    Parameters
    ----------
    root : Location
        Of the warehouse.
    version : int or None
        Of its log; the newest if None.
    any_features : bool
        Whether to open a table that cannot be read, too.

    Raises
    ------
    TableNotFoundError
        If there is none.
    StorageError
        If the store cannot be reached.
    SpecrecError
        If its log is damaged, or it has features that are read by Spark alone.
    """
    place = join(root, name)
    uri, options = uri_for_delta_rs(place), for_delta_rs(root, storage)
    try:
        found = patiently(place, storage, lambda: DeltaTable(uri, version=version, storage_options=options))
    except TableNotFoundError:
        raise
    except FAILURES as error:
        raise cannot_read(root, name, error) from None
    unknown = unreadable_features(found)
    if unknown and not any_features:
        raise SpecrecError(
            f"the table {place} has {' and '.join(unknown)} switched on, which is read by Spark alone: "
            f"`specrec repair {name} --warehouse {root}` makes it without"
        )
    return found


def cannot_read(root: Location, name: str, error: Exception) -> SpecrecError:
    """Return in one line why a table cannot be read, and what to do where it is the table that is damaged."""
    place = join(root, name)
    if not scheme_of(root).is_tree and _may_pass(error):
        return StorageError(
            f"cannot read {place}: {reason(error)}, after all tries that storage.max_attempts allows"
        )
    if _REFUSED.search(str(error)):
        return StorageError(f"cannot read {place}: {reason(error)}")
    return SpecrecError(
        f"cannot read the table {place}: {reason(error)}. If it is damaged: "
        f"`specrec repair {name} --warehouse {root}`"
    )


def unreadable_features(table: DeltaTable) -> list[str]:
    """Return which features of a table its readers without Spark do not know."""
    features = set(table.protocol().reader_features or ()) - _READABLE
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        features.add("columnMapping")
    return sorted(features)


def patiently(place: Location, storage: StorageConfig, work: Callable[[], Result]) -> Result:
    """Do what reads or writes a table, again and again while the store fails for reasons that may pass.

    Parameters
    ----------
    place : Location
        Of the table. On a disk nothing is tried twice.
    work : callable
        What is done. If it writes, it must see for itself that nothing is written twice.

    Raises
    ------
    Exception
        The last try's.
    """
    if scheme_of(place).is_tree:
        return work()
    return retrying(storage, _may_pass, reraise=True)(work)


def _may_pass(error: BaseException) -> bool:
    if not isinstance(error, FAILURES) or isinstance(error, _LASTING):
        return False
    return not (_REFUSED.search(str(error)) or _LOST.search(str(error)))


def reason(error: BaseException | str) -> str:
    r"""Return in one line what delta-rs has to say: what it did, and the cause, which it says last.

    Examples
    --------
    >>> reason("Kernel error -> Generic S3 error\n  ↳ Error performing GET http://s3/k - HTTP error\n  ↳ reset")
    'Error performing GET http://s3/k - HTTP error: reset'
    >>> reason("Generic DeltaTable error: no")
    'Generic DeltaTable error: no'
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip().removeprefix("↳").strip() for line in text.splitlines()]
    lines = [line for line in lines if line] or [repr(error)]
    first = next((line for line in lines if line.startswith("Error ")), lines[0])
    last = lines[-1]
    return (first if last in first else f"{first}: {last}").rstrip(".")[:500]
