"""Duplicates in Spark: tracks that may be one recording are compared, and those that are become a group.

Files of equal bytes are one recording without a comparison; of each such set only one, its *original* (the least
track_id), is compared with others, so that a thousand copies of a file make a thousand rows and no million pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from specrec.arrays import Int64Array
from specrec.audio.mel import decode_mel
from specrec.duplicates.alignment import ABOVE_REPETITION, Sketch, align, repetition, sketch
from specrec.duplicates.config import DuplicatesConfig
from specrec.duplicates.titles import clean_artists, clean_titles

Frames = Iterator[pd.DataFrame]

#: Columns of tracks and features that groups depend on, besides the spectrograms.
KNOWN = ("content_hash", "track_name", "artists", "duration_ms")
#: A track is compared with so many others of the same title and artist: those whose lengths follow its own.
_SAME_TITLE = 3
_DESCRIBED = "track_id string, original string, next_copy string, title string, artist string, duration_ms long"
_SKETCH = (
    "track_id string, content_hash string, sketch binary, repetition double, bands int, n_frames int, "
    "sample_rate int, hop_length int"
)
#: What tells a pair, and the sound that was compared.
_PAIR = ("a", "b", "a_content_hash", "b_content_hash")
_SAID = ("similarity", "repetition", "lag_seconds")
_COMPARED = ", ".join([*(f"{name} string" for name in _PAIR), *(f"{name} double" for name in _SAID)])


def what_is_known(analysed: DataFrame, tracks: DataFrame) -> DataFrame:
    """Return ``track_id`` and all else of a track that groups depend on, as text; empty where unknown.

    Parameters
    ----------
    analysed : DataFrame
        ``track_id, content_hash`` of the tracks that have audio.
    tracks : DataFrame
        The table ``tracks``.
    """
    known = [F.coalesce(F.col(name).cast("string"), F.lit("")).alias(name) for name in KNOWN]
    return analysed.join(tracks, "track_id", "left").select("track_id", *known)


def describe(analysed: DataFrame, tracks: DataFrame) -> DataFrame:
    """Return ``track_id, original, next_copy, title, artist, duration_ms``; titles and artists are cleaned.

    ``original`` is the least track whose file is equal, ``next_copy`` the track after this one among those.

    Parameters
    ----------
    analysed : DataFrame
        ``track_id, content_hash`` of the tracks that have audio.
    tracks : DataFrame
        The table ``tracks``.
    """
    equal = Window.partitionBy("content_hash").orderBy("track_id")
    copies = analysed.select(
        "track_id",
        F.first("track_id").over(equal).alias("original"),
        F.lead("track_id").over(equal).alias("next_copy"),
    )
    known = tracks.select("track_id", "track_name", "artists", "duration_ms")
    return copies.join(known, "track_id", "left").mapInPandas(_clean, _DESCRIBED)


def find_candidates(described: DataFrame, neighbours: DataFrame, config: DuplicatesConfig) -> DataFrame:
    """Return ``a, b``, with a < b: originals that may be one recording, each pair once.

    Near in sound or of one title and artist; where the catalogue knows both lengths, these agree.

    Parameters
    ----------
    described : DataFrame
        What :func:`describe` returned.
    neighbours : DataFrame
        ``track_id, rank, neighbour_id, cosine`` of the space ``spectrogram``.
    """
    near = neighbours.where(F.col("cosine") >= config.min_cosine).select("track_id", "neighbour_id", "cosine")
    original_of = described.where("track_id != original").select(F.col("track_id").alias("copy"), "original")
    for name in ("track_id", "neighbour_id"):
        named = original_of.select(F.col("copy").alias(name), F.col("original").alias(f"original_{name}"))
        near = near.join(named, name, "left")
    near = near.select(
        *(F.coalesce(f"original_{name}", name).alias(name) for name in ("track_id", "neighbour_id")), "cosine"
    )
    # They are ranked anew, since the nearest neighbours of a file that is there ten times are its own copies.
    near = (
        near.where("track_id != neighbour_id")
        .groupBy("track_id", "neighbour_id")
        .agg(F.max("cosine").alias("cosine"))
    )
    nearest = Window.partitionBy("track_id").orderBy(F.desc("cosine"), "neighbour_id")
    near = near.withColumn("rank", F.row_number().over(nearest)).where(F.col("rank") <= config.max_rank)
    near = near.select("track_id", "neighbour_id")

    originals = described.where("track_id = original")
    alike = Window.partitionBy("title", "artist").orderBy("duration_ms", "track_id")
    following = F.array(*(F.lead("track_id", step).over(alike) for step in range(1, _SAME_TITLE + 1)))
    titled = (
        originals.where("title is not null and artist is not null")
        .withColumn("following", following)
        .select("track_id", F.explode("following").alias("neighbour_id"))
    )
    least, other = F.least("track_id", "neighbour_id"), F.greatest("track_id", "neighbour_id")
    pairs = near.unionByName(titled.where("neighbour_id is not null")).select(least.alias("a"), other.alias("b"))
    lengths = described.select("track_id", "duration_ms").where("duration_ms is not null")
    pairs = pairs.where("a != b").distinct()
    for name in ("a", "b"):
        of_side = lengths.select(F.col("track_id").alias(name), F.col("duration_ms").alias(f"{name}_ms"))
        pairs = pairs.join(of_side, name, "left")
    differ = F.abs(F.col("a_ms") - F.col("b_ms")) > 1_000 * config.duration_tolerance
    return pairs.where(~F.coalesce(differ, F.lit(False))).select("a", "b")


def with_contents(pairs: DataFrame, analysed: DataFrame) -> DataFrame:
    """Return ``a, b, a_content_hash, b_content_hash``: pairs, and which files' sound is to be compared.

    Parameters
    ----------
    pairs : DataFrame
        ``a, b``.
    analysed : DataFrame
        ``track_id, content_hash`` of the tracks that have audio.
    """
    for name in ("a", "b"):
        of_side = analysed.select(
            F.col("track_id").alias(name), F.col("content_hash").alias(f"{name}_content_hash")
        )
        pairs = pairs.join(of_side, name)
    return pairs.select(*_PAIR)


def survey_pairs(compared: DataFrame, candidates: DataFrame, analysed: DataFrame, settings: str) -> DataFrame:
    """Return ``a, b, is_current, is_candidate`` of the pairs that were once compared.

    Current is a pair of two tracks that still hold what was compared, with these settings.

    Parameters
    ----------
    compared : DataFrame
        The table ``compared_pairs``.
    candidates : DataFrame
        What :func:`with_contents` returned of the candidates of this night.
    analysed : DataFrame
        ``track_id, content_hash`` of the tracks that have audio.
    settings : str
        The hash of what a comparison depends on.
    """
    now = with_contents(compared.where(F.col("config_hash") == settings).select("a", "b"), analysed)
    now = now.withColumn("is_current", F.lit(True))
    tonight = candidates.select("a", "b", F.lit(True).alias("is_candidate"))
    found = compared.select(*_PAIR).join(now, [*_PAIR], "left").join(tonight, ["a", "b"], "left")
    return found.select(
        "a", "b", *(F.coalesce(name, F.lit(False)).alias(name) for name in ("is_current", "is_candidate"))
    )


def not_compared(candidates: DataFrame, compared: DataFrame) -> DataFrame:
    """Return the candidates that are not among the pairs that were compared, of the same two files.

    Parameters
    ----------
    candidates : DataFrame
        What :func:`with_contents` returned.
    compared : DataFrame
        Pairs of the table ``compared_pairs``, all of the same settings.
    """
    return candidates.join(compared.select(*_PAIR), [*_PAIR], "left_anti")


def compare_spectrograms(candidates: DataFrame, spectrograms: DataFrame, min_overlap: float) -> DataFrame:
    """Return ``similarity, repetition, lag_seconds`` of candidates: see :mod:`specrec.duplicates.alignment`.

    Of the repetitions of both clips, the greater.

    Spectrograms are reduced to sketches, half their size, before they meet; bands of unlike sample rates are unlike
    frequencies and are not compared: of such a pair all three are null. A pair of which there is no spectrogram of
    the very file that it names is left out.

    Parameters
    ----------
    candidates : DataFrame
        ``a, b, a_content_hash, b_content_hash``, which are returned too.
    spectrograms : DataFrame
        The table ``mel_spectrograms``.
    """
    file = ["track_id", "content_hash"]
    sides = (F.struct(F.col(s).alias("track_id"), F.col(f"{s}_content_hash").alias("content_hash")) for s in "ab")
    wanted = candidates.select(F.struct(*_PAIR).alias("pair"), F.explode(F.array(*sides)).alias("file"))
    wanted = wanted.select("pair", "file.*")
    columns = (*file, "mel", "n_mels", "n_frames", "sample_rate", "hop_length")
    of_candidates = spectrograms.select(*columns).join(wanted.select(*file).distinct(), file, "left_semi")
    # Both sides of a pair come from one join: each spectrogram is read and reduced once.
    joined = of_candidates.mapInPandas(_sketch, _SKETCH).join(wanted, file)
    is_first = F.col("track_id") == F.col("pair.a")
    carried = F.struct("sketch", "repetition", "bands", "n_frames", "sample_rate", "hop_length")
    met = joined.groupBy("pair").agg(
        F.first(F.when(is_first, carried), ignorenulls=True).alias("a"),
        F.first(F.when(~is_first, carried), ignorenulls=True).alias("b"),
    )
    alike = F.expr("a.sample_rate = b.sample_rate and a.hop_length = b.hop_length and a.bands = b.bands")
    met = met.where("a is not null and b is not null").select(
        "pair.*",
        alike.alias("is_comparable"),
        F.greatest("a.repetition", "b.repetition").alias("repetition"),
        *(F.col(f"a.{name}").alias(name) for name in ("bands", "sample_rate", "hop_length")),
        *(F.when(alike, F.col(f"{side}.sketch")).alias(f"{side}_sketch") for side in "ab"),
        *(F.col(f"{side}.n_frames").alias(f"{side}_n_frames") for side in "ab"),
    )
    return met.mapInPandas(_align_pairs(min_overlap), _COMPARED)


def is_one_recording(config: DuplicatesConfig) -> Column:
    """Return whether a row of :func:`compare_spectrograms` is of one recording; not so if it could not compare."""
    similarity = F.col("similarity")
    is_same = (similarity >= config.min_similarity) & (similarity >= F.col("repetition") + ABOVE_REPETITION)
    return F.coalesce(is_same, F.lit(False))


def edges_of(pairs: DataFrame) -> DataFrame:
    """Return pairs ``a, b``, with a < b, as edges ``track_id, group_id`` that :func:`draw_together` takes."""
    return pairs.select(F.col("b").alias("track_id"), F.col("a").alias("group_id")).distinct()


def draw_together(edges: DataFrame) -> DataFrame:
    """Return edges that connect the same tracks, and fewer of them by way of others: one round of two.

    First each track's neighbours that are greater than it are connected with the least of all its neighbours, or
    with the track itself if that is less; then each track's lesser neighbours, and the track, with the least of
    these (Kiveris et al., *Connected Components in MapReduce and Beyond*, 2014: large-star and small-star). Rounds
    end in edges that stay: each track's is with the least that it is connected with. A chain of n tracks needs
    about log n rounds, and a star, as copies of one recording are, one. No round has more edges than the last, and
    what is grouped is least values alone: a track with a million neighbours makes no list of a million.

    Parameters
    ----------
    edges : DataFrame
        ``track_id, group_id``, the second being less.
    """
    there = edges.select(F.col("track_id").alias("of"), F.col("group_id").alias("other"))
    both = there.unionByName(edges.select(F.col("group_id").alias("of"), F.col("track_id").alias("other")))
    least = both.groupBy("of").agg(F.least(F.min("other"), F.col("of")).alias("least"))
    greater = both.where(F.col("other") > F.col("of")).join(least, "of")
    large = greater.select(F.col("other").alias("track_id"), F.col("least").alias("group_id")).distinct()

    least = large.groupBy("track_id").agg(F.min("group_id").alias("least"))
    lesser = large.join(least, "track_id").select(
        F.col("group_id").alias("track_id"), F.col("least").alias("group_id")
    )
    own = least.select("track_id", F.col("least").alias("group_id"))
    return lesser.where("track_id != group_id").unionByName(own).distinct()


def groups_of_edges(edges: DataFrame) -> DataFrame:
    """Return ``track_id, group_id`` of all tracks of the edges that rounds of :func:`draw_together` end in."""
    least = edges.select(F.col("group_id").alias("track_id"), "group_id").distinct()
    return edges.select("track_id", "group_id").unionByName(least)


def groups_of(described: DataFrame, confirmed: DataFrame, connected: DataFrame) -> DataFrame:
    """Return the columns of ``duplicates``, without the run's: the tracks of groups of two or more.

    Parameters
    ----------
    described : DataFrame
        What :func:`describe` returned.
    confirmed : DataFrame
        ``a, b, similarity, repetition, lag_seconds`` of the pairs that are one recording.
    connected : DataFrame
        ``track_id, group_id`` of their tracks: the least that each is connected with.
    """
    said = [*_SAID]
    confirmed = confirmed.select("a", "b", *said)
    turned = confirmed.select(F.col("b").alias("a"), F.col("a").alias("b"), *said)
    turned = turned.withColumn("lag_seconds", 0.0 - F.col("lag_seconds"))
    best = F.min(F.struct((-F.col("similarity")).alias("distance"), "b", *said))
    heard = confirmed.unionByName(turned).groupBy("a").agg(best.alias("best"))
    heard = heard.select(F.col("a").alias("track_id"), "best.*").join(connected, "track_id")
    of_original = connected.select(F.col("track_id").alias("original"), F.col("group_id").alias("of_original"))

    is_copy = F.col("track_id") != F.col("original")
    members = (
        described.join(of_original, "original", "left")
        .where(is_copy | F.col("next_copy").isNotNull() | F.col("of_original").isNotNull())
        .join(heard.select("track_id", "b", *said), "track_id", "left")
    )
    matched = F.when(is_copy, F.col("original")).otherwise(F.coalesce("b", "next_copy"))
    found = members.select(
        "track_id",
        F.coalesce("of_original", "original").alias("group_id"),
        matched.alias("matched_track_id"),
        (is_copy | F.col("b").isNull()).alias("same_bytes"),
        *said,
    )
    return _with_titles(found, described)


def _with_titles(found: DataFrame, described: DataFrame) -> DataFrame:
    for side, name in (("a", "track_id"), ("b", "matched_track_id")):
        of_side = described.select(
            F.col("track_id").alias(name),
            F.col("title").alias(f"{side}_title"),
            F.col("artist").alias(f"{side}_artist"),
        )
        found = found.join(of_side, name, "left")
    same: Column = (F.col("a_title") == F.col("b_title")) & (F.col("a_artist") == F.col("b_artist"))
    return found.withColumn("same_title", same)


def _clean(batches: Frames) -> Frames:
    for frame in batches:
        yield pd.DataFrame(
            {
                "track_id": frame["track_id"],
                "original": frame["original"],
                "next_copy": frame["next_copy"],
                "title": clean_titles(frame["track_name"]),
                "artist": clean_artists(frame["artists"]),
                "duration_ms": frame["duration_ms"].astype("Int64"),
            }
        )


def _sketch(batches: Frames) -> Frames:
    for frame in batches:
        rates = frame["sample_rate"] / frame["hop_length"]
        columns = (frame["mel"], frame["n_mels"], frame["n_frames"], rates)
        sketches = [
            sketch(decode_mel(mel, n_mels, n_frames), rate)
            for mel, n_mels, n_frames, rate in zip(*columns, strict=True)
        ]
        kept = frame[["track_id", "content_hash", "n_frames", "sample_rate", "hop_length"]]
        yield kept.assign(
            sketch=[steps.tobytes() for steps in sketches],
            bands=[len(steps) for steps in sketches],
            repetition=[repetition(steps, rate) for steps, rate in zip(sketches, rates, strict=True)],
        )


def _align_pairs(min_overlap: float) -> Callable[[Frames], Frames]:
    def align_batches(batches: Frames) -> Frames:
        for batch in batches:
            unlike = batch[~batch["is_comparable"]]
            yield unlike[[*_PAIR]].assign(**dict.fromkeys(_SAID, np.nan))
            for bands, frame in batch[batch["is_comparable"]].groupby("bands"):
                lengths = [frame[f"{side}_n_frames"].to_numpy(np.int64) for side in "ab"]
                left, right = (
                    _stack(frame[f"{side}_sketch"], int(bands), frames)
                    for side, frames in zip("ab", lengths, strict=True)
                )
                lags, similar = align(left, right, lengths[0], lengths[1], min_overlap)
                seconds = lags * frame["hop_length"].to_numpy() / frame["sample_rate"].to_numpy()
                yield frame[[*_PAIR, "repetition"]].assign(similarity=similar, lag_seconds=seconds)

    return align_batches


def _stack(sketches: pd.Series, bands: int, frames: Int64Array) -> Sketch:
    stacked = np.zeros((len(sketches), bands, int(frames.max(initial=0))), np.int8)
    for row, (data, length) in enumerate(zip(sketches, frames, strict=True)):
        stacked[row, :, :length] = np.frombuffer(data, np.int8).reshape(bands, length)
    return stacked
