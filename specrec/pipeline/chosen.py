"""A run that is about some tracks only: which they are, and what it leaves alone.

Ingest takes over these tracks alone, and extract analyses no other; whatever else the tables hold stays as it is.
All later stages follow what changed, as on any night: the vectors of these tracks, the neighbours and lists that
they enter or leave.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.catalogue.sources import kind_by_ending
from specrec.catalogue.spark import read_table
from specrec.errors import CatalogueError, SpecrecError
from specrec.pipeline.run import Run
from specrec.storage import Location, for_spark, open_store
from specrec.storage.config import StorageConfig

#: So many names are told of those that are not known.
_TOLD = 3


def check_there(tracks: Location, storage: StorageConfig) -> None:
    """Raise, in one line, if there is no such file."""
    if not open_store(tracks, storage).exists(tracks):
        raise CatalogueError(f"--tracks: there is no file {tracks}")


def chosen_tracks(run: Run) -> DataFrame | None:
    """Return the ``track_id`` of each track that the run is about, once; None if it is about all.

    They are the column ``track_id`` of a CSV, or the lines of any other file.

    Raises
    ------
    CatalogueError
        If the file has no such column, or names no track.
    """
    if run.tracks is None:
        return None
    spark = run.warehouse.spark
    if kind_by_ending(run.tracks) == "csv":
        rows = read_table(spark, run.tracks, "csv", run.config.storage, encoding=None, delimiter=None).rows
        if "track_id" not in rows.columns:
            raise CatalogueError(f"--tracks: {run.tracks} has no column track_id")
        named = rows.select("track_id")
    else:
        named = spark.read.text(for_spark(run.tracks)).select(F.trim("value", F.lit(" \t\r")).alias("track_id"))
    only = named.where("track_id != ''").distinct()
    if only.isEmpty():
        raise CatalogueError(f"--tracks: {run.tracks} names no track")
    return only


def among(rows: DataFrame, only: DataFrame | None) -> DataFrame:
    """Return the rows of the chosen tracks; all rows if all tracks are."""
    return rows if only is None else rows.join(only, "track_id", "left_semi")


def with_others(tracks: DataFrame, known: DataFrame, only: DataFrame | None) -> DataFrame:
    """Return the chosen tracks as the catalogue has them now, and all others as the table has them.

    Parameters
    ----------
    tracks : DataFrame
        Those of the chosen tracks that the catalogue has.
    known : DataFrame
        The table ``tracks``.
    only : DataFrame or None
        What :func:`chosen_tracks` returned.

    Raises
    ------
    CatalogueError
        If a chosen track is in neither.
    """
    if only is None:
        return tracks
    _check_known(only, tracks, known)
    return tracks.unionByName(known.join(only, "track_id", "left_anti"), allowMissingColumns=True)


def _check_known(only: DataFrame, *known: DataFrame) -> None:
    unknown = only
    for rows in known:
        unknown = unknown.join(rows.select("track_id"), "track_id", "left_anti")
    count = unknown.count()
    if count:
        names = ", ".join(repr(row.track_id) for row in unknown.sort("track_id").limit(_TOLD).collect())
        more = f" and {count - _TOLD} more" if count > _TOLD else ""
        raise CatalogueError(
            f"--tracks: neither the catalogue nor the tables have {names}{more}: nothing was changed"
        )


def check_settings(run: Run) -> None:
    """Raise if the tables were made with other settings of audio: some tracks would be all that are left.

    Raises
    ------
    SpecrecError
        In one line.
    """
    accepted = run.config.audio_hash.accepted
    others = run.warehouse.read("audio_features").where(~F.col("audio_hash").isin(*accepted))
    if not others.isEmpty():
        raise SpecrecError(
            "--tracks: the tables were made with other settings of audio, and all tracks must be analysed anew: "
            "run `specrec nightly` without it"
        )
