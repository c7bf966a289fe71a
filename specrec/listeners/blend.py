"""What each component of a score counts: weights, learned on what people like and the components do not know.

A score is the weighted sum of components. The chance that of all candidates a person takes just this one is its
share of the exponentials of the scores (the conditional logit of McFadden, 1974; as a loss for ranking, ListNet of
Cao et al., 2007). The weights are those, none below 0, by which what people like is the most likely, drawn towards
the weights of all people together where few people tell.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from specrec.arrays import BoolArray, Float64Array, Int64Array
from specrec.listeners.config import COMPONENTS

#: How strongly the weights of a level are drawn towards those of all people together, as so many liked tracks.
_DRAWN = 20.0
#: What a component counts where nothing could be learned. Those of a person are between -1 and 1, about; the
#: others are logarithms, whose sum is that of how many people like a track.
_UNLEARNED = {"als": 2.0, "content": 2.0, "popularity": 0.3, "average": 1.0, "item_based": 4.0, "user_based": 1.0}


def learn_weights(
    components: Float64Array, is_liked: BoolArray, owner: Int64Array, level: Int64Array, levels: int
) -> Float64Array:
    """Return what each component counts at each level, float64, shape (levels, components).

    Parameters
    ----------
    components : float64, shape (candidates, components)
    is_liked : bool, shape (candidates,)
    owner : int64, shape (candidates,)
        Whose candidate it is, ascending.
    level : int64, shape (candidates,)
        How much is known of that person, 0 to levels - 1.
    levels : int

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> components = random.normal(size=(2000, 2))
    >>> owner = np.repeat(np.arange(200), 10)
    >>> is_liked = np.zeros(2000, bool)
    >>> first = components[:, 0].reshape(200, 10)  # people go by the first alone
    >>> is_liked[first.argmax(axis=1) + np.arange(200) * 10] = True
    >>> weights = learn_weights(components, is_liked, owner, np.zeros(2000, np.int64), levels=1)
    >>> bool(weights[0, 0] > 10 * weights[0, 1])
    True
    """
    scale = components.std(axis=0)
    scale[scale == 0] = np.inf  # what is the same of all candidates decides nothing
    standard = components / scale
    every = _fit(standard, is_liked, owner, np.full(components.shape[1], 0.0), 1.0)
    found = np.empty((levels, components.shape[1]))
    for number in range(levels):
        own = level == number
        found[number] = _fit(standard[own], is_liked[own], owner[own], every, _DRAWN)
    weights: Float64Array = found / scale
    return weights


def learn_weights_that_help(
    components: Float64Array,
    is_liked: BoolArray,
    owner: Int64Array,
    level: Int64Array,
    levels: int,
    *,
    of_all: BoolArray,
    person: Int64Array | None = None,
) -> Float64Array:
    """Return weights of all components, or of those alone that are the same for all people, if these rank no worse.

    Where little is known of each person, what is told of that person adds more noise than truth to the first ten
    tracks, however likely it makes the rest. So the weights of half of the people are tried on the other half, and
    the reverse, with all components and without those of a person. These are used where nDCG@10 gains more by
    them than its standard error (the rule of one standard error, Breiman et al., 1984): all levels together.

    Parameters
    ----------
    components, is_liked, owner, level, levels
        As :func:`learn_weights` takes them.
    of_all : bool, shape (components,)
        Which components say the same of a track to all people.
    person : int64, shape (candidates,), or None
        Who it is, where several owners are one person, of whom more or less is shown; None: each owner is another.

    Returns
    -------
    float64, shape (levels, components)

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> components = random.normal(size=(4000, 2))
    >>> owner = np.repeat(np.arange(200), 20)
    >>> is_liked = components[:, 0] > 1.5
    >>> learn_weights_that_help(  # the second tells nothing
    ...     components, is_liked, owner, np.zeros(4000, np.int64), 1, of_all=np.array([True, False])
    ... )[0, 1]
    np.float64(0.0)
    """
    number = np.unique(owner if person is None else person, return_inverse=True)[1]
    gains: list[Float64Array] = []
    for half in (0, 1):
        told, tried = number % 2 == half, number % 2 != half
        ndcg = []
        for used in (np.ones(len(of_all), bool), of_all):
            rows = components[:, used]
            weights = learn_weights(rows[told], is_liked[told], owner[told], level[told], levels)
            scores = (rows[tried] * weights[level[tried]]).sum(axis=1)
            ndcg.append(ndcg_of(scores, is_liked[tried], owner[tried]))
        first = np.unique(owner[tried], return_index=True)[1]
        gains.append(_means(ndcg[0] - ndcg[1], number[tried][first]))
    gain = np.concatenate(gains)
    gain = gain[~np.isnan(gain)]
    helps = len(gain) > 1 and gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain))
    used = np.ones(len(of_all), bool) if helps else of_all
    weights = np.zeros((levels, len(of_all)))
    weights[:, used] = learn_weights(components[:, used], is_liked, owner, level, levels)
    return weights


def _means(values: Float64Array, person: Int64Array) -> Float64Array:
    """Return the mean of each person's values but NaN; NaN of who has no other."""
    told = ~np.isnan(values)
    size = int(person.max(initial=-1)) + 1
    count = np.bincount(person[told], minlength=size)
    total = np.bincount(person[told], values[told], minlength=size)
    means: Float64Array = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
    return means


def ndcg_of(scores: Float64Array, is_liked: BoolArray, owner: Int64Array, first: int = 10) -> Float64Array:
    """Return the nDCG of each person's candidates in the order of their scores, of equal ones as they come.

    Parameters
    ----------
    scores : float64, shape (candidates,)
    is_liked : bool, shape (candidates,)
    owner : int64, shape (candidates,)
        Whose candidate it is, ascending.
    first : int
        So many places count.

    Returns
    -------
    float64, shape (people,)
        By people in the order of `owner`; NaN of those who like no candidate.

    Examples
    --------
    >>> is_liked, owner = np.array([False, True, True, False]), np.array([0, 0, 1, 2])
    >>> ndcg_of(np.array([3.0, 2.0, 1.0, 0.0]), is_liked, owner).round(3)
    array([0.631, 1.   ,   nan])
    """
    person = np.unique(owner, return_inverse=True)[1]
    order = np.lexsort((-scores, person))
    starts = np.searchsorted(person, np.arange(person[-1] + 1 if len(person) else 0))
    place = np.arange(len(person)) - starts[person]
    discounts = np.where(place < first, 1 / np.log2(place + 2), 0.0)
    found = np.bincount(person, discounts * is_liked[order], minlength=len(starts))
    liked = np.bincount(person, is_liked, minlength=len(starts)).astype(np.int64)
    best = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(first) + 2))])[np.minimum(liked, first)]
    values: Float64Array = np.divide(found, best, out=np.full(len(starts), np.nan), where=best > 0)
    return values


def unlearned_weights(levels: int) -> Float64Array:
    """Return what components count where too few people tell, float64, shape (levels, components).

    Examples
    --------
    >>> unlearned_weights(1).shape == (1, len(COMPONENTS))
    True
    """
    return np.tile([_UNLEARNED[name] for name in COMPONENTS], (levels, 1))


def _fit(
    components: Float64Array, is_liked: BoolArray, owner: Int64Array, towards: Float64Array, drawn: float
) -> Float64Array:
    """Return the weights, none below 0, of the greatest likelihood, drawn towards others."""
    person = np.unique(owner, return_inverse=True)[1]
    likes = np.bincount(person, is_liked)
    told = likes[person] > 0 if len(person) else np.zeros(0, bool)
    components, is_liked, person = components[told], is_liked[told], person[told]
    if not len(person):
        return towards
    person = np.unique(person, return_inverse=True)[1]
    starts = np.searchsorted(person, np.arange(person[-1] + 1))
    likes = np.bincount(person, is_liked)
    liked = components[is_liked].sum(axis=0)

    def loss(weights: Float64Array) -> tuple[float, Float64Array]:
        scores = components @ weights
        exponentials = np.exp(scores - np.maximum.reduceat(scores, starts)[person])
        totals = np.add.reduceat(exponentials, starts)
        log_totals = np.log(totals) + np.maximum.reduceat(scores, starts)
        chance = exponentials / totals[person]
        away = weights - towards
        value = likes @ log_totals - liked @ weights + drawn / 2 * away @ away
        gradient = (chance * likes[person]) @ components - liked + drawn * away
        return float(value), gradient

    bounds = [(0.0, None)] * components.shape[1]
    found = minimize(loss, np.maximum(towards, 0.1), jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x, np.float64)
