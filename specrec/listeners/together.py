"""What is liked together: pairs of tracks that the same people like, counted a block of people at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from scipy import sparse


def pairs_liked(likes: pa.Table) -> pa.Table:
    """Return how many people of a block like both tracks of each pair: ``a, b, both``, each pair both ways.

    Parameters
    ----------
    likes : Table
        ``user_id`` and ``code`` of a track, each pair once; all of the likes of each person that is in it.

    Examples
    --------
    >>> likes = pa.table({"user_id": ["ann", "ann", "bob", "bob"], "code": [7, 8, 7, 8]})
    >>> pairs_liked(likes).to_pylist()
    [{'a': 7, 'b': 8, 'both': 2}, {'a': 8, 'b': 7, 'both': 2}]
    """
    people = likes.column("user_id").combine_chunks().dictionary_encode()
    codes, column = np.unique(likes.column("code").to_numpy(), return_inverse=True)
    row = people.indices.to_numpy(zero_copy_only=False)
    shape = (len(people.dictionary), len(codes))
    matrix = sparse.csr_array((np.ones(len(row), np.int64), (row, column)), shape=shape)
    both = (matrix.T @ matrix).tocoo()
    apart = both.row != both.col
    found = {"a": codes[both.row[apart]], "b": codes[both.col[apart]], "both": both.data[apart]}
    return pa.table(found).sort_by([("a", "ascending"), ("b", "ascending")])
