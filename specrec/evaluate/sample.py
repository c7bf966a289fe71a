"""The sample that is measured track by track: its lists, those of the baselines, and facts of their tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from specrec.arrays import BoolArray, Int64Array
from specrec.evaluate.baselines import genre_lists, popular_lists, random_lists
from specrec.evaluate.measurements import ListsBySystem
from specrec.evaluate.metrics import QUESTIONS, Question
from specrec.evaluate.ranking import Facts, as_lists, by_rank


@dataclass(frozen=True)
class Sample:
    """What is known of the sample.

    Attributes
    ----------
    candidates, recommended : ListsBySystem
        Lists of ``neighbours`` and of ``recommendations``; those of the baselines are in both.
    asked : dict of bool, shape (tracks,)
        Which tracks are of the sample of each question.
    top : dict of int64, shape (tracks, width)
        By system, which of the parts of its scores each explanation names first; -1: none.
    left_out : dict of str
        Baselines and questions that the catalogue gives nothing for, and why.
    """

    candidates: ListsBySystem
    recommended: ListsBySystem
    asked: dict[Question, BoolArray]
    top: dict[str, Int64Array]
    left_out: dict[str, str]

    @property
    def facts(self) -> Facts:
        """What is known of the sampled tracks and of those in their lists."""
        return self.candidates.facts


def assemble(
    facts: Facts,
    chosen: pd.DataFrame,
    nearest: pd.DataFrame,
    listed: pd.DataFrame,
    popular: pd.Series,
    *,
    parts: Mapping[str, Sequence[str]],
    top_n: int,
    seed: int,
) -> Sample:
    """Return the sample as arrays, with lists of the baselines.

    Parameters
    ----------
    facts : Facts
        Of all tracks that the frames name.
    chosen : DataFrame
        ``track_id, asked``: which track is asked which question.
    nearest : DataFrame
        ``system, track_id, rank, listed``: candidates; at least one.
    listed : DataFrame
        ``system, track_id, rank, listed, top``: recommendations, with the part that each explanation names first.
    popular : Series
        The most popular tracks of the catalogue, the most popular first; one more than a list of candidates has.
    parts : mapping of str
        The systems, in the order in which they are told, with the names of the parts of their scores.
    top_n : int
        Length of a list of recommendations.
    seed : int
        Draws the random lists.
    """
    tracks = np.unique(facts.positions(chosen["track_id"]))
    asked: dict[Question, BoolArray] = {
        question: np.isin(tracks, facts.positions(chosen["track_id"][chosen["asked"] == question]))
        for question in QUESTIONS
    }
    width, pool = int(nearest["rank"].max()), tracks[asked["any"]]
    left_out = {}
    baselines = {"random": random_lists(tracks, pool, width, seed)}
    if len(popular):
        baselines["popularity"] = popular_lists(tracks, facts.positions(popular), width)
    else:
        left_out["popularity"] = "the catalogue tells of no track how popular it is"
    if asked["genre"].any():
        baselines["genre_prior"] = genre_lists(tracks, pool, facts.genre, width, seed)
    else:
        left_out |= dict.fromkeys(("genre", "genre_prior"), "the catalogue names no track's genre (track_genre)")
    of_nearest = {str(system): rows for system, rows in nearest.groupby("system")}
    of_listed = {str(system): rows for system, rows in listed.groupby("system")}
    candidates = {
        system: as_lists(facts, tracks, of_nearest[system], width) for system in parts if system in of_nearest
    }
    recommended = {
        system: as_lists(facts, tracks, of_listed[system], top_n) for system in parts if system in of_listed
    }
    top = {
        system: by_rank(
            facts, tracks, of_listed[system], top_n, pd.Index(list(names)).get_indexer(of_listed[system]["top"])
        )
        for system, names in parts.items()
        if system in of_listed
    }
    short = {name: lists[:, :top_n] for name, lists in baselines.items()}
    return Sample(
        ListsBySystem(facts, tracks, candidates | baselines),
        ListsBySystem(facts, tracks, recommended | short),
        asked,
        top,
        left_out,
    )
