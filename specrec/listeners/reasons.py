"""Why a track is recommended to a person: the score, split into parts that add up to it, and what is said of each.

The component ``als`` splits by the person's own normal equations, as Hu, Koren and Volinsky write it
(Collaborative Filtering for Implicit Feedback Datasets, 2008, section 5): a score is a sum over the tracks that
the person likes. So does ``content``, a mean of cosines, and ``item_based``. The others are one part each:
``user_based`` is of all people who are near to the person, together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specrec.arrays import Float64Array, Int64Array
from specrec.listeners.als import fold_in
from specrec.listeners.blocks import Model, column_of, matrix_of, preferences_of
from specrec.listeners.config import COMPONENTS, OF_TRACKS
from specrec.listeners.tastes import Preferences, share_of_evidence
from specrec.neighbours.kernel import positions, unit
from specrec.recommend.phrases import phrase
from specrec.recommend.traits import holders
from specrec.recommend.wording import fill

#: So many known tracks are named of a component, those with the greatest parts; the others are told together.
NAMED = 3
#: Tracks whose cosine is at least so much sound alike; unlike, at most so much below 0.
_ALIKE = 0.3
#: What is left is nothing if it is less than this share of the whole.
_NOTHING = 1e-9

REASON = pa.struct(
    {
        "family": pa.string(),
        "feature": pa.string(),
        "contribution": pa.float64(),
        "track_value": pa.float64(),
        "recommended_value": pa.float64(),
        "statement": pa.string(),
    }
)
TOLD = pa.schema(
    {
        "system": pa.string(),
        "user_id": pa.string(),
        "rank": pa.int32(),
        "track_id": pa.string(),
        "score": pa.float64(),
        "explanation": pa.string(),
        "reasons": pa.list_(REASON),
        "level": pa.int32(),
        "sounds_like": pa.string(),  # the known track that the sentence says it sounds like
    }
)
_LIST = ("user_id", "system")


@dataclass(frozen=True)
class _Parts:
    """Parts of one kind, of many scores.

    Attributes
    ----------
    kind : str
        The name of the phrase, after its component.
    pair : int64, shape (parts,)
        Whose score each is a part of.
    value : float64, shape (parts,)
    known : int64, shape (parts,), or None
        The code of the track that the person knows, where each is of one.
    counts : tuple of int64, each of shape (parts,), or None
        The two numbers that the statement names.
    """

    kind: str
    pair: Int64Array
    value: Float64Array
    known: Int64Array | None = None
    counts: tuple[Int64Array, Int64Array] | None = None

    @property
    def family(self) -> str:
        return next(name for name in COMPONENTS if self.kind.startswith(name))

    def __len__(self) -> int:
        return len(self.pair)


def tell(preferences: pa.Table, chosen: pa.Table, model: Model) -> pa.Table:
    """Return the lists of a block of people, with reasons, as :data:`TOLD`.

    Parameters
    ----------
    preferences : Table
        As :func:`~specrec.listeners.blocks.preferences_of` takes it, with ``track_id`` and ``title``.
    chosen : Table
        ``system, user_id, track_id, code, components, level, together, near_liked, near``, and of the track ``als,
        content, listeners, liked``.
    """
    if not chosen.num_rows:
        return TOLD.empty_table()
    ids, of = preferences_of(preferences, model)
    chosen = chosen.combine_chunks().sort_by([(name, "ascending") for name in (*_LIST, "code")])
    person = column_of(pc.index_in(chosen.column("user_id"), ids)).astype(np.int64)
    weights = np.zeros((len(person), len(COMPONENTS)))
    for system, of_levels in model.systems.items():
        own = column_of(pc.equal(chosen.column("system"), system))
        weights[own] = of_levels[column_of(chosen.column("level"))[own]]
    values = column_of(chosen.column("components").combine_chunks().flatten()).reshape(-1, len(COMPONENTS))
    weighted = dict(zip(COMPONENTS, (values * weights).T, strict=True))
    parts = [
        *_parts_of_vectors(of, chosen, person, model, dict(zip(COMPONENTS, weights.T, strict=True))),
        *_together(chosen, weights[:, COMPONENTS.index("item_based")], weighted["item_based"]),
        _of_people(chosen, weighted["user_based"]),
        *_of_tracks(chosen, weighted),
    ]
    return _told(chosen, parts, _by_code(preferences, "title"), _by_code(preferences, "track_id"))


def _parts_of_vectors(
    of: Preferences,
    chosen: pa.Table,
    person: Int64Array,
    model: Model,
    weights: Mapping[str, Float64Array],
) -> list[_Parts]:
    """Return the parts of the components ``als`` and ``content``, by the tracks that each person knows."""
    als = matrix_of(chosen.column("als"), len(model.gram)).astype(np.float64)
    content = unit(matrix_of(chosen.column("content"), model.dimensions)).astype(np.float64)
    count = int(person.max()) + 1
    shares = share_of_evidence(of.owner, of.evidence, max(count, int(of.owner.max(initial=-1)) + 1))
    starts = np.searchsorted(of.owner, np.arange(count + 1))
    rows = np.searchsorted(person, np.arange(count + 1))
    found: dict[str, list[_Parts]] = {}
    for number in range(count):  # one system of equations, and two products of matrices each
        mine, wanted = slice(starts[number], starts[number + 1]), slice(rows[number], rows[number + 1])
        if mine.start == mine.stop or wanted.start == wanted.stop:
            continue
        pair = np.arange(wanted.start, wanted.stop)
        solved = fold_in(model.gram, of.als[mine], model.alpha * of.evidence[mine], model.regularisation)
        cosines = content[wanted] @ of.content[mine].T.astype(np.float64)
        by_component = {
            "als": (solved.parts(als[wanted]), np.ones(cosines.shape, bool)),
            "content": (cosines * shares[mine], np.abs(cosines) >= _ALIKE),
        }
        for name, (values, can_be_told) in by_component.items():
            weighted = values * weights[name][wanted, None]
            known = (of.track[mine], of.evidence[mine] > 0)
            for part in greatest_parts(name, pair, *known, weighted, can_be_told=can_be_told):
                found.setdefault(part.kind, []).append(part)
    return [_joined(parts) for parts in found.values()]


def greatest_parts(
    name: str,
    pair: Int64Array,
    code: Int64Array,
    is_liked: npt.NDArray[np.bool_],
    values: Float64Array,
    *,
    can_be_told: npt.NDArray[np.bool_],
) -> list[_Parts]:
    """Return the greatest parts of a component, each of one known track, and the sum of the others.

    Parameters
    ----------
    name : str
        The component.
    pair : int64, shape (pairs,)
        Whose score each row is a part of.
    code : int64, shape (known tracks,)
    is_liked : bool, shape (known tracks,)
    values : float64, shape (pairs, known tracks)
    can_be_told : bool, shape (pairs, known tracks)
        Whether the words for a part would be true of it.

    Examples
    --------
    >>> values = np.array([[0.4, -0.3, 0.2, 0.1]])
    >>> known = (np.arange(4), np.ones(4, bool))
    >>> found = greatest_parts("als", np.zeros(1, np.int64), *known, values, can_be_told=values != 0)
    >>> [(part.kind, part.value.round(3).tolist()) for part in found if len(part)]
    [('als_liked_for', [0.4, 0.2]), ('als_liked_against', [-0.3]), ('als_others', [0.1])]
    """
    told = np.where(can_be_told, values, 0.0)
    order = np.argsort(-np.abs(told), axis=1, kind="stable")[:, :NAMED]
    greatest = np.take_along_axis(told, order, axis=1)
    rest = values.sum(axis=1) - greatest.sum(axis=1)
    pairs, which, value = np.repeat(pair, order.shape[1]), order.ravel(), greatest.ravel()
    found = []
    for liked, word in ((True, "liked"), (False, "disliked")):
        for sign, how in ((1, "for"), (-1, "against")):
            some = (is_liked[which] == liked) & (np.sign(value) == sign)
            found.append(_Parts(f"{name}_{word}_{how}", pairs[some], value[some], code[which[some]]))
    left = np.abs(rest) > _NOTHING * np.abs(values).sum(axis=1)
    return [*found, _Parts(f"{name}_others", pair[left], rest[left])]


def _together(chosen: pa.Table, weight: Float64Array, total: Float64Array) -> list[_Parts]:
    """Return the parts of the component ``item_based``: the tracks that were kept of each pair, and the others."""
    lists = chosen.column("together").combine_chunks()
    pair, of = holders(lists), lists.flatten()
    code, both, liked = (column_of(of.field(name)) for name in ("code", "both", "liked"))
    value = column_of(of.field("part")) * weight[pair]
    rest = total - np.bincount(pair, value, minlength=len(total))
    left = np.flatnonzero(np.abs(rest) > _NOTHING * np.abs(total))
    found = [_Parts("item_based_others", left, rest[left])]
    for sign, how in ((1, "for"), (-1, "against")):
        some = np.sign(value) == sign
        found.append(_Parts(f"item_based_{how}", pair[some], value[some], code[some], (both[some], liked[some])))
    return found


def _of_people(chosen: pa.Table, weighted: Float64Array) -> _Parts:
    """Return the parts of the component ``user_based``: how many of the people like it who are near to a person."""
    (some,) = np.nonzero(weighted)
    liked, near = (column_of(chosen.column(name))[some] for name in ("near_liked", "near"))
    return _Parts("user_based", some, weighted[some], None, (liked, near))


def _of_tracks(chosen: pa.Table, weighted: Mapping[str, Float64Array]) -> list[_Parts]:
    """Return the parts that are not of a known track: how many people know it, and like it."""
    is_new = column_of(pc.is_null(chosen.column("listeners")))  # since all this was fitted
    listeners, liked = (column_of(pc.fill_null(chosen.column(name), 0)) for name in ("listeners", "liked"))
    found = []
    for name in OF_TRACKS:
        value = weighted[name]
        kinds = {
            f"{name}_new": is_new,
            f"{name}_unheard": ~is_new & (listeners == 0),
            f"{name}_unliked": (listeners > 0) & (liked == 0),
            name: liked > 0,
        }
        for kind, of_kind in kinds.items():
            some = np.flatnonzero(of_kind & (value != 0))
            counts = (liked[some], listeners[some]) if kind in (name, f"{name}_unliked") else None
            found.append(_Parts(kind, some, value[some], None, counts))
    return found


def _joined(parts: Sequence[_Parts]) -> _Parts:
    known = [part.known for part in parts if part.known is not None]
    return _Parts(
        parts[0].kind,
        np.concatenate([part.pair for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate(known) if known else None,
    )


def _told(chosen: pa.Table, parts: Sequence[_Parts], titles: dict[int, str], names: dict[int, str]) -> pa.Table:
    """Return the lists, ranked by the sum of the parts, each with its parts as reasons."""
    columns: dict[str, list[Any]] = {name: [] for name in (*(field.name for field in REASON), "sentence", "kind")}
    pairs: list[Int64Array] = []
    for part in parts:
        if not len(part):
            continue
        pairs.append(part.pair)
        first, second = part.counts or (np.zeros(len(part), np.int64),) * 2
        title = pa.array([] if part.known is None else [titles[code] for code in part.known.tolist()], pa.string())
        words = {"title": title, "n": first, "m": second}
        columns["kind"].append(pa.repeat(pa.scalar(part.kind), len(part)))
        columns["family"].append(pa.repeat(pa.scalar(part.family), len(part)))
        feature = [None] * len(part) if part.known is None else [names[code] for code in part.known.tolist()]
        columns["feature"].append(pa.array(feature, pa.string()))
        columns["contribution"].append(pa.array(part.value))
        for name, count in (("track_value", first), ("recommended_value", second)):
            told = pa.array(count.astype(np.float64)) if part.counts else pa.nulls(len(part), pa.float64())
            columns[name].append(told)
        columns["statement"].append(fill(phrase(f"statement.{part.kind}", "specrec.listeners"), words, len(part)))
        columns["sentence"].append(fill(phrase(f"sentence.{part.kind}", "specrec.listeners"), words, len(part)))
    if not pairs:
        return TOLD.empty_table()
    table = pa.Table.from_pydict({name: pa.concat_arrays(arrays) for name, arrays in columns.items()})
    value = column_of(table.column("contribution"))
    pair: Int64Array = np.concatenate(pairs)
    order = np.lexsort((-value, pair))  # stable: equal parts stay in the order of the components
    pair, table = pair[order], table.take(pa.array(order)).combine_chunks()
    # of what nothing speaks for or against, nothing can be said
    kept = np.flatnonzero(np.bincount(pair, minlength=chosen.num_rows))
    pair = np.searchsorted(kept, pair)
    chosen, pairs_told = chosen.take(pa.array(kept)), len(kept)
    score = np.zeros(pairs_told)
    np.add.at(score, pair, value[order])
    ends = np.searchsorted(pair, np.arange(pairs_told + 1))
    reason = pa.StructArray.from_arrays(
        [table.column(field.name).combine_chunks() for field in REASON], fields=list(REASON)
    )
    reasons = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), reason)
    first = table.take(pa.array(_told_first(table, pair, ends[:-1])))
    is_alike = pc.equal(first.column("kind"), "content_liked_for")
    owner = _lists_of(chosen)
    ranked = np.lexsort((column_of(pc.rank(chosen.column("track_id"))), -score, owner))
    rank = positions(owner[ranked]) + 1
    told = {
        "system": chosen.column("system"),
        "user_id": chosen.column("user_id"),
        "rank": pa.nulls(pairs_told, pa.int32()),
        "track_id": chosen.column("track_id"),
        "score": pa.array(score),
        "explanation": first.column("sentence"),
        "reasons": reasons,
        "level": chosen.column("level"),
        "sounds_like": pc.if_else(is_alike, first.column("feature"), pa.scalar(None, pa.string())),
    }
    lists = pa.Table.from_pydict(told).take(pa.array(ranked))
    return lists.set_column(2, "rank", pa.array(rank, pa.int32())).cast(TOLD)


def _told_first(table: pa.Table, pair: Int64Array, first: Int64Array) -> Int64Array:
    """Return which part of each score is told in one sentence.

    It is the greatest that speaks for the track and names another, or a number of people; otherwise the greatest.
    """
    names = column_of(pc.or_(pc.is_valid(table.column("feature")), pc.is_valid(table.column("track_value"))))
    speaks = np.flatnonzero(names & (column_of(table.column("contribution")) > 0))
    told = first.copy()
    pairs, where = np.unique(pair[speaks], return_index=True)
    told[pairs] = speaks[where]
    return told


def _lists_of(chosen: pa.Table) -> Int64Array:
    """Return a number of each row's list."""
    user, system = (column_of(pc.rank(chosen.column(name), tiebreaker="dense")).astype(np.int64) for name in _LIST)
    lists: Int64Array = user * (int(system.max(initial=0)) + 1) + system
    return lists


def _by_code(preferences: pa.Table, column: str) -> dict[int, str]:
    """Return what a column says of each known track, by its code."""
    return dict(zip(*(preferences.column(name).to_pylist() for name in ("code", column)), strict=True))
