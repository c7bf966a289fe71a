"""Values as few numbers: any real change moves them, and another processor's last digits do not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from golden.inputs import random_bits

#: Relative to the root mean square of an array: far more than processors and builds differ by, far less than what
#: anybody would call a change.
TOLERANCE = 1e-4
#: float32 makes no less of what is about 1.
_LEAST = 2e-6
_LISTED = 24
_DIRECTIONS = 4


def digest(value: Any) -> Any:
    """Return plain JSON: texts, truths and integers as they are; arrays of floats, and floats, rounded.

    A large array is told by its shape, its root mean square, its mean, and its projections on a few fixed
    directions of random signs, in which a change of any part shows.
    """
    if isinstance(value, dict):
        return {str(name): digest(of) for name, of in value.items()}
    if isinstance(value, list | tuple):
        return [digest(of) for of in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "biuU" and array.dtype != np.int8:  # int8 are rounded measures
        return array.tolist()
    array = array.astype(np.float64)
    if array.size <= _LISTED:
        return _rounded(array.tolist())
    flat = array.ravel()
    if not np.isfinite(flat).all():
        raise ValueError("a large array with values that are not finite has no digest")
    signs = [random_bits(direction, flat.size) * 2.0 - 1 for direction in range(_DIRECTIONS)]
    return {
        "shape": list(array.shape),
        "rms": _rounded(float(np.sqrt(np.mean(flat**2)))),
        "mean": _rounded(float(flat.mean())),
        "along": _rounded([float(of @ flat) / math.sqrt(flat.size) for of in signs]),
    }


def differences(expected: Any, found: Any, where: str = "") -> Iterator[str]:
    """Yield, in words, where one digest differs from another by more than :data:`TOLERANCE`."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in expected.keys() | found.keys():
            at = f"{where}.{name}" if where else name
            if name not in expected or name not in found:
                yield f"{at} is {'new' if name in found else 'gone'}"
            elif "rms" in expected and "rms" in found and name in ("mean", "along"):
                yield from _numbers(expected[name], found[name], at, expected["rms"])
            else:
                yield from differences(expected[name], found[name], at)
    elif _is_numeric(expected) and _is_numeric(found):
        listed = expected if isinstance(expected, list) else [expected]
        known = [of for of in listed if of is not None]
        scale = math.sqrt(sum(of * of for of in known) / len(known)) if known else 0.0
        yield from _numbers(expected, found, where, scale)
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield f"{where} has {len(found)} items and had {len(expected)}"
        for number, (was, now) in enumerate(zip(expected, found, strict=False)):
            yield from differences(was, now, f"{where}[{number}]")
    elif expected != found or isinstance(expected, bool) != isinstance(found, bool):
        yield f"{where} is {found!r} and was {expected!r}"


def _numbers(expected: Any, found: Any, where: str, scale: float) -> Iterator[str]:
    was = np.array(expected if isinstance(expected, list) else [expected], np.float64)  # None is NaN
    now = np.array(found if isinstance(found, list) else [found], np.float64)
    if was.shape != now.shape:
        yield f"{where} has {now.size} numbers and had {was.size}"
    elif not np.allclose(was, now, rtol=0, atol=TOLERANCE * scale + _LEAST, equal_nan=True):
        yield f"{where} is {found} and was {expected}"


def _is_numeric(value: Any) -> bool:
    """Tell a float, or a list of numbers of which one is a float; integers alone are compared as they are."""
    if isinstance(value, float):
        return True
    return (
        isinstance(value, list)
        and any(isinstance(of, float) for of in value)
        and all(of is None or (isinstance(of, int | float) and not isinstance(of, bool)) for of in value)
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(of) for of in value]
    return float(f"{value:.6g}") if math.isfinite(value) else None
