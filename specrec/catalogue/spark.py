"""The catalogue in Spark: sources of any kind become one DataFrame of tracks, each with the file of its audio.

A new kind of source is a DataFrame of whatever columns it has: :func:`conform` makes tracks of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import from_arrow_type

from specrec.catalogue.columns import plain_name, unique_names
from specrec.catalogue.delimited import find_dialect, read_rows
from specrec.catalogue.files import FILE_SCHEMA, TAG_COLUMNS, is_hidden, listing, tag_reading
from specrec.catalogue.parquet import merge_schemas, own_schema
from specrec.errors import CatalogueError, StorageError, TrackError, first_line
from specrec.storage import (
    SCHEMES,
    Location,
    StoredFile,
    StoredFolder,
    Unusable,
    for_spark,
    is_text,
    join,
    open_store,
    scheme_of,
)
from specrec.storage.config import StorageConfig
from specrec.warehouse.schemas import GONE, NEW, TRACK_ATTRIBUTES, TRACKS

#: What a row of a catalogue is made of, whatever the source.
CATALOGUE_COLUMNS = ("track_id", *TRACK_ATTRIBUTES.fieldNames(), "extra", "audio")

#: Names of row numbers, which pandas and Spark write beside the data. They are left out, as they change whenever
#: rows are in another order.
_INDEX_COLUMN = re.compile(r"(unnamed: ?\d+|_c\d+|index|__index_level_\d+__|)", re.IGNORECASE)
#: What the second column of a name is called; see :func:`~specrec.catalogue.columns.unique_names`.
_AGAIN = re.compile(r"(.*) \(\d+\)")
#: What stands for nothing in a column of numbers, in small letters.
_NOTHING = ("", "nan", "none", "null", "na", "n/a", "<na>", "-", "\\n")
#: The type of `extra`: what else a catalogue says of a track, as text, by the name of the column.
CATALOGUE_EXTRA = T.MapType(T.StringType(), T.StringType())
#: Codes of places that may be there all the same, and can be read another night.
_UNREAD = ("unreadable_folder", "storage_error")
#: How many kinds of values are told one by one in a count of them.
_MOST_KINDS = 8
#: Columns of ``tracks`` that say nothing of what the catalogue holds, and are not hashed.
_NOT_HASHED = ("row_hash", "run_id", "updated_at")


def read_table(
    spark: SparkSession, path: Location, kind: str, storage: StorageConfig, **options: str | None
) -> Source:
    """Read a CSV (every column as text), Parquet or Delta catalogue as it is.

    Parameters
    ----------
    path : Location
        A file; or, of CSV and Parquet, a folder of parts.
    kind : str
        ``csv``, ``parquet`` or ``delta``.
    storage : StorageConfig
        How the store is reached.
    options : str or None
        ``encoding`` and ``delimiter`` of a CSV, where they are known.

    Raises
    ------
    CatalogueError
        If there is none, it is not of that kind, or its parts do not fit together.
    """
    if kind == "csv":
        return Source(_read_delimited(spark, path, storage, **options))
    if kind == "parquet":
        return _read_parquet(spark, path, storage)
    try:
        return Source(spark.read.format(kind).load(for_spark(path)))
    except AnalysisException as error:
        raise CatalogueError(f"cannot read the catalogue {path} as {kind}: {first_line(error)}") from None


@dataclass(frozen=True)
class Source:
    """The rows of a catalogue, with whatever columns it has; and columns that cannot be read, with their types."""

    rows: DataFrame
    left_out: Mapping[str, str] = field(default_factory=dict)


def _parts(path: Location, storage: StorageConfig) -> list[tuple[str, int]]:
    """Return the files that a catalogue consists of, and their sizes in bytes: itself, or those in its folder.

    Raises
    ------
    CatalogueError
        If there is none.
    """
    store = open_store(path, storage)
    folders, found = [path], []
    while folders:
        folder = folders.pop()
        for entry in store.entries(folder):
            if entry.uri != folder and entry.uri.rpartition("/")[2][0] in "._":
                continue
            if isinstance(entry, StoredFile):
                found.append((entry.uri, entry.size))
            elif isinstance(entry, StoredFolder) and entry.leads_to is None:
                folders.append(entry.uri)
            else:  # to leave it out would be to lose its tracks
                why = entry.message if isinstance(entry, Unusable) else "a link to a folder: put its files here"
                raise CatalogueError(f"cannot read the catalogue {path}: {entry.uri} is a part of it, and {why}")
    if found:
        return sorted(found)
    try:
        return [(path, store.size(path))]
    except StorageError:
        raise CatalogueError(f"the catalogue {path} is a folder without any file") from None


def _read_delimited(
    spark: SparkSession, path: Location, storage: StorageConfig, **options: str | None
) -> DataFrame:
    """Read the parts of a catalogue that is delimited text, each by one task."""
    parts = _parts(path, storage)

    def names_in(uri: str, size: int) -> list[str]:
        with open_part(uri, size, storage) as file:
            return unique_names(find_dialect(file, Location(uri), **options).header)

    def headers(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            found = [names_in(*part.values()) for part in batch.to_pylist()]
            yield pa.RecordBatch.from_pydict({"names": pa.array(found, pa.list_(pa.string()))})

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for uri, size in (part.values() for part in batch.to_pylist()):
                with open_part(uri, size, storage) as file:
                    dialect = find_dialect(file, Location(uri), **options)
                    own = {plain_name(name): place for place, name in enumerate(unique_names(dialect.header))}
                    file.seek(0)
                    for cells in read_rows(file, Location(uri), dialect):
                        columns = list(zip(*cells, strict=True))
                        arrays = [
                            pa.array(columns[own[plain_name(name)]], pa.string())
                            if plain_name(name) in own
                            else pa.nulls(len(cells), pa.string())
                            for name in names
                        ]
                        yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    if len(parts) == 1:
        names = names_in(*parts[0])
    else:
        found = _one_task_each(spark, parts).mapInArrow(headers, "names array<string>").distinct().collect()
        # parts may write a name in other letters
        names = list({plain_name(name): name for row in sorted(found) for name in row["names"]}.values())
    schema = pa.schema({name: pa.string() for name in names})
    columns = T.StructType([T.StructField(name, T.StringType()) for name in names])
    return _one_task_each(spark, parts).mapInArrow(rows, columns)


def _one_task_each(spark: SparkSession, parts: Sequence[tuple[str, int]]) -> DataFrame:
    frame = spark.createDataFrame(list(parts), "uri string, size long")
    return frame if len(parts) == 1 else frame.repartition(min(len(parts), 1_000), "uri")


def _read_parquet(spark: SparkSession, path: Location, storage: StorageConfig) -> Source:
    """Read the parts of a Parquet catalogue, by one schema that fits them all."""
    parts = _parts(path, storage)
    if len(parts) == 1 and parts[0][0] == path and path.rpartition("/")[2][0] in "._":
        raise CatalogueError(f"the catalogue {path} is hidden: Spark reads no file whose name begins with . or _")

    def schema_of(uri: str, size: int) -> bytes:
        with open_part(uri, size, storage, "parquet") as file:
            found: bytes = pq.read_schema(file).remove_metadata().serialize().to_pybytes()
            return found

    def schemas(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            found = [schema_of(*part.values()) for part in batch.to_pylist()]
            yield pa.RecordBatch.from_pydict({"uri": batch["uri"], "schema": pa.array(found, pa.binary())})

    if len(parts) == 1:
        found = {schema_of(*parts[0]): [path]}
    else:
        found = {}
        for row in _one_task_each(spark, parts).mapInArrow(schemas, "uri string, schema binary").collect():
            found.setdefault(bytes(row["schema"]), []).append(Location(row["uri"]))
    read = {schema: pa.ipc.read_schema(pa.py_buffer(schema)) for schema in sorted(found)}
    merged, left_out = merge_schemas(list(read.values()), path, CATALOGUE_COLUMNS)
    own: list[tuple[pa.Schema, list[Location]]] = []  # parts of one schema are read together
    for written, schema in read.items():
        of_part = own_schema(schema, merged)
        same = next((places for known, places in own if known == of_part), None)
        if same is None:
            own.append((of_part, found[written]))
        else:
            same += found[written]
    if len(own) == 1:
        own = [(own[0][0], [path])]
    rows = (_parquet_rows(spark, schema, merged, sorted(places)) for schema, places in own)
    return Source(reduce(DataFrame.unionByName, rows), left_out)


def _parquet_rows(
    spark: SparkSession, schema: pa.Schema, merged: pa.Schema, places: Sequence[Location]
) -> DataFrame:
    """Read parts by the schema that they have in common, and make text of what others have otherwise."""
    kinds = {field.name: from_arrow_type(field.type, prefer_timestamp_ntz=False) for field in schema}
    columns = T.StructType([T.StructField(name, kind) for name, kind in kinds.items()])
    reader = spark.read.format("parquet").schema(columns).option("__globPaths__", "false")
    rows = reader.load([for_spark(place) for place in places])
    other = {field.name for field, of in zip(schema, merged, strict=True) if field.type != of.type}
    if not other:
        return rows
    rows = rows.toDF(*(f"c{place}" for place in range(len(kinds))))  # a name may hold anything
    pairs = zip(rows.columns, kinds.items(), strict=True)
    return rows.select(
        *(
            (as_text(rows[column], kind) if name in other else rows[column]).alias(name)
            for column, (name, kind) in pairs
        )
    )


@contextmanager
def open_part(uri: str, size: int, storage: StorageConfig, kind: str = "") -> Iterator[BinaryIO]:
    """Open a file of a catalogue for as long as it is read.

    Parameters
    ----------
    uri, size
        As :func:`_parts` returns them.
    kind : str
        As what it is read, for the message; empty: as text.

    Raises
    ------
    CatalogueError
        In one line, if it cannot be read, whether the store or its content is the matter.
    """
    try:
        with open_store(Location(uri), storage).open(Location(uri), size) as file:
            yield file
    except (OSError, TrackError, StorageError, pa.ArrowException) as error:
        as_what = f" as {kind}" if kind else ""
        raise CatalogueError(f"cannot read the catalogue {uri}{as_what}: {first_line(error)}") from None


def fingerprints(tracks: DataFrame, root: Location, storage: StorageConfig) -> DataFrame:
    """Return what lies beside the files that `tracks` name; the columns are those of ``files.FILE_SCHEMA``.

    Folders are listed, a thousand files a request, instead of asking for one file after another.

    Parameters
    ----------
    tracks : DataFrame
        What :func:`with_audio_uri` returned.
    root : Location
        Folder below which all audio lies, and out of which no link may lead.
    storage : StorageConfig
        How the store is reached.
    """
    folder = F.regexp_extract("audio_uri", r"(?s)^(.*)/[^/]*\z", 1)  # a name may hold line breaks
    folders = tracks.where("audio_uri is not null").select(
        F.when(folder == "", "/").otherwise(folder).alias("folder")
    )
    tasks = tracks.sparkSession.sparkContext.defaultParallelism * 2
    list_files = listing(storage, root, "files")
    return folders.distinct().repartition(tasks, "folder").mapInPandas(list_files, FILE_SCHEMA)


def audio_files(spark: SparkSession, root: Location, storage: StorageConfig) -> DataFrame:
    """Return every audio file under a folder, what was left out, and what could not be used.

    The columns are those of ``files.FILE_SCHEMA``. Raises StorageError, in one line, if the root cannot be listed.
    """
    store = open_store(root, storage)
    folders = sorted(folder for folder in store.folders(root) if is_text(folder) and not is_hidden(folder))
    schema = "folder string, deep boolean"
    roots = spark.createDataFrame([(root, False), *((folder, True) for folder in folders)], schema)
    roots = roots.repartition(min(len(folders) + 1, 1_000), "folder")
    top = roots.where("not deep").mapInPandas(listing(storage, root, "top"), FILE_SCHEMA)
    tree = roots.where("deep").mapInPandas(listing(storage, root, "tree"), FILE_SCHEMA)
    return top.unionByName(tree)


def with_known_files(listed: DataFrame, known: DataFrame) -> DataFrame:
    """Add the files that are known of places that could not be read this time, as they were known.

    What cannot be listed is not gone: a disk that fails for a night must not delete what was learnt of its music.

    Parameters
    ----------
    listed : DataFrame
        What :func:`audio_files` or :func:`fingerprints` returned.
    known : DataFrame
        The table ``tracks``.
    """
    unread = listed.where(F.col("code").isin(*_UNREAD))
    known = known.where("has_audio").select("audio_uri", "audio_fingerprint", "audio_bytes")
    known = known.dropDuplicates(["audio_uri"])
    kept = known.join(_at_or_below(unread, known).select("audio_uri"), "audio_uri", "left_semi")
    kept = kept.join(listed.where("code is null").select("audio_uri"), "audio_uri", "left_anti")
    return listed.unionByName(kept, allowMissingColumns=True)


def _at_or_below(places: DataFrame, files: DataFrame) -> DataFrame:
    """Return ``audio_uri, code, message`` of the files that are one of some places, or lie below one.

    Parameters
    ----------
    places : DataFrame
        ``audio_uri, code, message``: a file, or a folder.
    files : DataFrame
        ``audio_uri``.
    """
    parts = F.split("audio_uri", "/")
    above = F.transform(
        F.sequence(F.lit(1), F.size(parts)), lambda length: F.array_join(F.slice(parts, 1, length), "/")
    )
    steps = files.where("audio_uri is not null").select("audio_uri", F.explode(above).alias("place"))
    of_place = places.select(F.col("audio_uri").alias("place"), "code", "message")
    found = steps.join(of_place, "place").groupBy("audio_uri")
    return found.agg(F.min_by(F.struct("code", "message"), "place").alias("of")).select("audio_uri", "of.*")


def folder_catalogue(files: DataFrame, known: DataFrame, root: Location, storage: StorageConfig) -> DataFrame:
    """Return catalogue rows of a folder's audio files, their tags as metadata.

    The columns are :data:`CATALOGUE_COLUMNS` and ``audio_uri``. Names are taken as they are, whatever is in them.

    Parameters
    ----------
    files : DataFrame
        What :func:`audio_files` returned, or :func:`with_known_files` made of it.
    known : DataFrame
        The table ``tracks``: files that did not change since keep what was read of them then.
    root : Location
        The folder; a file's path below it is its track_id.
    storage : StorageConfig
        How the store is reached.
    """
    same = ["audio_uri", "audio_fingerprint"]
    tags = [F.col(name) for name in TAG_COLUMNS]
    files = files.where("code is null and left_out is null")
    read_before = known.where("track_name is not null")  # of a file that could not be read, nothing is known
    kept = files.join(read_before.select(*same, *tags), same, "inner").select("audio_uri", *tags)
    new = files.join(read_before.select(*same), same, "left_anti").select("audio_uri", "audio_bytes")
    fields = ", ".join(f"{name} {TRACK_ATTRIBUTES[name].dataType.simpleString()}" for name in TAG_COLUMNS)
    tasks = files.sparkSession.sparkContext.defaultParallelism * 4
    read = new.repartition(tasks, "audio_uri").mapInPandas(
        tag_reading(storage, root), f"audio_uri string, {fields}"
    )
    path = F.substr(F.col("audio_uri"), F.lit(len(join(root, "")) + 1))
    attributes = [
        _typed(F.col(field.name), field.dataType).alias(field.name)
        if field.name in TAG_COLUMNS
        else F.lit(None).cast(field.dataType).alias(field.name)
        for field in TRACK_ATTRIBUTES.fields
    ]
    extra = F.lit(None).cast(CATALOGUE_EXTRA).alias("extra")
    uri = F.when(_is_inside(F.col("audio_uri"), root), F.col("audio_uri")).alias("audio_uri")
    return kept.unionByName(read).select(path.alias("track_id"), *attributes, extra, path.alias("audio"), uri)


def conform(raw: DataFrame) -> DataFrame:
    """Return a source's rows with the columns of :data:`CATALOGUE_COLUMNS`, typed.

    A value that does not fit is null, and is kept in `extra`, as it is written, under the name of its column: so
    it is counted (:func:`count_rows`), and who has to keep something out knows that something was said. Bytes of
    other columns are left out.

    Raises
    ------
    CatalogueError
        If ``track_id`` or ``audio`` is missing, a column that is needed is there twice, or ``audio`` is no path.
    """
    header = raw.columns
    raw = raw.toDF(*(f"c{place}" for place in range(len(header))))  # names may be written alike, or hold anything
    kinds = {column.name: column.dataType for column in raw.schema.fields}
    present: dict[str, str] = {}
    others: list[tuple[str, str]] = []
    for name, column in zip(header, raw.columns, strict=True):
        low = plain_name(name)
        again = _AGAIN.fullmatch(low)
        if low in present or (again and again[1] in CATALOGUE_COLUMNS):
            twice = again[1] if again else low
            raise CatalogueError(f"the catalogue has the column {twice!r} twice: leave one of them out")
        if low in CATALOGUE_COLUMNS and (low != "extra" or _is_map(kinds[column])):
            present[low] = column
        elif not _INDEX_COLUMN.fullmatch(low):
            others.append((name, column))
    missing = [name for name in ("track_id", "audio") if name not in present]
    if missing:
        raise CatalogueError(
            f"the catalogue lacks the column {' and '.join(map(repr, missing))}; it has {', '.join(header)}"
        )
    text = {name: as_text(raw[column], kinds[column]) for name, column in present.items() if name != "extra"}
    text["audio"] = _path_of(raw[present["audio"]], kinds[present["audio"]])
    fields = [field for field in TRACK_ATTRIBUTES.fields if field.name in text]
    typed = {field.name: _typed(text[field.name], field.dataType) for field in fields}
    odd = {
        name: F.when(value.isNull() & _says_something(text[name]), text[name])
        for name, value in typed.items()
        if not isinstance(TRACK_ATTRIBUTES[name].dataType, T.StringType)
    }
    told = {name: as_text(raw[column], kinds[column]) for name, column in others if not _has_bytes(kinds[column])}
    extra, has_extra = _map_of(told | odd), F.lit(bool(told))
    if "extra" in present:
        has_extra = has_extra | raw[present["extra"]].isNotNull()
        given = F.coalesce(raw[present["extra"]].cast(CATALOGUE_EXTRA), _map_of({}))
        own = [*told, *odd]  # a column says more surely what is meant than an entry of its name
        extra = F.map_concat(F.map_filter(given, lambda name, _: ~name.isin(*own)) if own else given, extra)
    extra = F.map_filter(extra, lambda _, value: value.isNotNull())
    extra = F.when(has_extra | (F.size(extra) > 0), extra)  # where nothing else is told, there is no map
    attributes = [
        typed.get(field.name, F.lit(None).cast(field.dataType)).alias(field.name)
        for field in TRACK_ATTRIBUTES.fields
    ]
    return raw.select(
        _text(text["track_id"]).alias("track_id"),
        *attributes,
        extra.alias("extra"),
        _text(text["audio"]).alias("audio"),
    )


def _is_map(kind: T.DataType) -> bool:
    """Tell whether a column holds what `extra` does; another of that name is one column more."""
    return isinstance(kind, T.MapType) and not _has_bytes(kind)


def _map_of(values: Mapping[str, Column]) -> Column:
    pairs = [part for name, value in values.items() for part in (F.lit(name), value)]
    return F.create_map(*pairs).cast(CATALOGUE_EXTRA)


class RowCounts(NamedTuple):
    """How many rows a catalogue has, how many have a track_id, and how many values of each column were not read."""

    rows: int
    named: int
    unread: dict[str, int]


def count_rows(rows: DataFrame) -> RowCounts:
    """Count what :func:`conform` made of a catalogue; columns that were read whole are not among the unread."""
    names = [field.name for field in TRACK_ATTRIBUTES.fields if not isinstance(field.dataType, T.StringType)]
    counts = rows.agg(
        F.count("*").alias("rows"),
        F.count("track_id").alias("named"),
        *(F.count_if(F.col(name).isNull() & F.col("extra")[name].isNotNull()).alias(name) for name in names),
    ).first()
    assert counts is not None
    unread = {name: counts[name] for name in names if counts[name]}
    return RowCounts(counts["rows"], counts["named"], unread)


def bytes_in(raw: DataFrame) -> dict[str, str]:
    """Return the columns of a source that :func:`conform` leaves out since they hold bytes, with their types."""
    return {
        column.name: column.dataType.simpleString()
        for column in raw.schema.fields
        if _has_bytes(column.dataType) and plain_name(column.name) not in CATALOGUE_COLUMNS
    }


def _has_bytes(kind: T.DataType) -> bool:
    return "binary" in kind.simpleString()


def _path_of(column: Column, kind: T.DataType) -> Column:
    """Return the path of an audio file, where a column says it."""
    if isinstance(kind, T.StructType) and "path" in kind.names:  # as datasets of Hugging Face have it
        return as_text(column["path"], kind["path"].dataType)
    if _has_bytes(kind) or isinstance(kind, T.StructType | T.ArrayType | T.MapType):
        raise CatalogueError(
            f"the catalogue's column 'audio' is {kind.simpleString()[:80]}, and must be a path: write the audio to "
            "files and name these"
        )
    return as_text(column, kind)


def as_text(column: Column, kind: T.DataType) -> Column:  # noqa: PLR0911 - one for each kind
    """Return a column of any type as text.

    Whole numbers have no fraction, whatever type they are stored as; the items of a list are separated by
    semicolons, as artists are; of a structure with a name, it is the name; bytes are text if they are UTF-8,
    else hexadecimal.
    """
    if isinstance(kind, T.StringType):
        return column
    if isinstance(kind, T.DoubleType | T.FloatType):
        exact = column.cast("double")
        whole, size = exact % 1 == 0, F.abs(exact)
        digits = F.when(size < 2.0**63, exact.cast("long").cast("string"))
        digits = digits.when(size < 1e38, exact.cast("decimal(38,0)").cast("string"))
        return F.when(~F.isnan(column), F.coalesce(F.when(whole, digits), column.cast("string")))
    if isinstance(kind, T.DecimalType):
        return F.regexp_replace(column.cast("string"), r"\.0+\z", "")
    if isinstance(kind, T.BinaryType):
        written = column.cast("string")
        is_text = F.is_valid_utf8(written) & ~written.rlike(r"[\x00-\x1f\x7f]")
        return F.when(is_text, written).otherwise(F.lower(F.hex(column)))
    if isinstance(kind, T.ArrayType):
        item = kind.elementType
        items = F.transform(column, lambda value: _text(as_text(value, item)))
        return F.array_join(F.filter(items, lambda value: value.isNotNull()), ";")
    if isinstance(kind, T.StructType):
        return as_text(column["name"], kind["name"].dataType) if "name" in kind.names else F.to_json(column)
    return F.to_json(column) if isinstance(kind, T.MapType) else column.cast("string")


def one_row_a_track(rows: DataFrame) -> DataFrame:
    """Keep one row of each track_id: the least by its content, so that the choice never depends on order."""
    content = F.to_json(F.struct(*(name for name in rows.columns if name != "track_id")))
    kept = rows.groupBy("track_id").agg(F.min_by(F.struct(*rows.columns), content).alias("row"))
    return kept.select("row.*")


def with_audio_uri(tracks: DataFrame, root: Location) -> DataFrame:
    """Add ``audio_uri``: where `audio` lies under a root; null where it would leave the root.

    Catalogue rows are data: they must not be able to name ``/etc/passwd``, another bucket or a web address.
    """
    prefix, scheme = join(root, ""), scheme_of(root)
    path = F.col("audio")
    for other in SCHEMES:
        for alias in other.aliases:
            path = F.regexp_replace(path, f"^{re.escape(alias)}", other.prefix)
    path = F.regexp_replace(path, r"^(\./+)+", "")
    # Each step is a column of its own: within one expression it would be computed again wherever the next uses it.
    tracks = tracks.withColumn("_path", path)
    absolute = F.col("_path").startswith(scheme.prefix)
    relative = ~F.col("_path").rlike(r"^[A-Za-z][A-Za-z0-9+.-]*://")
    uri = F.when(absolute, F.col("_path")).when(relative, F.concat(F.lit(prefix), "_path"))
    if scheme.is_tree:
        uri = F.regexp_replace(F.regexp_replace(uri, r"/+(\./+)*", "/"), r"/\.\z", "")
    tracks = tracks.withColumn("_uri", uri)
    inside = _is_inside(F.col("_uri"), root)
    return tracks.withColumn("audio_uri", F.when(inside, F.col("_uri"))).drop("_path", "_uri")


def _is_inside(uri: Column, root: Location) -> Column:
    """Tell, by its letters alone, whether a location lies below a root. Links are for the store to resolve."""
    leaves = uri.rlike(r"(^|/)\.\.(/|\z)") | uri.contains("\x00")  # $ would match before a line break, too
    return uri.startswith(join(root, "")) & ~leaves


def with_files(tracks: DataFrame, files: DataFrame, has_faults: bool = True) -> DataFrame:
    """Add what the store says of each track's file and a hash of the whole row.

    The columns are ``audio_fingerprint, audio_bytes, has_audio``, ``row_hash``, and ``code`` and ``message`` of
    files that cannot be used; these lose their ``audio_uri``, as what lies outside the root has none either.

    Parameters
    ----------
    tracks : DataFrame
        What :func:`with_audio_uri` or :func:`folder_catalogue` returned.
    files : DataFrame
        What :func:`with_known_files` returned.
    has_faults : bool
        Whether anything among the files cannot be used: where nothing is, there is less to join.
    """
    usable = files.where("code is null and left_out is null")
    tracks = tracks.join(usable.select("audio_uri", "audio_fingerprint", "audio_bytes"), "audio_uri", "left")
    tracks = tracks.withColumn("has_audio", F.col("audio_fingerprint").isNotNull())
    if has_faults:
        # that there is no such file is what extraction says of any other that is not there
        unusable = files.where("code is not null and code <> 'not_found'")
        faults = _at_or_below(unusable, tracks.where("not has_audio").select("audio_uri").distinct())
        tracks = tracks.join(faults, "audio_uri", "left")
        tracks = tracks.withColumn("code", F.when(~F.col("has_audio"), F.col("code")))
        tracks = tracks.withColumn("audio_uri", F.when(F.col("code").isNull(), F.col("audio_uri")))
    else:
        tracks = tracks.withColumns({name: F.lit(None).cast("string") for name in ("code", "message")})
    hashed = [name for name in TRACKS.fieldNames() if name not in _NOT_HASHED]
    # the entries of a map have no order of their own: they are sorted, so that none gets into the hash
    plain = [F.array_sort(F.map_entries(name)).alias(name) if name == "extra" else F.col(name) for name in hashed]
    return tracks.withColumn("row_hash", F.sha2(F.to_json(F.struct(*plain)), 256))


def differences(before: DataFrame, now: DataFrame) -> DataFrame:
    """Return one row that counts how the tracks differ from those that the table holds.

    Parameters
    ----------
    before, now : DataFrame
        ``track_id, row_hash, has_audio`` of the table ``tracks``, and of the tracks that the catalogue has.

    Returns
    -------
    DataFrame
        ``added, removed, changed``; ``lost_audio`` of the ``had_audio`` tracks that had some; and how many tracks
        there were ``before`` and are ``now``.
    """
    old = before.select("track_id", F.col("row_hash").alias("old_hash"), F.col("has_audio").alias("had_audio"))
    added, removed = F.col("old_hash").isNull(), F.col("row_hash").isNull()
    lost_audio = F.col("had_audio") & ~F.coalesce(F.col("has_audio"), F.lit(False))
    return old.join(now.select("track_id", "row_hash", "has_audio"), "track_id", "full_outer").agg(
        F.count_if(added).alias("added"),
        F.count_if(removed).alias("removed"),
        F.count_if(F.col("row_hash") != F.col("old_hash")).alias("changed"),
        F.count_if(lost_audio).alias("lost_audio"),
        F.count_if(F.col("had_audio")).alias("had_audio"),
        F.count_if(~added).alias("before"),
        F.count_if(~removed).alias("now"),
    )


def changes_of_tracks(before: DataFrame, now: DataFrame) -> DataFrame:
    """Return the tracks that are new, changed or gone, as the table ``tracks`` is changed by them.

    Parameters
    ----------
    before : DataFrame
        ``track_id, row_hash`` of the table.
    now : DataFrame
        The rows that the table is to hold.

    Returns
    -------
    DataFrame
        The columns of `now`, null where a track is gone, and ``change``; see
        :meth:`specrec.warehouse.tables.Warehouse.change`.
    """
    old = before.select("track_id", F.col("row_hash").alias("old_hash"))
    is_same = F.coalesce(F.col("row_hash") == F.col("old_hash"), F.lit(False))
    new = now.join(old, "track_id", "left").where(~is_same).drop("old_hash").withColumn("change", F.lit(NEW))
    gone = old.join(now.select("track_id"), "track_id", "left_anti").select("track_id")
    return new.unionByName(gone.withColumn("change", F.lit(GONE)), allowMissingColumns=True)


def rows_that_fail(rows: DataFrame, tracks: DataFrame, root: Location) -> DataFrame:
    """Return ``track_id, audio_uri, code, message`` of the rows and tracks of a catalogue that cannot be used.

    These are rows without a track_id, paths that leave the root, and files that the store would not give.

    Parameters
    ----------
    rows : DataFrame
        What :func:`conform` or :func:`folder_catalogue` returned.
    tracks : DataFrame
        What :func:`with_files` made of them.
    root : Location
        Folder below which all audio lies.
    """
    content = F.to_json(F.struct(*(name for name in rows.columns if name != "extra")))
    nameless = rows.where("track_id is null").select(
        F.concat(F.lit("row "), F.sha2(content, 256)).alias("track_id"),
        F.coalesce("audio", F.lit("")).alias("audio_uri"),  # never null, as rows of quarantine are compared by it
        F.lit("missing_track_id").alias("code"),
        F.lit("the catalogue's row has no track_id: give it one").alias("message"),
    )
    outside = f"only files under {root} are read: move the file or correct the catalogue"
    lost = tracks.where("audio is not null and audio_uri is null").select(
        "track_id",
        F.col("audio").alias("audio_uri"),
        F.coalesce("code", F.lit("forbidden_path")).alias("code"),
        F.coalesce("message", F.lit(outside)).alias("message"),
    )
    return nameless.dropDuplicates(["track_id"]).unionByName(lost)


def places_that_fail(listed: DataFrame, root: Location) -> DataFrame:
    """Return ``track_id, audio_uri, code, message`` of the files and folders that cannot be used.

    Parameters
    ----------
    listed : DataFrame
        What :func:`audio_files` or :func:`unread_places` returned.
    root : Location
        The folder; a path below it stands for the track that there would be.
    """
    path = F.substr(F.col("audio_uri"), F.lit(len(join(root, "")) + 1))
    failing = listed.where("code is not null").select(path.alias("track_id"), "audio_uri", "code", "message")
    return failing.dropDuplicates(["track_id"])


def unread_places(listed: DataFrame, tracks: DataFrame) -> DataFrame:
    """Return what was not read of where a catalogue's tracks lie: folders, and files of tracks.

    Parameters
    ----------
    listed : DataFrame
        What :func:`fingerprints` returned. What else lies in a folder is nobody's concern.
    tracks : DataFrame
        What :func:`with_files` returned. What was known of them is kept, so nothing of theirs says that they were
        not looked at.
    """
    unread = listed.where(F.col("code").isin(*_UNREAD))
    files = unread.where("code <> 'unreadable_folder'").join(tracks.select("audio_uri"), "audio_uri", "left_semi")
    return unread.where("code = 'unreadable_folder'").unionByName(files)


def counted(values: DataFrame, column: str) -> dict[str, int]:
    """Return how often each value of a column occurs, the most frequent first and few in all.

    Examples
    --------
    Of a million files of a thousand kinds it is ``{".jpg": 900000, ".cue": 70000, …, "others": 812}``.
    """
    counts = values.where(F.col(column).isNotNull()).groupBy(column).count()
    first = counts.orderBy(F.desc("count"), column).limit(_MOST_KINDS).collect()
    every = counts.agg(F.sum("count").alias("files")).first()
    others = ((every.files if every else None) or 0) - sum(row["count"] for row in first)
    return {row[column]: row["count"] for row in first} | ({"others": others} if others else {})


def _text(column: Column) -> Column:
    """Return text without white space around it, a carriage return included; null where nothing is left."""
    return F.nullif(F.btrim(column.cast("string"), F.lit(" \t\r\n")), F.lit(""))


def _says_something(text: Column) -> Column:
    """Tell whether a text says anything; there are many ways to say nothing."""
    return ~F.coalesce(F.lower(F.btrim(text, F.lit(" \t\r\n"))), F.lit("")).isin(*_NOTHING)


def _typed(text: Column, kind: T.DataType) -> Column:
    """Return a text as a value of a type; null where it is none."""
    plain = _text(text)
    if isinstance(kind, T.StringType):
        return plain
    number = plain.try_cast("double")
    if isinstance(kind, T.BooleanType):  # "1.0" is how pandas writes 1 beside a null
        return F.coalesce(plain.try_cast(kind), F.when(number == 1, True).when(number == 0, False))
    if isinstance(kind, T.LongType):  # milliseconds: nobody means a part of one
        return F.round(number).try_cast(kind)
    if isinstance(kind, T.IntegerType):  # half a key, or half a beat, is none
        return F.when(number % 1 == 0, number.try_cast(kind))
    return F.nanvl(number, F.lit(None).cast(kind))
