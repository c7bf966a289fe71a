"""What is fitted to the catalogue: named, versioned numpy arrays, kept in the table ``artefacts``.

The newest version that belongs to the configuration is in use, in the job as in a query. The table is small, so
delta-rs reads it and no Spark is needed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from specrec.arrays import Float64Array
from specrec.errors import SpecrecError
from specrec.settings import SettingsHash

if TYPE_CHECKING:  # executors read what was fitted too, and have no deltalake
    from specrec.warehouse.reader import Reader


@dataclass(frozen=True)
class ArtefactId:
    """What an artefact is called, and which settings it belongs to.

    Attributes
    ----------
    name : str
        Such as ``features_scaler``.
    settings : SettingsHash
        Names the settings that it depends on, besides the tracks that it is fitted on.
    """

    name: str
    settings: SettingsHash


@dataclass(frozen=True)
class Artefact:
    """One version of what was fitted.

    Attributes
    ----------
    name : str
        That of its :class:`ArtefactId`.
    version : int
        1, 2, …
    arrays : dict of float64 arrays
        What was fitted.
    fitted_tracks : int
        On how many tracks.
    fitted_on : str or None
        Hash of the rows that it was fitted on, if that is known.
    """

    name: str
    version: int
    arrays: dict[str, Float64Array]
    fitted_tracks: int
    fitted_on: str | None = None

    @property
    def made_with(self) -> str:
        """What names it among the ingredients of a result."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class NewArtefact:
    """What was fitted just now and has no version yet.

    Attributes
    ----------
    of : ArtefactId
    arrays : dict of arrays
    fitted_tracks : int
        On how many tracks.
    fitted_on : str or None
        Hash of the rows that it was fitted on; see :func:`hash_of_rows`. None: unknown, of an older version.
    reason : str
        Why it was fitted.
    """

    of: ArtefactId
    arrays: Mapping[str, Any]
    fitted_tracks: int
    fitted_on: str | None
    reason: str


class ArtefactStore:
    """The artefacts of a warehouse; each is read once.

    Parameters
    ----------
    reader : Reader
        Of the warehouse.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._versions: list[dict[str, Any]] | None = None
        self._read: dict[ArtefactId, Artefact] = {}

    def find(self, of: ArtefactId) -> Artefact | None:
        """Return the newest version that belongs to its settings; None if there is none."""
        if of not in self._read:
            own = [row["version"] for row in self._known() if _belongs(row, of)]
            if not own:
                return None
            wanted = [("name", "=", of.name), ("version", "=", max(own))]
            (row,) = self._reader.rows("artefacts", wanted, ["version", "payload", "fitted_tracks", "fitted_on"])
            of_row = (unpack(row["payload"]), row["fitted_tracks"], row["fitted_on"])
            self._read[of] = Artefact(of.name, row["version"], *of_row)
        return self._read[of]

    def need(self, of: ArtefactId) -> Artefact:
        """Return the newest version that belongs to its settings.

        Raises
        ------
        SpecrecError
            If there is none.
        """
        found = self.find(of)
        if found is None:
            raise SpecrecError(f"there is no {of.name} for this configuration: run the stage fit first")
        return found

    def last_version(self, name: str) -> int:
        """Return the greatest version of an artefact, whichever settings it belongs to; 0 if there is none."""
        return max((row["version"] for row in self._known() if row["name"] == name), default=0)

    def forget(self) -> None:
        """Read the table anew when it is next asked: something was published."""
        self._versions = None
        self._read = {}

    def _known(self) -> list[dict[str, Any]]:
        if self._versions is None:
            self._versions = self._reader.rows("artefacts", columns=["name", "version", "config_hash"])
        return self._versions


def pack(arrays: Mapping[str, Float64Array]) -> bytes:
    """Return arrays as the bytes of an .npz file; the same arrays give the same bytes.

    Examples
    --------
    >>> payload = pack({"mean": np.zeros(3), "std": np.ones(3)})
    >>> {name: array.shape for name, array in unpack(payload).items()}
    {'mean': (3,), 'std': (3,)}
    """
    buffer = io.BytesIO()
    np.savez(buffer, **dict(sorted(arrays.items())), allow_pickle=False)
    return buffer.getvalue()


def unpack(payload: bytes) -> dict[str, Any]:
    """Return the arrays that :func:`pack` packed. Nothing in the bytes is ever executed."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def hash_of_rows(*columns: Iterable[str]) -> str:
    """Return a short name of the rows that an artefact is fitted on."""
    return hashlib.sha256("\n".join(map(" ".join, zip(*columns, strict=True))).encode()).hexdigest()


def _belongs(row: Mapping[str, Any], of: ArtefactId) -> bool:
    return bool(row["name"] == of.name and row["config_hash"] in of.settings.accepted)
