"""Many statements at once: a phrase is filled with columns of values, and text is joined, by Arrow and not by row.

What is formatted is each different value of a column, once; it reads as :meth:`str.format` would write it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def fill(form: str, values: Mapping[str, Any], count: int) -> pa.StringArray:
    """Return a phrase, filled once a row.

    Parameters
    ----------
    form : str
        As :meth:`str.format` takes it, with names in braces.
    values : mapping
        By name, one text for all rows, or an array of shape (count,): of numbers, or of texts; or a StringArray.
    count : int
        How many rows there are.

    Examples
    --------
    >>> values = {"a": np.array([1.0, 2.5]), "b": np.array([0.0, -3]), "where": "all"}
    >>> fill("{a:.0f} and {b:+.1f} dB in {where}", values, 2).to_pylist()
    ['1 and +0.0 dB in all', '2 and -3.0 dB in all']
    """
    pieces: list[Any] = []
    for literal, name, spec, _ in Formatter().parse(form):
        if literal:
            pieces.append(literal)
        if name is not None:
            value = values[name]
            pieces.append(format(value, spec or "") if isinstance(value, str) else _texts(value, spec or ""))
    return joined(pieces, count)


def joined(pieces: Sequence[str | pa.StringArray], count: int) -> pa.StringArray:
    """Return the pieces of each row one after the other; a text stands in every row.

    Examples
    --------
    >>> joined(["a", pa.array(["1", "2"])], 2).to_pylist()
    ['a1', 'a2']
    """
    if all(isinstance(piece, str) for piece in pieces):
        return pa.repeat(pa.scalar("".join(map(str, pieces))), count)
    return pc.binary_join_element_wise(*pieces, "")


def _texts(values: npt.NDArray[Any] | pa.StringArray, spec: str) -> pa.StringArray:
    """Return each value of a column as text."""
    if isinstance(values, pa.Array):
        return values
    if values.dtype == object:
        return pa.array([format(value, spec) for value in values.tolist()], pa.string())
    # by their bits: -0.0 is written otherwise than 0.0, and is equal to it
    bits = np.ascontiguousarray(values)
    bits = bits.view(f"i{bits.dtype.itemsize}")
    encoded = pa.array(bits).dictionary_encode()
    different = encoded.dictionary.to_numpy().view(values.dtype).tolist()
    written = pa.array([format(value, spec) for value in different], pa.string())
    return written.take(encoded.indices)
