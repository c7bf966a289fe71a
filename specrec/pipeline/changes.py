"""What changed in the lists since a run, for those who keep a copy of them; read by delta-rs, without Spark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from specrec.config import Config
from specrec.errors import SpecrecError
from specrec.storage import Location, join, open_store
from specrec.warehouse.feed import Changes, count_changes, steps
from specrec.warehouse.history import commits, version_after
from specrec.warehouse.reader import Reader
from specrec.warehouse.runs import ended_at

_TABLE, _PART = "recommendations", "system"


def changes_since(config: Config, reader: Reader, run: str) -> dict[str, Changes]:
    """Return how many lists and rows changed since a run, by system.

    Raises
    ------
    SpecrecError
        In one line: there is no such run, or the feed does not reach back to it.
    """
    place, since = _known(config, reader, run)
    return count_changes(reader.table(_TABLE), place, since, _PART)


def rows_since(config: Config, reader: Reader, run: str) -> Iterator[dict[str, Any]]:
    """Yield the rows that changed since a run, as :func:`~specrec.warehouse.feed.steps` does.

    Raises
    ------
    SpecrecError
        As :func:`changes_since` does.
    """
    place, since = _known(config, reader, run)
    yield from steps(reader.table(_TABLE), place, since)


def _known(config: Config, reader: Reader, run: str) -> tuple[Location, int]:
    """Return where the table lies, and which version it had after a run."""
    ended = ended_at(reader, run)
    place = join(config.warehouse, _TABLE)
    history = commits(open_store(config.warehouse, config.storage), place, most=None)
    since = version_after(history, run, ended)
    if since is None:
        raise SpecrecError(f"the log of {place} does not reach back to the run {run} any more: copy the table anew")
    return place, since
