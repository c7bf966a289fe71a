"""Blocks of people and of tracks on their way to each other, packed, so that Spark moves few large rows.

The steps, each inside one task, between which :mod:`specrec.listeners.spark` brings together what has one target:

1. *pack tracks*: some ten thousand tracks become one row;
2. *pack people*: the preferences of some hundred people become what they like, as vectors, in one row, with what
   those like who are near to them;
3. *meet*: each block of people is scored against each block of tracks, and of each person the best remain;
4. *choose*: of a person's best tracks in all blocks, the list is filled within its limits;
5. *tell*: the score of each chosen track is split into its reasons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from specrec.arrays import Float32Array, Float64Array, Int64Array
from specrec.listeners.config import COMPONENTS, OF_TRACKS, ListenersConfig
from specrec.listeners.crowd import Crowd, liked_nearby
from specrec.listeners.scores import DENSE, Best, People, Tracks, Wanted, best_tracks, rows_of, values_at
from specrec.listeners.tastes import Preferences, factors, profiles, share_of_evidence
from specrec.neighbours.kernel import best_first, positions, unit
from specrec.recommend.choose import Limit, choose, vary
from specrec.recommend.traits import holders
from specrec.settings import System
from specrec.warehouse.artefacts import pack, unpack

#: A packed block: whose it is, and its arrays.
PACKED = pa.schema({"block": pa.int32(), "ids": pa.list_(pa.string()), "payload": pa.binary()})

#: A track that somebody knows, among those that are liked together with another: how much of the component
#: ``item_based`` is due to it, how many people like both, and how many like it.
TOGETHER = pa.struct({"code": pa.int64(), "part": pa.float64(), "both": pa.int64(), "liked": pa.int64()})
#: So many of these are kept of a pair, those with the greatest parts.
_KEPT_TOGETHER = 3

#: A track that may come into a person's list.
FOUND = pa.schema(
    {
        "system": pa.string(),
        "user_id": pa.string(),
        "track_id": pa.string(),
        "code": pa.int64(),
        "score": pa.float64(),
        "components": pa.list_(pa.float64()),
        "level": pa.int32(),
        "is_new": pa.bool_(),
        "is_heard": pa.bool_(),
        "together": pa.list_(TOGETHER),
        "near_liked": pa.int64(),  # so many of those who are near to the person like it
        "near": pa.int64(),  # of so many
        "duplicate": pa.int64(),
        "artists": pa.list_(pa.int64()),
        "albums": pa.list_(pa.int64()),
    }
)


@dataclass(frozen=True)
class Model:
    """What was fitted to all listeners, as far as scoring needs it.

    Attributes
    ----------
    gram : float64, shape (factors, factors)
        The sum of the outer products of the factors of all tracks that have listeners.
    alpha, regularisation : float
        As the factors were fitted with.
    systems : dict of float64, shape (levels, components)
        What each component counts in each system for people of whom nothing, little or much is known.
    levels : int64, shape (levels - 1,)
        With so many preferences a person is of the next level.
    dimensions : int
        Of the vectors that content is judged by.
    """

    gram: Float64Array
    alpha: float
    regularisation: float
    systems: Mapping[System, Float64Array]
    levels: Int64Array
    dimensions: int

    def level_of(self, preferences: Int64Array) -> Int64Array:
        """Return the level of people by the number of their preferences."""
        found: Int64Array = np.searchsorted(self.levels, preferences, side="right").astype(np.int64)
        return found


def matrix_of(column: pa.Array, dimensions: int) -> Float32Array:
    """Return lists as rows of a matrix, float32, shape (rows, dimensions); a null is a row of zeros.

    Examples
    --------
    >>> matrix_of(pa.array([[1.0, 2.0], None]), 2).tolist()
    [[1.0, 2.0], [0.0, 0.0]]
    """
    lists = _whole(column)
    matrix = np.zeros((len(lists), dimensions), np.float32)
    there = lists.is_valid().to_numpy(zero_copy_only=False)
    values = lists.drop_null().flatten().to_numpy(zero_copy_only=False)
    matrix[there] = values.astype(np.float32).reshape(-1, dimensions) if dimensions else matrix[there]
    return matrix


def column_of(column: pa.Array | pa.ChunkedArray) -> Any:
    """Return a column's values as an array."""
    return _whole(column).to_numpy(zero_copy_only=False)


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def pack_tracks(table: pa.Table, model: Model) -> pa.Table:
    """Return a block of tracks as one packed row.

    Parameters
    ----------
    table : Table
        ``block, track_id, code, als, content, popularity, average, is_new, similar`` (structs of ``code,
        similarity, both, liked``), ``duplicate, artists, albums``.
    """
    table = table.combine_chunks().sort_by("code")
    similar = table.column("similar").combine_chunks()
    of_similar = similar.flatten()
    known, column = np.unique(column_of(of_similar.field("code")), return_inverse=True)
    meta: dict[str, Any] = {}
    for name in ("artists", "albums"):
        lists = table.column(name).combine_chunks()
        meta |= {f"{name}_of": holders(lists), name: column_of(lists.flatten())}
    arrays = {
        "codes": column_of(table.column("code")),
        "als": matrix_of(table.column("als"), len(model.gram)),
        "content": unit(matrix_of(table.column("content"), model.dimensions)),
        **{name: column_of(table.column(name)).astype(np.float32)[:, None] for name in OF_TRACKS},
        "is_new": column_of(table.column("is_new")),
        "duplicate": column_of(pc.fill_null(table.column("duplicate"), 0)),
        "similar_of": holders(similar),
        "known": known,
        "similar_column": column.astype(np.int32),
        "similarity": column_of(of_similar.field("similarity")),
        **{name: column_of(of_similar.field(name)).astype(np.int32) for name in ("both", "liked")},
        **meta,
    }
    return _packed(table.column("block")[0].as_py(), table.column("track_id").combine_chunks(), arrays)


def _packed(block: int, ids: pa.Array, arrays: dict[str, Any]) -> pa.Table:
    offsets = pa.array([0, len(ids)], pa.int32())
    row = [pa.array([block], pa.int32()), pa.ListArray.from_arrays(offsets, ids), pa.array([pack(arrays)])]
    return pa.Table.from_arrays(row, schema=PACKED)


def preferences_of(table: pa.Table, model: Model) -> tuple[pa.Array, Preferences]:
    """Return the people of a block, by their ids, and their preferences.

    Parameters
    ----------
    table : Table
        ``user_id, code, evidence, als, content, duplicate``, a row a preference; a person without one has a row
        with nulls.
    """
    table = table.combine_chunks().sort_by([("user_id", "ascending"), ("code", "ascending")])
    ids = pc.unique(table.column("user_id").combine_chunks())
    table = table.filter(pc.is_valid(table.column("code"))).combine_chunks()
    found = Preferences(
        owner=column_of(pc.index_in(table.column("user_id"), ids)).astype(np.int64),
        track=column_of(table.column("code")).astype(np.int64),
        evidence=column_of(table.column("evidence")).astype(np.float64),
        group=column_of(pc.fill_null(table.column("duplicate"), 0)).astype(np.int64),
        als=matrix_of(table.column("als"), len(model.gram)),
        content=unit(matrix_of(table.column("content"), model.dimensions)),
    )
    return ids, found


def pack_people(table: pa.Table, model: Model, crowd: Crowd) -> pa.Table:
    """Return a block of people as one packed row: what they like, as vectors.

    Parameters
    ----------
    table : Table
        As :func:`preferences_of` takes it, with ``block``.
    """
    ids, of = preferences_of(table, model)
    count, near = len(ids), liked_nearby(ids, of, crowd)
    level = model.level_of(np.bincount(of.owner, minlength=count))
    arrays = {
        "als": factors(of, count, model.gram, model.alpha, model.regularisation),
        "content": profiles(of, count),
        "level": level,
        "owner": of.owner,
        "track": of.track,
        "evidence": share_of_evidence(of.owner, of.evidence, count),
        "group": of.group,
        "near_for": near.owner,
        "near": near.track,
        "near_value": near.value,
        "near_liked": near.liked,
        "near_size": near.size,
    }
    return _packed(table.column("block")[0].as_py(), ids, arrays)


def meet(
    tracks: pa.Table, people: pa.Table, model: Model, config: ListenersConfig, *, times: int = 1
) -> Iterator[pa.Table]:
    """Yield the tracks of a block that may come into the lists of people, as :data:`FOUND`.

    Parameters
    ----------
    tracks : Table
        One row of :func:`pack_tracks`.
    people : Table
        Rows of :func:`pack_people`.
    times : int
        So many times more tracks than usual are looked at for each person.
    """
    if not tracks.num_rows:
        return
    block = _Block.of(*_unpacked(tracks, 0))
    wanted = [Wanted(config.candidates * times)]
    if config.most_familiar:
        wanted.append(Wanted(config.candidates * times, heard_too=True))
    if config.kept_for_new and block.tracks.is_new.any():
        wanted.append(Wanted(config.new_candidates * times, only=block.tracks.is_new))
    for row in range(people.num_rows):
        names, person = _unpacked(people, row)
        barred = _other_takes(person, block.arrays)
        for system, weights in model.systems.items():
            for found in best_tracks(_people(person, weights, barred), block.tracks, wanted):
                yield _found(system, names, person, block=block, best=found, heard_too=config.most_familiar > 0)


@dataclass(frozen=True)
class _Block:
    """A block of tracks, unpacked, and what is made of it once for all people.

    Attributes
    ----------
    ids : Arrow array of strings, shape (tracks,)
    arrays : dict of arrays
        As :func:`pack_tracks` packed them.
    tracks : Tracks
    entries : sparse, shape (tracks, known tracks)
        Where in the arrays that begin with ``similar`` a pair stands, from 1.
    """

    ids: pa.Array
    arrays: dict[str, Any]
    tracks: Tracks
    entries: sparse.csr_array

    @classmethod
    def of(cls, ids: pa.Array, arrays: dict[str, Any]) -> _Block:
        known, column = arrays["known"], arrays["similar_column"]
        at, shape = (arrays["similar_of"], column), (len(ids), len(known))
        similar = sparse.csr_array((arrays["similarity"], at), shape=shape)
        similar.sort_indices()
        tracks = Tracks(arrays["codes"], {name: arrays[name] for name in DENSE}, similar, known, arrays["is_new"])
        return cls(ids, arrays, tracks, sparse.csr_array((np.arange(1, len(column) + 1), at), shape=shape))


def _unpacked(table: pa.Table, row: int) -> tuple[pa.Array, dict[str, Any]]:
    return table.column("ids")[row].values, unpack(table.column("payload")[row].as_py())


def _people(person: dict[str, Any], weights: Float64Array, barred: tuple[Int64Array, Int64Array]) -> People:
    count = len(person["level"])
    return People(
        vectors={
            "als": person["als"],
            "content": person["content"],
            **dict.fromkeys(OF_TRACKS, np.ones((count, 1), np.float32)),
        },
        weights=weights[person["level"]],
        owner=person["owner"],
        track=person["track"],
        evidence=person["evidence"],
        near_for=person["near_for"],
        near=person["near"],
        near_value=person["near_value"],
        barred_for=barred[0],
        barred=barred[1],
    )


def _other_takes(person: dict[str, Any], of: dict[str, Any]) -> tuple[Int64Array, Int64Array]:
    """Return, of the tracks of a block, those that are a recording which a person knows as another track."""
    grouped = np.flatnonzero(of["duplicate"])
    known = np.flatnonzero(person["group"])
    if not len(grouped) or not len(known):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    mine = pd.DataFrame(
        {name: person[name][known] for name in ("owner", "track", "group")},
    )
    theirs = pd.DataFrame({"group": of["duplicate"][grouped], "code": of["codes"][grouped]})
    both = mine.merge(theirs, on="group")
    both = both[both["track"] != both["code"]].drop_duplicates(["owner", "code"])
    return both["owner"].to_numpy(np.int64), both["code"].to_numpy(np.int64)


def _found(
    system: str, names: pa.Array, person: dict[str, Any], *, block: _Block, best: Best, heard_too: bool
) -> pa.Table:
    of, count = block.arrays, len(best.track)
    codes, is_heard = of["codes"][best.track], np.zeros(count, bool)
    if heard_too:
        heard = pd.MultiIndex.from_arrays([person["owner"], person["track"]])
        is_heard = pd.MultiIndex.from_arrays([best.person, codes]).isin(heard)
    columns = {
        "system": pa.repeat(pa.scalar(system), count),
        "user_id": names.take(pa.array(best.person)),
        "track_id": block.ids.take(pa.array(best.track)),
        "code": pa.array(codes),
        "score": pa.array(best.score),
        "components": pa.FixedSizeListArray.from_arrays(pa.array(best.components.ravel()), len(COMPONENTS)).cast(
            pa.list_(pa.float64())
        ),
        "level": pa.array(person["level"][best.person], pa.int32()),
        "is_new": pa.array(of["is_new"][best.track]),
        "is_heard": pa.array(is_heard),
        "together": _together(person, block, best),
        "near_liked": pa.array(_near_liked(person, codes, best.person)),
        "near": pa.array(person["near_size"][best.person]),
        "duplicate": pa.array(of["duplicate"][best.track]),
        "artists": _lists(of["artists_of"], of["artists"], best.track, len(block.ids)),
        "albums": _lists(of["albums_of"], of["albums"], best.track, len(block.ids)),
    }
    return pa.Table.from_pydict(columns, FOUND)


def _together(person: dict[str, Any], block: _Block, best: Best) -> pa.Array:
    """Return, of each pair, the tracks that the person knows and that are liked together with it: the strongest."""
    of, count = block.arrays, len(person["level"])
    evidence = rows_of(person["owner"], person["track"], person["evidence"], block.tracks.known, count)
    of_pairs = block.entries[best.track].tocoo()
    shares = values_at(evidence, best.person[of_pairs.row], of_pairs.col)
    used = np.flatnonzero(shares)
    pair, entry = of_pairs.row[used].astype(np.int64), of_pairs.data[used] - 1
    part = shares[used] * of["similarity"][entry]
    code = block.tracks.known[of["similar_column"][entry]]
    kept = best_first(pair, np.abs(part), code, _KEPT_TOGETHER)
    pair, entry, part = pair[kept], entry[kept], part[kept]
    values = pa.StructArray.from_arrays(
        [
            pa.array(code[kept]),
            pa.array(part),
            pa.array(of["both"][entry], pa.int64()),
            pa.array(of["liked"][entry], pa.int64()),
        ],
        fields=list(TOGETHER),
    )
    ends = np.searchsorted(pair, np.arange(len(best.track) + 1))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)


def _near_liked(person: dict[str, Any], codes: Int64Array, owner: Int64Array) -> Int64Array:
    """Return how many of those who are near to a person like a track, for pairs of the two."""
    ascending, column = np.unique(codes, return_inverse=True)
    liked = rows_of(person["near_for"], person["near"], person["near_liked"], ascending, len(person["level"]))
    return values_at(liked, owner, column).astype(np.int64)


def _lists(owner: Int64Array, values: Int64Array, rows: Int64Array, count: int) -> pa.Array:
    ends = np.searchsorted(owner, np.arange(count + 1))
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values, pa.int64()))
    return lists.take(pa.array(rows))


def choose_lists(
    table: pa.Table, config: ListenersConfig, most: Mapping[str, int | None], content: pa.Table | None = None
) -> pa.Table:
    """Return the tracks of people's lists, of those found for them: rows of :data:`FOUND`.

    A list is filled from the greatest score down. A share of it is kept for new tracks, the best of them; no more
    than a share of it are tracks that the person knows. If lists are to be varied, what sounds like a track that is
    in the list already comes after others.

    Parameters
    ----------
    table : Table
        :data:`FOUND`, all rows of each person that is in it.
    most : dict of int or None
        How many tracks of one of the ``artists`` and ``albums`` a list may hold.
    content : Table or None
        ``track_id, content`` of these tracks, by which lists are varied; None: they are not.
    """
    table = table.combine_chunks().sort_by([(name, "ascending") for name in ("system", "user_id", "code")])
    if not table.num_rows:
        return table
    owner = _codes_of(table, "system") * (1 << 32) + _codes_of(table, "user_id")
    codes = column_of(table.column("code"))
    first = np.r_[True, (owner[1:] != owner[:-1]) | (codes[1:] != codes[:-1])]  # a new track was found twice
    table, owner = table.filter(pa.array(first)).combine_chunks(), owner[first]
    _, owner = np.unique(owner, return_inverse=True)
    score, is_new = column_of(table.column("score")), column_of(table.column("is_new"))
    order = np.lexsort((-score, owner, ~is_new))
    order = order[is_new[order]]
    is_kept = np.zeros(len(owner), bool)
    is_kept[order[positions(owner[order]) < config.kept_for_new]] = True
    # what is kept for new tracks is chosen first, by a score that no other reaches
    chosen_by = np.where(is_kept, score + (score.max() - score.min() + 1), score)
    duplicate, is_heard = column_of(table.column("duplicate")), column_of(table.column("is_heard"))
    limits = [Limit(np.flatnonzero(duplicate), duplicate[duplicate != 0], 1)]
    if config.most_familiar:
        limits.append(Limit(np.flatnonzero(is_heard), np.ones(is_heard.sum(), np.int64), config.most_familiar))
    for name, limit in most.items():
        if limit:
            names = table.column(name).combine_chunks()
            limits.append(Limit(holders(names), column_of(names.flatten()), limit))
    size = config.top_n if content is None else config.candidates
    chosen = choose(owner.astype(np.int64), chosen_by, np.ones(len(owner), bool), size, limits) > 0
    if content is not None:
        (some,) = np.nonzero(chosen)
        vectors = _vectors_of(table.column("track_id").take(pa.array(some)), content)
        top_n, variety, of_new = config.top_n, config.variety, is_kept[some]
        chosen[some] = vary(owner[some], score[some], vectors, top_n, variety=variety, kept=of_new)
    return table.filter(pa.array(chosen))


def _vectors_of(tracks: pa.ChunkedArray, content: pa.Table) -> Float32Array:
    """Return vectors of length 1, float32, shape (tracks, dimensions); zeros of tracks that have none."""
    lists = _whole(content.column("content"))
    vectors = unit(matrix_of(lists, len(lists[0]) if len(lists) else 0))
    place = column_of(pc.fill_null(pc.index_in(tracks, content.column("track_id")), -1))
    found = np.zeros((len(place), vectors.shape[1]), np.float32)
    found[place >= 0] = vectors[place[place >= 0]]
    return found


def _codes_of(table: pa.Table, name: str) -> Int64Array:
    encoded = table.column(name).combine_chunks().dictionary_encode()
    codes: Int64Array = column_of(encoded.indices).astype(np.int64)
    return codes
