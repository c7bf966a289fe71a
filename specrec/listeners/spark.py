"""Listeners in Spark: the one module of this package that imports it.

What is fitted to all preferences is fitted here, tracks and people are packed into blocks, and blocks are brought
together; what happens to a block is a function of the other modules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.ml.recommendation import ALS
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from specrec.arrays import Float64Array, Int64Array
from specrec.listeners.blocks import FOUND, PACKED, Model, choose_lists, meet, pack_people, pack_tracks
from specrec.listeners.config import OF_TRACKS, ListenersConfig
from specrec.listeners.crowd import Crowd
from specrec.listeners.popularity import Popularity, fit_popularity
from specrec.listeners.reasons import TOLD, tell
from specrec.listeners.together import pairs_liked
from specrec.warehouse.explained import OF_PEOPLE, explanation_id

#: Factors are kept to so many decimals: nearly all that Spark adds up in another order is lost in rounding.
_DECIMALS = 5
#: People whose preferences become vectors at once: of each preference the vectors of its track are in memory.
_PEOPLE_AT_ONCE = 512
#: People and tracks that are scored against each other at once.
_PEOPLE_A_TARGET, _TRACKS_A_TARGET = 4_096, 65_536
#: Returns rows that are computed once, whatever is made of them.
Keep = Callable[[DataFrame], DataFrame]

#: ALS cuts people and tracks into so many blocks each: one for so many ratings, within bounds. What it comes to
#: depends on that number, so it must not depend on the cluster.
_RATINGS_A_BLOCK, _FEWEST_BLOCKS, _MOST_BLOCKS = 500_000, 2, 1_000
#: So many iterations of ALS go by between two checkpoints.
_ITERATIONS_AT_ONCE = 2
#: Sums are of so many parts of 1.
_WHOLE, _THOUSAND = 1_000_000, 1_000
#: What is believed of a track before anybody is heard is fitted to about so many tracks.
_TRACKS_OF_A_PRIOR = 10_000
#: How soon more evidence adds little, and how much less it adds to tracks of which there is much; as is usual.
_BM25_K1, _BM25_B = 1.2, 0.75
#: Likes whose pairs are counted at once.
_LIKES_AT_ONCE = 50_000
#: Of each person so many liked tracks, those with the most evidence, tell what is liked together, and by whom.
_MOST_LIKES = 200


def evidence() -> Column:
    """Return what a preference is worth: above 0 where the person likes the track, below where not."""
    return F.col("preference") * F.col("confidence")


def code_of(track_id: str = "track_id") -> Column:
    """Return the number that stands for a track."""
    return F.xxhash64(track_id)


def summaries_of_tracks(preferences: DataFrame) -> DataFrame:
    """Return what people's opinions of each track come to.

    ``track_id, listeners, liked, disliked, liking, squares, evidence_for, evidence_against``: ``liking`` is the sum
    of how much each likes it, 0 to 1, and ``squares`` that of the squares, in whole millionths; the last two are
    what the evidence for and against it adds up to, in whole thousandths. So they do not depend on the order.
    """
    liking, weight = (1 + F.col("preference")) / 2, F.round(evidence() * _THOUSAND).cast("long")
    return preferences.groupBy("track_id").agg(
        F.count("*").alias("listeners"),
        F.count_if(F.col("preference") > 0).alias("liked"),
        F.count_if(F.col("preference") < 0).alias("disliked"),
        F.sum(F.round(liking * _WHOLE).cast("long")).alias("liking"),
        F.sum(F.round(liking * liking * _WHOLE).cast("long")).alias("squares"),
        F.sum(F.greatest(weight, F.lit(0))).alias("evidence_for"),
        F.sum(F.greatest(-weight, F.lit(0))).alias("evidence_against"),
    )


def share_changed(then: DataFrame, now: DataFrame) -> float:
    """Return how much of the evidence came or went, as a share of what there was; 1 if there was none, and is some.

    It is added up track by track, for and against: what is added to one track does not hide what another lost.

    Parameters
    ----------
    then, now : DataFrame
        ``track_id, evidence_for, evidence_against``; a track that is not there has none.
    """
    columns = ("evidence_for", "evidence_against")
    before = then.select("track_id", *(F.col(name).alias(f"was_{name}") for name in columns))
    both = now.join(before, "track_id", "full_outer").fillna(0)
    apart = sum((F.abs(F.col(name) - F.col(f"was_{name}")) for name in columns), F.lit(0))
    sums = both.agg(
        F.sum(apart).alias("changed"), F.sum(sum((F.col(f"was_{name}") for name in columns), F.lit(0))).alias("was")
    ).first()
    assert sums is not None
    changed, was = sums.changed or 0, sums.was or 0
    return changed / was if was else float(changed > 0)


def counted_tracks(summaries: DataFrame, catalogue: DataFrame) -> DataFrame:
    """Return the rows of :func:`summaries_of_tracks` of every track, with ``artist``; 0 of those that nobody knows.

    Parameters
    ----------
    catalogue : DataFrame
        ``track_id, artists``.
    """
    tracks = catalogue.select("track_id", F.coalesce("artists", F.lit("")).alias("artist"))
    return tracks.join(summaries, "track_id", "left").fillna(0, summaries.columns[1:])


def fit_popularity_to(counted: DataFrame) -> Popularity:
    """Fit what is believed of a track before anybody is heard to some ten thousand tracks, artist by artist.

    Parameters
    ----------
    counted : DataFrame
        What :func:`counted_tracks` returned.
    """
    chosen = counted.orderBy(F.xxhash64(F.lit("popularity"), _owner()), "track_id").limit(_TRACKS_OF_A_PRIOR)
    rows: pd.DataFrame = chosen.toPandas()
    return fit_popularity(*_counts(pa.Table.from_pandas(rows.sort_values("track_id"), preserve_index=False)))


def with_popularity(counted: DataFrame, popularity: Popularity) -> DataFrame:
    """Return the rows of :func:`counted_tracks` with ``popularity, average`` in place of ``artist`` and sums.

    They are the logarithms of how many people are believed to know a track, and of how much they like it, against
    those of the mean track: 0 is usual. All tracks of an artist meet in one task.
    """
    columns = ["track_id", "listeners", "liked", "disliked", "evidence_for", "evidence_against"]
    blocks = F.pmod(F.xxhash64(_owner()), F.lit(-(-counted.count() // _TRACKS_A_TARGET) or 1))

    def of_block(table: pa.Table) -> pa.Table:
        known, liking, _, artist = _counts(table)
        parts = popularity.expected(known, liking, artist).parts - popularity.usual
        found = table.select(columns)
        return found.append_column("popularity", pa.array(parts[:, 0])).append_column(
            "average", pa.array(parts[:, 1])
        )

    schema = ", ".join([f"{columns[0]} string", *(f"{name} long" for name in columns[1:])])
    schema += ", popularity double, average double"
    return counted.groupBy(blocks).applyInArrow(of_block, schema)


def _owner() -> Column:
    """Return whose a track is: the artist's, or its own, where no artist is known."""
    return F.when(F.col("artist") != "", F.col("artist")).otherwise(F.col("track_id"))


def _counts(table: pa.Table) -> tuple[Int64Array, Float64Array, Float64Array, Int64Array]:
    """Return how many people know each track, sums of liking and its squares, and the numbers of artists."""
    names = table.column("artist").combine_chunks()
    artist = pc.index_in(names, pc.unique(names)).to_numpy(zero_copy_only=False).astype(np.int64)
    artist[pc.equal(names, "").to_numpy(zero_copy_only=False)] = -1
    known, liking, squares = (table.column(name).to_numpy() for name in ("listeners", "liking", "squares"))
    return known.astype(np.int64), liking / _WHOLE, squares / _WHOLE, artist


def numbered(rows: DataFrame, column: str, name: str, keep: Keep) -> DataFrame:
    """Return the values of a column, each once, with a number from 0, in their order.

    Only how many there are in each partition is collected.

    Parameters
    ----------
    keep : callable
        Returns rows that are computed once, whatever is made of them.
    """
    values = rows.select(column).distinct().repartitionByRange(column).sortWithinPartitions(column)
    number = {"_part": F.spark_partition_id(), "_row": F.monotonically_increasing_id()}
    placed = keep(values.withColumns(number))
    counts = {row._part: row["count"] for row in placed.groupBy("_part").count().collect()}
    offset, offsets = 0, []
    for part in sorted(counts):
        offsets.append((part, offset))
        offset += counts[part]
    if not offsets:
        return values.withColumn(name, F.lit(0))
    before = F.create_map(*(F.lit(number) for pair in offsets for number in pair))
    row = F.col("_row").bitwiseAND((1 << 33) - 1)
    return placed.select(column, (before[F.col("_part")] + row).cast("int").alias(name))


@contextmanager
def checkpoints(spark: SparkSession, folder: str) -> Iterator[None]:
    """Let Spark write what ALS comes to on its way to a folder, which is deleted afterwards.

    Each step of ALS is made of the last. Without checkpoints the description of a task grows with each, until
    Java's stack cannot hold it.

    Parameters
    ----------
    folder : str
        As Spark takes it; every executor must reach it.
    """
    context, jvm = spark.sparkContext, spark._jvm
    assert jvm is not None
    context.setCheckpointDir(folder)
    try:
        yield
    finally:
        path = jvm.org.apache.hadoop.fs.Path(folder)
        path.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf()).delete(path, True)


def train_factors(preferences: DataFrame, config: ListenersConfig, seed: int, keep: Keep) -> DataFrame:
    """Return ``track_id, als``: the factors of the tracks that somebody has an opinion of.

    By alternating least squares for implicit feedback, as Spark's MLlib fits it: a track that a person likes has
    the preference 1, any other 0, with a confidence that grows with the evidence.

    Parameters
    ----------
    preferences : DataFrame
        ``user_id, track_id, preference, confidence``.
    keep : callable
        Returns rows that are computed once, whatever is made of them.
    """
    rated = preferences.where("preference != 0").select("user_id", "track_id", evidence().alias("rating"))
    # who likes nothing, and what nobody likes, has no regularisation, and equations without one solution
    for column in ("user_id", "track_id"):
        rated = rated.join(rated.where("rating > 0").select(column).distinct(), column, "left_semi")
    rated = keep(rated)
    if rated.isEmpty():
        return preferences.sparkSession.createDataFrame([], "track_id string, als array<float>")
    people, tracks = numbered(rated, "user_id", "person", keep), numbered(rated, "track_id", "track", keep)
    ratings = rated.join(people, "user_id").join(tracks, "track_id")
    ratings = keep(ratings.select("person", "track", F.col("rating").cast("float")))
    blocks = min(max(_FEWEST_BLOCKS, -(-ratings.count() // _RATINGS_A_BLOCK)), _MOST_BLOCKS)
    als = ALS(
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        rank=config.factors,
        maxIter=config.als_iterations,
        regParam=config.als_regularisation,
        alpha=config.als_alpha,
        implicitPrefs=True,
        userCol="person",
        itemCol="track",
        ratingCol="rating",
        seed=seed,
        checkpointInterval=_ITERATIONS_AT_ONCE,
    )
    found = als.fit(ratings).itemFactors
    rounded = F.transform("features", lambda value: F.round(value, _DECIMALS).cast("float"))
    return (
        found.select(F.col("id").alias("track"), rounded.alias("als"))
        .join(tracks, "track")
        .select("track_id", "als")
    )


def gram_of(factors: DataFrame, size: int) -> Float64Array:
    """Return the sum of the outer products of factors, float64, shape (size, size).

    Factors are whole numbers of 10**-5, and so it is exact, whatever the order.

    Parameters
    ----------
    factors : DataFrame
        ``track_id, als``.
    size : int
        How many factors a track has.
    """

    def products(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            values = batch.column("als").flatten().to_numpy(zero_copy_only=False)
            whole = np.rint(values.reshape(batch.num_rows, -1) * 10.0**_DECIMALS).astype(np.int64)
            sums = (whole.T @ whole).ravel()
            yield pa.RecordBatch.from_pydict({"place": np.arange(len(sums), dtype=np.int32), "sum": sums})

    sums = factors.select("als").mapInArrow(products, "place int, sum long").groupBy("place")
    rows = sums.agg(F.sum(F.col("sum").cast("decimal(38,0)")).alias("sum")).collect()  # factors x factors
    gram = np.zeros((size, size))
    for row in rows:
        gram.flat[row.place] = float(row.sum) * 10.0 ** (-2 * _DECIMALS)
    return gram


def _strongest_likes(preferences: DataFrame) -> DataFrame:
    """Return the preferences above 0, of each person no more than tell something."""
    most = Window.partitionBy("user_id").orderBy(evidence().desc(), "track_id")
    liked = preferences.where("preference > 0").withColumn("place", F.row_number().over(most))
    return liked.where(F.col("place") <= _MOST_LIKES).drop("place")


def likes_of_crowd(preferences: DataFrame, config: ListenersConfig, seed: int) -> DataFrame:
    """Return ``user_id, track_id``: what some people like, who are chosen by lot among those who like enough.

    Parameters
    ----------
    preferences : DataFrame
        ``user_id, track_id, preference, confidence``.
    """
    liked = _strongest_likes(preferences).select("user_id", "track_id")
    people = liked.groupBy("user_id").count().where(F.col("count") >= config.min_together)
    lot = F.xxhash64(F.lit(seed), F.lit("crowd"), "user_id")
    return liked.join(people.orderBy(lot, "user_id").limit(config.crowd), "user_id", "left_semi")


def crowd_of(likes: DataFrame, config: ListenersConfig) -> Crowd:
    """Return the crowd of :func:`likes_of_crowd`, on the driver: ``listeners.crowd`` bounds it.

    Parameters
    ----------
    likes : DataFrame
        ``user_id, track_id``.
    """
    return Crowd.of(likes.select("user_id", code_of().alias("code")).toArrow(), config)


def liked_together(preferences: DataFrame, config: ListenersConfig) -> DataFrame:
    """Return ``track_id, rank, other_id, similarity, both, liked``: of each track those that the same people like.

    The similarity is the cosine of what likes of the two weigh, shrunk where few like both. Pairs are counted a
    block of people at a time, and a person's pairs are bounded: those who like everything tell little.
    """
    liked = _strongest_likes(preferences).withColumn("code", code_of())
    liked = liked.withColumn("weight", F.lit(1)) if config.together_weighting == "cosine" else _weighed(liked)
    square = F.sum(F.col("weight").cast("double") * F.col("weight")).alias("squares")  # whole, and so exact
    names = liked.groupBy("code").agg(F.min("track_id").alias("track_id"), F.count("*").alias("liked"), square)
    names = names.where(F.col("liked") >= config.min_together)
    pairs = (
        liked.select("user_id", "code", "weight")
        .repartition("user_id")
        .sortWithinPartitions("user_id")
        .mapInArrow(_counting_pairs, "a long, b long, both long, product long")
        .groupBy("a", "b")
        .agg(F.sum("both").alias("both"), F.sum("product").alias("product"))
        .where(F.col("both") >= config.min_together)
    )
    of_a = names.select(F.col("code").alias("a"), F.col("track_id"), F.col("squares").alias("squares_a"))
    of_b = names.select(F.col("code").alias("b"), F.col("track_id").alias("other_id"), "liked", "squares")
    cosine = F.col("product") / F.sqrt(F.col("squares_a") * F.col("squares"))
    shrunk = cosine * F.col("both") / (F.col("both") + F.lit(config.together_shrinkage))
    pairs = pairs.join(of_a, "a").join(of_b, "b").withColumn("similarity", shrunk)
    best = Window.partitionBy("track_id").orderBy(F.col("similarity").desc(), "other_id")
    pairs = pairs.withColumn("rank", F.row_number().over(best)).where(F.col("rank") <= config.together_top_n)
    return pairs.select("track_id", "rank", "other_id", "similarity", "both", "liked")


def _weighed(liked: DataFrame) -> DataFrame:
    """Return likes with ``weight``, by BM25, in whole thousandths.

    As documents are found by words (Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond,
    2009), a track being the document and the people its words: who likes much tells little, more evidence tells
    less and less, and so does that of a track of which there is much. No weight is 0.

    Parameters
    ----------
    liked : DataFrame
        ``user_id, track_id, preference, confidence, code``.
    """
    amount = F.round(evidence() * _THOUSAND).cast("long")  # whole, so that sums do not depend on the order
    rows = liked.withColumns({"amount": amount, "likes": F.count("*").over(Window.partitionBy("user_id"))})
    lengths = rows.groupBy("code").agg(F.sum("amount").alias("length"))
    usual = lengths.agg(F.count("*").alias("tracks"), F.sum("length").alias("length")).first()
    assert usual is not None
    tracks, mean = usual.tracks or 1, (usual.length or 1) / (usual.tracks or 1)
    rarity = F.greatest(F.log(F.lit(float(tracks)) / (1 + F.col("likes"))), F.lit(0.0))
    given, long = F.col("amount") / _THOUSAND, 1 - _BM25_B + _BM25_B * F.col("length") / F.lit(mean)
    weight = rarity * given * (_BM25_K1 + 1) / (_BM25_K1 * long + given)
    whole = F.greatest(F.round(weight * _THOUSAND).cast("long"), F.lit(1))
    rows = rows.join(lengths, "code").withColumn("weight", whole)
    return rows.select("user_id", "track_id", "code", "weight")


def _counting_pairs(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Count pairs of likes that are sorted by person, whole people at a time."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        users = batch.column("user_id")
        here = pc.equal(users, users[-1]).to_numpy(zero_copy_only=False)
        begins = int(np.argmax(here))  # where the last person of the batch begins, who may go on in the next
        if begins:
            held.append(batch.slice(0, begins))
            if sum(of.num_rows for of in held) >= _LIKES_AT_ONCE:
                yield from pairs_liked(pa.Table.from_batches(held)).to_batches()
                held = []
        held.append(batch.slice(begins))
    if held:
        yield from pairs_liked(pa.Table.from_batches(held)).to_batches()


def candidates(
    allowed: DataFrame,
    *,
    tracks: DataFrame,
    together: DataFrame,
    vectors: DataFrame,
    unheard: Mapping[str, float],
    new_below: int,
) -> DataFrame:
    """Return the tracks that may be recommended, as :func:`~specrec.listeners.blocks.pack_tracks` takes them.

    Parameters
    ----------
    allowed : DataFrame
        ``track_id, artists, albums, duplicate`` of the tracks that filters let through.
    tracks, together : DataFrame
        The tables ``track_listeners`` and ``also_liked``, or what is to become them.
    vectors : DataFrame
        ``track_id, content``.
    unheard : dict of float
        The components in :data:`~specrec.listeners.config.OF_TRACKS` of a track that came since these were fitted.
    new_below : int
        A track is new whose opinions fewer people have given.
    """
    entry = F.struct(code_of("other_id").alias("code"), "similarity", "both", "liked")
    similar = together.groupBy("track_id").agg(F.array_sort(F.collect_list(entry)).alias("similar"))
    known = allowed
    for rows in (tracks.select("track_id", "als", "listeners", *OF_TRACKS), similar, vectors):
        known = known.join(rows, "track_id", "left")
    is_new = F.coalesce("listeners", F.lit(0)) < new_below
    known = known.withColumns({"code": code_of(), "is_new": is_new}).drop("listeners")
    nothing = F.array().cast(known.schema["similar"].dataType)
    filled = {name: F.coalesce(name, F.lit(unheard[name])) for name in OF_TRACKS}
    return known.withColumns(
        filled | {"similar": F.coalesce("similar", nothing), "duplicate": F.coalesce("duplicate", F.lit(0))}
    )


def known_preferences(
    preferences: DataFrame,
    people: DataFrame,
    count: int,
    *,
    tracks: DataFrame,
    vectors: DataFrame,
    titles: DataFrame,
    duplicates: DataFrame,
) -> DataFrame:
    """Return the preferences of some people with what is known of their tracks, and each person's block.

    Who has none has a row with nulls.

    Parameters
    ----------
    preferences : DataFrame
        ``user_id, track_id, preference, confidence``.
    people : DataFrame
        ``user_id``.
    count : int
        How many they are.
    tracks, vectors : DataFrame
        As :func:`candidates` takes them.
    titles : DataFrame
        ``track_id, title``.
    duplicates : DataFrame
        ``track_id, duplicate``, a code of the recording.
    """
    mine = preferences.select("user_id", "track_id", evidence().alias("evidence"))
    mine = mine.join(people.select("user_id"), "user_id", "left_semi")
    for rows in (tracks.select("track_id", "als"), vectors, titles, duplicates):
        mine = mine.join(rows, "track_id", "left")
    mine = mine.withColumns({"code": code_of(), "title": F.coalesce("title", "track_id")})
    return people.select("user_id").join(mine, "user_id", "left").withColumn("block", block_of_person(count))


def titles_of(catalogue: DataFrame) -> DataFrame:
    """Return ``track_id, title``: how a sentence calls a track of the table ``tracks``."""
    title = F.coalesce(F.concat(F.lit("“"), "track_name", F.lit("”")), "track_id")
    artists = F.replace("artists", F.lit(";"), F.lit(", "))
    by = F.when(F.col("artists") != "", F.concat(F.lit(" by "), artists))
    return catalogue.select("track_id", F.concat(title, F.coalesce(by, F.lit(""))).alias("title"))


def packed_tracks(tracks: DataFrame, model: Model, count: int) -> DataFrame:
    """Return blocks of tracks, packed; see :func:`~specrec.listeners.blocks.pack_tracks`.

    Parameters
    ----------
    tracks : DataFrame
        What :func:`candidates` returned.
    count : int
        How many tracks there are.
    """
    blocks = -(-count // _TRACKS_A_TARGET) or 1
    placed = tracks.withColumn("block", F.pmod(F.col("code"), F.lit(blocks)).cast("int"))

    def pack(table: pa.Table) -> pa.Table:
        return pack_tracks(table, model)

    return placed.groupBy("block").applyInArrow(pack, from_arrow_schema(PACKED))


def block_of_person(people: int) -> Column:
    """Return the block that a person is in, of so many people."""
    return F.pmod(F.xxhash64("user_id"), F.lit(-(-people // _PEOPLE_AT_ONCE) or 1)).cast("int").alias("block")


def packed_people(preferences: DataFrame, model: Model, crowd: Crowd) -> DataFrame:
    """Return blocks of people, packed; see :func:`~specrec.listeners.blocks.pack_people`, which says of what."""

    def pack(table: pa.Table) -> pa.Table:
        return pack_people(table, model, crowd)

    return preferences.groupBy("block").applyInArrow(pack, from_arrow_schema(PACKED))


def found_tracks(
    people: DataFrame, tracks: DataFrame, model: Model, config: ListenersConfig, *, times: int = 1
) -> DataFrame:
    """Return the tracks that may come into people's lists: every block of people meets every block of tracks.

    Parameters
    ----------
    people, tracks : DataFrame
        What :func:`packed_people` and :func:`packed_tracks` returned. Of either the last number of a block alone is
        collected.
    times : int
        So many times more tracks than usual are looked at for each person; blocks of people should be smaller by as
        much.
    """
    group = (F.col("block") / (_PEOPLE_A_TARGET // _PEOPLE_AT_ONCE)).cast("int")
    of_people = people.select(
        group.alias("people_block"), _each_of(tracks, F.col("block"), "tracks_block"), "block", "ids", "payload"
    )
    of_tracks = tracks.select(
        _each_of(people, group, "people_block"), F.col("block").alias("tracks_block"), "block", "ids", "payload"
    )
    target = ["people_block", "tracks_block"]

    def score(left: pa.Table, right: pa.Table) -> pa.Table:
        found = list(meet(left, right, model, config, times=times))
        return pa.concat_tables(found) if found else FOUND.empty_table()

    return (
        of_tracks.groupBy(*target).cogroup(of_people.groupBy(*target)).applyInArrow(score, from_arrow_schema(FOUND))
    )


def _each_of(blocks: DataFrame, number: Column, name: str) -> Column:
    """Return a column that repeats a row for each number of a block, from 0 to the last that there is."""
    last = blocks.agg(F.max(number).alias("last")).first()
    assert last is not None
    return F.explode(F.sequence(F.lit(0), F.lit(last.last or 0))).alias(name)


def chosen_tracks(
    found: DataFrame, people: int, config: ListenersConfig, most: Mapping[str, int | None], vectors: DataFrame
) -> DataFrame:
    """Return the tracks of people's lists; see :func:`~specrec.listeners.blocks.choose_lists`.

    Parameters
    ----------
    vectors : DataFrame
        ``track_id, content``. Each block of people gets those of its tracks once, if lists are to be varied.
    """
    names, wanted = found.columns, found.withColumn("block", block_of_person(people))

    def choose(table: pa.Table) -> pa.Table:
        return choose_lists(table.select(names), config, most)

    def vary(table: pa.Table, content: pa.Table) -> pa.Table:
        return choose_lists(table.select(names), config, most, content)

    if not config.variety:
        return wanted.groupBy("block").applyInArrow(choose, from_arrow_schema(FOUND))
    # under names of their own: the two sides are made of the same rows
    named = wanted.select(F.col("block").alias("of_block"), F.col("track_id").alias("track")).distinct()
    content = named.join(vectors.select(F.col("track_id").alias("track"), "content"), "track")
    content = content.withColumnRenamed("track", "track_id")
    both = wanted.groupBy("block").cogroup(content.groupBy("of_block"))
    return both.applyInArrow(vary, from_arrow_schema(FOUND))


def lists_with_reasons(preferences: DataFrame, chosen: DataFrame, model: Model) -> DataFrame:
    """Return people's lists with reasons; see :func:`~specrec.listeners.reasons.tell`.

    Parameters
    ----------
    preferences, chosen : DataFrame
        As `tell` takes them, each with ``block``.
    """

    def told(left: pa.Table, right: pa.Table) -> pa.Table:
        return tell(left, right, model)

    both = preferences.groupBy("block").cogroup(chosen.groupBy("block"))
    return both.applyInArrow(told, from_arrow_schema(TOLD))


def with_sound(told: DataFrame, recommendations: DataFrame) -> DataFrame:
    """Return people's lists, whose sentences say how a track sounds like a known one, where that is told already.

    They are complete then, and each explanation has its name, ``explanation_id``.

    Parameters
    ----------
    told : DataFrame
        What :func:`lists_with_reasons` returned.
    recommendations : DataFrame
        The table, of the system whose space content is judged by.
    """
    of_pairs = recommendations.select(
        F.col("track_id").alias("sounds_like"),
        F.col("recommended_track_id").alias("track_id"),
        F.col("explanation").alias("sound"),
    )
    both = told.join(of_pairs, ["sounds_like", "track_id"], "left")
    sentence = F.concat_ws(" ", "explanation", "sound")  # which leaves out what is null
    both = both.withColumn("explanation", sentence)
    name = explanation_id(OF_PEOPLE, F.col("reason"), "user_id", "track_id")
    return both.withColumn("explanation_id", name).drop("sound", "sounds_like", "reason")


def short_lists(lists: DataFrame, top_n: int) -> DataFrame:
    """Return ``system, user_id`` of lists that hold something, and less than they might.

    Parameters
    ----------
    lists : DataFrame
        ``system, user_id``, a row for each track.
    """
    return lists.groupBy("system", "user_id").count().where(F.col("count") < top_n).drop("count")


def words_of_tracks(choice: DataFrame, spoken: DataFrame, titles: DataFrame, vectors: DataFrame) -> DataFrame:
    """Return ``track_id, words``: a code of all that people's lists depend on, and say, of a track.

    Parameters
    ----------
    choice, spoken : DataFrame
        What :func:`specrec.recommend.spark.choices` and :func:`specrec.recommend.spark.stated` returned.
    titles : DataFrame
        What :func:`titles_of` returned.
    vectors : DataFrame
        ``track_id, input_hash``: what each track's vector is made of.
    """
    rows = choice.join(spoken, "track_id").join(titles, "track_id").join(vectors, "track_id", "left")
    told = F.xxhash64("choice", "stated", "title", F.coalesce("input_hash", F.lit("")))
    return rows.select("track_id", told.alias("words"))


def states_of_people(preferences: DataFrame, made_with: Collection[str]) -> DataFrame:
    """Return ``user_id, input_hash``: what each person's lists are made from, in short."""
    row = F.xxhash64("track_id", "preference", "confidence").cast("decimal(38,0)")
    people = preferences.groupBy("user_id").agg(F.count("*").alias("n"), F.sum(row).alias("sum"))
    of = F.concat_ws("\n", F.col("n").cast("string"), F.col("sum").cast("string"), *map(F.lit, made_with))
    return people.select("user_id", F.sha2(of, 256).alias("input_hash"))
