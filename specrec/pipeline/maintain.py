"""Maintain: tables stay fast to read. Their files are put in order, and what they no longer need is deleted.

A first night writes what it found in the order in which it found it, and a track's list may lie in many files.
Where a table is read by a track, its rows are written anew, sorted by it: a list is then in one file, and in one
row group of it or two, and later nights keep it so. OPTIMIZE with a Z-order does not do: Spark's sorts files and
not the rows in them, so that a whole file is read for one list. Elsewhere small files are put together, by
delta-rs.

Neither changes a row, and both commits say so, so that followers of the change feed see nothing. Each keeps what
the table's last commit said of the states of its input: the newest commit alone says what is known, however short
Delta's history is.
"""

from __future__ import annotations

from collections.abc import Iterable

from specrec.config import Config
from specrec.errors import SpecrecError
from specrec.pipeline.run import Run, StageReport, open_run
from specrec.warehouse.layout import Part, group_depth, parts_of
from specrec.warehouse.reader import Reader
from specrec.warehouse.schemas import TABLES, Table

#: Where rows are sorted, a list is in one row group, or in two at their border.
_GROUPS_IN_ORDER = 2


def maintain(config: Config) -> list[str]:
    """Put all tables' files in order and delete what is no longer needed; return in words what was done.

    Raises
    ------
    SpecrecError
        If files would be kept for less time than a follower may be behind.
    """
    limits = config.maintain
    if limits.keep_days < limits.follower_days:
        raise SpecrecError(
            f"maintain.keep_days={limits.keep_days:g} is less than maintain.follower_days="
            f"{limits.follower_days:g}, and files that followers still read would be deleted: raise the one, or "
            "lower the other"
        )
    with open_run(config, shown=False) as run:
        there = run.warehouse.check()
        run.warehouse.create_missing(list(there), there)
        run.undo_foreign_changes({table.made_by for table in TABLES.values() if table.made_by})
        with run.stage("maintain") as report:
            for name in there:
                run.lock.check()
                done = _put_in_order(run, TABLES[name], always=True)
                deleted = run.warehouse.clean(name, limits.keep_days)
                done += [f"{deleted} files deleted"] if deleted else []
                if done:
                    report.details[name] = ", ".join(done)
            _finish(report)
        return [f"{name}: {what}." for name, what in report.details.items()] or ["All tables are in order."]


def tidy(run: Run, names: Iterable[str] = TABLES) -> None:
    """Put those tables' files in order that ask for it, at the end of a night; most nights that is none.

    Whether they do is told by their logs, without Spark; where none does, nothing is written, not even to ``runs``.
    """
    asking = [name for name in names if _asks(run, TABLES[name])]
    if not asking:
        return
    with run.stage("maintain") as report:
        for name in asking:
            run.lock.check()
            report.details[name] = ", ".join(_put_in_order(run, TABLES[name], always=False))
        _finish(report)


def _finish(report: StageReport) -> None:
    if not report.details:
        report.unchanged()


def _parts(run: Run, table: Table) -> list[Part]:
    limits = run.config.maintain
    key = table.read_by[0] if table.read_by else table.key[-1]
    return parts_of(run.warehouse.table(table.name), key, limits.file_bytes // 4)


def _asks(run: Run, table: Table) -> bool:
    """Tell whether a table, to which this run wrote, asks to be put in order."""
    if run.warehouse.last_run(table.name) != run.run_id:
        return False
    small = run.config.maintain.small_files
    return any(part.small > small or _is_slow(run, table, part, always=False) for part in _parts(run, table))


def _is_slow(run: Run, table: Table, part: Part, *, always: bool) -> bool:
    """Tell whether one list of a part may lie in too many files, or in too many row groups of them."""
    if not table.read_by:
        return False
    limits = run.config.maintain
    if part.depth > (1 if always else limits.files_a_list):
        return True
    if part.rows <= _GROUPS_IN_ORDER * limits.rows_a_group:
        return False
    with Reader(run.config.warehouse, run.config.storage).opened(table.name) as files:
        groups = group_depth(files, table.partitioned_by[0], part.value, table.read_by[0])
    return groups > _GROUPS_IN_ORDER * (1 if always else limits.files_a_list)


def _put_in_order(run: Run, table: Table, *, always: bool) -> list[str]:
    """Put a table's files in order; return in words what was done.

    Parameters
    ----------
    always : bool
        Whether also where a night would leave them.
    """
    limits, parts = run.config.maintain, _parts(run, table)
    most = 1 if always else limits.small_files
    if not table.read_by:
        if not any(part.small > most for part in parts):
            return []
        before = sum(part.files for part in parts)
        after = run.warehouse.put_together(table.name)
        return [f"{before} files became {after}"]
    done = []
    for part in parts:
        if part.small > most or _is_slow(run, table, part, always=always):
            files = max(1, round(part.n_bytes / (limits.file_bytes)))
            run.warehouse.sort_part(table.name, part.value, files)
            done.append(f"{part.value} sorted: {part.files} files became {files}")
    return done
