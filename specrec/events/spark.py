"""Events in Spark: the files of a source are read, each row gets its id, and people's events become preferences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.window import Window

from specrec.errors import CatalogueError, EventsError, StorageError, TrackError, first_line
from specrec.events.identity import FORGOTTEN_PREFIX, hashed, require_key
from specrec.events.preferences import INPUT, OUTPUT, preferences
from specrec.events.rows import COLUMNS, SCHEMA, codes, conform, read_tables
from specrec.events.rules import EVENT_CODES, FORGOTTEN, KNOWN, Rules
from specrec.events.sources import EventFile
from specrec.storage import Location, open_store
from specrec.storage.config import StorageConfig
from specrec.warehouse.schemas import GONE, NEW

#: Events of about so many rows are one task's at once. Whole people are never divided.
_ROWS_AT_ONCE = 200_000
#: Files are read by no more tasks than these.
_MOST_TASKS = 1_000
#: Hexadecimal digits of an event's id, 128 bits: no two of a billion events are alike by chance.
_DIGITS = 32

#: What an event says by itself, of what preferences are made of.
DID = tuple(name for name in INPUT.names if name not in ("duration_ms", "is_foreign"))
EVENT_SCHEMA: T.StructType = from_arrow_schema(SCHEMA, prefer_timestamp_ntz=False)
PREFERENCE_SCHEMA: T.StructType = from_arrow_schema(OUTPUT, prefer_timestamp_ntz=False)
_FILE_SCHEMA = "uri string, size long, kind string, constants string"

Batches = Iterator[pa.RecordBatch]


def read_events(
    spark: SparkSession,
    files: Sequence[EventFile],
    storage: StorageConfig,
    rules: Rules,
    *,
    now: int,
    stored_as: str,
    **options: str | None,
) -> DataFrame:
    """Return the rows of files, each with its code if it cannot be used; the columns are those of ``rows.SCHEMA``.

    Of a file that cannot be read there is a row with the code ``unreadable_file``, which says why in `said`; there
    may be some of its own, too, which are not to be used.

    Parameters
    ----------
    files : sequence of EventFile
        Each is read by one task.
    now : int
        In microseconds since 1970.
    stored_as : str
        How people are stored, as :func:`specrec.events.identity.scheme` says it.
    options : str or None
        ``encoding`` and ``delimiter`` of CSV files, where they are known.

    Raises
    ------
    ConfigError
        When it is computed: if people are to be hashed, and an executor has not the key.
    """
    named = [(file.uri, file.size, file.kind, file.constants) for file in files]
    frame = spark.createDataFrame(named, _FILE_SCHEMA)
    if len(named) > 1:
        frame = frame.repartition(min(len(named), _MOST_TASKS))
    return frame.mapInArrow(_reading(storage, rules, now, stored_as, options), EVENT_SCHEMA)


def _reading(
    storage: StorageConfig, rules: Rules, now: int, stored_as: str, options: Mapping[str, str | None]
) -> Callable[[Batches], Batches]:
    """Return what reads the files of a task."""

    def read(batches: Batches) -> Batches:
        key = require_key(stored_as)
        for batch in batches:
            for file in batch.to_pylist():
                try:
                    yield from rows_of(Location(file["uri"]), file["size"], file["kind"], file["constants"], key)
                except (CatalogueError, EventsError, StorageError, TrackError, OSError, pa.ArrowException) as error:
                    # what it advises to set is called alike for the catalogue
                    why = first_line(error).replace("catalogue.", "listeners.")
                    yield _unreadable_row(file["uri"], why)

    def rows_of(uri: Location, size: int, kind: str, constants: str, key: bytes | None) -> Batches:
        with open_store(uri, storage).open(uri, size) as file:
            for raw in read_tables(file, uri, kind, constants, **options):
                rows = conform(raw, uri)
                if key is not None:
                    rows = _hashing(rows, key)
                rows = rows.set_column(SCHEMA.get_field_index("code"), "code", codes(rows, rules, now))
                yield from rows.to_batches()

    return read


def _hashing(rows: pa.Table, key: bytes) -> pa.Table:
    """Put keyed hashes in the place of user ids, before any of them leaves this process."""
    encoded = rows["user_id"].combine_chunks().dictionary_encode()
    names = pa.array([hashed(user_id, key) for user_id in encoded.dictionary.to_pylist()], pa.string())
    hidden = pa.DictionaryArray.from_arrays(encoded.indices, names).dictionary_decode()
    return rows.set_column(SCHEMA.get_field_index("user_id"), "user_id", hidden)


def _unreadable_row(uri: str, why: str) -> pa.RecordBatch:
    row = dict.fromkeys(SCHEMA.names) | {"uri": uri, "said": why, "code": "unreadable_file"}
    return pa.RecordBatch.from_pylist([row], SCHEMA)


def judged(rows: DataFrame, rules: Rules, now: int) -> DataFrame:
    """Return events that were refused before with the codes that they have now, as far as they tell so themselves.

    Parameters
    ----------
    rows : DataFrame
        With the columns of ``rows.SCHEMA``.
    """

    def judge(batches: Batches) -> Batches:
        for batch in batches:
            found = pa.Table.from_batches([batch])
            found = found.set_column(SCHEMA.get_field_index("code"), "code", codes(found, rules, now))
            yield from found.cast(SCHEMA).to_batches()

    return rows.select(*SCHEMA.names).mapInArrow(judge, EVENT_SCHEMA)


def with_ids(rows: DataFrame) -> DataFrame:
    """Add ``event_id``: what an event says, in short. An event that comes twice is one."""
    said = [F.unix_micros("ts").alias("ts") if name == "ts" else F.col(name) for name in (*COLUMNS, "said")]
    return rows.withColumn("event_id", F.substr(F.sha2(F.to_json(F.struct(*said)), 256), F.lit(1), F.lit(_DIGITS)))


def classified(
    rows: DataFrame, tracks: DataFrame, events: DataFrame | None, forgotten: DataFrame | None
) -> DataFrame:
    """Return events with the codes that the tables give them, and those that they have already.

    The code stays null of what is to be taken in. Of an event that stands more than once one is taken in, from the
    first file by name, and the others are repeated. So they are if an earlier night took it in: a night that goes
    on where another died says the same.

    Parameters
    ----------
    rows : DataFrame
        What :func:`with_ids` returned.
    tracks : DataFrame
        ``track_id`` of the catalogue.
    events : DataFrame or None
        ``event_id`` of what was taken in before; None: nothing was.
    forgotten : DataFrame or None
        ``user_hash`` of the people who were forgotten; None: nobody was.
    """
    known = tracks.select("track_id", F.lit(True).alias("_is_known"))
    rows = rows.join(known, "track_id", "left")
    code: Column = F.coalesce("code", F.when(F.col("_is_known").isNull(), F.lit("unknown_track")))
    if events is not None:
        rows = rows.join(events.select("event_id", F.lit(True).alias("_is_there")), "event_id", "left")
        code = F.when(F.col("_is_there"), F.lit(KNOWN)).otherwise(code)
    if forgotten is not None:
        gone = forgotten.select(F.col("user_hash").alias("_hash"), F.lit(True).alias("_is_forgotten"))
        rows = rows.withColumn("_hash", forgotten_hash_of("user_id")).join(gone, "_hash", "left")
        code = F.when(F.col("_is_forgotten"), F.lit(FORGOTTEN)).otherwise(code)
    rows = rows.withColumn("code", code)
    is_good = F.col("code").isNull() | (F.col("code") == KNOWN)
    order = Window.partitionBy("event_id").orderBy(~is_good, "uri")
    again = is_good & (F.row_number().over(order) > 1)
    rows = rows.withColumn("code", F.when(again, F.lit("repeated_event")).otherwise(F.col("code")))
    return rows.drop("_is_known", "_is_there", "_hash", "_is_forgotten")


def forgotten_hash_of(column: str) -> Column:
    """Return what :func:`specrec.events.identity.forgotten_hash` does of a column of stored ids."""
    return F.sha2(F.concat(F.lit(FORGOTTEN_PREFIX), F.col(column)), 256)


def with_messages(refused: DataFrame) -> DataFrame:
    """Add ``message``: what the code means, and what could not be read."""
    pairs = [F.lit(text) for pair in EVENT_CODES.items() for text in pair]
    meaning = F.create_map(*pairs)[F.col("code")]
    return refused.withColumn("message", F.concat_ws("; ", meaning, "said"))


def preferences_of(events: DataFrame, tracks: DataFrame, rules: Rules, count: int) -> DataFrame:
    """Return the preferences that people's events amount to, by :func:`specrec.events.preferences.preferences`.

    Parameters
    ----------
    events : DataFrame
        The columns of :data:`DID`: all that these people did.
    tracks : DataFrame
        ``track_id, duration_ms``; events of other tracks end the plays before them, and say nothing else.
    rules : Rules
    count : int
        How many events there are, about.
    """
    known = tracks.select("track_id", "duration_ms", F.lit(False).alias("is_foreign"))
    rows = events.select(*DID).join(known, "track_id", "left").fillna(True, ["is_foreign"])
    blocks = max(1, -(-count // _ROWS_AT_ONCE))
    rows = rows.select(*INPUT.names, F.pmod(F.xxhash64("user_id"), F.lit(blocks)).cast("int").alias("block"))

    def made(block: pa.Table) -> pa.Table:
        return preferences(block.select(INPUT.names).cast(INPUT), rules)

    return rows.groupBy("block").applyInArrow(made, PREFERENCE_SCHEMA)


def differing(old: DataFrame, new: DataFrame, key: Sequence[str], said: Sequence[str]) -> DataFrame:
    """Return what makes rows of one table of others: ``change``, as ``Warehouse.change`` takes it, and the columns.

    Parameters
    ----------
    old, new : DataFrame
        With the columns `key` and `said`.
    """
    before = old.select(*key, F.struct(*said).alias("_before"))
    now = new.select(*key, F.struct(*said).alias("_now"))
    is_other = ~F.col("_now").eqNullSafe(F.col("_before"))
    change = F.when(F.col("_now").isNull(), F.lit(GONE)).when(is_other, F.lit(NEW))
    both = before.join(now, list(key), "full_outer").withColumn("change", change).where("change is not null")
    return both.select("change", *key, "_now.*")
