"""Types of numpy arrays, named by what they hold; shapes are in the docstrings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Float32Array with a row a track (or query, or song), whose direction is what matters.
Vectors = npt.NDArray[np.float32]
