"""Repair: a table that is damaged, or that somebody changed so that nights refuse it, is made fit to go on with.

What a night makes is emptied, and the next night makes it anew from what it is made from: that is always right, and
needs nothing of what is broken. The records (what failed, which runs there were, what was measured) nothing could
make anew: of them everything is kept that can still be read. So it is with the artefacts; but if one of those is
lost, what was made with it must go, too. The next one would have the same version, and vectors of the two would
pass for one another. It goes first, so that who is ended half-way finds the artefacts as damaged as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deltalake.exceptions import TableNotFoundError
from pyspark.sql import functions as F

from specrec.config import Config
from specrec.errors import SpecrecError
from specrec.pipeline.run import RECORDS, Run, open_run
from specrec.settings import nearest_name
from specrec.storage import join, open_store
from specrec.warehouse.mending import Mender
from specrec.warehouse.opening import open_table, unreadable_features
from specrec.warehouse.schemas import TABLES, Table
from specrec.warehouse.tables import Undone, what_is_wrong

#: What is made with artefacts, and says so by their versions alone.
_MADE_WITH_ARTEFACTS = (
    "embeddings",
    "neighbours",
    "duplicates",
    "recommendations",
    "agreement",
    "map",
    "user_recommendations",
    "people_without_list",
)


def repair(config: Config, name: str) -> list[str]:
    """Mend a table, or empty it for the next night to make anew, and return in words what was done.

    Parameters
    ----------
    config : Config
        Of the warehouse.
    name : str
        The table.

    Raises
    ------
    SpecrecError
        If there is no such table, or another run holds the warehouse.
    """
    if name not in TABLES:
        raise SpecrecError(f"there is no table {name!r}{nearest_name(name, TABLES)}")
    place, store = join(config.warehouse, name), open_store(config.warehouse, config.storage)
    if not store.exists(place):
        raise SpecrecError(f"there is no table {place}: run `specrec nightly` first")
    with open_run(config, shown=False) as run, run.stage("repair") as report:
        table = TABLES[name]
        put_back = _mender(run, name).put_logs_back()
        if table.made_by and name != "artefacts":
            said = [_begin_anew(run, table)]
        else:
            said = _keep_what_can_be_read(run, table)
        if put_back:
            said.insert(0, f"{name}: a repair had ended half-way, and was undone first.")
        report.details |= {name: " ".join(said)}
        run.warehouse.create_missing(RECORDS)  # where this is told, and which may be the table that was mended
    return said


def _mender(run: Run, name: str) -> Mender:
    config = run.config
    return Mender(open_store(config.warehouse, config.storage), join(config.warehouse, name), run.run_id)


def _begin_anew(run: Run, table: Table) -> str:
    mender = _mender(run, table.name)
    with _in_place_of_its_log(mender):
        run.warehouse.create_missing([table.name])
    told = f"{table.name} is empty now; what it was can be had back from {mender.aside}."
    if table.made_by:
        return f"{told} The stage {table.made_by} makes it anew: run `specrec nightly`"
    return told


@contextmanager
def _in_place_of_its_log(mender: Mender) -> Iterator[None]:
    """Set a table's log aside for what a block makes in its place; put it back if that fails."""
    mender.set_log_aside()
    try:
        yield
    except Exception:
        mender.put_logs_back()
        raise
    mender.finish()


def _keep_what_can_be_read(run: Run, table: Table) -> list[str]:
    """Mend a table that nothing could make anew; where an artefact is lost, empty what was made with it."""
    name, mender = table.name, _mender(run, table.name)
    said = []
    cut = mender.cut_commits()
    if cut:
        said += _empty_what_was_made_with(run, name)
        for place in cut:
            mender.set_aside(place)
        said.append(f"{name}: the log's last {len(cut)} commits were cut, and what they wrote is lost")
    try:
        found = open_table(run.config.warehouse, name, run.config.storage, any_features=True)
    except (SpecrecError, TableNotFoundError):
        said += [] if cut else _empty_what_was_made_with(run, name)
        return [*said, f"{name}: its log cannot be read. {_begin_anew(run, table)}"]
    change = run.warehouse.foreign_change(name) if table.made_by or table.believed_by else None
    if change is not None:
        if not _can_be_put_back(run, change):
            # what it is now is somebody's word, and what it was is gone
            said += [] if cut else _empty_what_was_made_with(run, name)
            return [*said, f"{name}: {change.what}, and what it was is deleted. {_begin_anew(run, table)}"]
        run.warehouse.undo(change)
        said.append(f"{name}: {change}")
        found = open_table(run.config.warehouse, name, run.config.storage, any_features=True)
    lost = list(mender.damaged_files(found))
    if lost:
        said += [] if cut else _empty_what_was_made_with(run, name)
        for path in lost:
            mender.set_file_aside(path)
        run.warehouse.forget_lost_files(name)
        said.append(f"{name}: the rows of {len(lost)} damaged or lost files are gone, all others are kept")
    if unreadable_features(found) or what_is_wrong(found, table):
        said.append(_write_anew(run, table, mender))
    said.append(f"What was set aside lies in {mender.aside}." if said else f"Nothing is wrong with {name}.")
    return said


def _can_be_put_back(run: Run, change: Undone) -> bool:
    try:
        return not run.warehouse.lost_files(change.table, change.version)
    except SpecrecError:  # the log does not reach back that far
        return False


def _empty_what_was_made_with(run: Run, name: str) -> list[str]:
    if name != "artefacts":
        return []
    return [_begin_anew(run, TABLES[other]) for other in _MADE_WITH_ARTEFACTS]


def _write_anew(run: Run, table: Table, mender: Mender) -> str:
    """Write a table's rows to a new log, without what somebody switched on or changed."""
    warehouse = run.warehouse
    rows = warehouse.read(table.name)
    known = {field.name for field in rows.schema.fields}
    given = {
        field.name: F.col(f"`{field.name}`") if field.name in known else F.lit(None)
        for field in table.schema.fields
    }
    kept = rows.select(*(column.cast(table.schema[of].dataType).alias(of) for of, column in given.items()))
    kept = kept.localCheckpoint()  # read to the end, before the log that names its files is gone
    with _in_place_of_its_log(mender):
        warehouse.create_missing([table.name])
        warehouse.append(table.name, kept)
    return f"{table.name} was written anew, with all of its rows and only the columns that are its own"
