"""How a table's files lie: whether they ask to be put in order, told by its log alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable


@dataclass(frozen=True)
class Part:
    """The files of one part of a table.

    Attributes
    ----------
    value : str
        Of the column that the table is partitioned by; empty if it is not.
    files, small : int
        How many there are, and how many of them are small.
    n_bytes, rows : int
        Of all of them.
    depth : int
        In how many files, at most, a row of one key may lie, by the least and greatest value that each holds.
    """

    value: str
    files: int
    small: int
    n_bytes: int
    rows: int
    depth: int


def parts_of(table: DeltaTable, key: str, small_bytes: int) -> list[Part]:
    """Return how the files of each part lie.

    Parameters
    ----------
    table : DeltaTable
    key : str
        The column that rows are asked for by; a file without its statistics may hold any value.
    small_bytes : int
        Below which a file is small.
    """
    added = pa.table(table.get_add_actions(flatten=True))
    if not added.num_rows:
        return []
    (column, *_) = [*table.metadata().partition_columns, ""]
    parts = added[f"partition.{column}"].to_pylist() if column else [""] * added.num_rows
    n_bytes = np.asarray(added["size_bytes"].to_pylist())
    rows = np.asarray([count or 0 for count in added["num_records"].to_pylist()])
    low, high = (
        added[name].to_pylist() if name in added.column_names else [None] * added.num_rows
        for name in (f"min.{key}", f"max.{key}")
    )
    found = []
    for value in sorted(set(parts)):
        mine = [i for i, part in enumerate(parts) if part == value]
        sizes = n_bytes[mine]
        depth = _depth([(low[i], high[i]) for i in mine])
        small = int((sizes < small_bytes).sum())
        found.append(Part(value, len(mine), small, int(sizes.sum()), int(rows[mine].sum()), depth))
    return found


def group_depth(files: ds.Dataset, column: str, part: str, key: str) -> int:
    """Return in how many row groups of a part's files, at most, a row of one key may lie: the files' ends are read.

    Parameters
    ----------
    files : Dataset
        Of the table.
    column, part : str
        Which files: those of this part.
    key : str
        The column that rows are asked for by.
    """
    ranges: list[tuple[str | None, str | None]] = []
    for fragment in files.get_fragments(filter=pc.field(column) == part):
        for group in fragment.row_groups:
            told = (group.statistics or {}).get(key) or {}
            ranges.append((told.get("min"), told.get("max")))
    return _depth(ranges)


def _depth(ranges: Sequence[tuple[str | None, str | None]]) -> int:
    """Return how many ranges, ends included, have a value in common, at most; an unknown range holds everything.

    Examples
    --------
    >>> _depth([("a", "c"), ("c", "d"), ("e", "f")]), _depth([("a", "b"), (None, None)])
    (2, 2)
    """
    unknown = sum(low is None or high is None for low, high in ranges)
    known = [(low, high) for low, high in ranges if low is not None and high is not None]
    events = sorted([(low, 0) for low, _ in known] + [(high, 1) for _, high in known])  # a start before an end
    open_now = deepest = 0
    for _, is_end in events:
        open_now += -1 if is_end else 1
        deepest = max(deepest, open_now)
    return unknown + deepest
