"""The words that listeners read, from the files ``phrases.yaml``; nothing else in the package holds any."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from specrec.arrays import Int64Array


@lru_cache
def phrases(package: str = "specrec.recommend") -> dict[str, Any]:
    """Return what a package's phrases.yaml holds; it is read once a process."""
    text = (files(package) / "phrases.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def phrase(dotted: str, package: str = "specrec.recommend") -> str:
    """Return one phrase of a package, by its section and its name, such as ``rhythm.busy``.

    Raises
    ------
    ValueError
        If phrases.yaml has no such phrase.

    Examples
    --------
    >>> phrase("regions.mids")
    'the mids'
    """
    section, _, name = dotted.partition(".")
    try:
        return str(phrases(package)[section][name])
    except KeyError:
        raise ValueError(f"phrases.yaml has no phrase {dotted!r}: add it, with the words for it") from None


def key_names(numbers: Int64Array) -> npt.NDArray[np.object_]:
    """Return the names of keys, such as "A minor".

    Parameters
    ----------
    numbers : int64, any shape
        As :func:`specrec.embedding.statistics.key_number` returns them.

    Examples
    --------
    >>> key_names(np.array([0, 21])).tolist()
    ['C major', 'A minor']
    """
    forms = [phrase(f"key.{mode}") for mode in ("major", "minor")]
    names = [form.format(tonic=tonic) for form in forms for tonic in phrases()["keys"]]
    return np.array(names, object)[numbers]
