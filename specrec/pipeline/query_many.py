"""Query by many files, in Spark: what :mod:`specrec.pipeline.query` does for a few.

The catalogue's vectors stay where they are: each task compares its part of them with all queries, and only the
nearest of each query leave it. What is collected grows with the queries alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import numpy as np
import pandas as pd
from pyspark import Broadcast, StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from specrec.audio.spark import extract
from specrec.catalogue.sources import kind_by_ending
from specrec.catalogue.spark import audio_files, read_table, with_audio_uri
from specrec.config import Config
from specrec.embedding.models import Model, load_model
from specrec.embedding.spaces import models_for, needed_for
from specrec.embedding.spaces.listeners import ListenersSpace
from specrec.embedding.spaces.space import Maker
from specrec.embedding.spark import embed, embed_audio, few_tracks, of_heard, side_by_side, unheard
from specrec.embedding.statistics import statistics_artefact
from specrec.errors import CatalogueError
from specrec.neighbours.kernel import has_direction
from specrec.pipeline.run import Run, open_run
from specrec.query.checks import OF_FEATURES, OF_VECTORS, check_query, check_vectors
from specrec.query.spark import choose_query_lists, nearest_tracks, stated_of_queries, tracks_themselves
from specrec.recommend.explain import explainer_of
from specrec.recommend.profiles import profile_of
from specrec.recommend.spark import explain_lists, profiles
from specrec.settings import System
from specrec.storage import Location, for_spark, join, locate, parent
from specrec.warehouse.reader import Reader
from specrec.warehouse.schemas import TABLES

#: Before the URI of a query, which then is the name of no track.
_PREFIX = "query:"
#: The tables that lists and their explanations are made of.
_TABLES = ("tracks", "duplicates", "neighbours", "audio_features", "embeddings")
_WANTED = ("audio", "audio_uri", "audio_fingerprint", "code", "message")
#: Tracks of the catalogue whose vectors are checked before all are searched.
_CHECKED = 100


class Counts(NamedTuple):
    """How many files were looked for, and how many could not be analysed."""

    files: int
    failed: int


def query_many(config: Config, source: str, to: str, system: System, top: int) -> Counts:
    """Write what sounds like each of many files to two Delta tables, in place of what they held.

    ``TO/lists``: ``audio_uri`` and the columns of ``recommendations`` from ``system`` to ``recommended_seconds``.
    ``TO/failed``: ``audio_uri``, ``code`` and ``message`` of the files that have no list.

    Parameters
    ----------
    config : Config
        What the night ran with.
    source : str
        A folder of audio files, or a CSV or Parquet with a column ``audio``: paths below its own folder. A CSV is
        written as ``catalogue.encoding`` and ``catalogue.delimiter`` say, where they do.
    to : str
        Folder or ``s3://`` prefix.
    system : str
        Whose space is searched.
    top : int
        Length of a list, at most.

    Raises
    ------
    SpecrecError
        In one line: what happened and what to do.
    """
    check_query(config, system)
    source_place, found_place = locate(source), locate(to)
    with open_run(config) as run:
        spark = run.warehouse.spark
        root, wanted = _files(spark, source_place, config)
        count = wanted.count()
        if not count:
            raise CatalogueError(f"{source} holds no audio file")
        files = wanted.where("audio_uri is not null").dropDuplicates(["audio_uri"]).drop("code", "message")
        files = files.withColumn("track_ids", F.array(F.concat(F.lit(_PREFIX), "audio_uri")))
        tasks = max(math.ceil(count / config.extract.files_per_task), min(count, 4 * _cores(spark)))
        models = {name: load_model(name, config) for name in models_for(system, config)}
        measured = extract(files, config, tasks, root).persist(StorageLevel.DISK_ONLY)
        heard: dict[str, DataFrame] = {}
        kept = [measured]
        try:
            good = measured.where("code is null").drop("code", "message")
            for name, model in models.items():
                if model.mel is not None:
                    still_good = files.join(good, "audio_uri", "left_semi")
                    rows = embed_audio(still_good, config, _sent(run, model), tasks, root)
                    heard[name] = rows.persist(StorageLevel.DISK_ONLY)
                    kept.append(rows)
                    good = good.join(rows.where("code is null"), "track_id", "left_semi")
            vectors = _embed(run, good, heard, models, system).persist(StorageLevel.DISK_ONLY)
            kept.append(vectors)
            lists, without = _lists(run, good, vectors, models, kept, system=system, top=top)
            uri = F.substr("track_id", F.lit(len(_PREFIX) + 1)).alias("audio_uri")
            tried = (rows.select("audio_uri", "code", "message") for rows in (measured, *heard.values()))
            failed = reduce(DataFrame.unionByName, tried).where("code is not null")
            failed = failed.unionByName(without.select(uri, F.lit("no_direction").alias("code"), "message"))
            failed = failed.unionByName(_outside(wanted))
            _write(lists.select(uri, *lists.drop("track_id").columns), join(found_place, "lists"))
            failures = join(found_place, "failed")
            _write(failed, failures)
            return Counts(count, spark.read.format("delta").load(for_spark(failures)).count())
        finally:
            for rows in kept:
                rows.unpersist()


def _files(spark: SparkSession, source: Location, config: Config) -> tuple[Location, DataFrame]:
    """Return the folder that all lie in, and the columns :data:`_WANTED` of what to look for.

    There is no URI where a path leads astray, or where something cannot be used, with the code that says so.
    """
    kind = kind_by_ending(source)
    if kind not in ("csv", "parquet"):
        listed = audio_files(spark, source, config.storage).where("left_out is null")
        files = listed.withColumn("audio", F.col("audio_uri"))
        files = files.withColumn("audio_uri", F.when(F.col("code").isNull(), F.col("audio_uri")))
        return source, files.select(*_WANTED).distinct()
    rows = read_table(spark, source, kind, config.storage, **config.catalogue.written).rows
    if "audio" not in rows.columns:
        raise CatalogueError(f"{source} lacks the column 'audio'; it has {', '.join(rows.columns)}")
    files = with_audio_uri(rows.select("audio"), parent(source)).withColumn("audio_fingerprint", F.lit(""))
    nothing = {name: F.lit(None).cast("string") for name in ("code", "message")}
    return parent(source), files.withColumns(nothing).select(*_WANTED).distinct()


def _outside(files: DataFrame) -> DataFrame:
    """Return ``audio_uri, code, message`` of what cannot be used, such as a path out of the list's folder."""
    astray = "not below the folder of the list: put the list beside the audio"
    return files.where("audio_uri is null").select(
        F.col("audio").alias("audio_uri"),
        F.coalesce("code", F.lit("forbidden_path")).alias("code"),
        F.coalesce("message", F.lit(astray)).alias("message"),
    )


def _embed(
    run: Run, measured: DataFrame, heard: Mapping[str, DataFrame], models: Mapping[str, Model], system: System
) -> DataFrame:
    """Return the vectors of the queries, as ``embeddings`` holds those of tracks, in the spaces that matter."""
    known = _makers(run, models, system)
    found: dict[System, DataFrame] = {}
    for name, space in needed_for(system, run.config).items():
        if space.source == "audio":
            found[name] = of_heard(heard[name].join(measured, "track_id", "left_semi"))
        elif space.source == "embeddings":
            found[name] = embed(space, side_by_side({part: found[part] for part in space.parts}), known)
        elif isinstance(space, ListenersSpace):
            sound = side_by_side({part: found[part] for part in space.made_from})
            found[name] = embed(space, unheard(sound), known)
        else:
            found[name] = embed(space, measured, known)
    rows = (of.withColumn("space", F.lit(space)) for space, of in found.items())
    return reduce(DataFrame.unionByName, rows)


def _makers(run: Run, models: Mapping[str, Model], system: System) -> dict[str, Maker]:
    """Return the artefacts and models that the vectors of the queries are made with, by name."""
    ids = [space.artefact for space in needed_for(system, run.config).values()]
    return {**models} | {of.name: run.artefacts.need(of) for of in ids if of is not None}


def _lists(
    run: Run,
    measured: DataFrame,
    vectors: DataFrame,
    models: Mapping[str, Model],
    kept: list[DataFrame],
    *,
    system: System,
    top: int,
) -> tuple[DataFrame, DataFrame]:
    """Return the explained lists, and ``track_id, message`` of the queries whose vector has no direction.

    What stays in memory or on disk until both are written is added to `kept`.
    """
    config, read = run.config, run.warehouse.read
    spark = run.warehouse.spark
    _check_vectors(run, models, system)
    rows = vectors.where(F.col("space") == system).select("track_id", "vector").sort("track_id").toArrow()
    names = rows.column("track_id").to_pylist()
    stored = rows.column("vector").combine_chunks().flatten().to_numpy()
    matrix = stored.reshape(len(names), len(stored) // max(len(names), 1)).astype(np.float32)
    good = has_direction(matrix)
    without = [
        (name, "its vector is zero, and so like no other")
        for name, fine in zip(names, good, strict=True)
        if not fine
    ]
    searched = [name for name, fine in zip(names, good, strict=True) if fine]
    # a song that is in the catalogue finds itself, and then as many as the night looked for
    wanted = max(config.neighbours.top_n, top) + 1
    of_system = read("embeddings").where(F.col("space") == system)
    if searched:
        found = nearest_tracks(of_system, matrix[good], searched, wanted).persist(StorageLevel.DISK_ONLY)
    else:
        found = spark.createDataFrame([], "track_id string, rank int, neighbour_id string, cosine double")
    kept.append(found)
    tables = {name: read(name) for name in _TABLES}
    has_inputs = Reader(config.warehouse, config.storage).has("list_inputs")  # an older release had none
    nothing = spark.createDataFrame([], TABLES["list_inputs"].schema)
    tables["list_inputs"] = read("list_inputs") if has_inputs else nothing
    settings = config.recommend.model_copy(update={"top_n": top})
    chosen = choose_query_lists(found, tables, system, settings, wanted)
    own = {
        "audio_features": measured,
        "embeddings": vectors,
        "tracks": stated_of_queries(measured, tracks_themselves(found), tables["tracks"]),
    }
    explainer = explainer_of(config, run.artefacts.need(statistics_artefact(config)))
    needed = profile_of(explainer, [system])
    profile = profiles(tables, needed).unionByName(profiles(own, needed))
    return (
        explain_lists(chosen, profile, config, explainer),
        spark.createDataFrame(without, "track_id string, message string"),
    )


def _check_vectors(run: Run, models: Mapping[str, Model], system: System) -> None:
    """Refuse a catalogue whose vectors were made with other settings, as a sample of its tracks shows.

    Raises
    ------
    SpecrecError
        If none of the sample's vectors was made as it would be now.
    """
    embeddings = run.warehouse.read("embeddings")
    in_space = embeddings.where(F.col("space") == system).select("track_id")
    # collected once: each evaluation of a limit may take other rows
    chosen = pd.Series([row["track_id"] for row in in_space.sort("track_id").limit(_CHECKED).collect()])
    checked = few_tracks(run.warehouse.spark, chosen)
    features, vectors = (
        rows.join(checked, "track_id", "left_semi").toPandas()
        for rows in (
            run.warehouse.read("audio_features").select(*OF_FEATURES),
            embeddings.select(*OF_VECTORS),
        )
    )
    check_vectors(needed_for(system, run.config), _makers(run, models, system), features, vectors)


def _sent(run: Run, model: Model) -> Broadcast[Model]:
    return run.warehouse.spark.sparkContext.broadcast(model)


def _write(rows: DataFrame, place: Location) -> None:
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(for_spark(place))


def _cores(spark: SparkSession) -> int:
    cores: int = spark.sparkContext.defaultParallelism
    return cores
