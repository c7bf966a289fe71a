"""A query's list, chosen by the rules of the nightly lists from the tracks that are nearest to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from specrec.recommend.choose import choose_batches
from specrec.recommend.config import RecommendConfig
from specrec.recommend.traits import Traits
from specrec.settings import System

#: A cosine of no less is that of a vector with itself, after what float32 may take from it.
SAME = 1 - 1e-6

_CANDIDATE = pa.struct(
    {
        "neighbour_id": pa.string(),
        "cosine": pa.float64(),
        "mean": pa.float64(),
        "std": pa.float64(),
        "duplicate": pa.int64(),
        "artists": pa.list_(pa.int64()),
        "albums": pa.list_(pa.int64()),
    }
)
_QUERY = pa.schema(
    {
        "space": pa.string(),
        "track_id": pa.string(),
        "mean": pa.float64(),
        "std": pa.float64(),
        "duplicate": pa.int64(),
        "candidates": pa.list_(_CANDIDATE),
    }
)


@dataclass(frozen=True)
class Known:
    """What the tables say of the tracks that are near to a query.

    Attributes
    ----------
    traits : mapping of str to Traits
        Of each of them; one that is in the catalogue no more has none.
    near : mapping
        Of each, the nearest to it, and their cosines.
    groups : mapping of str to str
        The group of duplicates of each, and of each that is near to one, where it has any.
    """

    traits: Mapping[str, Traits]
    near: Mapping[str, Sequence[tuple[str, float]]]
    groups: Mapping[str, str]


def itself(nearest: Sequence[tuple[str, float]]) -> str | None:
    """Return the track that a query is, if it is one of the catalogue: its vector is the query's.

    Parameters
    ----------
    nearest : sequence of tuple of str and float
        Track ids and cosines, best first.

    Examples
    --------
    >>> itself([("a", 1.0), ("b", 0.9)]), itself([("a", 0.97)])
    ('a', None)
    """
    return nearest[0][0] if nearest and nearest[0][1] >= SAME else None


def choose_list(
    nearest: Sequence[tuple[str, float]], known: Known, system: System, config: RecommendConfig
) -> pd.DataFrame:
    """Return a query's list: ``system, rank, recommended_track_id, score, affinity``.

    Of a song that is in the catalogue it is the list of its track, headed by the track :func:`itself`, which has no
    affinity (NaN): no list of the catalogue holds its own track.

    Parameters
    ----------
    nearest : sequence of tuple of str and float
        Track ids and cosines, best first.
    """
    head = itself(nearest)
    others = list(nearest[1:] if head else nearest)
    own_group = known.groups.get(head) if head else None
    mean, std = _nearness(others, own_group, known.groups) or (0.0, 0.0)
    codes = _Codes()
    candidates = []
    for track_id, cosine in others:
        traits, group = known.traits.get(track_id), known.groups.get(track_id)
        if traits is None or not traits.allowed:
            continue
        usual = _nearness(known.near.get(track_id, ()), group, known.groups) or (cosine, 0.0)
        candidates.append(
            {
                "neighbour_id": track_id,
                "cosine": cosine,
                "mean": usual[0],
                "std": usual[1],
                "duplicate": codes.of("group", group) if group else None,
                "artists": [codes.of("artist", name) for name in traits.artists],
                "albums": [codes.of("album", name) for name in traits.albums],
            }
        )
    query = {
        "space": system,
        "track_id": "",
        "mean": mean,
        "std": std,
        "duplicate": codes.of("group", own_group) if own_group else None,
        "candidates": candidates,
    }
    (chosen,) = choose_batches(config)(iter([pa.RecordBatch.from_pylist([query], _QUERY)]))
    rows = chosen.to_pandas().drop(columns="track_id")
    if head and head in known.traits and known.traits[head].allowed:
        first = {"system": system, "recommended_track_id": head, "score": nearest[0][1], "affinity": np.nan}
        rows = pd.concat([pd.DataFrame([first]), rows], ignore_index=True)[: config.top_n]
    return rows.assign(rank=np.arange(1, len(rows) + 1))


class _Codes:
    """Numbers of names, from 1."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}

    def of(self, kind: str, name: str) -> int:
        return self._numbers.setdefault((kind, name), len(self._numbers) + 1)


def _nearness(
    near: Sequence[tuple[str, float]], group: str | None, groups: Mapping[str, str]
) -> tuple[float, float] | None:
    """Return mean and standard deviation of the cosines of a track and its nearest, its own copies left out."""
    cosines = np.array([cosine for other, cosine in near if group is None or groups.get(other) != group])
    if not len(cosines):
        return None
    mean = cosines.mean()
    return float(mean), float(np.sqrt(max(np.square(cosines).mean() - mean * mean, 0.0)))
