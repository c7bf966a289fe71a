"""Groups of what is connected: numpy and pandas alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def connect(edges: pd.DataFrame) -> pd.DataFrame:
    """Return ``track_id, group_id`` of the ends of edges: the least track_id that each is connected with.

    Parameters
    ----------
    edges : DataFrame
        ``a, b``: pairs of track_ids, in any order, of which some may repeat.

    Examples
    --------
    >>> connect(pd.DataFrame({"a": ["t3", "t2", "t5"], "b": ["t1", "t3", "t4"]})).to_numpy().tolist()
    [['t1', 't1'], ['t2', 't1'], ['t3', 't1'], ['t4', 't4'], ['t5', 't4']]
    """
    codes, ids = pd.factorize(pd.concat([edges["a"], edges["b"]]), sort=True)
    ends = codes[: len(edges)], codes[len(edges) :]
    graph = coo_array((np.ones(len(edges)), ends), shape=(len(ids), len(ids)))
    _, component = connected_components(graph, directed=False)
    _, least = np.unique(component, return_index=True)  # ids are sorted: the first of a component is its least
    return pd.DataFrame({"track_id": ids, "group_id": np.asarray(ids)[least[component]]})
