"""Pairs explained: rows of what is known of two tracks become sentences, reasons and excerpts. No Spark here."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from specrec.config import Config
from specrec.embedding.excerpts import decode
from specrec.embedding.features import families, layout_of
from specrec.embedding.spectrogram import REGIONS
from specrec.embedding.statistics import ATTRIBUTES, measure
from specrec.recommend.excerpts import best_pairs
from specrec.recommend.explain import Explainer, Pairs, Side
from specrec.settings import System
from specrec.warehouse.artefacts import Artefact

_KEPT = ["system", "track_id", "rank", "recommended_track_id", "score", "affinity"]


def explainer_of(config: Config, statistics: Artefact) -> Explainer:
    """Return what explains pairs.

    Parameters
    ----------
    statistics : the artefact ``catalogue_statistics``.
    """
    return Explainer(families(layout_of(config.audio.n_mfcc)), statistics.arrays, config.embedding.hybrid_shares)


def explain_pairs(pairs: pd.DataFrame, system: System, explainer: Explainer, config: Config) -> pd.DataFrame:
    """Return the columns of ``recommendations``, without those of the run.

    Parameters
    ----------
    pairs : of one system: the columns of a chosen list, and those of :func:`specrec.recommend.lists.profiles`: of
        the track, named ``a_…``, and of the recommended one, named ``b_…``, which needs no ``b_parts``.
    """
    begin, hop = config.audio.offset_seconds, config.recommend.excerpt_seconds / 2
    parts = np.stack(pairs["a_parts"].to_list()).reshape(len(pairs), len(REGIONS), -1)
    models = explainer.models if system == "hybrid" else []
    of_track, of_recommended = (_side(pairs, prefix, models) for prefix in ("a_", "b_"))
    both = Pairs(of_track, of_recommended, parts)
    sentences, reasons = explainer.explain(system, both, pairs["score"].to_numpy(np.float64))
    ours, theirs = best_pairs(decode(pairs["a_excerpts"]), decode(pairs["b_excerpts"]))
    return pairs[_KEPT].assign(
        explanation=sentences,
        reasons=reasons,
        track_seconds=begin + hop * ours,
        recommended_seconds=begin + hop * theirs,
    )


def _side(pairs: pd.DataFrame, prefix: str, models: Collection[str]) -> Side:
    return Side(
        features=np.stack(pairs[f"{prefix}features"].to_list()),
        spectrogram=np.stack(pairs[f"{prefix}spectrogram"].to_list()),
        levels=np.stack(pairs[f"{prefix}levels"].to_list()).astype(np.float64),
        models={name: np.stack(pairs[f"{prefix}model_{name}"].to_list()) for name in models},
        measures=measure(pairs, prefix),
        attributes={
            name: np.asarray(pd.to_numeric(pairs[f"{prefix}catalogue_{name}"]), np.float64) for name in ATTRIBUTES
        },
        tags=[of or {} for of in pairs[f"{prefix}tags"]] if f"{prefix}tags" in pairs else [{}] * len(pairs),
    )
