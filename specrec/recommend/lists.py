"""Recommendations in Spark: the chosen lists, joined with what their explanations speak of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from specrec.config import Config
from specrec.embedding.config import BUILT_IN, SPECTROGRAM
from specrec.embedding.statistics import ATTRIBUTES, COLUMNS
from specrec.recommend.explain import Explainer, explain_pairs, explainer_of
from specrec.warehouse.artefacts import Artefact
from specrec.warehouse.schemas import RECOMMENDATIONS

Frames = Iterator[pd.DataFrame]

_WRITTEN_LATER = ("config_hash", "run_id", "computed_at")
#: What only the space ``spectrogram`` has.
OF_SPECTROGRAM = ("parts", "levels", "excerpts")
_SCHEMA = T.StructType(
    [T.StructField(f.name, f.dataType) for f in RECOMMENDATIONS.fields if f.name not in _WRITTEN_LATER]
)


def profiles(features: DataFrame, embeddings: DataFrame, tracks: DataFrame, config: Config) -> DataFrame:
    """Return what explanations need of a track, one row a track.

    ``vector_SPACE`` is the vector in a space: in ``features``, in ``spectrogram``, and in those of the models that
    have a part in ``hybrid``, null where the model failed of the track. ``tags``, where there are models, holds the
    names of the track's tags by model.

    Parameters
    ----------
    features, embeddings, tracks : the tables ``audio_features``, ``embeddings`` and ``tracks``.
    """
    attributes = tracks.select("track_id", *(F.col(name).alias(f"catalogue_{name}") for name in ATTRIBUTES))
    rows = features.select("track_id", *COLUMNS).join(attributes, "track_id")
    for space in (*BUILT_IN, *config.models_in_hybrid):
        more = OF_SPECTROGRAM if space == SPECTROGRAM else ()
        vector = F.col("vector").alias(f"vector_{space}")
        of_space = embeddings.where(F.col("space") == space).select("track_id", vector, *more)
        rows = rows.join(of_space, "track_id", "inner" if space in BUILT_IN else "left")
    if config.embedding.models:
        by_model = F.collect_list(F.struct("space", F.col("tags.name")))
        tagged = embeddings.where("tags is not null").groupBy("track_id").agg(by_model.alias("tags"))
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
