"""Evaluate, for people: what they are told of lists, what they say of that, and what lists would have been worth.

Of lists that stand, statements are read again from the tables, and judgements are added up. What lists are worth is
told by what people liked that nothing was fitted to: the newest events, or all that some people did. So all that is
told of tracks by their listeners is fitted anew without that, and so are the weights; lists are made and limited as
a night makes them, but that none holds a track which the person is known to have heard.

Whatever is collected is of a sample of people: `evaluate.sample_people`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.embedding.config import HYBRID
from specrec.embedding.spark import few_tracks, lot
from specrec.errors import ConfigError
from specrec.evaluate import measurements as M
from specrec.evaluate import people as P
from specrec.evaluate.config import Split
from specrec.evaluate.intervals import Bootstrap
from specrec.evaluate.metrics import Measurement
from specrec.evaluate.people_truth import Count, PeopleTables, PeopleTruthChecker
from specrec.evaluate.spark import (
    collected,
    cosines_of,
    count_sentences,
    counted_candidates,
    day_to_cut_at,
    first_places,
    judgements,
    nearest_who_like,
    opinions_of,
    some_people,
    who_like_both,
)
from specrec.evaluate.truth import TruthChecker
from specrec.events.rules import KINDS
from specrec.events.spark import preferences_of
from specrec.listeners.config import NOBODY
from specrec.pipeline.blend import (
    allowed_tracks,
    components_alone,
    known_to,
    learned_weights,
    model_of,
    shown_at_levels,
    vectors_of_content,
)
from specrec.pipeline.factors import fit, listeners_artefact
from specrec.pipeline.kept import Kept
from specrec.pipeline.listen import what_people_did
from specrec.pipeline.people_lists import chosen_lists
from specrec.pipeline.run import Run

#: Of so many people's lists statements are read again, at most: whole lists, of which each row says a dozen things.
_TOLD = 200
#: No more than this share of all people is held out.
_MOST_HELD_OUT = 0.25

#: The metrics that tell what lists would have been worth.
_HELD_OUT = (
    "people_precision_at_10", "people_recall_at_10", "people_ndcg_at_10", "people_coverage", "people_novelty",
    "people_popularity_bias",
)  # fmt: skip

_TABLE = "user_recommendations"
#: Makes what reads again how tracks sound alike, of some tracks.
CheckerOf = Callable[[pd.Series], TruthChecker]
_OPINION = ("user_id", "track_id", "preference", "confidence")


def measure_people(
    run: Run, checker_of: CheckerOf, bootstrap: Bootstrap, reasons: dict[str, str]
) -> Iterator[Measurement]:
    """Yield what is measured of lists for people, and of what they say; note in `reasons` why what is left out."""
    config, read = run.config.evaluate, run.warehouse.read
    said = collected(judgements(read("events"), config.sample_people, config.seed))
    for name in ("clear", "trust"):
        for of_lists in ("explanation", "people_explanation"):
            reasons[f"{of_lists}_{name}"] = f"nobody judged one (events of kind {name})"
    yield from M.judgements(said, bootstrap)
    if read("preferences").isEmpty():
        reasons |= dict.fromkeys(_HELD_OUT, "nobody's preferences are known")
        return
    if not config.held_out:
        reasons |= dict.fromkeys(_HELD_OUT, "evaluate.held_out names no way to hold anything out")
    if not read(_TABLE).isEmpty():
        if run.artefacts.find(listeners_artefact(run.config)) is None:
            raise ConfigError(
                "the lists for people were made with other settings: give the --config and --set of the night"
            )
        yield from M.sentences(count_sentences(read(_TABLE)).collect(), "people")  # one row a system
        yield from _truth(run, checker_of, bootstrap)
    for split in config.held_out:
        with Kept() as kept:
            asked = _SPLITS[split](run, kept)
            if isinstance(asked, str):
                reasons |= dict.fromkeys(_HELD_OUT, f"by {split}: {asked}")
            else:
                yield from _held_out(run, kept, split, asked, bootstrap)


# --- what people are told ---------------------------------------------------------------------------------------


def _truth(run: Run, checker_of: CheckerOf, bootstrap: Bootstrap) -> Iterator[Measurement]:
    """Measure, on the lists of a sample of people, which explanations another reader of the tables finds true."""
    config, lists = run.config.evaluate, run.warehouse.read(_TABLE)
    size = min(config.sample_people, _TOLD)
    people = some_people(lists.where(F.col("user_id") != NOBODY), size, config.seed, "told")
    people = people.unionByName(run.warehouse.spark.createDataFrame([(NOBODY,)], "user_id string"))
    columns = ("system", "user_id", "track_id", "score", "explanation", "reasons")
    rows = lists.select(*columns).join(people, "user_id", "left_semi").collect()
    told = [row.asDict(recursive=True) for row in rows]
    of_pairs = {
        (of["feature"], row["track_id"]) for row in told for of in row["reasons"] if of["feature"] is not None
    }
    pairs = pd.DataFrame(sorted(of_pairs), columns=["known", "track_id"])
    named = pd.concat([pd.Series([row["track_id"] for row in told]), pairs["known"]]).drop_duplicates()
    listed = lists.select("user_id", "track_id").join(people, "user_id", "left_semi").distinct()
    checker = PeopleTruthChecker(_tables(run, people, listed, pairs, named), checker_of(named))
    for system in sorted({row["system"] for row in told}):
        yield from M.truth(system, [row for row in told if row["system"] == system], checker, bootstrap)


def _tables(run: Run, people: DataFrame, listed: DataFrame, pairs: pd.DataFrame, named: pd.Series) -> PeopleTables:
    """Return what the tables say of the people and tracks that statements are of."""
    read, spark = run.warehouse.read, run.warehouse.spark
    few, preferences = few_tracks(spark, named), read("preferences")
    of_pairs = spark.createDataFrame(pairs, "known string, track_id string")
    fitted = read("track_listeners")
    first = fitted.select("run_id").first()
    since = "" if first is None else first.run_id
    gone = read("forgotten").where(F.col("run_id") > since).count()  # who were counted and are not there any more
    titles = collected(
        read("tracks").select("track_id", "track_name", "artists").join(few, "track_id", "left_semi")
    )
    mine = collected(preferences.select(*_OPINION[:3]).join(people, "user_id", "left_semi"))
    opinions = collected(opinions_of(preferences, few, since)).set_index("track_id")
    both = collected(who_like_both(preferences, of_pairs))
    config = run.config.listeners
    nearby = nearest_who_like(
        preferences.join(people, "user_id", "left_semi"),
        read("crowd"),
        listed,
        nearest=config.nearest,
        least=config.min_together,
        shrinkage=config.together_shrinkage,
    )
    space = config.space
    vectors = read("embeddings").where(F.col("space") == space).select("track_id", "vector")
    cosines = collected(cosines_of(vectors, of_pairs))
    sounds = read("recommendations").where(F.col("system") == space)
    sounds = sounds.select(
        F.col("track_id").alias("known"), F.col("recommended_track_id").alias("track_id"), "score", "reasons"
    ).join(of_pairs, ["known", "track_id"], "left_semi")
    changed = opinions["changed"].to_dict()
    return PeopleTables(
        titles={row.track_id: _title(row.track_id, row.track_name, row.artists) for row in titles.itertuples()},
        preferences={
            str(user): dict(zip(rows["track_id"], rows["preference"], strict=True))
            for user, rows in mine.groupby("user_id")
        },
        opinions=dict.fromkeys(named, Count(0, 0, gone))
        | {
            str(row.Index): Count(int(row.liked), int(row.listeners), int(row.changed) + gone)
            for row in opinions.itertuples()
        },
        both={
            (row.known, row.track_id): Count(
                int(row.both),
                int(row.liked),
                int(changed.get(row.known, 0) + changed.get(row.track_id, 0)) + gone,
            )
            for row in both.itertuples()
        },
        nearby={
            (row.user_id, row.track_id): Count(int(row.liked), int(row.among), gone)
            for row in collected(nearby).itertuples()
        },
        fitted=set(collected(fitted.select("track_id").join(few, "track_id", "left_semi"))["track_id"]),
        cosines={(row.known, row.track_id): row.cosine for row in cosines.itertuples()},
        sounds={(row.known, row.track_id): row.asDict(recursive=True) for row in sounds.collect()},
    )


def _title(track_id: str, name: str | None, artists: str | None) -> str:
    title = track_id if name is None else f"“{name}”"
    return f"{title} by {artists.replace(';', ', ')}" if artists else title


# --- what lists would have been worth ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """Whom lists are made for, and what they are measured by.

    Attributes
    ----------
    told : DataFrame
        ``user_id, track_id, preference, confidence``: all that is fitted to.
    shown : DataFrame
        The same of those who are asked: what their lists are made of. Who is shown with more and with less has a
        ``user_id`` for each.
    people : DataFrame
        ``user_id, person, kind, is_whole``, a row a list: who it really is, what is known of the person (see
        :func:`~specrec.evaluate.people.held_out`), and whether all that is known is shown.
    count : int
        How many lists there are.
    heard, liked : DataFrame
        ``person, track_id``: what a list must not hold, and what it is to hold.
    """

    told: DataFrame
    shown: DataFrame
    people: DataFrame
    count: int
    heard: DataFrame
    liked: DataFrame


def _by_time(run: Run, kept: Kept) -> _Asked | str:
    """Hold out the newest events of all people; or return why that cannot be."""
    config, listeners, read = run.config.evaluate, run.config.listeners, run.warehouse.read
    events = what_people_did(run.warehouse).where(F.col("kind").isin(*KINDS))
    tracks = read("tracks").select("track_id", "duration_ms")
    day = day_to_cut_at(events, config.held_out_share)
    if day is None:
        return "all events are of one day"
    is_old = F.date_format("ts", "yyyy-MM-dd") < day
    old, new = (
        kept.keep(preferences_of(some, tracks, listeners.rules, some.count()).select(*_OPINION))
        for some in (events.where(is_old), events.where(~is_old))
    )
    heard = old.select(F.col("user_id").alias("person"), "track_id")
    liked = new.where("preference > 0").select(F.col("user_id").alias("person"), "track_id")
    liked = liked.join(heard, ["person", "track_id"], "left_anti").join(
        allowed_tracks(run), "track_id", "left_semi"
    )
    asked = some_people(liked.withColumnRenamed("person", "user_id"), config.sample_people, config.seed, "by time")
    asked, count = kept.count(asked)
    if not count:
        return "nobody liked anything new in the newest events"
    mine = kept.keep(old.join(asked, "user_id", "left_semi"))
    known = mine.groupBy("user_id").agg(F.count("*").alias("known"))
    known = asked.join(known, "user_id", "left").fillna(0, ["known"])
    kind = _kind(F.col("known"), listeners.few_preferences)
    people = known.select(
        "user_id", F.col("user_id").alias("person"), kind.alias("kind"), F.lit(True).alias("is_whole")
    )
    return _Asked(old, mine, kept.keep(people), count, heard, liked)


def _by_user(run: Run, kept: Kept) -> _Asked | str:
    """Hold out some people; or return why that cannot be.

    Half of what is known of each is what the lists are to hold. Of the other half all is shown, a little, and
    nothing: each person stands for three, as where weights are learned.
    """
    config, listeners, seed = run.config.evaluate, run.config.listeners, run.config.evaluate.seed
    preferences = run.warehouse.read("preferences").select(*_OPINION)
    size = min(config.sample_people, int(_MOST_HELD_OUT * preferences.select("user_id").distinct().count()))
    if not size:
        return f"there are fewer than {1 / _MOST_HELD_OUT:.0f} people"
    aside = kept.keep(some_people(preferences, size, seed, "by user"))
    half = preferences.join(aside, "user_id", "left_semi")
    half = half.withColumn("is_hidden", F.pmod(lot(seed, "hidden", "user_id", "track_id"), F.lit(2)) == 0)
    shown, count = shown_at_levels(half.where(~F.col("is_hidden")), aside, size, listeners.few_preferences, seed)
    shown = kept.keep(shown)
    of_half = half.select(F.col("user_id").alias("person"), "track_id", "preference", "is_hidden")
    liked = of_half.where("is_hidden and preference > 0").join(allowed_tracks(run), "track_id", "left_semi")
    level = F.split_part("user_id", F.lit("/"), F.lit(1)).cast("int")
    known = shown.groupBy("user_id", "person").agg(F.count("track_id").alias("known")).withColumn("level", level)
    # who is shown a little because nobody knows more is not counted twice
    is_of_kind = (F.col("level") == 0) | ((F.col("level") == 1) & (F.col("known") > 0))
    is_of_kind |= (F.col("level") == 2) & (F.col("known") >= listeners.few_preferences)
    kind = F.when(is_of_kind, _kind(F.col("known"), listeners.few_preferences))
    people = known.select("user_id", "person", kind.alias("kind"), (F.col("level") == 2).alias("is_whole"))
    return _Asked(
        told=preferences.join(aside, "user_id", "left_anti"),
        shown=shown.where("track_id is not null").select(*_OPINION),
        people=kept.keep(people),
        count=count,
        heard=of_half.where("not is_hidden").select("person", "track_id"),
        liked=liked.select("person", "track_id"),
    )


_SPLITS: dict[Split, Callable[[Run, Kept], _Asked | str]] = {"time": _by_time, "user": _by_user}


def _kind(known: Column, few: int) -> Column:
    return F.when(known == 0, P.COLD).when(known < few, P.LITTLE).otherwise(P.WARM)


def _held_out(run: Run, kept: Kept, split: Split, of: _Asked, bootstrap: Bootstrap) -> Iterator[Measurement]:
    """Measure lists that are made of what is shown, by models that are fitted to what is told."""
    config, told = run.config.listeners, kept.keep(of.told)
    vectors, fitted = vectors_of_content(run), fit(run, told, kept)
    weights = learned_weights(run, told, kept)
    systems = {HYBRID: weights} | components_alone(len(weights))
    model = model_of(run.config, fitted.gram, systems, vectors.dimensions)
    everybody = of.people.select("user_id")
    known = known_to(run, of.shown, everybody, of.count, fitted=fitted, vectors=vectors)
    heard = of.people.select("user_id", "person").join(of.heard, "person").drop("person")
    chosen = chosen_lists(
        run,
        kept,
        kept.keep(known),
        of.count,
        fitted=fitted,
        vectors=vectors,
        model=model,
        familiar_too=False,
        barred=heard,
    )
    first = first_places(chosen, P.FIRST)

    listeners = fitted.tracks.select("track_id", "listeners")
    is_cold = (F.coalesce("listeners", F.lit(0)) < config.new_below).alias("is_cold")
    liked = of.people.select("user_id", "person").join(of.liked, "person").select("user_id", "track_id")
    liked = kept.keep(liked.join(listeners, "track_id", "left").select("user_id", "track_id", is_cold))
    listed = first.join(listeners, "track_id", "left").fillna(0, ["listeners"])
    is_liked = liked.select("user_id", "track_id", F.lit(True).alias("is_liked"))
    listed = listed.join(is_liked, ["user_id", "track_id"], "left").fillna(False, ["is_liked"])
    listed = listed.select(
        "system", "user_id", "place", F.xxhash64("track_id").alias("track"), "is_liked", is_cold, "listeners"
    )
    count_of_people = told.select("user_id").distinct().count()
    about = counted_candidates(allowed_tracks(run), listeners, count_of_people)
    candidates = P.Candidates(int(about["tracks"]), about["listeners"], about["novelty"], count_of_people)
    yield from P.held_out(f"by {split}", collected(listed), _counted(run, of, liked, heard), candidates, bootstrap)


def _counted(run: Run, of: _Asked, liked: DataFrame, heard: DataFrame) -> pd.DataFrame:
    """Return what :func:`~specrec.evaluate.people.held_out` takes of those who are asked."""
    wanted = liked.groupBy("user_id").agg(F.count("*").alias("liked"), F.count_if("is_cold").alias("liked_cold"))
    barred = (
        heard.join(allowed_tracks(run), "track_id", "left_semi").groupBy("user_id").agg(F.count("*").alias("heard"))
    )
    asked = of.people.join(wanted, "user_id", "left").join(barred, "user_id", "left")
    asked = asked.fillna(0, ["liked", "liked_cold", "heard"])
    return collected(asked.select("user_id", "kind", "is_whole", "liked", "liked_cold", "heard"))
