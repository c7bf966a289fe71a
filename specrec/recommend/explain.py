"""Why a track is recommended: the exact parts of the score, and a sentence that the row's own values make true.

What may be said of a pair is in :mod:`~specrec.recommend.facts`, how its score splits in
:mod:`~specrec.recommend.contributions`, and which words are chosen in :mod:`~specrec.recommend.sentences`.
Everything is computed for many pairs at once, and without Spark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from specrec.arrays import Float64Array
from specrec.config import Config
from specrec.embedding.config import LISTENERS
from specrec.embedding.excerpts import decode
from specrec.embedding.spaces import spaces_of
from specrec.recommend import facts
from specrec.recommend.contributions import Parts, contributions, cosines_of, is_one_part, parts_of, shares_of
from specrec.recommend.excerpts import best_pairs
from specrec.recommend.facts import Usual
from specrec.recommend.pairs import ListedPairs, pairs_of, pairs_of_batch
from specrec.recommend.sentences import reasons, sentences, sentences_of_listeners, tell
from specrec.settings import System
from specrec.warehouse.artefacts import Artefact

_KEPT = ["system", "track_id", "rank", "recommended_track_id", "score", "affinity"]


@dataclass(frozen=True)
class Explainer:
    """What explaining needs of the run.

    Attributes
    ----------
    parts : dict of Parts
        By space, how its vectors split.
    shares : dict of dict of float
        By system, the spaces whose parts are those of its scores, with the share of each.
    beside : sequence of str
        The spaces that are told of beside a score that has one part only.
    usual : Usual
        What is usual in the catalogue.
    """

    parts: Mapping[System, Parts]
    shares: Mapping[System, Mapping[System, float]]
    beside: Sequence[System]
    usual: Usual

    def needed(self, system: System) -> list[System]:
        """Return the spaces whose vectors explaining a system's lists needs."""
        return self._split(system) or list(self.beside)

    def explain(
        self, system: System, pairs: ListedPairs, scores: Float64Array
    ) -> tuple[pa.StringArray, pa.ListArray]:
        """Return a sentence and the reasons of each pair.

        Parameters
        ----------
        pairs : ListedPairs
            With the vectors of the spaces that :meth:`needed` names.
        scores : float64, shape (n,)
            The cosines; the contributions of a row's reasons add up to its score.

        Returns
        -------
        sentences : StringArray
            Under 200 characters each.
        reasons : ListArray of structs
            With the fields of ``schemas.REASON``, greatest contribution first; statements of the catalogue's
            attributes, which are no part of the score, come last with contribution 0.
        """
        shares = self.shares[system]
        if split := self._split(system):
            cosines = {space: cosines_of(space, self.parts[space], pairs) for space in split}
            found, beside = contributions(list(cosines.values()), shares, pairs, scores), []
            of_spaces = {space: of.sum(axis=1) for space, of in cosines.items()}
        else:
            found, beside = scores[:, None].copy(), [space for space in self.beside if space not in shares]
            cosines = {space: cosines_of(space, self.parts[space], pairs) for space in beside}
            of_spaces = {space: of.sum(axis=1) for space, of in cosines.items()} | dict.fromkeys(shares, scores)
        scored, told_beside = (
            [trait for space in spaces for trait in self.parts[space].traits(pairs, of_spaces[space], self.usual)]
            for spaces in (shares, beside)
        )
        told = tell(scored, told_beside, facts.attributes(pairs, self.usual), len(scores))
        if list(shares) == [LISTENERS]:
            return sentences_of_listeners(told), reasons(told, found)
        return sentences(told, found, scores, facts.differences(pairs, self.usual)), reasons(told, found)

    def _split(self, system: System) -> list[System]:
        """Return the spaces whose cosines are split: none, if the score has one part only."""
        spaces = list(self.shares[system])
        return [] if is_one_part([self.parts[space] for space in spaces]) else spaces


def explainer_of(config: Config, statistics: Artefact) -> Explainer:
    """Return what explains the lists of a configuration.

    Parameters
    ----------
    statistics : Artefact
        That named ``catalogue_statistics``.
    """
    shares = {system: shares_of(system, config) for system in config.systems}
    spaces = dict.fromkeys(space for of_system in shares.values() for space in of_system)
    return Explainer(
        parts={space: parts_of(space, config) for space in spaces},
        shares=shares,
        beside=[name for name, space in spaces_of(config).items() if space.explains_others],
        usual=Usual(statistics.arrays),
    )


def explain_pairs(rows: pd.DataFrame, system: System, explainer: Explainer, config: Config) -> pd.DataFrame:
    """Return the columns of ``recommendations``, without those of the run.

    Parameters
    ----------
    rows : DataFrame
        Pairs of one system: the columns of a chosen list, and those that
        :func:`~specrec.recommend.pairs.pairs_of` asks for.
    """
    excerpts = rows["a_excerpts"].to_list(), rows["b_excerpts"].to_list()
    pairs = pairs_of(rows, explainer.needed(system))
    added = _explained(pairs, rows["score"].to_numpy(np.float64), excerpts, system, explainer, config)
    return rows[_KEPT].assign(**{name: values.to_pylist() for name, values in added.items()})


def explain_batch(rows: pa.RecordBatch, system: System, explainer: Explainer, config: Config) -> pa.RecordBatch:
    """Return what :func:`explain_pairs` does, of Arrow columns: no row becomes an object of Python's.

    Parameters
    ----------
    rows : RecordBatch
        As the DataFrame that :func:`explain_pairs` takes.
    """
    excerpts = rows.column("a_excerpts").to_pylist(), rows.column("b_excerpts").to_pylist()
    pairs = pairs_of_batch(rows, explainer.needed(system))
    added = _explained(pairs, rows.column("score").to_numpy(), excerpts, system, explainer, config)
    return pa.RecordBatch.from_pydict({name: rows.column(name) for name in _KEPT} | added)


def _explained(  # noqa: PLR0917
    pairs: ListedPairs,
    scores: Float64Array,
    excerpts: tuple[Sequence[bytes], Sequence[bytes]],
    system: System,
    explainer: Explainer,
    config: Config,
) -> dict[str, pa.Array]:
    """Return what explaining adds to the columns of a chosen list."""
    begin, hop = config.audio.offset_seconds, config.recommend.excerpt_seconds / 2
    told, why = explainer.explain(system, pairs, scores)
    ours, theirs = best_pairs(*map(decode, excerpts))
    return {
        "explanation": told,
        "reasons": why,
        "track_seconds": pa.array(begin + hop * ours),
        "recommended_seconds": pa.array(begin + hop * theirs),
    }
