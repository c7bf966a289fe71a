"""Catalogue sources: CSV, Parquet, Delta, or a folder of tagged audio files, as one DataFrame of tracks."""

from __future__ import annotations

import re

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from specrec.catalogue.config import CatalogueConfig
from specrec.errors import CatalogueError, first_line
from specrec.storage import SCHEMES, Location, for_spark, parent, scheme_of
from specrec.warehouse.schemas import TRACK_ATTRIBUTES

#: What a row of a catalogue is made of, whatever the source.
CATALOGUE_COLUMNS = ("track_id", *TRACK_ATTRIBUTES.fieldNames(), "extra", "audio")

#: Row numbers that pandas and Spark write beside the data: they change with every reordering.
_INDEX_COLUMN = re.compile(r"(unnamed: ?\d+|_c\d+|index|)", re.IGNORECASE)


def source_format(config: CatalogueConfig, is_folder_of_audio: bool) -> str:
    """Return ``csv``, ``parquet``, ``delta`` or ``folder``."""
    if config.format != "auto":
        return config.format
    ending = config.path.rstrip("/").rpartition(".")[2].lower()
    if ending in ("csv", "parquet", "delta"):
        return ending
    return "folder" if is_folder_of_audio else "delta"


def audio_root(config: CatalogueConfig) -> Location:
    """Return the root under which all audio lies."""
    if config.audio_root is not None:
        return config.audio_root
    return config.path if source_format(config, is_folder_of_audio=True) == "folder" else parent(config.path)


def read_table(spark: SparkSession, path: Location, kind: str) -> DataFrame:
    """Read a CSV (every column as text), Parquet or Delta catalogue as it is.

    Raises
    ------
    CatalogueError
        If there is none, or it is not of that kind.
    """
    reader = spark.read.format(kind)
    if kind == "csv":  # quotes doubled, line breaks inside quotes: as pandas and spreadsheets write it
        reader = reader.options(header=True, multiLine=True, quote='"', escape='"', encoding="UTF-8")
    try:
        return reader.load(for_spark(path))
    except AnalysisException as error:
        raise CatalogueError(f"cannot read the catalogue {path} as {kind}: {first_line(error)}") from None


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
    prefix, scheme = root.rstrip("/") + "/", scheme_of(root)
    path = F.col("audio")
    for other in SCHEMES:
        for alias in other.aliases:
            path = F.regexp_replace(path, f"^{re.escape(alias)}", other.prefix)
    path = F.regexp_replace(path, r"^(\./+)+", "")
    # column by column: as one expression, each step would be written out again wherever the next uses it
    tracks = tracks.withColumn("_path", path)
    absolute = F.col("_path").startswith(scheme.prefix)
    relative = ~F.col("_path").rlike(r"^[A-Za-z][A-Za-z0-9+.-]*://")
    uri = F.when(absolute, F.col("_path")).when(relative, F.concat(F.lit(prefix), "_path"))
    if scheme.is_tree:
        uri = F.regexp_replace(F.regexp_replace(uri, r"/+(\./+)*", "/"), r"/\.$", "")
    tracks = tracks.withColumn("_uri", uri)
    leaves = F.col("_uri").rlike(r"(^|/)\.\.(/|$)") | F.col("_uri").contains("\x00")
    inside = F.col("_uri").startswith(prefix) & ~leaves
    return tracks.withColumn("audio_uri", F.when(inside, F.col("_uri"))).drop("_path", "_uri")


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
