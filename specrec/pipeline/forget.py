"""Forget: all that tables say of some people is deleted, and what they did is refused from then on.

Which tables these are, the schemas say: those with a column ``user_id``. That somebody was forgotten is noted
first, by a hash, so that no night brings back what is still in the files of the events; if the command dies, it is
given again. Each commit keeps what the table's last said of the states of its input: what other people's rows were
made of is as true as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.config import Config
from specrec.errors import SpecrecError, StorageError, TrackError, first_line
from specrec.events.identity import scheme, scheme_of, stored_ids
from specrec.events.spark import forgotten_hash_of
from specrec.pipeline.run import RECORDS, Run, open_run
from specrec.storage import Location, open_store
from specrec.storage.config import StorageConfig
from specrec.warehouse.schemas import TABLES

#: The name of the command in ``runs``.
FORGET = "forget"

#: The tables that say something of people.
PERSONAL = tuple(name for name, table in TABLES.items() if "user_id" in table.schema.fieldNames())

#: Larger lists of people are given in parts.
_MOST_BYTES = 256 << 20


def read_user_ids(file: Location, storage: StorageConfig) -> list[str]:
    """Return the user ids that a file names, one a line.

    Raises
    ------
    StorageError
        If there is no such file, or it cannot be read.
    """
    try:
        text = open_store(file, storage).read(file, _MOST_BYTES).decode("utf-8-sig")
    except (TrackError, UnicodeDecodeError) as error:
        raise StorageError(f"--file: cannot read {file}: {first_line(error)}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def forget(config: Config, user_ids: Iterable[str]) -> dict[str, int]:
    """Delete all rows of some people, and have their events refused from now on.

    Parameters
    ----------
    config : Config
        Of the warehouse.
    user_ids : iterable of str
        As the events name them, whether or not they are stored as hashes.

    Returns
    -------
    dict of int
        How many rows were deleted of each table that says something of people.

    Raises
    ------
    SpecrecError
        If nobody is named, there is no warehouse, or people are stored as hashes and the key is not at hand.
    """
    with open_run(config, shown=False) as run:
        there = run.warehouse.check()
        if "runs" not in there:
            raise SpecrecError(f"there is no warehouse {config.warehouse}: give --warehouse or --config")
        needed = list(dict.fromkeys((*there, *PERSONAL, "event_files", "forgotten", *RECORDS)))
        run.warehouse.create_missing(needed, there)
        people = _stored(run, user_ids)
        # a commit of ours would stand before the changes of others, which no night would see any more
        run.undo_foreign_changes({table.made_by for table in TABLES.values() if table.made_by})
        with run.stage(FORGET) as report:
            report.rows_in = len(people)
            report.count("people_forgotten", len(people))
            named = _frame(run, people)
            _note(run, named)
            deleted = {name: _delete(run, name, named) for name in PERSONAL}
            report.count_each("rows_deleted", {name: count for name, count in deleted.items() if count})
            report.rows_out = sum(deleted.values())
    return deleted


def drop_forgotten(run: Run, names: Sequence[str]) -> None:
    """Delete what tables, which were brought back to what they were, say of people who were forgotten since."""
    forgotten = run.warehouse.read("forgotten")
    if not names or forgotten.isEmpty():
        return
    for name in names:
        people = run.warehouse.read(name).select("user_id").distinct()
        gone = (
            people.withColumn("user_hash", forgotten_hash_of("user_id"))
            .join(forgotten, "user_hash", "left_semi")
            .select("user_id")
        )
        _delete(run, name, gone)


def _stored(run: Run, user_ids: Iterable[str]) -> list[str]:
    """Return the names by which people stand in this warehouse, each once.

    Raises
    ------
    SpecrecError
        If nobody is named, or the key is not at hand.
    """
    stored_as = scheme_of(run.warehouse.states("event_files")) or scheme(run.config.listeners.hash_users)
    found = sorted(set(stored_ids(user_ids, stored_as)))
    if not found:
        raise SpecrecError("nobody is named: give a user_id, or a file of user_ids with --file")
    return found


def _frame(run: Run, people: Sequence[str]) -> DataFrame:
    return run.warehouse.spark.createDataFrame(pa.table({"user_id": pa.array(people, pa.string())}))


def _note(run: Run, people: DataFrame) -> None:
    hashes = people.select(forgotten_hash_of("user_id").alias("user_hash"))
    new = hashes.join(run.warehouse.read("forgotten"), "user_hash", "left_anti")
    if not new.isEmpty():
        now = {"forgotten_at": F.lit(datetime.now(UTC)), "run_id": F.lit(run.run_id)}
        run.warehouse.append("forgotten", new.withColumns(now))


def _delete(run: Run, name: str, people: DataFrame) -> int:
    """Delete the rows of people from a table, and return how many there were."""
    run.lock.check()
    warehouse = run.warehouse
    count = warehouse.read(name).join(people, "user_id", "left_semi").count()
    if count:
        warehouse.delete(name, people, warehouse.states(name))
    return count
