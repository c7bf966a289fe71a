"""Recommendations in Spark: the chosen lists, joined with what their explanations speak of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from specrec.config import Config
from specrec.embedding.statistics import ATTRIBUTES, COLUMNS
from specrec.recommend.explain import Explainer
from specrec.recommend.pairs import explain_pairs, explainer_of
from specrec.warehouse.artefacts import Artefact
from specrec.warehouse.schemas import RECOMMENDATIONS

Frames = Iterator[pd.DataFrame]

_WRITTEN_LATER = ("config_hash", "run_id", "computed_at")
_SCHEMA = T.StructType(
    [T.StructField(f.name, f.dataType) for f in RECOMMENDATIONS.fields if f.name not in _WRITTEN_LATER]
)


def profiles(features: DataFrame, embeddings: DataFrame, tracks: DataFrame, config: Config) -> DataFrame:
    """Return what explanations need of a track, one row a track.

    ``model_NAME`` is the vector of a model that has a part in ``hybrid``, null where the model failed of the track;
    ``tags``, where there are models, the names of the track's tags by model.

    Parameters
    ----------
    features, embeddings, tracks : the tables ``audio_features``, ``embeddings`` and ``tracks``.
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
    for name in config.models_in_hybrid:
        of_model = embeddings.where(F.col("space") == name)
        rows = rows.join(of_model.select("track_id", F.col("vector").alias(f"model_{name}")), "track_id", "left")
    if config.embedding.models:
        of_space = F.collect_list(F.struct("space", F.col("tags.name")))
        tagged = embeddings.where("tags is not null").groupBy("track_id").agg(of_space.alias("tags"))
        rows = rows.join(tagged.withColumn("tags", F.map_from_entries("tags")), "track_id", "left")
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
    explained = pairs.mapInPandas(_explain(explainer_of(config, statistics), config), _SCHEMA)
    # in the order that services read: a track's list lies in one place of one file
    return explained.sortWithinPartitions("system", "track_id", "rank")


def _explain(explainer: Explainer, config: Config) -> Callable[[Frames], Frames]:
    def explain(batches: Frames) -> Frames:
        for batch in batches:
            for system, frame in batch.groupby("system"):
                yield explain_pairs(frame, system, explainer, config)

    return explain
