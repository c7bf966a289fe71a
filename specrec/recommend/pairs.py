"""Pairs of a track and one that is recommended to it, with all that an explanation may speak of, as arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from specrec.arrays import BoolArray, Float32Array, Float64Array
from specrec.embedding.spectrogram import REGIONS
from specrec.embedding.statistics import ATTRIBUTES, measure, measures_of


@dataclass(frozen=True)
class Side:
    """The tracks on one side of the pairs; every array has one row a pair.

    Attributes
    ----------
    vectors : dict of float32, shape (n, dimensions)
        By space, of those spaces whose vectors the explanation of these pairs needs.
    levels : float64, shape (n, regions)
        Mean level of each region of the spectrum, dB against the track's mean; NaN where a region has no band.
    measures : dict of float64, shape (n,)
        As :func:`specrec.embedding.statistics.measure` returns them.
    attributes : dict of float64, shape (n,)
        By :data:`~specrec.embedding.statistics.ATTRIBUTES`; NaN where the catalogue says nothing.
    tags : list of dict, length n
        By model, the names of the tags that it gives the track.
    is_predicted : bool, shape (n,), or None
        Whether nobody is known to like the track, so that its vector in the space ``listeners`` is predicted; None
        where these pairs are not told of listeners.
    """

    vectors: Mapping[str, Float32Array]
    levels: Float64Array
    measures: dict[str, Float64Array]
    attributes: dict[str, Float64Array]
    tags: Sequence[Mapping[str, Collection[str]]]
    is_predicted: BoolArray | None = None


@dataclass(frozen=True)
class ListedPairs:
    """Tracks, and beside each of them a track of its list.

    Attributes
    ----------
    track, recommended : Side
        The track whose list it is, and the one that is recommended.
    parts : float32, shape (n, regions, components)
        What each region of the spectrum contributes to the track's vector in the space ``spectrogram``.
    both : float64, shape (n,), or None
        How many people like both, by the table ``also_liked``; NaN, as None, where it does not say it.
    """

    track: Side
    recommended: Side
    parts: Float32Array
    both: Float64Array | None = None


def pairs_of(rows: pd.DataFrame, spaces: Collection[str]) -> ListedPairs:
    """Return pairs as arrays.

    Parameters
    ----------
    rows : DataFrame
        The columns that :func:`specrec.recommend.profiles.profile_of` names: of the track, named ``a_…``, and of
        the recommended one, named ``b_…``, which needs no ``b_parts``.
    spaces : collection of str
        Those whose vectors are needed.
    """
    parts = np.stack(rows["a_parts"].to_list()).reshape(len(rows), len(REGIONS), -1)
    both = rows["both"].to_numpy(np.float64) if "both" in rows else None
    return ListedPairs(_side(rows, "a_", spaces), _side(rows, "b_", spaces), parts, both)


def pairs_of_batch(rows: pa.RecordBatch, spaces: Collection[str]) -> ListedPairs:
    """Return what :func:`pairs_of` does, of Arrow columns; vectors are not copied.

    Parameters
    ----------
    rows : RecordBatch
        As the DataFrame that :func:`pairs_of` takes.
    """
    parts = _matrix(rows.column("a_parts")).reshape(len(rows), len(REGIONS), -1)
    both = _numbers(rows.column("both")) if "both" in rows.schema.names else None
    return ListedPairs(_side_of_batch(rows, "a_", spaces), _side_of_batch(rows, "b_", spaces), parts, both)


def _side_of_batch(rows: pa.RecordBatch, prefix: str, spaces: Collection[str]) -> Side:
    def column(name: str) -> Float64Array:
        values = rows.column(prefix + name)
        if pa.types.is_list(values.type):
            return _matrix(values).astype(np.float64)
        return _numbers(values)

    of_tags = f"{prefix}tags_"
    tags = {
        name.removeprefix(of_tags): rows.column(name).to_pylist()
        for name in rows.schema.names
        if name.startswith(of_tags)
    }
    predicted = f"{prefix}is_predicted"
    return Side(
        vectors={space: _matrix(rows.column(f"{prefix}vector_{space}")) for space in spaces},
        levels=column("levels"),
        measures=measures_of(column),
        attributes={name: column(f"catalogue_{name}") for name in ATTRIBUTES},
        tags=_by_row(tags, len(rows)),
        is_predicted=column(predicted) > 0 if predicted in rows.schema.names else None,
    )


def _numbers(values: pa.Array) -> Float64Array:
    """Return numbers as an array; NaN where there is none."""
    found: Float64Array = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
    return found


def _matrix(lists: pa.ListArray) -> npt.NDArray[np.floating]:
    """Return lists of one length, without nulls, as an array, one a row."""
    flat: npt.NDArray[np.floating] = lists.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(lists), -1)


def _side(rows: pd.DataFrame, prefix: str, spaces: Collection[str]) -> Side:
    predicted = f"{prefix}is_predicted"
    return Side(
        vectors={space: np.stack(rows[f"{prefix}vector_{space}"].to_list()) for space in spaces},
        levels=np.stack(rows[f"{prefix}levels"].to_list()).astype(np.float64),
        measures=measure(rows, prefix),
        attributes={
            name: np.asarray(pd.to_numeric(rows[f"{prefix}catalogue_{name}"]), np.float64) for name in ATTRIBUTES
        },
        tags=_tags(rows, f"{prefix}tags_"),
        is_predicted=rows[predicted].eq(True).to_numpy(bool) if predicted in rows else None,
    )


def _tags(rows: pd.DataFrame, prefix: str) -> list[dict[str, Collection[str]]]:
    """Return the names of each track's tags by model, of the columns that begin with the prefix."""
    by_model = {name.removeprefix(prefix): rows[name].to_list() for name in rows if name.startswith(prefix)}
    return _by_row(by_model, len(rows))


def _by_row(
    by_model: Mapping[str, Sequence[Collection[str] | None]], count: int
) -> list[dict[str, Collection[str]]]:
    if not by_model:
        return [{}] * count
    return [
        {model: told for model, of in by_model.items() if (told := of[row]) is not None} for row in range(count)
    ]
