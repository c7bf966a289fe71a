"""What explanations need of a track: which columns of which tables.

It is said once, by :func:`profile_of`; Spark joins whole tables by it (:mod:`specrec.recommend.spark`), a query the
rows of a few tracks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from specrec.embedding.statistics import ATTRIBUTES, COLUMNS
from specrec.recommend.explain import Explainer
from specrec.settings import System


@dataclass(frozen=True)
class ProfileColumns:
    """Columns of a table that are part of a profile.

    Attributes
    ----------
    table : str
    columns : dict of str
        Columns of the table, by the name that they have in the profile.
    space : str
        The space whose rows are meant, of the table ``embeddings``; None for other tables.
    required : bool
        Whether a track without such a row has no profile; else the columns are null.
    """

    table: str
    columns: Mapping[str, str]
    space: System | None = None
    required: bool = True


def profile_of(explainer: Explainer, systems: Collection[System]) -> list[ProfileColumns]:
    """Return what explaining the lists of some systems needs of a track.

    A track that is in the lists of one system need not be in those of another: what not all of them need is null
    where the track has no vector.
    """
    needed = {system: explainer.needed(system) for system in systems}
    found = [
        ProfileColumns("audio_features", {name: name for name in COLUMNS}),
        ProfileColumns("tracks", {f"catalogue_{name}": name for name in ATTRIBUTES}),
    ]
    for space, parts in explainer.parts.items():
        has_vector = any(space in of for of in needed.values())
        is_told = space in explainer.beside or any(space in explainer.shares[system] for system in systems)
        columns = {f"vector_{space}": "vector"} if has_vector else {}
        if is_told:
            columns |= parts.columns
        if columns:
            required = space in explainer.beside or all(space in of for of in needed.values())
            found.append(ProfileColumns("embeddings", columns, space, required))
    return found


def profiles_of(tables: Mapping[str, pd.DataFrame], profile: Sequence[ProfileColumns]) -> pd.DataFrame:
    """Return the profiles of a few tracks, by track_id.

    Parameters
    ----------
    tables : dict of DataFrame
        By the name of the table, the rows of these tracks, with ``track_id`` and, of ``embeddings``, ``space``.
    profile : sequence of ProfileColumns
        As :func:`profile_of` returns it.

    Examples
    --------
    >>> vectors = pd.DataFrame({"space": ["a", "b", "a"], "track_id": ["t", "t", "u"], "vector": [[1], [2], [3]]})
    >>> both = [ProfileColumns("embeddings", {f"vector_{of}": "vector"}, of) for of in ("a", "b")]
    >>> profiles_of({"embeddings": vectors}, both).to_dict("index")
    {'t': {'vector_a': [1], 'vector_b': [2]}}
    """
    found: pd.DataFrame | None = None
    for of in profile:
        rows = tables[of.table]
        if of.space is not None:
            rows = rows[rows["space"] == of.space]
        picked = pd.DataFrame({name: rows[column] for name, column in of.columns.items()})
        picked = picked.set_axis(pd.Index(rows["track_id"], name="track_id"), axis=0)
        found = picked if found is None else found.join(picked, how="inner" if of.required else "left")
    assert found is not None
    return found
