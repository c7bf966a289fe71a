"""The spaces in Spark: features, mel spectrograms and audio in, vectors out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from specrec.arrays import Float64Array
from specrec.audio.extraction import analyst_of, files_of
from specrec.audio.fetch import fetch_ahead
from specrec.audio.isolated import Analyst
from specrec.config import Config
from specrec.embedding.listeners import UNIT, exact_products, matrix_of, means_of_others
from specrec.embedding.models import Model, hear
from specrec.embedding.spaces.listeners import UNHEARD
from specrec.embedding.spaces.space import OPTIONAL_COLUMNS, FittedSpace, Maker, Space
from specrec.errors import TrackError
from specrec.settings import System
from specrec.storage import Location
from specrec.warehouse.schemas import EMBEDDINGS

Frames = Iterator[pd.DataFrame]

#: What every space writes of a track, by the columns of ``embeddings``.
VECTOR_SCHEMA = T.StructType(
    [T.StructField(name, EMBEDDINGS[name].dataType) for name in ("track_id", "vector", *OPTIONAL_COLUMNS)]
)

#: One row a track that a model heard: its vector and its tags; or the code and message of what failed.
#: ``content_hash`` is that of the bytes that were heard.
HEARD = T.StructType(
    [
        T.StructField("track_id", T.StringType()),
        T.StructField("audio_uri", T.StringType()),
        T.StructField("audio_fingerprint", T.StringType()),
        T.StructField("content_hash", T.StringType()),
        T.StructField("vector", EMBEDDINGS["vector"].dataType),
        T.StructField("tags", EMBEDDINGS["tags"].dataType),
        T.StructField("code", T.StringType()),
        T.StructField("message", T.StringType()),
    ]
)

#: What :func:`known_of_listeners` returns, and of how many tracks at once.
_OF_LISTENERS = "track_id string, als array<float>, artist_mean array<float>, artist_tracks int"
_TRACKS_AT_ONCE = 65_536

#: The purpose of the sample that recall is measured on, and one in how many tracks is set aside for it.
MEASURING, _SET_ASIDE = "recall", 4
#: A task adds up whole numbers up to this, which int64 holds.
_MOST_ADDED_UP = 2**62


def few_tracks(spark: SparkSession, track_ids: pd.Series) -> DataFrame:
    """Return some track_ids, each once, small enough to be sent to every executor."""
    return F.broadcast(spark.createDataFrame(pd.DataFrame({"track_id": track_ids.unique()}, dtype="string")))


def sample_tracks(rows: DataFrame, size: int, seed: int, purpose: str = "") -> DataFrame:
    """Return at most `size` rows: those whose track_id hashes lowest with the seed and the purpose.

    The sample is bounded, and does not depend on the order or the partitions of the rows. It is chosen among the
    track_ids alone, each partition keeping its lowest, so that nothing wide is sorted or moved.

    Parameters
    ----------
    rows : DataFrame
        With a column ``track_id``, one row a track.
    purpose : str
        What the sample is for: samples for unlike purposes are drawn apart. Empty is that of what is fitted to the
        catalogue, so that artefacts of before are compared with the sample that they were fitted on.
    """
    ids = rows.select("track_id")
    chosen = ids.orderBy(lot(seed, purpose, "track_id"), "track_id").limit(size)
    return chosen if rows.columns == ids.columns else rows.join(chosen, "track_id", "left_semi")


def sample_apart(tracks: DataFrame, size: int, seed: int, purpose: str) -> DataFrame:
    """Return ``track_id`` of at most `size` tracks, drawn for a purpose of the search.

    Those that recall is measured on are set aside by their ids: they are in no sample for another purpose, on no
    night, so that nothing is trained or chosen by what judges it.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id``, each once.
    purpose : str
        :data:`MEASURING`, or any other.
    """
    aside = F.pmod(lot(seed, MEASURING, "track_id"), F.lit(_SET_ASIDE)) == 0
    return sample_tracks(tracks.where(aside if purpose == MEASURING else ~aside), size, seed, purpose)


def lot(seed: int, purpose: str, *columns: str) -> Column:
    """Return the number that what columns name draws in the lot for a purpose: the lowest are a sample.

    It is the same whenever it is drawn; lots for unlike purposes say nothing of each other.
    """
    salt = [F.lit(purpose)] if purpose else []
    return F.xxhash64(F.lit(seed), *salt, *columns)


def input_hashes(space: Space, known: Mapping[str, Maker]) -> list[Column]:
    """Return what a vector is made from, in short: the audio, the configuration, the artefacts and models.

    A vector that has any of these hashes is up to date; the first is the one to write.

    Parameters
    ----------
    known : dict
        Artefacts and models by name, those of ``space.makers`` among them.
    """
    of_track = ["content_hash", "audio_hash", *([] if space.is_of_the_file else ["track_id"])]
    return [
        F.sha2(F.concat_ws("\n", *of_track, *map(F.lit, made_with)), 256) for made_with in space.ingredients(known)
    ]


def summaries(space: FittedSpace, rows: DataFrame) -> DataFrame:
    """Return of rows of a space's source what its artefact is fitted to, one row a track."""
    if space.summary_schema is None:
        return rows
    return rows.select("track_id", *space.columns).mapInPandas(space.summarise, space.summary_schema)


def embed(space: Space, rows: DataFrame, known: Mapping[str, Maker]) -> DataFrame:
    """Return the vectors of a space; see :data:`VECTOR_SCHEMA`.

    Parameters
    ----------
    rows : DataFrame
        ``track_id`` and the space's columns of its source.
    known : dict
        Artefacts and models by name, those of ``space.makers`` among them.
    """
    makers = {name: known[name] for name in space.makers} if space.source != "embeddings" else {}
    # a model is some megabytes: too much for every task's description
    sent = {
        name: rows.sparkSession.sparkContext.broadcast(maker) if isinstance(maker, Model) else maker
        for name, maker in makers.items()
    }

    def made(frames: Frames) -> Frames:
        received = {name: of.value if isinstance(of, Broadcast) else of for name, of in sent.items()}
        for frame in frames:
            yield from space.embed(frame, received)

    return rows.select("track_id", *space.columns).mapInPandas(made, VECTOR_SCHEMA)


def side_by_side(spaces: Mapping[System, DataFrame]) -> DataFrame:
    """Return the vectors that tracks have in several spaces, a column each; a track must be in all of them.

    Parameters
    ----------
    spaces : dict of DataFrame
        ``track_id`` and ``vector`` of each.
    """
    named = [rows.select("track_id", F.col("vector").alias(name)) for name, rows in spaces.items()]
    return reduce(lambda left, right: left.join(right, "track_id"), named)


def known_of_listeners(tracks: DataFrame, factors: DataFrame, catalogue: DataFrame) -> DataFrame:
    """Return ``track_id, als, artist_mean, artist_tracks`` of some tracks, as the space ``listeners`` takes them.

    ``als`` are a track's factors, null where there are none; ``artist_mean`` is the mean of those of the
    ``artist_tracks`` other tracks by the same artist. All tracks of an artist meet in one task.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id``.
    factors : DataFrame
        ``track_id, als`` of all tracks that have factors, which are not all 0.
    catalogue : DataFrame
        ``track_id, artists`` of all tracks; what is not in it is of nobody.
    """
    artist = F.when(F.col("artists") != "", F.col("artists")).otherwise(F.col("track_id")).alias("artist")
    artists = catalogue.select("track_id", artist)
    wanted = tracks.select("track_id", F.lit(True).alias("is_wanted")).join(artists, "track_id", "left")
    wanted = wanted.withColumn("artist", F.coalesce("artist", "track_id"))
    others = factors.join(artists, "track_id").join(wanted.select("artist").distinct(), "artist", "left_semi")
    rows = others.join(wanted.drop("artist"), "track_id", "left").unionByName(
        wanted.join(others.select("track_id"), "track_id", "left_anti"), allowMissingColumns=True
    )
    block = F.pmod(F.xxhash64("artist"), F.lit(-(-tracks.count() // _TRACKS_AT_ONCE) or 1))
    return rows.groupBy(block).applyInPandas(_with_others, _OF_LISTENERS)


def unheard(tracks: DataFrame) -> DataFrame:
    """Return rows with the columns of :func:`known_of_listeners`, as they are of songs that nobody heard yet."""
    types = dict(column.split() for column in _OF_LISTENERS.split(", "))
    return tracks.withColumns({name: F.lit(value).cast(types[name]) for name, value in UNHEARD.items()})


def _with_others(rows: pd.DataFrame) -> pd.DataFrame:
    size = int(rows["als"].map(len, na_action="ignore").max()) if rows["als"].notna().any() else 0
    means, count = means_of_others(matrix_of(rows["als"], size), pd.factorize(rows["artist"])[0].astype(np.int64))
    of_artist = pd.Series(list(means.astype(np.float32)), rows.index, object).where(count > 0, None)
    found = rows[["track_id", "als"]].assign(artist_mean=of_artist, artist_tracks=count)
    return found[rows["is_wanted"].eq(True)]


def sum_of_products(rows: DataFrame, matrix: Callable[[pd.DataFrame], Float64Array], size: int) -> Float64Array:
    """Return the sum of the outer products of the rows of matrices, float64, shape (size, size).

    They are rounded to whole numbers of :data:`~specrec.embedding.listeners.UNIT`, and so the sum does not depend
    on the order. Of the rows only the sum is collected. A task adds up what it has, and there is no more than one
    for each core: a matrix of some hundred columns has more products than a small catalogue has rows.

    Parameters
    ----------
    matrix : callable
        Makes of a batch of rows a matrix with `size` columns.
    """

    def products(frames: Frames) -> Frames:
        place, total = np.arange(size * size), np.zeros(size * size, np.int64)
        for frame in frames:
            some = exact_products(matrix(frame)).ravel()
            if int(np.abs(total).max()) + int(np.abs(some).max()) > _MOST_ADDED_UP:
                yield pd.DataFrame({"place": place, "sum": total})
                total = np.zeros_like(total)
            total += some
        if total.any():
            yield pd.DataFrame({"place": place, "sum": total})

    rows = rows.coalesce(rows.sparkSession.sparkContext.defaultParallelism)
    sums = rows.mapInPandas(products, "place long, sum long").groupBy("place")
    total: pd.DataFrame = sums.agg(F.sum(F.col("sum").cast("decimal(38,0)")).alias("sum")).toPandas()
    found = np.zeros(size * size)
    found[total["place"].to_numpy(np.int64)] = total["sum"].to_numpy(np.float64) * UNIT**2
    return found.reshape(size, size)


def embed_audio(files: DataFrame, config: Config, model: Broadcast[Model], tasks: int, root: Location) -> DataFrame:
    """Decode files and run a model on its own mel spectrograms of them, in Python workers; see :data:`HEARD`.

    Files are fetched and decoded as in extraction, within the limits of ``extract`` and with its error codes; a
    model that fails of a file is ``failed``.

    Parameters
    ----------
    files : DataFrame
        ``audio_uri, audio_fingerprint, track_ids``; see :func:`specrec.audio.spark.by_file`.
    config : Config
        Sections ``audio``, ``extract`` and ``storage`` are used; of ``audio``, which part of a file is heard.
    model : Broadcast of Model
        One with mel parameters of its own, ``model.value.mel``.
    tasks : int
        How many Spark tasks the work is cut into.
    root : Location
        The folder that no link may lead out of.
    """
    return files.repartition(tasks, "audio_uri").mapInPandas(_embedder(config, model, root), HEARD)


def of_heard(heard: DataFrame) -> DataFrame:
    """Return the vectors among what :func:`embed_audio` returned, as those of any space."""
    nothing = {name: F.lit(None) for name in OPTIONAL_COLUMNS if name != "tags"}
    return heard.where("code is null").select("track_id", "vector", "tags").withColumns(nothing)


def _embedder(config: Config, model: Broadcast[Model], root: Location) -> Callable[[Frames], Frames]:
    def embed(batches: Frames) -> Frames:
        rows: list[dict[str, Any]] = []
        analyst = analyst_of(config.audio, config.extract)
        analyst.start()  # while the first files arrive
        for file, content in fetch_ahead(files_of(batches), config.storage, config.extract, root):
            row = _hear(analyst, model.value, content, file.name)
            row |= {"audio_uri": file.uri, "audio_fingerprint": file.fingerprint}
            for track_id in file.track_ids:
                rows.append(row | {"track_id": track_id})
                if len(rows) >= config.extract.batch_rows:
                    yield _frame(rows)
                    rows = []
        if rows:
            yield _frame(rows)

    return embed


def _hear(analyst: Analyst, model: Model, content: BinaryIO | TrackError, name: str) -> dict[str, Any]:
    try:
        if isinstance(content, TrackError):
            raise content
        return vars(hear(model, analyst, content, name))
    except TrackError as error:
        return {"code": error.code, "message": error.message}


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    names = HEARD.fieldNames()
    # None, not the NaN that pandas puts for keys that a row lacks: Arrow takes no NaN for an array
    return pd.DataFrame([[row.get(name) for name in names] for row in rows], columns=names, dtype=object)
