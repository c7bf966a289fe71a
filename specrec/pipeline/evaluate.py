"""Evaluate: what the last night wrote is measured, and the figures are added to ``evaluation``.

What is counted over the whole catalogue (how often a recording is recommended, duplicates, explanations) is counted
in Spark and arrives as a histogram. What is measured track by track is measured on a sample, which is drawn by
track_id and collected: `evaluate.sample_tracks` tracks a question, their lists, and what is known of those in them.

This module reads and keeps the order of the steps. Metrics are declared in :mod:`specrec.evaluate.metrics`, what
Spark computes is in :mod:`specrec.evaluate.spark`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.catalogue.spark import read_table
from specrec.config import Config
from specrec.embedding.config import FEATURES, HYBRID
from specrec.embedding.features import layout_of
from specrec.embedding.spark import few_tracks, sample_tracks
from specrec.errors import CatalogueError, ConfigError, SpecrecError
from specrec.evaluate import measurements as M
from specrec.evaluate import truth
from specrec.evaluate.intervals import Bootstrap
from specrec.evaluate.metrics import BASELINES, METRICS, Measurement, Metric
from specrec.evaluate.occurrence import of_genre_prior, of_popularity, of_random
from specrec.evaluate.ranking import Facts, IndexedVectors
from specrec.evaluate.sample import Sample, assemble
from specrec.evaluate.spark import (
    collected,
    count_lengths,
    count_sentences,
    count_surplus,
    count_times,
    draw_samples,
    facts_of,
    in_recordings,
    most_popular,
    share_of_likes,
    sizes_of_genres,
    what_is_known,
)
from specrec.pipeline.evaluate_people import CheckerOf, measure_people
from specrec.pipeline.hashes import recommend_hash
from specrec.pipeline.run import Run, open_run
from specrec.recommend.config import RecommendConfig
from specrec.recommend.contributions import Parts, parts_of, shares_of
from specrec.recommend.spark import choose_lists, first_named, nearness
from specrec.settings import System
from specrec.warehouse.reader import Reader

_READS = 30
#: By how much the share of tracks that a sentence names may differ from that of the sample which is drawn here,
#: where a catalogue is too large for the sample to be all of it.
_SAMPLED_SHARE = 1e-3


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, and of what it could not measure, why."""

    run_id: str
    measurements: list[Measurement]
    left_out: dict[str, str]


def evaluate(config: Config) -> Evaluation:
    """Measure the lists of the configured warehouse, and return the figures that were written.

    It holds the warehouse's lock, though it only adds rows: a night beside it would change the tables between one
    figure and the next, and two drivers may not commit to one Delta table on object storage.

    Raises
    ------
    SpecrecError
        In one line: what happened and what to do.
    """
    # this fails where there is no warehouse, or a mistyped path would be given empty tables
    Reader(config.warehouse, config.storage).table("recommendations")
    with open_run(config) as run, run.stage("evaluate") as report:
        run.warehouse.create_missing()
        counts = run.warehouse.counts("embeddings", "space")
        if not counts or run.warehouse.read("recommendations").isEmpty():
            raise SpecrecError(f"there are no recommendations in {config.warehouse}: run `specrec nightly` first")
        _check_configuration(run)
        reasons: dict[str, str] = {}
        found = list(_measure(run, counts, reasons))
        report.rows_in = counts[FEATURES]
        order = {metric: i for i, metric in enumerate(METRICS)}
        found.sort(key=lambda of: (order[of.metric], of.slice))
        stamp = {"run_id": run.run_id, "computed_at": datetime.now(UTC)}
        run.warehouse.append_few("evaluation", [vars(of) | stamp for of in found])
        measured, has_events = {of.metric for of in found}, config.listeners.events is not None
        left_out = {
            name: _why_left_out(name, metric, reasons)
            for name, metric in METRICS.items()
            if name not in measured and (has_events or not metric.needs_events)
        } | {name: why for name, why in reasons.items() if name in BASELINES}
        report.rows_out = len(found)
        report.details |= {"left_out": ", ".join(left_out)} if left_out else {}
    return Evaluation(run.run_id, found, left_out)


def _why_left_out(name: str, metric: Metric, reasons: Mapping[str, str]) -> str:
    question = metric.of_lists.question if metric.of_lists else ""
    return reasons.get(name) or reasons.get(question) or "no track has what it needs"


def _check_configuration(run: Run) -> None:
    """Raise if the lists were made with other settings than those that they would be measured with."""
    rows = run.warehouse.read("recommendations").groupBy("system").agg(F.first("config_hash").alias("made_with"))
    for row in sorted(rows.collect()):  # one row a system
        known = row.system in run.config.systems
        if not known or row.made_with not in recommend_hash(run.config, row.system).accepted:
            raise ConfigError("the lists were made with other settings: give the --config and --set of the night")


def _measure(run: Run, counts: Mapping[str, int], reasons: dict[str, str]) -> Iterator[Measurement]:
    """Yield all measurements; note in `reasons` why a metric, a question or a baseline is left out."""
    config = run.config.evaluate
    bootstrap = Bootstrap(config.resamples, config.seed)
    embedded = run.warehouse.read("embeddings").where(F.col("space") == FEATURES).select("track_id")
    known = what_is_known(run.warehouse.read("tracks"), config.song_column).join(embedded, "track_id", "left_semi")
    liked = _liked(run, reasons)
    sample = _sample(run, known, liked)
    reasons |= sample.left_out
    asked = sample.asked
    reasons["song"] = (
        f"the catalogue has no column {config.song_column} in which two tracks agree (evaluate.song_column)"
    )
    yield from M.of_lists("genre", sample.candidates.only(asked["genre"]), bootstrap)
    yield from M.of_lists("song", sample.candidates.only(asked["song"]), bootstrap)
    yield from M.of_lists("listeners", sample.recommended.only(asked["listeners"]), bootstrap)
    yield from _whole_lists(run, known, counts, bootstrap, reasons)
    yield from _vectors(run, sample, bootstrap, reasons)
    yield from _overlap(run, sample, bootstrap, reasons)
    yield from M.sentences(count_sentences(run.warehouse.read("recommendations")).collect())  # one row a system
    checker_of = _checkers(run)
    yield from _truth(run, sample, checker_of, bootstrap)
    if run.config.listeners.events is not None:
        yield from measure_people(run, checker_of, bootstrap, reasons)
    yield from _reads(run, sample, bootstrap)


def _liked(run: Run, reasons: dict[str, str]) -> DataFrame | None:
    """Return ``track_id, liked``: the share of likes among likes and dislikes; None where there is no feedback."""
    path = run.config.evaluate.feedback
    if path is None:
        reasons["listeners"] = "no feedback is configured (evaluate.feedback)"
        return None
    try:
        rows = read_table(run.warehouse.spark, path, "csv", run.config.storage, **run.config.catalogue.written).rows
    except CatalogueError as error:
        raise ConfigError(f"evaluate.feedback: {error}") from None
    missing = {"track_id", "liked", "disliked"} - set(rows.columns)
    if missing:
        raise ConfigError(f"evaluate.feedback: {path} lacks the column {' and '.join(sorted(missing))}")
    reasons["listeners"] = "fewer than three tracks with feedback are recommended tracks with feedback"
    return share_of_likes(rows)


def _sample(run: Run, known: DataFrame, liked: DataFrame | None) -> Sample:
    """Collect the sample of each question, its lists, and what is known of those in them; all bounded."""
    config, warehouse = run.config.evaluate, run.warehouse
    chosen = draw_samples(known, liked, config.sample_tracks, config.seed)
    few = few_tracks(warehouse.spark, chosen["track_id"])
    columns = ("system", "track_id", "rank", F.col("recommended_track_id").alias("listed"))
    nearest = collected(_ranked(run, few).select(*columns))
    listed = warehouse.read("recommendations").join(few, "track_id", "left_semi")
    lists = collected(
        listed.select(
            "system",
            "track_id",
            "rank",
            F.col("recommended_track_id").alias("listed"),
            first_named().alias("top"),
        )
    )
    if nearest.empty:
        raise SpecrecError("none of the sampled tracks has neighbours: raise evaluate.sample_tracks")
    popular = most_popular(known, int(nearest["rank"].max()) + 1)
    named = pd.concat([chosen["track_id"], nearest["listed"], lists["listed"], popular])
    return assemble(
        Facts(facts_of(known, liked, few_tracks(warehouse.spark, named))),
        chosen,
        nearest,
        lists,
        popular,
        parts={system: _names(run.config, system) for system in run.config.systems},
        top_n=run.config.recommend.top_n,
        seed=config.seed,
    )


def _ranked(run: Run, few: DataFrame) -> DataFrame:
    """Return the candidates of some tracks, ranked as recommend ranks them before its filters and limits."""
    warehouse, config = run.warehouse, run.config
    neighbours = warehouse.read("neighbours")
    listed = neighbours.join(few, "track_id", "left_semi").select(F.col("neighbour_id").alias("track_id"))
    # ranks depend on how near the neighbours of each candidate are, too
    needed = neighbours.join(few.unionByName(listed).distinct(), "track_id", "left_semi")
    unlimited = RecommendConfig(
        top_n=config.neighbours.top_n, hubs=config.recommend.hubs, max_per_artist=None, max_per_album=None
    )
    duplicates = warehouse.read("duplicates")
    near = nearness(needed, duplicates)
    # no copy is left out of the lists: a clip of the same song may be what is looked for
    lists = choose_lists(needed, near, warehouse.read("tracks"), duplicates.limit(0), unlimited)
    return lists.join(few, "track_id", "left_semi")


def _whole_lists(
    run: Run, known: DataFrame, counts: Mapping[str, int], bootstrap: Bootstrap, reasons: dict[str, str]
) -> Iterator[Measurement]:
    """Measure what is counted over all lists: which recordings are in how many, duplicates, and short lists."""
    top_n = run.config.recommend.top_n
    found = run.warehouse.read("duplicates").select("group_id", "track_id")
    groups = None if found.isEmpty() else found
    if groups is None:
        reasons["duplicate_rate"] = "the table duplicates names no group"
    surplus = 0 if groups is None else count_surplus(groups, known)
    lists = in_recordings(run.warehouse.read("recommendations"), groups)
    occurring, lengths = count_times(lists), count_lengths(lists)
    for system in (of for of in run.config.systems if counts.get(of)):
        of_system = (frame[frame["system"] == system] for frame in (occurring, lengths))
        yield from M.whole_lists(
            system,
            *of_system,
            tracks=counts.get(system, 0),
            surplus=surplus,
            top_n=top_n,
            groups_are_known=groups is not None,
            bootstrap=bootstrap,
        )
    tracks = counts[FEATURES]
    yield from M.occurrence("random", of_random(tracks - surplus, top_n), bootstrap)
    if "popularity" not in reasons:
        popular = known.where("popularity is not null").limit(top_n + 1).count()
        yield from M.occurrence("popularity", of_popularity(tracks - surplus, top_n, popular), bootstrap)
    if "genre_prior" not in reasons:
        sizes = sizes_of_genres(known, groups)
        yield from M.occurrence("genre_prior", of_genre_prior(sizes, tracks - surplus, top_n), bootstrap)


def _vectors(run: Run, sample: Sample, bootstrap: Bootstrap, reasons: dict[str, str]) -> Iterator[Measurement]:
    """Measure what needs vectors: the diversity of lists, and the fidelity of explanations."""
    facts, lists = sample.facts, sample.recommended.only(sample.asked["any"])
    wanted = few_tracks(run.warehouse.spark, lists.track_ids())
    rows = run.warehouse.read("embeddings").select("space", "track_id", "vector", "parts")
    frame = collected(rows.join(wanted, "track_id", "left_semi"))
    of_spaces = {space: frame[frame["space"] == space] for space in run.config.systems}
    # where nobody likes anything yet, there are no vectors of what people like
    spaces = {space: IndexedVectors.of(facts, rows) for space, rows in of_spaces.items() if len(rows)}
    yield from M.of_lists("any", lists, bootstrap, spaces[HYBRID])

    dimensions = sum(size for _, size in layout_of(run.config.audio.n_mfcc))
    if spaces[FEATURES].matrix.shape[1] != dimensions:
        reasons |= {
            metric: "the vectors are of another configuration: give the night's --config"
            for metric in METRICS
            if metric.startswith("fidelity")
        }
        return
    for system, top in sample.top.items():
        parts = _parts(run.config, system)
        yield from M.fidelity_of(system, lists, top[sample.asked["any"]], spaces, parts, bootstrap=bootstrap)


def _parts(config: Config, system: System) -> dict[str, Parts]:
    """Return, by space, the parts of a system's scores; a space without a share in the hybrid has none."""
    return {space: parts_of(space, config) for space, share in shares_of(system, config).items() if share}


def _names(config: Config, system: System) -> list[str]:
    """Return the names of the parts of a system's scores, as `reasons` call them."""
    return [name for parts in _parts(config, system).values() for name in parts.names]


def _overlap(run: Run, sample: Sample, bootstrap: Bootstrap, reasons: dict[str, str]) -> Iterator[Measurement]:
    """Measure how far the two systems agree, by the table ``agreement``."""
    for metric in ("overlap_jaccard", "overlap_rank_biased"):
        reasons[metric] = "the table agreement is empty"
    asked = sample.recommended.tracks[sample.asked["any"]]
    chosen = few_tracks(run.warehouse.spark, pd.Series(sample.facts.ids[asked]))
    rows = run.warehouse.read("agreement").join(chosen, "track_id", "left_semi")
    frame = collected(rows.select("track_id", "jaccard", "rank_biased_overlap"))
    yield from M.overlap(sample.facts, frame.sort_values("track_id", ignore_index=True), bootstrap)


def _checkers(run: Run) -> CheckerOf:
    """Return what makes readers of explanations of some tracks; what is usual is collected once for all."""
    fit = run.config.fit
    drawn = sample_tracks(run.warehouse.read("audio_features").select("track_id"), fit.sample_tracks, fit.seed)
    catalogue = _values(run, drawn)
    slack = fit.max_statistics_shift / 100 + (0.0 if len(catalogue) < fit.sample_tracks else _SAMPLED_SHARE)

    def checker_of(track_ids: pd.Series) -> truth.TruthChecker:
        chosen = few_tracks(run.warehouse.spark, track_ids)
        return truth.TruthChecker(_values(run, chosen), catalogue, slack, _liked_both(run, chosen))

    return checker_of


def _truth(run: Run, sample: Sample, checker_of: CheckerOf, bootstrap: Bootstrap) -> Iterator[Measurement]:
    """Measure, on the sample's lists, which explanations another reader of the tables finds true."""
    facts, lists = sample.facts, sample.recommended.only(sample.asked["any"])
    checker = checker_of(lists.track_ids(run.config.systems))
    chosen = few_tracks(run.warehouse.spark, pd.Series(facts.ids[lists.tracks]))
    columns = ("system", "track_id", "recommended_track_id", "explanation", "reasons", "score")
    rows = run.warehouse.read("recommendations").select(*columns).join(chosen, "track_id", "left_semi").collect()
    told = [row.asDict(recursive=True) for row in rows]
    for system in run.config.systems:
        of_system = [row for row in told if row["system"] == system]
        yield from M.truth(system, of_system, checker, bootstrap)


def _values(run: Run, tracks: DataFrame) -> pd.DataFrame:
    """Return what explanations may speak of, of some tracks."""
    features = run.warehouse.read("audio_features").select("track_id", *truth.FEATURES)
    levels = run.warehouse.read("embeddings").where("space = 'spectrogram'").select("track_id", "levels")
    attributes = run.warehouse.read("tracks").select("track_id", *truth.ATTRIBUTES)
    tags = run.warehouse.read("embeddings").where("tags is not null").select("track_id", "space", "tags")
    liked = run.warehouse.read("track_listeners").select("track_id", "liked")
    every = (features, levels, attributes, tags, liked)
    return truth.values_of(*(collected(rows.join(tracks, "track_id", "left_semi")) for rows in every))


def _liked_both(run: Run, tracks: DataFrame) -> dict[tuple[str, str], int]:
    """Return how many people like both of two tracks among some, by pair."""
    rows = run.warehouse.read("also_liked").select("track_id", "other_id", "both")
    for name in ("track_id", "other_id"):
        rows = rows.join(tracks.select(F.col("track_id").alias(name)), name, "left_semi")
    found = collected(rows)  # bounded: pairs of the sample
    return dict(zip(zip(found["track_id"], found["other_id"], strict=True), found["both"].tolist(), strict=True))


def _reads(run: Run, sample: Sample, bootstrap: Bootstrap) -> Iterator[Measurement]:
    """Measure how long a service waits for one track's recommendations, without Spark."""
    reader = Reader(run.config.warehouse, run.config.storage)
    tracks = np.random.default_rng(run.config.evaluate.seed).permutation(sample.recommended.tracks)
    ids = sample.facts.ids[tracks[:_READS]]
    for system in run.config.systems:
        seconds = []
        for track_id in [ids[0], *ids]:  # the first read, which finds no cache filled, is not counted
            start = time.perf_counter()
            reader.rows("recommendations", [("system", "=", system), ("track_id", "=", track_id)])
            seconds.append(time.perf_counter() - start)
        yield from M.row(system, "read_ms", bootstrap.median(1000 * np.array(seconds[1:])))
