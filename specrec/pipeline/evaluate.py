"""Evaluate: what the last night wrote is measured, and the figures are added to ``evaluation``.

What is counted over the whole catalogue (how often a recording is recommended, duplicates, explanations) is counted
in Spark and arrives as a histogram. What is measured a track is measured on a sample that is drawn by track_id, and
is collected: `evaluate.sample_tracks` tracks a question, their lists, and what is known of those in them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.catalogue.spark import read_table
from specrec.config import Config
from specrec.embedding.features import layout_of
from specrec.embedding.spark import sample_tracks
from specrec.errors import CatalogueError, ConfigError, SpecrecError
from specrec.evaluate import measure as M
from specrec.evaluate import truth
from specrec.evaluate.baselines import genre_lists, popular_lists, random_lists
from specrec.evaluate.explanations import Split, joined, split
from specrec.evaluate.intervals import Bootstrap, Figure
from specrec.evaluate.metrics import METRICS, Measurement
from specrec.evaluate.occurrence import ListCounts, Occurrence, of_genre_prior, of_popularity, of_random
from specrec.evaluate.ranking import Facts, IntArray, as_lists, by_rank
from specrec.pipeline.run import Run, open_run
from specrec.recommend.candidates import choose_lists, traits
from specrec.recommend.config import RecommendConfig
from specrec.recommend.contributions import Parts, parts_of, shares_of
from specrec.settings import System
from specrec.warehouse.reader import Reader

_READS = 30
#: Statistics are of a sample of a large catalogue: the share of a track that is not of it is off by one in so many.
_SAMPLED_SHARE = 1e-3


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, and of what it could not measure, why."""

    run_id: str
    measurements: list[Measurement]
    left_out: dict[str, str]


@dataclass(frozen=True)
class _Sample:
    """What is collected of the sample.

    Attributes
    ----------
    candidates, recommended : Lists
        By ``neighbours``, and by ``recommendations``; both of the baselines too.
    asked : dict of bool, shape (tracks,)
        Which tracks are of the sample of each question: any, genre, song, listeners.
    top : dict of int64, shape (tracks, width)
        By system, the part that each explanation names first: an index of `parts`.
    """

    candidates: M.Lists
    recommended: M.Lists
    asked: dict[str, npt.NDArray[np.bool_]]
    top: dict[str, IntArray]

    @property
    def facts(self) -> Facts:
        return self.candidates.facts


def evaluate(config: Config) -> Evaluation:
    """Measure the lists of the configured warehouse, and return the figures that were written.

    It holds the warehouse's lock, though it only adds rows: a night beside it would change the tables between one
    figure and the next, and two drivers may not commit to one Delta table on object storage.

    Raises
    ------
    SpecrecError
        In one line: what happened and what to do.
    """
    Reader(config.warehouse, config.storage).table("recommendations")  # or a mistyped path would get empty tables
    with open_run(config) as run, run.stage("evaluate") as report:
        run.warehouse.create_missing()
        counts = run.warehouse.counts("embeddings", "space")
        if not counts or run.warehouse.read("recommendations").isEmpty():
            raise SpecrecError(f"there are no recommendations in {config.warehouse}: run `specrec nightly` first")
        _check_configuration(run)
        reasons: dict[str, str] = {}
        found = list(_measure(run, counts, reasons))
        report.rows_in = counts["features"]
        order = {metric: i for i, metric in enumerate(METRICS)}
        found.sort(key=lambda of: (order[of.metric], of.slice))
        stamp = {"run_id": run.run_id, "computed_at": datetime.now(UTC)}
        run.warehouse.append_few("evaluation", [vars(of) | stamp for of in found])
        measured = {of.metric for of in found}
        left_out = {
            metric: reasons.get(metric, "no track has what it needs")
            for metric in METRICS
            if metric not in measured
        } | {name: why for name, why in reasons.items() if name not in METRICS}
        report.rows_out = len(found)
        report.details |= {"left_out": ", ".join(left_out)} if left_out else {}
    return Evaluation(run.run_id, found, left_out)


def _check_configuration(run: Run) -> None:
    """Raise if the lists were made with other settings than those that they would be measured with."""
    rows = run.warehouse.read("recommendations").groupBy("system").agg(F.first("config_hash").alias("made_with"))
    for row in sorted(rows.collect()):  # one row a system
        if (
            row.system not in run.config.systems
            or row.made_with not in run.config.recommend_hash(row.system).accepted
        ):
            raise ConfigError("the lists were made with other settings: give the --config and --set of the night")


def _measure(run: Run, counts: Mapping[str, int], reasons: dict[str, str]) -> Iterator[Measurement]:
    """Yield all measurements; note in `reasons` why a metric or a baseline is left out."""
    config = run.config.evaluate
    bootstrap = Bootstrap(config.resamples, config.seed)
    known, liked = _known(run, reasons), _liked(run, reasons)
    sample = _sample(run, known, liked, reasons)
    asked = sample.asked
    yield from M.genre(sample.candidates.only(asked["genre"]), bootstrap)
    yield from M.song(sample.candidates.only(asked["song"]), bootstrap)
    yield from M.listeners(sample.recommended.only(asked["listeners"]), bootstrap)
    yield from _whole_lists(run, known, counts, bootstrap, reasons)
    yield from _vectors(run, sample, bootstrap, reasons)
    yield from _overlap(run, sample, bootstrap, reasons)
    yield from _explanations(run)
    yield from _truth(run, sample, bootstrap)
    yield from _reads(run, sample, bootstrap)


def _known(run: Run, reasons: dict[str, str]) -> DataFrame:
    """Return what the catalogue says of each track that has vectors: facts of :class:`Facts`, and popularity."""
    tracks, name = run.warehouse.read("tracks"), run.config.evaluate.song_column
    named = F.col(f"`{name}`").cast("string") if name in tracks.columns else F.col("extra")[name]
    embedded = run.warehouse.read("embeddings").where(F.col("space") == "features").select("track_id")
    song = F.nullif(named, F.lit(""))
    columns = ("track_id", "artists", "album_name", "track_genre", "popularity")
    for metric in ("song_precision_at_1", "song_hit_at_10"):
        reasons[metric] = f"the catalogue has no column {name} in which two tracks agree (evaluate.song_column)"
    return tracks.select(*columns, song.alias("song")).join(embedded, "track_id", "left_semi")


def _liked(run: Run, reasons: dict[str, str]) -> DataFrame | None:
    """Return ``track_id, liked``: the share of likes among likes and dislikes; None where there is no feedback."""
    path = run.config.evaluate.feedback
    if path is None:
        reasons["listener_agreement"] = "no feedback is configured (evaluate.feedback)"
        return None
    try:
        rows = read_table(run.warehouse.spark, path, "csv")
    except CatalogueError as error:
        raise ConfigError(f"evaluate.feedback: {error}") from None
    missing = {"track_id", "liked", "disliked"} - set(rows.columns)
    if missing:
        raise ConfigError(f"evaluate.feedback: {path} lacks the column {' and '.join(sorted(missing))}")
    reasons["listener_agreement"] = "fewer than three tracks with feedback are recommended tracks with feedback"
    sums = rows.groupBy("track_id").agg(
        *(F.sum(F.col(name).try_cast("double")).alias(name) for name in ("liked", "disliked"))
    )
    share = F.col("liked") / (F.col("liked") + F.col("disliked"))
    return sums.where("liked + disliked > 0").select("track_id", share.alias("liked"))


def _sample(run: Run, known: DataFrame, liked: DataFrame | None, reasons: dict[str, str]) -> _Sample:
    """Collect the sample of each question, its lists, and what is known of those in them; all bounded."""
    config, warehouse = run.config.evaluate, run.warehouse
    siblings = known.where("song is not null").groupBy("song").count().where("count > 1").select("song")
    questions = {
        "any": known,
        "genre": known.where("track_genre is not null"),
        "song": known.join(siblings, "song", "left_semi"),
    }
    if liked is not None:
        questions["listeners"] = known.join(liked, "track_id", "left_semi")
    drawn = [
        sample_tracks(rows.select("track_id"), config.sample_tracks, config.seed).withColumn("asked", F.lit(name))
        for name, rows in questions.items()
    ]
    chosen = _collected(reduce(DataFrame.unionByName, drawn))
    few = _frame(run, chosen["track_id"])
    columns = ("system", "track_id", "rank", F.col("recommended_track_id").alias("listed"))
    nearest = _collected(_ranked(run, few).select(*columns))
    listed = warehouse.read("recommendations").join(few, "track_id", "left_semi")
    lists = _collected(
        listed.select(
            "system",
            "track_id",
            "rank",
            F.col("recommended_track_id").alias("listed"),
            _first_named().alias("top"),
        )
    )
    if nearest.empty:
        raise SpecrecError("none of the sampled tracks has neighbours: raise evaluate.sample_tracks")
    width, top_n = int(nearest["rank"].max()), run.config.recommend.top_n
    popular = known.where("popularity is not null").orderBy(F.desc("popularity"), "track_id").limit(width + 1)
    most_popular = _collected(popular.select("track_id"))["track_id"]

    wanted = _frame(run, pd.concat([chosen["track_id"], nearest["listed"], lists["listed"], most_popular]))
    told = known.join(wanted, "track_id", "left_semi").drop("popularity")
    if liked is None:
        told = told.withColumn("liked", F.lit(None).cast("double"))
    else:
        told = told.join(liked, "track_id", "left")
    facts = Facts(_collected(told))
    tracks = np.unique(facts.positions(chosen["track_id"]))
    asked = {
        name: np.isin(tracks, facts.positions(chosen["track_id"][chosen["asked"] == name]))
        for name in ("any", "genre", "song", "listeners")
    }
    candidates = {name: as_lists(facts, tracks, of, width) for name, of in nearest.groupby("system")}
    recommended = {name: as_lists(facts, tracks, of, top_n) for name, of in lists.groupby("system")}
    pool = tracks[asked["any"]]
    baselines = {"random": random_lists(tracks, pool, width, config.seed)}
    if len(most_popular):
        baselines["popularity"] = popular_lists(tracks, facts.positions(most_popular), width)
    else:
        reasons["popularity"] = "the catalogue tells of no track how popular it is"
    if asked["genre"].any():
        baselines["genre_prior"] = genre_lists(tracks, pool, facts.genre, width, config.seed)
    else:
        why = "the catalogue names no track's genre (track_genre)"
        for name in ("genre_prior", "genre_precision_at_10", "genre_precision_at_10_other_albums"):
            reasons[name] = why
    candidates, recommended = (_ordered(lists, run.config.systems) for lists in (candidates, recommended))
    return _Sample(
        M.Lists(facts, tracks, candidates | baselines),
        M.Lists(facts, tracks, recommended | {name: of[:, :top_n] for name, of in baselines.items()}),
        asked,
        {
            name: by_rank(facts, tracks, of, top_n, pd.Index(_names(run.config, str(name))).get_indexer(of["top"]))
            for name, of in lists.groupby("system")
        },
    )


def _first_named() -> Column:
    """Return the family or region that an explanation names first; where it names none, the greatest part."""
    told = F.filter("reasons", lambda reason: reason["family"] != "catalogue")
    places = F.transform(
        told, lambda reason: F.struct(F.instr("explanation", reason["statement"]).alias("at"), reason["family"])
    )
    named = F.array_min(F.filter(places, lambda place: place["at"] > 0))
    return F.coalesce(named["family"], F.try_element_at("reasons", F.lit(1))["family"])


def _ranked(run: Run, few: DataFrame) -> DataFrame:
    """Return the candidates of some tracks, ranked as recommend ranks them before its filters and limits."""
    warehouse, config = run.warehouse, run.config
    neighbours = warehouse.read("neighbours")
    listed = neighbours.join(few, "track_id", "left_semi").select(F.col("neighbour_id").alias("track_id"))
    # how near the nearest of a candidate are counts as well
    needed = neighbours.join(few.unionByName(listed).distinct(), "track_id", "left_semi")
    unlimited = RecommendConfig(
        top_n=config.neighbours.top_n, hubs=config.recommend.hubs, max_per_artist=None, max_per_album=None
    )
    of_tracks = traits(warehouse.read("tracks"), warehouse.read("duplicates").limit(0), unlimited)
    return choose_lists(needed, of_tracks, unlimited).join(few, "track_id", "left_semi")


def _whole_lists(
    run: Run, known: DataFrame, counts: Mapping[str, int], bootstrap: Bootstrap, reasons: dict[str, str]
) -> Iterator[Measurement]:
    """Measure what is counted over all lists: which recordings are in how many, duplicates, and short lists."""
    top_n = run.config.recommend.top_n
    lists = run.warehouse.read("recommendations").select("system", "track_id", "recommended_track_id")
    groups = _groups(run)
    surplus = 0
    own, recording = F.col("track_id"), F.col("recommended_track_id")
    if groups is not None:
        of_own = groups.select("track_id", F.col("group_id").alias("own_group"))
        of_listed = groups.select(F.col("track_id").alias("recommended_track_id"), "group_id")
        lists = lists.join(of_own, "track_id", "left").join(of_listed, "recommended_track_id", "left")
        # a prefix: a group may be called as a track is
        own, recording = (
            F.coalesce(F.concat(F.lit("group "), group), F.concat(F.lit("track "), track))
            for group, track in (("own_group", "track_id"), ("group_id", "recommended_track_id"))
        )
        members = groups.join(known.select("track_id"), "track_id", "left_semi")
        (row,) = members.agg(F.count("*").alias("tracks"), F.countDistinct("group_id").alias("groups")).collect()
        surplus = row.tracks - row.groups
    else:
        reasons["duplicate_rate"] = "the table duplicates names no group"
    lists = lists.select("system", "track_id", own.alias("own"), recording.alias("recording"))

    times = lists.groupBy("system", "recording").agg(F.count("*").alias("times")).groupBy("system", "times").count()
    others = F.collect_set(F.when(F.col("recording") != F.col("own"), F.col("recording")))
    a_list = lists.groupBy("system", "track_id").agg(
        F.count("*").alias("length"), (F.count("*") - F.size(others)).alias("duplicates")
    )
    occurring = _collected(times)
    lengths = _collected(a_list.groupBy("system", "length", "duplicates").count())
    for system in run.config.systems:
        tracks = counts.get(system, 0)
        of = lengths[lengths["system"] == system]
        listed = occurring[occurring["system"] == system]
        # in the order of their times: the resamples are drawn cell by cell
        histogram = dict(sorted(zip(listed["times"].tolist(), listed["count"].tolist(), strict=True)))
        occurrence = Occurrence.of(histogram, tracks - surplus, float(of["count"].sum()))
        yield from _occurrence(system, occurrence, bootstrap)
        of = of.sort_values(["length", "duplicates"])
        cells = ListCounts(
            np.array([0.0, *of["length"]]),
            np.array([0.0, *of["duplicates"]]),
            np.array([max(tracks - of["count"].sum(), 0.0), *of["count"]]),
        )
        yield from M.row(system, "lists_not_full", cells.not_full(top_n, bootstrap))
        if groups is not None:
            yield from M.row(system, "duplicate_rate", cells.duplicate_rate(bootstrap))
    tracks = counts["features"]
    yield from _occurrence("random", of_random(tracks - surplus, top_n), bootstrap)
    if "popularity" not in reasons:
        yield from _occurrence("popularity", of_popularity(tracks - surplus, top_n), bootstrap)
    if "genre_prior" not in reasons:
        sizes = known.where("track_genre is not null").groupBy("track_genre").count().orderBy("track_genre")
        of_genre = {row["track_genre"]: row["count"] for row in sizes.collect()}  # one row a genre
        yield from _occurrence("genre_prior", of_genre_prior(of_genre, tracks, top_n), bootstrap)


def _occurrence(system: str, occurrence: Occurrence, bootstrap: Bootstrap) -> Iterator[Measurement]:
    for metric, figure in occurrence.figures(bootstrap).items():
        yield from M.row(system, metric, figure)


def _groups(run: Run) -> DataFrame | None:
    """Return ``group_id, track_id`` of recordings that the catalogue has more than once; None if it names none."""
    groups = run.warehouse.read("duplicates").select("group_id", "track_id")
    return None if groups.isEmpty() else groups


def _vectors(run: Run, sample: _Sample, bootstrap: Bootstrap, reasons: dict[str, str]) -> Iterator[Measurement]:
    """Measure what needs vectors: the diversity of lists, and the fidelity of explanations."""
    facts, lists = sample.facts, sample.recommended.only(sample.asked["any"])
    used = np.unique(np.concatenate([lists.tracks, *(of.ravel() for of in lists.of.values())]))
    wanted = _frame(run, pd.Series(facts.ids[used[used >= 0]]))
    rows = run.warehouse.read("embeddings").select("space", "track_id", "vector", "parts")
    frame = _collected(rows.join(wanted, "track_id", "left_semi"))
    spaces: dict[str, tuple[pd.DataFrame, M.Vectors]] = {}
    for space in run.config.systems:
        of = frame[frame["space"] == space].sort_values("track_id", ignore_index=True)
        spaces[space] = (of, M.Vectors.of(facts, of["track_id"], _matrix(of["vector"])))
    yield from M.within_lists(lists, spaces["hybrid"][1], bootstrap)

    dimensions = sum(size for _, size in layout_of(run.config.audio.n_mfcc))
    if spaces["features"][1].matrix.shape[1] != dimensions:
        for metric in METRICS:
            if metric.startswith("fidelity"):
                reasons[metric] = "the vectors are of another configuration: give the night's --config"
        return
    for system in run.config.systems:
        if system not in sample.top:
            continue
        rows_of = {space: vectors.row_of for space, (_, vectors) in spaces.items()}
        needed = {*_parts(run.config, system), system}
        tracks, listed = lists.tracks, lists.of[system]
        top = sample.top[system][sample.asked["any"]]
        used = np.unique(np.concatenate([tracks, listed[listed >= 0]]))
        used = used[np.all([rows_of[space][used] >= 0 for space in needed], axis=0)]
        local = np.full(len(facts.ids) + 1, -1)
        local[used] = np.arange(len(used))
        parts = _split(run.config, system, {space: (*spaces[space], rows_of[space][used]) for space in needed})
        has = local[tracks] >= 0
        yield from M.deletion(
            system, parts, local[tracks[has]], local[listed[has]], top=top[has], bootstrap=bootstrap
        )


def _split(config: Config, system: System, spaces: Mapping[str, tuple[pd.DataFrame, M.Vectors, IntArray]]) -> Split:
    """Split vectors of a system's space into the parts that its explanations name.

    Parameters
    ----------
    spaces : mapping
        Of each space that is needed, its rows of ``embeddings``, its vectors, and which of these to split.
    """
    splits = []
    for space, parts in _parts(config, system).items():
        frame, vectors, rows = spaces[space]
        stored = frame["parts"].iloc[rows]
        splits.append(split(parts, vectors.matrix[rows], _matrix(stored) if stored.notna().all() else None))
    if system in _parts(config, system):
        return splits[0]
    _, vectors, rows = spaces[system]
    return joined(vectors.matrix[rows], splits)


def _parts(config: Config, system: System) -> dict[str, Parts]:
    """Return, by space, the parts of a system's scores; a space without a share in the hybrid has none."""
    return {space: parts_of(space, config) for space, share in shares_of(system, config).items() if share}


def _names(config: Config, system: System) -> list[str]:
    """Return the names of the parts of a system's scores, as `reasons` call them."""
    return [name for parts in _parts(config, system).values() for name in parts.names]


def _overlap(run: Run, sample: _Sample, bootstrap: Bootstrap, reasons: dict[str, str]) -> Iterator[Measurement]:
    """Measure how far the two systems agree, by the table ``agreement``."""
    for metric in ("overlap_jaccard", "overlap_rank_biased"):
        reasons[metric] = "the table agreement is empty"
    chosen = _frame(run, pd.Series(sample.facts.ids[sample.recommended.tracks[sample.asked["any"]]]))
    rows = run.warehouse.read("agreement").join(chosen, "track_id", "left_semi")
    frame = _collected(rows.select("track_id", "jaccard", "rank_biased_overlap"))
    yield from M.overlap(sample.facts, frame.sort_values("track_id", ignore_index=True), bootstrap)


def _explanations(run: Run) -> Iterator[Measurement]:
    """Measure, over all rows, that the parts make the score, and how far sentences differ."""
    rows = run.warehouse.read("recommendations")
    parts = F.aggregate(
        "reasons", F.lit(0.0), lambda total, reason: total + F.coalesce(reason["contribution"], F.lit(0.0))
    )
    said = (
        rows.select("system", "explanation", F.abs(parts - F.col("score")).alias("error"))
        .groupBy("system", "explanation")
        .agg(F.count("*").alias("rows"), F.max("error").alias("error"))
        .groupBy("system")
        .agg(
            F.sum("rows").alias("rows"),
            F.count("*").alias("distinct"),
            F.max_by("explanation", F.struct("rows", "explanation")).alias("commonest"),
            F.max("rows").alias("most"),
            F.max("error").alias("error"),
        )
    )
    for row in sorted(said.collect()):  # one row a system
        # all rows are counted, and there is no sample whose chance an interval could tell of
        yield from M.row(row.system, "explanation_error", Figure(row.error, None, None, row.rows))
        commonest = Figure(row.most / row.rows, None, None, row.rows)
        yield from M.row(row.system, "explanation_commonest", commonest, details={"explanation": row.commonest})
        yield from M.row(row.system, "explanation_distinct", Figure(row.distinct / row.rows, None, None, row.rows))


def _truth(run: Run, sample: _Sample, bootstrap: Bootstrap) -> Iterator[Measurement]:
    """Measure, on the sample's lists, which explanations another reader of the tables finds true."""
    facts, lists = sample.facts, sample.recommended.only(sample.asked["any"])
    listed = [of.ravel() for system, of in lists.of.items() if system in run.config.systems]
    spoken_of = np.unique(np.concatenate([lists.tracks, *listed]))
    tracks = _values(run, _frame(run, pd.Series(facts.ids[spoken_of[spoken_of >= 0]])))
    fit = run.config.fit
    drawn = sample_tracks(run.warehouse.read("audio_features").select("track_id"), fit.sample_tracks, fit.seed)
    catalogue = _values(run, drawn)
    slack = 0.0 if len(catalogue) < fit.sample_tracks else _SAMPLED_SHARE
    reader = truth.Reader(tracks, catalogue, slack)
    chosen = _frame(run, pd.Series(facts.ids[lists.tracks]))
    columns = ("system", "track_id", "recommended_track_id", "explanation", "reasons", "score")
    rows = run.warehouse.read("recommendations").select(*columns).join(chosen, "track_id", "left_semi").collect()
    told = [row.asDict(recursive=True) for row in rows]
    for system in run.config.systems:
        of_system = sorted((row for row in told if row["system"] == system), key=lambda row: str(row["track_id"]))
        untrue = reader.untrue(of_system)
        false = {(one.track_id, one.recommended_track_id) for one in untrue}
        holds = pd.DataFrame(
            {
                "track_id": [row["track_id"] for row in of_system],
                "true": [(row["track_id"], row["recommended_track_id"]) not in false for row in of_system],
            }
        )
        by_track = holds.groupby("track_id")["true"].mean().to_numpy(np.float64)
        details = {"untrue": untrue[0].statement} if untrue else {}
        yield from M.row(system, "explanation_truth", bootstrap.mean(by_track), details=details)


def _values(run: Run, tracks: DataFrame) -> pd.DataFrame:
    """Return what explanations may speak of, of some tracks."""
    features = run.warehouse.read("audio_features").select("track_id", *truth.FEATURES)
    levels = run.warehouse.read("embeddings").where("space = 'spectrogram'").select("track_id", "levels")
    attributes = run.warehouse.read("tracks").select("track_id", *truth.ATTRIBUTES)
    tags = run.warehouse.read("embeddings").where("tags is not null").select("track_id", "space", "tags")
    few = [_collected(rows.join(tracks, "track_id", "left_semi")) for rows in (features, levels, attributes, tags)]
    return truth.values_of(*few)


def _reads(run: Run, sample: _Sample, bootstrap: Bootstrap) -> Iterator[Measurement]:
    """Measure how long a service waits for one track's recommendations, without Spark."""
    reader = Reader(run.config.warehouse, run.config.storage)
    tracks = np.random.default_rng(run.config.evaluate.seed).permutation(sample.recommended.tracks)
    ids = sample.facts.ids[tracks[:_READS]]
    for system in run.config.systems:
        seconds = []
        for track_id in [ids[0], *ids]:  # the first finds nothing warm
            start = time.perf_counter()
            reader.rows("recommendations", [("system", "=", system), ("track_id", "=", track_id)])
            seconds.append(time.perf_counter() - start)
        yield from M.row(system, "read_ms", bootstrap.median(1000 * np.array(seconds[1:])))


def _collected(rows: DataFrame) -> pd.DataFrame:
    frame: pd.DataFrame = rows.toPandas()
    return frame


def _frame(run: Run, track_ids: pd.Series) -> DataFrame:
    """Return some track_ids, each once, small enough to be sent to every executor."""
    return F.broadcast(run.warehouse.spark.createDataFrame(pd.DataFrame({"track_id": track_ids.unique()})))


def _matrix(vectors: pd.Series) -> npt.NDArray[np.float64]:
    return np.stack(vectors.to_list()).astype(np.float64) if len(vectors) else np.zeros((0, 0))


def _ordered(lists: Mapping[str, IntArray], systems: Sequence[str]) -> dict[str, IntArray]:
    return {system: lists[system] for system in systems if system in lists}
