"""Recommendations in Spark: the chosen lists, joined with what their explanations speak of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from specrec.config import Config
from specrec.embedding.artefacts import Artefact
from specrec.embedding.excerpts import decode
from specrec.embedding.features import families, layout_of
from specrec.embedding.spectrogram import REGIONS
from specrec.embedding.statistics import ATTRIBUTES, COLUMNS, measure
from specrec.recommend.excerpts import best_pairs
from specrec.recommend.explain import Explainer, Pairs, Side
from specrec.warehouse.schemas import RECOMMENDATIONS

Frames = Iterator[pd.DataFrame]
FloatArray = npt.NDArray[np.float64]

_WRITTEN_LATER = ("config_hash", "run_id", "computed_at")
_SCHEMA = T.StructType(
    [T.StructField(f.name, f.dataType) for f in RECOMMENDATIONS.fields if f.name not in _WRITTEN_LATER]
)


def profiles(
    features: DataFrame, embeddings: DataFrame, tracks: DataFrame, models: Collection[str] = ()
) -> DataFrame:
    """Return what explanations need of a track, one row a track.

    Parameters
    ----------
    features, embeddings, tracks : the tables ``audio_features``, ``embeddings`` and ``tracks``.
    models : the models whose vectors have a part in a score.
    """
    attributes = tracks.select("track_id", *(F.col(name).alias(f"catalogue_{name}") for name in ATTRIBUTES))
    by_features = embeddings.where("space = 'features'").select("track_id", F.col("vector").alias("features"))
    by_spectrogram = embeddings.where("space = 'spectrogram'").select(
        "track_id", F.col("vector").alias("spectrogram"), "parts", "levels", "excerpts"
    )
    rows = (
        features.select("track_id", *COLUMNS)
        .join(attributes, "track_id")
        .join(by_features, "track_id")
        .join(by_spectrogram, "track_id")
    )
    for name in models:
        of_model = embeddings.where(F.col("space") == name)
        rows = rows.join(of_model.select("track_id", F.col("vector").alias(f"model_{name}")), "track_id")
    return rows


def explain_lists(chosen: DataFrame, profile: DataFrame, config: Config, statistics: Artefact) -> DataFrame:
    """Return lists with explanations: the columns of ``recommendations``, without those of the run.

    Parameters
    ----------
    chosen : ``system, track_id, rank, recommended_track_id, score, affinity``.
    profile : as :func:`profiles` returns them.
    statistics : the artefact ``catalogue_statistics``.
    """
    of_track = profile.select(*(F.col(name).alias(f"a_{name}") for name in profile.columns))
    of_recommended = profile.drop("parts").select(
        *(F.col(name).alias(f"b_{name}") for name in profile.columns if name != "parts")
    )
    pairs = chosen.join(of_recommended, chosen.recommended_track_id == of_recommended.b_track_id).join(
        of_track, chosen.track_id == of_track.a_track_id
    )
    layout = layout_of(config.audio.n_mfcc)
    explainer = Explainer(families(layout), statistics.arrays, config.embedding.hybrid_shares)
    explained = pairs.mapInPandas(_explain(explainer, config), _SCHEMA)
    # in the order that services read: a track's list lies in one place of one file
    return explained.sortWithinPartitions("system", "track_id", "rank")


def _explain(explainer: Explainer, config: Config) -> Callable[[Frames], Frames]:
    begin, hop = config.audio.offset_seconds, config.recommend.excerpt_seconds / 2
    models = explainer.models

    def explain(batches: Frames) -> Frames:
        for batch in batches:
            for system, frame in batch.groupby("system"):
                parts = np.stack(frame["a_parts"].to_list()).reshape(len(frame), len(REGIONS), -1)
                pairs = Pairs(_side(frame, "a_", models), _side(frame, "b_", models), parts)
                sentences, reasons = explainer.explain(system, pairs, frame["score"].to_numpy(np.float64))
                kept = frame[["system", "track_id", "rank", "recommended_track_id", "score", "affinity"]]
                ours, theirs = best_pairs(decode(frame["a_excerpts"]), decode(frame["b_excerpts"]))
                yield kept.assign(
                    explanation=sentences,
                    reasons=reasons,
                    track_seconds=begin + hop * ours,
                    recommended_seconds=begin + hop * theirs,
                )

    return explain


def _side(frame: pd.DataFrame, prefix: str, models: Collection[str]) -> Side:
    return Side(
        features=np.stack(frame[f"{prefix}features"].to_list()),
        spectrogram=np.stack(frame[f"{prefix}spectrogram"].to_list()),
        levels=np.stack(frame[f"{prefix}levels"].to_list()).astype(np.float64),
        models={name: np.stack(frame[f"{prefix}model_{name}"].to_list()) for name in models},
        measures=measure(frame, prefix),
        attributes={
            name: np.asarray(pd.to_numeric(frame[f"{prefix}catalogue_{name}"]), np.float64) for name in ATTRIBUTES
        },
    )
