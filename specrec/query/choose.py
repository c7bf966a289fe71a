"""A query's list, chosen by the rules of the nightly lists from the tracks that are nearest to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from specrec.recommend.choose import choose_batches
from specrec.recommend.config import RecommendConfig
from specrec.recommend.hubs import Nearness
from specrec.settings import System

#: A cosine of no less is that of a vector with itself, after what float32 may take from it.
SAME = 1 - 1e-6

_CODES = pa.list_(pa.int64())
_CANDIDATE = pa.struct(
    {
        "neighbour_id": pa.string(),
        "cosine": pa.float64(),
        "mean": pa.float64(),
        "std": pa.float64(),
        "duplicate": pa.int64(),
        "artists": _CODES,
        "albums": _CODES,
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
    traits : RecordBatch
        As :func:`specrec.recommend.traits.traits_of` returns them; a track that is in the catalogue no more has
        none.
    near : dict
        Of each track, the nearest to it, and their cosines.
    groups : dict of str
        The group of duplicates of each track, and of each that is near to one, where it has any.
    kept : dict of Nearness
        How near the nearest of a track are, where the night that made the lists kept it: it goes before what `near`
        would say today.
    """

    traits: pa.RecordBatch
    near: Mapping[str, Sequence[tuple[str, float]]]
    groups: Mapping[str, str]
    kept: Mapping[str, Nearness] = field(default_factory=dict)

    def nearness(self, track_id: str | None, near: Sequence[tuple[str, float]]) -> Nearness:
        """Return how near the nearest of a track are, those that are no copies of it.

        Parameters
        ----------
        track_id : str or None
            None: a song that is no track of the catalogue.
        near : sequence of (str, float)
            The tracks that are near to it, and their cosines.
        """
        if track_id is not None and track_id in self.kept:
            return self.kept[track_id]
        group = self.groups.get(track_id) if track_id else None
        cosines = [cosine for other, cosine in near if group is None or self.groups.get(other) != group]
        return Nearness.of(np.array(cosines, np.float64))


def itself(nearest: Sequence[tuple[str, float]]) -> str | None:
    """Return the track that a query is, if it is one of the catalogue: its vector is the query's.

    Parameters
    ----------
    nearest : sequence of (str, float)
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
    nearest : sequence of (str, float)
        Track ids and cosines, best first.
    """
    head = itself(nearest)
    others = list(nearest[1:] if head else nearest)
    allowed = known.traits.filter(known.traits.column("allowed"))
    number = {track_id: row for row, track_id in enumerate(allowed.column("track_id").to_pylist())}
    listed = [(track_id, cosine) for track_id, cosine in others if track_id in number]
    traits = allowed.take(pa.array([number[track_id] for track_id, _ in listed], pa.int64()))
    usual = [known.nearness(track_id, known.near.get(track_id, ())) for track_id, _ in listed]
    groups = {group: code for code, group in enumerate(dict.fromkeys(known.groups.values()), start=1)}
    candidates = pa.StructArray.from_arrays(
        [
            traits.column("track_id"),
            pa.array([cosine for _, cosine in listed], pa.float64()),
            pa.array([float(of.mean) for of in usual], pa.float64()),
            pa.array([float(of.std) for of in usual], pa.float64()),
            pa.array([groups.get(known.groups.get(track_id, "")) for track_id, _ in listed], pa.int64()),
            _coded(traits.column("artists")),
            _coded(traits.column("albums")),
        ],
        fields=list(_CANDIDATE),
    )
    own = known.nearness(head, others)
    own_group = groups.get(known.groups.get(head, "")) if head else None
    query = pa.RecordBatch.from_arrays(
        [
            pa.array([system]),
            pa.array([""]),
            pa.array([float(own.mean)], pa.float64()),
            pa.array([float(own.std)], pa.float64()),
            pa.array([own_group], pa.int64()),
            pa.ListArray.from_arrays(pa.array([0, len(listed)], pa.int32()), candidates),
        ],
        schema=_QUERY,
    )
    (chosen,) = choose_batches(config)(iter([query]))
    rows = chosen.to_pandas().drop(columns="track_id")
    if head in number:
        first = {"system": system, "recommended_track_id": head, "score": nearest[0][1], "affinity": np.nan}
        rows = pd.concat([pd.DataFrame([first]), rows], ignore_index=True)[: config.top_n]
    return rows.assign(rank=np.arange(1, len(rows) + 1))


def _coded(names: pa.ListArray) -> pa.ListArray:
    """Return lists of names as lists of codes: the same for the same name."""
    items = names.flatten()
    if pa.types.is_struct(items.type):  # the artist, who comes last, holds no semicolon: the two names stay apart
        items = pc.binary_join_element_wise(*items.flatten(), ";")
    codes = items.dictionary_encode().indices.cast(pa.int64())
    lengths = names.value_lengths().to_numpy(zero_copy_only=False)
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], lengths.cumsum()]), pa.int32()), codes)
