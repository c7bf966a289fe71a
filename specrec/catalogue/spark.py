"""The catalogue in Spark: sources of any kind become one DataFrame of tracks, each with the file of its audio.

A new kind of source is a DataFrame of whatever columns it has: :func:`conform` makes tracks of it.
"""

from __future__ import annotations

import re

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from specrec.catalogue.files import FILE_SCHEMA, TAG_COLUMNS, is_hidden, listing, tag_reading
from specrec.errors import CatalogueError, first_line
from specrec.storage import SCHEMES, Location, for_spark, is_text, join, open_store, scheme_of
from specrec.storage.config import StorageConfig
from specrec.warehouse.schemas import TRACK_ATTRIBUTES, TRACKS

#: What a row of a catalogue is made of, whatever the source.
CATALOGUE_COLUMNS = ("track_id", *TRACK_ATTRIBUTES.fieldNames(), "extra", "audio")

#: Names of row numbers, which pandas and Spark write beside the data. They are left out, as they change whenever
#: rows are in another order.
_INDEX_COLUMN = re.compile(r"(unnamed: ?\d+|_c\d+|index|)", re.IGNORECASE)
CATALOGUE_EXTRA = T.MapType(T.StringType(), T.StringType())
#: Codes of places that may be there all the same, and can be read another night.
_UNREAD = ("unreadable_folder", "storage_error")
_MOST_KINDS = 8
#: Columns of ``tracks`` that say nothing of what the catalogue holds, and are not hashed.
_NOT_HASHED = ("row_hash", "run_id", "updated_at")


def read_table(spark: SparkSession, path: Location, kind: str) -> DataFrame:
    """Read a CSV (every column as text), Parquet or Delta catalogue as it is.

    Raises
    ------
    CatalogueError
        If there is none, or it is not of that kind.
    """
    reader = spark.read.format(kind)
    if kind == "csv":  # as pandas and spreadsheets write it: quotes doubled, line breaks inside quotes
        reader = reader.options(header=True, multiLine=True, quote='"', escape='"', encoding="UTF-8")
    try:
        return reader.load(for_spark(path))
    except AnalysisException as error:
        raise CatalogueError(f"cannot read the catalogue {path} as {kind}: {first_line(error)}") from None


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
    """Return a source's rows with the columns of :data:`CATALOGUE_COLUMNS`, typed; values that do not fit are null.

    Raises
    ------
    CatalogueError
        If ``track_id`` or ``audio`` is missing.
    """
    present = {name.strip().lower(): name for name in raw.columns}
    missing = [name for name in ("track_id", "audio") if name not in present]
    if missing:
        raise CatalogueError(
            f"the catalogue lacks the column {' and '.join(map(repr, missing))}; it has {', '.join(raw.columns)}"
        )
    attributes = [
        _typed(raw[f"`{present[field.name]}`"], field.dataType).alias(field.name)
        if field.name in present
        else F.lit(None).cast(field.dataType).alias(field.name)
        for field in TRACK_ATTRIBUTES.fields
    ]
    others = [
        name for low, name in present.items() if low not in CATALOGUE_COLUMNS and not _INDEX_COLUMN.fullmatch(low)
    ]
    pairs = [part for name in others for part in (F.lit(name), raw[f"`{name}`"].cast("string"))]
    extra = F.map_filter(F.create_map(*pairs), lambda _, value: value.isNotNull()) if pairs else F.lit(None)
    if "extra" in present and isinstance(raw.schema[present["extra"]].dataType, T.MapType):
        extra = raw["extra"]
    blank_is_null = [_text(raw[f"`{present[name]}`"]).alias(name) for name in ("track_id", "audio")]
    return raw.select(
        blank_is_null[0],
        *attributes,
        extra.cast(T.MapType(T.StringType(), T.StringType())).alias("extra"),
        blank_is_null[1],
    )


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


def with_files(tracks: DataFrame, files: DataFrame) -> DataFrame:
    """Add what the store says of each track's file and a hash of the whole row.

    The columns are ``audio_fingerprint, audio_bytes, has_audio``, ``row_hash``, and ``code`` and ``message`` of
    files that cannot be used; these lose their ``audio_uri``, as what lies outside the root has none either.

    Parameters
    ----------
    tracks : DataFrame
        What :func:`with_audio_uri` or :func:`folder_catalogue` returned.
    files : DataFrame
        What :func:`with_known_files` returned.
    """
    usable = files.where("code is null and left_out is null")
    tracks = tracks.join(usable.select("audio_uri", "audio_fingerprint", "audio_bytes"), "audio_uri", "left")
    tracks = tracks.withColumn("has_audio", F.col("audio_fingerprint").isNotNull())
    # that there is no such file is what extraction says of any other that is not there
    unusable = files.where("code is not null and code <> 'not_found'")
    faults = _at_or_below(unusable, tracks.where("not has_audio").select("audio_uri").distinct())
    tracks = tracks.join(faults, "audio_uri", "left")
    tracks = tracks.withColumn("code", F.when(~F.col("has_audio"), F.col("code")))
    tracks = tracks.withColumn("audio_uri", F.when(F.col("code").isNull(), F.col("audio_uri")))
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
    """Return ``track_id, audio_uri, code, message`` of the files and folders that a folder catalogue cannot use.

    Parameters
    ----------
    listed : DataFrame
        What :func:`audio_files` returned.
    root : Location
        The folder; a path below it stands for the track that there would be.
    """
    path = F.substr(F.col("audio_uri"), F.lit(len(join(root, "")) + 1))
    failing = listed.where("code is not null").select(path.alias("track_id"), "audio_uri", "code", "message")
    return failing.dropDuplicates(["track_id"])


def counted(values: DataFrame, column: str) -> str:
    """Return how often each value of a column occurs, the most frequent first and few in all, such as ``3 .txt``.

    Examples
    --------
    Of a million files of a thousand kinds it is ``900000 .jpg, 70000 .cue, … and 812 others``.
    """
    counts = values.where(F.col(column).isNotNull()).groupBy(column).count()
    first = counts.orderBy(F.desc("count"), column).limit(_MOST_KINDS).collect()
    every = counts.agg(F.sum("count").alias("files")).first()
    others = ((every.files if every else None) or 0) - sum(row["count"] for row in first)
    told = [f"{row['count']} {row[column]}" for row in first]
    return ", ".join(told) + (f" and {others} others" if others else "")


def _text(column: Column) -> Column:
    """Return text without white space around it, a carriage return included; null where nothing is left."""
    return F.nullif(F.btrim(column.cast("string"), F.lit(" \t\r\n")), F.lit(""))


def _typed(column: Column, kind: T.DataType) -> Column:
    if isinstance(kind, T.StringType):
        return _text(column)
    if isinstance(kind, T.IntegerType | T.LongType):  # "73.0" is how pandas writes 73 beside a null
        return column.cast("string").try_cast("double").try_cast(kind)
    value = column.cast("string").try_cast(kind)
    return F.nanvl(value, F.lit(None).cast(kind)) if isinstance(kind, T.DoubleType) else value
