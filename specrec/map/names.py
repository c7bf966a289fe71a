"""Names of clusters, of two words each, from how their tracks compare with the catalogue's.

A word is true of a cluster whose median lies among the highest or the lowest third of the catalogue. Of the words
that are true of it, a cluster gets those that lie furthest out and that the fewest clusters share: what is true of
all clusters tells none of them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import combinations, count
from typing import Any

import numpy as np
import yaml

from specrec.arrays import Float64Array, Int64Array

#: A word is true of a cluster whose median lies at least this far, as a share of the catalogue, from its middle.
STANDS_OUT = 1 / 6
#: A measure says nothing of a cluster if it is known of a smaller share of its tracks.
_KNOWN = 0.5


@dataclass(frozen=True)
class _Claim:
    """That a word is true of a cluster, and how much that says."""

    word: str
    family: str
    strength: float


def name_clusters(
    labels: Int64Array, measures: Mapping[str, Float64Array], kept: Mapping[int, str]
) -> dict[int, str]:
    """Return a name for each cluster, no two alike.

    Parameters
    ----------
    labels : int64, shape (n,)
        Each track's cluster, by its number.
    measures : mapping of str to float64, shape (n,)
        Measures of each track, by the names in names.yaml; NaN where unknown.
    kept : mapping of int to str
        Names that clusters have, and keep.
    """
    claims = _claims(labels, measures)
    names = {number: kept[number] for number in claims if number in kept}
    strongest = sorted(claims, key=lambda number: (-sum(of.strength for of in claims[number][:2]), number))
    for number in strongest:
        if number not in names:
            names[number] = _free(_candidates(claims[number]), set(names.values()))
    return dict(sorted(names.items()))


def standing(labels: Int64Array, measures: Mapping[str, Float64Array]) -> dict[int, dict[str, float]]:
    """Return each cluster's median of each measure, as the share of the catalogue that lies below it, 0 to 1.

    What is known of too few tracks, or the same for all, is left out.

    Examples
    --------
    >>> loud = np.array([-30.0, -20.0, -10.0, -5.0])
    >>> standing(np.array([0, 0, 1, 1]), {"rms_mean": loud})
    {0: {'rms_mean': 0.25}, 1: {'rms_mean': 0.75}}
    """
    found: dict[int, dict[str, float]] = {int(number): {} for number in np.unique(labels)}
    for name, values in measures.items():
        known = np.sort(values[np.isfinite(values)])
        if len(known) == 0 or known[0] == known[-1]:
            continue
        for number, of in found.items():
            own = values[labels == number]
            own = own[np.isfinite(own)]
            if len(own) >= _KNOWN * (labels == number).sum():
                median = np.median(own)
                below = np.searchsorted(known, median, "left") + np.searchsorted(known, median, "right")
                of[name] = float(below / (2 * len(known)))
    return found


def _claims(labels: Int64Array, measures: Mapping[str, Float64Array]) -> dict[int, list[_Claim]]:
    """Return what is true of each cluster, what says most first."""
    shares = standing(labels, measures)
    true: dict[int, list[tuple[str, str, float]]] = {}
    for number, of in shares.items():
        true[number] = []
        for family, sides in _texts()["words"].items():
            for measure, word in sides.items():
                out = of.get(measure, 0.5) - 0.5
                said = word.get("high" if out > 0 else "low")
                if said and abs(out) >= STANDS_OUT:
                    true[number].append((said, family, abs(out)))
    words = [word for of in true.values() for word, _, _ in of]
    return {
        number: sorted(
            (_Claim(word, family, out / words.count(word) ** 0.5) for word, family, out in of),
            key=lambda c: -c.strength,
        )
        for number, of in true.items()
    }


def _candidates(claims: list[_Claim]) -> list[str]:
    """Return the names that a cluster may have, the best first: two words, one where there are no two, or none."""
    pairs = [(a, b) for a, b in combinations(claims, 2) if a.family != b.family]
    pairs.sort(key=lambda pair: -(pair[0].strength + pair[1].strength))
    texts = _texts()
    names = [texts["join"].format(first=a.word, second=b.word) for a, b in pairs]
    return [*names, *(of.word for of in claims), texts["plain"]]


def _free(names: list[str], taken: set[str]) -> str:
    """Return the first name that is not taken; the last one with a number, if all are."""
    free = [name for name in names if name not in taken]
    if free:
        return free[0]
    numbered = (_texts()["again"].format(name=names[-1], n=n) for n in count(2))
    return str(next(name for name in numbered if name not in taken))


def measures_named() -> list[str]:
    """Return the measures that names are made of.

    Examples
    --------
    >>> measures_named()[:3]
    ['valence', 'energy', 'acousticness']
    """
    return [measure for words in _texts()["words"].values() for measure in words]


@lru_cache(maxsize=1)
def _texts() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((files("specrec.map") / "names.yaml").read_text(encoding="utf-8"))
    return loaded
