"""How good lists for people are on ratings of music: python tests/bench/listeners.py FOLDER.

FOLDER (or SPECREC_CM100K) is CM100k (Cañamares and Castells, SIGIR 2018): 1,054 people each rated some hundred of
1,084 tracks that were drawn at random for them, and said which they had known before. So it can be measured what is
nowhere else known: whether people like what they had never heard (*true*), beside what is measured everywhere
(*observed*).

The protocol is that under which the authors' figures come out, of random lists and of the most liked tracks:

- All ratings are split at random into five folds. What is told to the methods is the **known** ratings of four of
  them; the unknown ratings of these four are told to nobody, and their tracks are not recommended either.
- *Observed* test: the known ratings of the fifth fold. *True* test: all ratings of the fifth fold.
- A track is relevant that is rated 3 or 4. Its gain in nDCG is 1 or 2 (the rating less 2), and discounts are log2.
- Means are over the people who have a rating in the test, whether relevant or not.

To take for the true test the held-out known ratings and *all* unknown ones, as one may read the paper too, gives a
precision of .022 by chance, four times the authors': it is measured besides, as *all unknown*.

Intervals are bootstrapped over people, of the mean of all splits; those of differences are paired.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import results
from scipy import sparse

from specrec.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from specrec.evaluate.ranking import ndcg, precision
from specrec.listeners.als import fold_in
from specrec.listeners.blend import learn_weights, learn_weights_that_help
from specrec.listeners.popularity import fit_popularity
from specrec.listeners.tastes import share_of_evidence

try:
    import implicit
except ImportError:  # `make bench-listeners` installs it; without it the figures of the others stand
    implicit = None

FOLDS, FIRST, RELEVANT = 5, 10, 3
METRICS = ("observed_p10", "observed_ndcg10", "true_p10", "true_ndcg10")
ALL_UNKNOWN = ("all_unknown_p10", "all_unknown_ndcg10")
#: What the authors print, and of which the protocol has to give the first two.
PUBLISHED = {
    "random": (0.0021, 0.0055, 0.0057, 0.0078),
    "popularity": (0.0159, 0.0536, 0.0125, 0.0229),
    "oracle": (0.0181, 0.0611, 0.0159, 0.0274),
}
RESAMPLES = 2_000

Scores = Float64Array


# --- the data and the protocol ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratings:
    """All ratings: people, tracks and artists are numbers from 0."""

    person: Int64Array
    track: Int64Array
    rating: Int64Array
    known: BoolArray
    artist: Int64Array  # of each track

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.person.max()) + 1, len(self.artist)

    def matrix(self, some: BoolArray) -> Float64Array:
        """Return the ratings of some rows as a matrix; 0 where there is none."""
        found = np.zeros(self.shape)
        found[self.person[some], self.track[some]] = self.rating[some]
        return found


def read(folder: Path) -> Ratings:
    rows = pd.read_csv(folder / "ratings.txt", sep="\t", names=["person", "track", "rating", "known"])
    items = pd.read_csv(folder / "items.txt", sep="\t", quoting=3).sort_values("Item", ignore_index=True)
    return Ratings(
        np.unique(rows["person"], return_inverse=True)[1],
        np.searchsorted(items["Item"], rows["track"]),
        rows["rating"].to_numpy(),
        rows["known"].to_numpy() == 1,
        pd.factorize(items["Artist"].str.casefold())[0].astype(np.int64),
    )


@dataclass(frozen=True)
class Split:
    """What methods are told (ratings; 0: none), what they may not recommend, and the tests, as matrices."""

    told: Float64Array
    artist: Int64Array
    excluded: BoolArray
    tests: dict[str, Float64Array]
    seed: int


def splits(of: Ratings, repeats: int) -> Iterator[Split]:
    for seed in range(repeats):
        fold = np.random.default_rng(seed).permutation(len(of.person)) % FOLDS
        for number in range(FOLDS):
            here = fold == number
            tests = {"observed": here & of.known, "true": here, "all_unknown": (here & of.known) | ~of.known}
            yield Split(
                of.matrix(~here & of.known),
                of.artist,
                of.matrix(~here) > 0,
                {name: of.matrix(rows) for name, rows in tests.items()},
                seed * FOLDS + number,
            )


def top(scores: Scores, excluded: BoolArray, seed: int) -> Int64Array:
    """Return each person's first tracks; which of equal ones is drawn by lot."""
    lot = np.random.default_rng(seed).permutation(scores.shape[1])
    shuffled = np.where(excluded, -np.inf, scores)[:, lot]
    return lot[np.argsort(-shuffled, axis=1, kind="stable")[:, :FIRST]]


def measured(lists: Int64Array, test: Float64Array) -> Float64Array:
    """Return precision and nDCG of each person, shape (2, people); NaN of those who are not in the test."""
    gains = np.maximum(test - (RELEVANT - 1), 0)
    found = np.take_along_axis(gains, lists, axis=1)
    shares, _ = precision(found > 0, np.ones(found.shape, bool), FIRST)
    values = np.stack([shares, np.nan_to_num(ndcg(found, gains, FIRST))])
    return np.where((test > 0).any(axis=1), values, np.nan)


# --- ours -----------------------------------------------------------------------------------------------------


def crowd(told: Float64Array, artist: Int64Array) -> Float64Array:
    """Return what is told of each track by all: shape (tracks, 2), see :mod:`specrec.listeners.popularity`."""
    liking = np.where(told > 0, (1 + _preference(told)) / 2, 0.0)
    known, total = (told > 0).sum(axis=0), liking.sum(axis=0)
    fitted = fit_popularity(known, total, np.square(liking).sum(axis=0), artist)
    return fitted.expected(known, total, artist).parts


def popular(of: Split) -> Scores:
    """How many people know a track and how much they like it, alone: nothing is learned but the priors."""
    parts = crowd(of.told, of.artist)
    return np.broadcast_to(parts.sum(axis=1), of.told.shape)


def popular_without_artists(of: Split) -> Scores:
    """The same where nobody knows whose the tracks are: nearly each of them here is of another artist."""
    return popular(replace(of, artist=np.full(len(of.artist), -1)))


def together(told: Float64Array, shrinkage: float = 5.0) -> Scores:
    """What is liked together with what a person likes: cosines, shrunk, weighted with the shares of evidence."""
    likes = (told >= RELEVANT).astype(float)
    both = likes.T @ likes
    size = np.sqrt(np.outer(likes.sum(axis=0), likes.sum(axis=0)))
    similar = np.divide(both, size, out=np.zeros_like(both), where=size > 0) * both / (both + shrinkage)
    np.fill_diagonal(similar, 0)
    owner, track = np.nonzero(told)
    shares = share_of_evidence(owner, _preference(told[owner, track]), len(told))
    return np.asarray(sparse.csr_array((shares, (owner, track)), shape=told.shape) @ similar)


def factors(told: Float64Array, size: int = 16, regularisation: float = 1.0, rounds: int = 6) -> Scores:
    """Alternating least squares, by :func:`~specrec.listeners.als.fold_in` of people and of tracks in turn."""
    evidence = np.where(told > 0, _preference(told), 0.0)
    tracks = np.random.default_rng(0).normal(scale=0.1, size=(told.shape[1], size)).astype(np.float32)
    for _ in range(rounds):
        people = _folded(tracks, evidence, regularisation)
        tracks = _folded(people, evidence.T, regularisation)
    scores: Scores = _folded(tracks, evidence, regularisation).astype(float) @ tracks.T.astype(float)
    return scores


def _folded(vectors: Float32Array, evidence: Float64Array, regularisation: float) -> Float32Array:
    gram = vectors.astype(float).T @ vectors.astype(float)
    rows = [np.flatnonzero(row) for row in evidence]
    found = [
        fold_in(gram, vectors[at], row[at], regularisation).factors for at, row in zip(rows, evidence, strict=True)
    ]
    return np.stack(found).astype(np.float32)


def _preference(rating: Float64Array) -> Float64Array:
    """Ratings of 1 to 4 on a line from -1 to 1, as preferences are."""
    return (rating - 2.5) / 1.5


def components(told: Float64Array, artist: Int64Array) -> Float64Array:
    """Return what a score is made of: popularity, average, item-based and ALS, shape (people, tracks, 4)."""
    of_all = np.broadcast_to(crowd(told, artist), (*told.shape, 2))
    return np.concatenate([of_all, np.stack([together(told), factors(told)], axis=2)], axis=2)


def blend(of: Split, *, inner: int = 3, candidates: int = 100, few: int = 5) -> dict[str, Scores]:
    """Blends whose weights are learned on what is told, a third of which is hidden in turn.

    Returns
    -------
    dict of float64, shape (people, tracks)
        ``hybrid``, ours: what is told of each person counts if it ranks the hidden better; ``always``: it counts
        in any case; ``never``: only what is told by all people.
    """
    owner, track = np.nonzero(of.told)
    part = np.random.default_rng(of.seed).permutation(len(owner)) % inner
    rows = []
    for number in range(inner):
        hidden = part == number
        told, held = of.told.copy(), np.zeros(of.told.shape, bool)
        told[owner[hidden], track[hidden]] = 0
        held[owner[hidden], track[hidden]] = of.told[owner[hidden], track[hidden]] >= RELEVANT
        values = components(told, of.artist)
        among = np.argsort(-(told >= RELEVANT).sum(axis=0), kind="stable")[:candidates]
        person, place = np.nonzero((told[:, among] == 0) & held[:, among].any(axis=1, keepdims=True))
        at = (person, among[place])
        rows.append((values[at], held[at], person + number * len(told), _level(told, few)[person]))
    values, is_liked, owner, level = (np.concatenate(column) for column in zip(*rows, strict=True))
    of_all = np.array([True, True, False, False])
    crowd_alone = np.zeros((3, len(of_all)))
    crowd_alone[:, of_all] = learn_weights(values[:, of_all], is_liked, owner, level, 3)
    weights = {
        "hybrid": learn_weights_that_help(values, is_liked, owner, level, 3, of_all=of_all),
        "always": learn_weights(values, is_liked, owner, level, 3),
        "never": crowd_alone,
    }
    found, now = components(of.told, of.artist), _level(of.told, few)
    return {name: np.einsum("ptc,pc->pt", found, of_level[now]) for name, of_level in weights.items()}


def _level(told: Float64Array, few: int) -> Int64Array:
    return np.asarray(np.searchsorted([1, few], (told > 0).sum(axis=1), side="right"))


# --- beside ---------------------------------------------------------------------------------------------------


def by_chance(of: Split) -> Scores:
    return np.random.default_rng(of.seed).random(of.told.shape)


def most_liked(of: Split) -> Scores:
    """The number of people who like a track: what the authors call popularity."""
    return np.broadcast_to((of.told >= RELEVANT).sum(axis=0).astype(float), of.told.shape)


def sum_of_preferences(of: Split) -> Scores:
    """How much people like a track, added up, from 0 for the lowest rating to 1 for the highest."""
    liking = np.where(of.told > 0, (1 + _preference(of.told)) / 2, 0.0)
    return np.broadcast_to(liking.sum(axis=0), of.told.shape)


def average_rating(of: Split) -> Scores:
    known = (of.told > 0).sum(axis=0)
    return np.broadcast_to(of.told.sum(axis=0) / np.maximum(known, 1), of.told.shape)


def ease(of: Split, penalty: float) -> Scores:
    """EASE (Steck, WWW 2019): the linear model of tracks by each other that has a closed form."""
    likes = (of.told >= RELEVANT).astype(float)
    inverse = np.linalg.inv(likes.T @ likes + penalty * np.eye(likes.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    scores: Scores = likes @ weights
    return scores


def of_implicit(of: Split, model: Callable[[], Any]) -> Scores:
    """A model of the library `implicit`, of the likes."""
    likes = sparse.csr_matrix((of.told >= RELEVANT).astype(np.float32))
    fitted = model()
    fitted.fit(likes, show_progress=False)
    if hasattr(fitted, "similarity"):
        return np.asarray((likes @ fitted.similarity).toarray())
    return np.asarray(fitted.user_factors @ fitted.item_factors.T)


#: A method returns scores, or those of some variants by their names.
Method = Callable[[Split], Scores | dict[str, Scores]]


def methods() -> dict[str, Method]:
    found: dict[str, Method] = {
        "random": by_chance,
        "popularity": most_liked,
        "average rating": average_rating,
        "sum of preferences": sum_of_preferences,
        "ours, popularity": popular,
        "ours, popularity without artists": popular_without_artists,
        "ours": blend,
        "ours, item-based alone": lambda of: together(of.told),
        "ours, ALS alone": lambda of: factors(of.told),
        "EASE": partial(ease, penalty=500.0),
    }
    if implicit is not None:
        als = partial(
            implicit.als.AlternatingLeastSquares, factors=16, regularization=1.0, num_threads=1, random_state=0
        )
        cosine = partial(implicit.nearest_neighbours.CosineRecommender, K=1084, num_threads=1)
        bm25 = partial(implicit.nearest_neighbours.BM25Recommender, K=1084, num_threads=1)
        for name, model in {"implicit, ALS": als, "implicit, cosine": cosine, "implicit, BM25": bm25}.items():
            found[name] = partial(of_implicit, model=model)
    return found


# --- figures --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sums:
    """Of each person, the sum of each metric over splits, and of how many splits: shape (metrics, people)."""

    values: Float64Array
    splits: Float64Array

    @property
    def mean(self) -> Float64Array:
        return np.asarray(self.values.sum(axis=1) / self.splits.sum(axis=1))


def interval(of: Sums, less: Sums | None = None) -> Float64Array:
    """Return the ends of the 95 % intervals of the means, or of their differences: shape (2, metrics)."""
    values = of.values if less is None else of.values - less.values
    people = values.shape[1]
    drawn = np.random.default_rng(0).multinomial(people, np.full(people, 1 / people), size=RESAMPLES)
    return np.percentile(drawn @ values.T / (drawn @ of.splits.T), [2.5, 97.5], axis=0)


def run(of: Ratings, repeats: int, chosen: list[str]) -> dict[str, Sums]:
    wanted = {name: method for name, method in methods().items() if not chosen or name in chosen}
    found: dict[str, list[Float64Array]] = {}
    for split in splits(of, repeats):
        for name, method in wanted.items():
            scored = method(split)
            variants = scored if isinstance(scored, dict) else {"": scored}
            for variant, scores in variants.items():
                title = f"{name}, {variant}" if variant else name
                found.setdefault(title, []).append(_values(split, scores))
    return {
        name: Sums(np.nansum(rows, axis=0), np.sum(~np.isnan(rows), axis=0).astype(float))
        for name, rows in found.items()
    }


def _values(split: Split, scores: Scores) -> Float64Array:
    """Return what each list is worth: shape (metrics, people)."""
    lists = top(scores, split.excluded, split.seed)
    # by the other reading, only what is told may not be recommended
    others = top(scores, split.told > 0, split.seed)
    parts = [measured(lists, split.tests[test]) for test in ("observed", "true")]
    return np.concatenate([*parts, measured(others, split.tests["all_unknown"])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=os.environ.get("SPECREC_CM100K"), help="of CM100k")
    parser.add_argument("--repeats", type=int, default=10, help="how often the ratings are split into five folds")
    parser.add_argument(
        "--only", action="append", default=[], help="methods, all if none is named; popularity is one"
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench/listeners.json"))
    args = parser.parse_args()
    if not args.folder:
        parser.error("name the folder of CM100k, or set SPECREC_CM100K (http://ir.ii.uam.es/cm100k)")
    found = run(read(Path(args.folder)), args.repeats, args.only)
    base = found["popularity"]
    report: dict[str, object] = {"folder": "cm100k", "repeats": args.repeats, "published": PUBLISHED}
    for name, sums in found.items():
        ends, away = interval(sums), interval(sums, base)
        difference = sums.mean - base.mean
        report[name] = {
            metric: {
                "value": sums.mean[at],
                "interval": ends[:, at].tolist(),
                "less_popularity": difference[at],
                "less_popularity_interval": away[:, at].tolist(),
            }
            for at, metric in enumerate((*METRICS, *ALL_UNKNOWN))
        }
        cells = [f"{mean:.4f} ({low:+.4f} {high:+.4f})" for mean, low, high in zip(sums.mean, *away, strict=True)]
        print(f"{name:32}", "  ".join(cells), flush=True)
    ours = "ours, hybrid"
    if ours in found:
        report |= {f"cm100k_{metric}": found[ours].mean[at] for at, metric in enumerate(METRICS)}
    results.write(report, args.out)


if __name__ == "__main__":
    main()
