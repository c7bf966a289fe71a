"""What the store holds: fingerprints of the catalogue's audio, and the folders of those without a catalogue."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from specrec.catalogue.tags import AUDIO_ENDINGS, read_tags
from specrec.storage import Location, Store, StoredFile, open_store
from specrec.storage.config import StorageConfig
from specrec.warehouse.schemas import TRACK_ATTRIBUTES

_FILE_SCHEMA = "audio_uri string, audio_fingerprint string, audio_bytes long"
_TAG_COLUMNS = ("artists", "album_name", "track_name", "duration_ms", "track_genre")
_LISTING_ROWS = 10_000

Frames = Iterator[pd.DataFrame]


def fingerprints(tracks: DataFrame, storage: StorageConfig) -> DataFrame:
    """Return ``audio_uri, audio_fingerprint, audio_bytes`` of the files beside those that `tracks` name.

    Folders are listed, a thousand files a request, instead of asking for one file after another.
    """
    folders = tracks.where("audio_uri is not null").select(
        F.regexp_extract("audio_uri", r"^(.*)/[^/]*$", 1).alias("folder")
    )
    tasks = tracks.sparkSession.sparkContext.defaultParallelism * 2
    return folders.distinct().repartition(tasks, "folder").mapInPandas(_lister(storage, deep=False), _FILE_SCHEMA)


def audio_files(spark: SparkSession, root: Location, storage: StorageConfig) -> DataFrame:
    """Return ``audio_uri, audio_fingerprint, audio_bytes`` of every audio file under a folder."""
    store = open_store(root, storage)
    folders = sorted(folder for folder in store.folders(root) if not _is_hidden(folder))
    schema = "folder string, deep boolean"
    roots = spark.createDataFrame([(root, False), *((folder, True) for folder in folders)], schema)
    roots = roots.repartition(min(len(folders) + 1, 1_000), "folder")
    shallow = roots.where("not deep").mapInPandas(_lister(storage, deep=False), _FILE_SCHEMA)
    deep = roots.where("deep").mapInPandas(_lister(storage, deep=True), _FILE_SCHEMA)
    return shallow.unionByName(deep).where(_is_audio())


def folder_catalogue(files: DataFrame, known: DataFrame, root: Location, storage: StorageConfig) -> DataFrame:
    """Return catalogue rows of a folder's audio files, their tags as metadata.

    Parameters
    ----------
    files : as :func:`audio_files` returns them.
    known : the table ``tracks``: files that did not change since keep what was read of them then.
    root : the folder; a file's path below it is its track_id.
    storage : how the store is reached.
    """
    same = ["audio_uri", "audio_fingerprint"]
    tags = [F.col(name) for name in _TAG_COLUMNS]
    kept = files.join(known.select(*same, *tags), same, "inner").select("audio_uri", *tags)
    new = files.join(known.select(*same), same, "left_anti").select("audio_uri", "audio_bytes")
    fields = ", ".join(f"{name} {TRACK_ATTRIBUTES[name].dataType.simpleString()}" for name in _TAG_COLUMNS)
    tasks = files.sparkSession.sparkContext.defaultParallelism * 4
    read = new.repartition(tasks, "audio_uri").mapInPandas(_tag_reader(storage), f"audio_uri string, {fields}")
    path = F.substr(F.col("audio_uri"), F.lit(len(root.rstrip("/")) + 2))
    return kept.unionByName(read).select(path.alias("track_id"), *tags, path.alias("audio"))


def _is_hidden(folder: Location) -> bool:
    """Tell folders that hold nobody's music: hidden ones, trash, and what file systems keep for themselves."""
    name = posixpath.basename(folder)
    return name.startswith(".") or name in ("lost+found", "@eaDir", "__MACOSX")


def _is_audio() -> Any:
    ending = F.lower(F.regexp_extract("audio_uri", r"\.([^./]+)$", 1))
    return ending.isin(*AUDIO_ENDINGS) & (~F.col("audio_uri").rlike(r"/\._[^/]*$"))


def _lister(storage: StorageConfig, deep: bool) -> Callable[[Frames], Frames]:
    def walk(store: Store, folder: Location) -> Iterator[StoredFile]:
        yield from store.list(folder)
        if deep:
            for below in store.folders(folder):
                if not _is_hidden(below):
                    yield from walk(store, below)

    def list_folders(batches: Frames) -> Frames:
        for batch in batches:
            rows: list[StoredFile] = []
            for folder in batch["folder"]:
                for file in walk(open_store(folder, storage), folder):
                    rows.append(file)
                    if len(rows) == _LISTING_ROWS:
                        yield _frame(rows)
                        rows = []
            if rows:  # Arrow takes no empty frame of untyped columns
                yield _frame(rows)

    return list_folders


def _frame(rows: list[StoredFile]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "audio_uri": [row.uri for row in rows],
            "audio_fingerprint": [row.fingerprint for row in rows],
            "audio_bytes": pd.Series([row.size for row in rows], dtype="int64"),
        }
    )


def _tag_reader(storage: StorageConfig) -> Callable[[Frames], Frames]:
    def read(batches: Frames) -> Frames:
        for batch in batches:
            tags = []
            for uri, size in zip(batch["audio_uri"], batch["audio_bytes"], strict=True):
                try:
                    with open_store(uri, storage).open(uri, size) as file:
                        tags.append(read_tags(file, posixpath.basename(uri)))
                except (FileNotFoundError, PermissionError):  # extraction will say so of this track
                    tags.append(read_tags(io.BytesIO(), posixpath.basename(uri)))
            columns = {name: [tag.get(name) for tag in tags] for name in _TAG_COLUMNS}
            frame = pd.DataFrame({"audio_uri": batch["audio_uri"].tolist(), **columns})
            frame["duration_ms"] = frame["duration_ms"].astype("Int64")
            yield frame

    return read
