"""Embed: features and mel spectrograms become ``embeddings``, where they or what they are made with changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.audio.spark import by_file
from specrec.catalogue.sources import audio_root
from specrec.embedding.config import HYBRID, LISTENERS
from specrec.embedding.models import Model, load_model
from specrec.embedding.spaces import spaces_of
from specrec.embedding.spaces.listeners import ListenersSpace
from specrec.embedding.spaces.space import Maker, Space
from specrec.embedding.spark import embed as embed_rows
from specrec.embedding.spark import embed_audio, input_hashes, of_heard, side_by_side
from specrec.errors import SpecrecError
from specrec.pipeline.kept import FEW, here
from specrec.pipeline.prediction import fit_to_factors, of_tracks, prediction_in_use
from specrec.pipeline.quarantine import quarantine
from specrec.pipeline.run import Run, StageReport
from specrec.settings import System
from specrec.warehouse.artefacts import Artefact

#: Spectrograms of more runs than these are looked for in the whole table.
_MOST_RUNS = 50


def embed(run: Run) -> None:
    """Compute the vectors that are missing or out of date, and delete those of tracks that are gone."""
    config, warehouse = run.config, run.warehouse
    with run.stage("embed") as report:
        spaces = spaces_of(config)
        models = {name: load_model(name, config) for name in config.embedding.models}
        known: dict[str, Maker] = {**models}
        for space in spaces.values():
            if space.artefact is not None and not isinstance(space, ListenersSpace):
                known[space.artefact.name] = run.artefacts.need(space.artefact)
        listeners = _listeners(run, spaces, known)
        hashes = {name: input_hashes(space, known) for name, space in spaces.items()}
        compared = _wanted_and_there(run, hashes)
        gone, stale, there = F.col("is_gone"), F.col("is_stale"), F.col("is_there")
        counts = compared.groupBy("space").agg(
            F.count_if(~gone).alias("wanted"),
            F.count_if(gone).alias("gone"),
            F.count_if(stale).alias("stale"),
            F.count_if(stale & there).alias("replaced"),
        )
        found = {row.space: row for row in counts.collect()}  # one row a space
        report.rows_in = max((row.wanted for row in found.values()), default=0)
        removed = max((row.gone for row in found.values()), default=0)
        report.count("removed", removed)
        changed = compared.where(gone | stale)
        if 0 < sum(row.gone + row.stale for row in found.values()) <= FEW:
            changed = here(changed)
        if any(row.gone or row.replaced for row in found.values()):
            warehouse.delete("embeddings", changed.where(there).select("space", "track_id"))
        todo = changed.where(stale)
        of = {space: todo.where(F.col("space") == space) for space, row in found.items() if row.stale}

        def made(space: Space, rows: DataFrame) -> DataFrame:
            return _in_space(run, space, rows, hashes, known)

        # Appended, and never kept in Spark's cache: at each commit to a table it plans every cached query of that
        # table anew. A run that dies in between leaves vectors missing, which the next finds.
        from_tables = [
            made(space, embed_rows(space, _read_source(run, space, of[name]), known))
            for name, space in spaces.items()
            if name in of and space.source in ("audio_features", "mel_spectrograms")
        ]
        if from_tables:
            warehouse.append("embeddings", reduce(DataFrame.unionByName, from_tables))
        failed = sum(
            _hear(run, of[name], models[name], partial(made, space))
            for name, space in spaces.items()
            if name in of and space.source == "audio"
        )
        if failed:
            report.rows_failed = failed
        # last, as they are made from what was just written
        if listeners is not None and listeners.name in of:
            _fit_if_due(run, report, listeners, known)
            rows = of_tracks(run, listeners, of[listeners.name])
            warehouse.append("embeddings", made(listeners, embed_rows(listeners, rows, known)))
        for name, space in spaces.items():
            if name in of and space.source == "embeddings":
                parts = side_by_side({part: _vectors(run, part, of[name]) for part in space.parts})
                warehouse.append("embeddings", made(space, embed_rows(space, parts, known)))
        for name in of:
            report.count("vectors", found[name].stale, name)
        for name, model in models.items():
            made_by = model.sha256[:16]
            report.details[name] = f"{report.details[name]}, by {made_by}" if name in of else made_by
        report.rows_out = sum(found[name].stale for name in of)
        if not of and not removed:
            report.unchanged()


def _listeners(run: Run, spaces: dict[System, Space], known: dict[str, Maker]) -> ListenersSpace | None:
    """Return the space of what people like, and note what it is made with.

    Where nobody likes anything yet, there is no such space: it is taken out of `spaces`.
    """
    space = spaces.get(LISTENERS)
    if not isinstance(space, ListenersSpace):
        return None
    found = prediction_in_use(run, space, known)
    if found is not None:
        known[found.name] = found
        return space
    if LISTENERS in spaces[HYBRID].parts:
        raise SpecrecError(
            "embedding.hybrid_weights gives listeners a weight, and nobody is known to like anything with audio "
            "yet: leave it out until then"
        )
    del spaces[LISTENERS]
    return None


def _fit_if_due(run: Run, report: StageReport, space: ListenersSpace, known: dict[str, Maker]) -> None:
    """Fit how factors are predicted, where what there is serves no more."""
    name = space.artefact.name
    due = known[name]
    assert isinstance(due, Artefact)
    if due.arrays:
        return
    known[name] = fitted = fit_to_factors(run, space, due)
    report.count("artefact_version", fitted.version, name)
    report.count("explained", float(fitted.arrays["explained"][0]), name)


def _read_source(run: Run, space: Space, stale: DataFrame) -> DataFrame:
    """Return the rows of a space's source whose vectors are out of date."""
    if space.source == "mel_spectrograms":
        return _spectrograms(run, stale)
    return run.analysed(space.source).join(stale.select("track_id"), "track_id")


def _hear(run: Run, stale: DataFrame, model: Model, made: Callable[[DataFrame], DataFrame]) -> int:
    """Append the vectors of a model that hears the audio itself; return how many tracks went to quarantine.

    Parameters
    ----------
    made : callable
        Adds the columns of ``embeddings`` that say what a vector was made of.
    """
    config, spark = run.config, run.warehouse.spark
    made_of = ["track_id", "audio_uri", "audio_fingerprint", "content_hash"]
    wanted = run.analysed("audio_features").select(*made_of).join(stale.select("track_id"), "track_id")
    cores = spark.sparkContext.defaultParallelism
    tasks = max(math.ceil(wanted.count() / config.extract.files_per_task), cores)
    sent = spark.sparkContext.broadcast(model)
    # of each file once: it is asked for what failed, too
    heard = embed_audio(by_file(wanted), config, sent, tasks, audio_root(config.catalogue))
    heard.persist(StorageLevel.DISK_ONLY)
    try:
        # a file that was replaced since it was extracted is heard the next night
        vectors = of_heard(heard.join(wanted, ["track_id", "content_hash"], "left_semi"))
        run.warehouse.append("embeddings", made(vectors))
        stage = F.lit(f"embed/{model.name}").alias("stage")
        run.warehouse.delete("quarantine", heard.where("code is null").select("track_id", stage))
        lost = heard.where("code is not null")
        count = lost.count()
        if count:
            quarantine(run, lost.select("track_id", stage, "audio_uri", "audio_fingerprint", "code", "message"))
        return count
    finally:
        heard.unpersist()


def _wanted_and_there(run: Run, hashes: Mapping[str, Sequence[Column]]) -> DataFrame:
    """Return the vectors that should be and those that are.

    The columns are ``space, track_id, run_id, is_there, is_gone, is_stale``. ``run_id`` is that of the extraction;
    ``is_there`` says whether there is a vector, ``is_gone`` whether there should be none, and ``is_stale`` whether
    it is missing or out of date.
    """
    wanted = (F.struct(F.lit(space).alias("space"), F.array(*of).alias("accepted")) for space, of in hashes.items())
    features = run.analysed("audio_features").select("track_id", "run_id", F.explode(F.array(*wanted)).alias("of"))
    done = run.warehouse.read("embeddings").select("space", "track_id", F.col("input_hash").alias("old_hash"))
    key = ["space", "track_id"]
    both = features.select(*key[1:], "run_id", "of.*").join(done, key, "full_outer")
    is_gone = F.col("accepted").isNull()
    is_current = F.coalesce(F.array_contains("accepted", F.col("old_hash")), F.lit(False))
    return both.select(
        *key,
        "run_id",
        F.col("old_hash").isNotNull().alias("is_there"),
        is_gone.alias("is_gone"),
        (~is_gone & ~is_current).alias("is_stale"),
    )


def _spectrograms(run: Run, stale: DataFrame) -> DataFrame:
    """Return the mel spectrograms of some tracks, without reading the whole catalogue's where few are new."""
    mels = run.analysed("mel_spectrograms")
    runs = [row.run_id for row in stale.select("run_id").distinct().limit(_MOST_RUNS + 1).collect()]
    if len(runs) <= _MOST_RUNS:  # files of other runs are not opened: Delta knows the run_ids in each
        mels = mels.where(F.col("run_id").isin(runs))
    return mels.join(stale.select("track_id"), "track_id")


def _vectors(run: Run, space: str, of: DataFrame) -> DataFrame:
    rows = run.warehouse.read("embeddings").where(F.col("space") == space)
    return rows.select("track_id", "vector").join(of.select("track_id"), "track_id")


def _in_space(
    run: Run, space: Space, vectors: DataFrame, hashes: Mapping[str, Sequence[Column]], known: Mapping[str, Maker]
) -> DataFrame:
    made_from = run.analysed("audio_features").select("track_id", hashes[space.name][0].alias("input_hash"))
    made_by = known[space.makers[0]] if len(space.makers) == 1 and not space.parts else None
    named = {
        "space": F.lit(space.name),
        "artefact_version": F.lit(made_by.version if isinstance(made_by, Artefact) else None).cast("int"),
        "model_hash": F.lit(made_by.sha256 if isinstance(made_by, Model) else None).cast("string"),
        **run.stamp(),
    }
    return vectors.join(made_from, "track_id").withColumns(named)
