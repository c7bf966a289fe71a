"""What is fitted to the catalogue: named, versioned numpy arrays."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SCALER = "features_scaler"
PCA = "spectrogram_pca"
STATISTICS = "catalogue_statistics"
NAMES = (SCALER, PCA, STATISTICS)
#: What vectors are made with, and so is kept from night to night; the statistics follow the catalogue.
OF_VECTORS = (SCALER, PCA)
#: What the table ``map`` is made with; not of :data:`NAMES`, since the stage fit leaves it alone.
MAP = "map"
_CELLS = "_cells"


@dataclass(frozen=True)
class Artefact:
    """One version of what was fitted.

    Attributes
    ----------
    name : str
        One of :data:`NAMES`, :data:`MAP`, or what :func:`cells_of` returns.
    version : int
        1, 2, …
    arrays : dict of float64 arrays
        What was fitted.
    fitted_tracks : int
        On how many tracks.
    """

    name: str
    version: int
    arrays: dict[str, FloatArray]
    fitted_tracks: int


def cells_of(space: str) -> str:
    """Return the name of the artefact that holds the cells of a space, in which neighbours are searched."""
    return f"{space}{_CELLS}"


def pack(arrays: dict[str, FloatArray]) -> bytes:
    """Return arrays as the bytes of an .npz file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **dict(sorted(arrays.items())), allow_pickle=False)
    return buffer.getvalue()


def unpack(payload: bytes) -> dict[str, Any]:
    """Return the arrays that :func:`pack` packed. Nothing in the bytes is ever executed."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
