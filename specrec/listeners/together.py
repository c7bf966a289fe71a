"""What is liked together: pairs of tracks that the same people like, counted a block of people at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from scipy import sparse


def pairs_liked(likes: pa.Table) -> pa.Table:
    """Return what people of a block like together: ``a, b, both, product`` of pairs of tracks, each both ways.

    ``both`` is how many people like both, ``product`` the sum of the products of what the two likes weigh.

    Parameters
    ----------
    likes : Table
        ``user_id``, ``code`` of a track and ``weight``, a whole number, each pair once; all of the likes of each
        person that is in it.

    Examples
    --------
    >>> likes = pa.table({"user_id": ["ann", "ann", "bob", "bob"], "code": [7, 8, 7, 8], "weight": [1, 1, 2, 3]})
    >>> pairs_liked(likes).to_pylist()
    [{'a': 7, 'b': 8, 'both': 2, 'product': 7}, {'a': 8, 'b': 7, 'both': 2, 'product': 7}]
    """
    people = likes.column("user_id").combine_chunks().dictionary_encode()
    codes, column = np.unique(likes.column("code").to_numpy(), return_inverse=True)
    row = people.indices.to_numpy(zero_copy_only=False)
    shape = (len(people.dictionary), len(codes))
    weight = likes.column("weight").to_numpy().astype(np.int64)
    both, product = (
        (matrix.T @ matrix).tocoo()
        for matrix in (sparse.csr_array((of, (row, column)), shape=shape) for of in (np.ones_like(weight), weight))
    )  # the two have entries at the same places
    apart = both.row != both.col
    found = {"a": codes[both.row[apart]], "b": codes[both.col[apart]]}
    found |= {"both": both.data[apart], "product": product.data[apart]}
    return pa.table(found).sort_by([("a", "ascending"), ("b", "ascending")])
