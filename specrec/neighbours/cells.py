"""Cells: a coarse quantiser of a space, and how its cells are laid out in blocks of bounded size.

Sivic & Zisserman, "Video Google" (2003), is the source of the inverted file; spherical k-means is Dhillon & Modha,
"Concept decompositions for large sparse text data using clustering" (2001), by FAISS. Exact search is the case of
one cell: everything lies in it, every track probes it, and being over the bound it is split into blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from specrec.arrays import Float64Array, Int64Array, Vectors
from specrec.neighbours.config import NeighboursConfig
from specrec.neighbours.kernel import unit
from specrec.settings import SettingsHash, System, settings_hash
from specrec.warehouse.artefacts import ArtefactId

#: Stands for a cell where vectors are counted that lie in none, as they have no direction.
UNSEARCHABLE = -1

#: With more cells the products with the centroids would cost more than they save, and the sample that they are
#: trained on would be too large for the driver.
MOST_CELLS = 16_384
_POINTS_A_CELL = 64
_MOST_POINTS = 1 << 18
_ITERATIONS = 10


def cells_artefact(space: System, of: SettingsHash, config: NeighboursConfig, seed: int) -> ArtefactId:
    """Return which artefact the cells of a space are.

    Parameters
    ----------
    space : str
        Its name.
    of : SettingsHash
        Of what its vectors depend on.
    config : NeighboursConfig
        Says how many cells there are.
    seed : int
        Chooses the sample.
    """
    own = config.differing("cells")
    return ArtefactId(f"{space}_cells", settings_hash(of, own, seed, previous=[of, config.cells, seed]))


@dataclass(frozen=True)
class CellLayout:
    """Where the cells of a space lie. Blocks are numbered from 0; a large cell has several of its own.

    Attributes
    ----------
    centroids : float32, shape (cells, dimensions)
    counts : int64, shape (cells,)
        Tracks in each cell.
    first, parts : int64, shape (cells,)
        Each cell's first block, and how many it is split into.
    shares : int64, shape (blocks,)
        How many tasks share the queries that come to a block.
    first_target : int
        The number of the space's first target. Each share of a block is a target, which is what Spark partitions
        by; targets are numbered through all spaces of a run.
    probes, probes_of_new : int
        How many cells a track probes, and how many if its neighbours do not know it yet.
    """

    centroids: Vectors
    counts: Int64Array
    first: Int64Array
    parts: Int64Array
    shares: Int64Array
    first_target: int
    probes: int
    probes_of_new: int

    @property
    def targets(self) -> int:
        """How many targets the space has."""
        return int(self.shares.sum())

    def target(self, block: int, from_block: int = 0) -> int:
        """Return the target that takes what comes from one block to another."""
        before = self.shares[:block].sum()
        return int(self.first_target + before + from_block % self.shares[block])

    def block_of(self, target: int) -> int:
        """Return the block that a target is a share of."""
        return int(np.searchsorted(np.cumsum(self.shares), target - self.first_target, side="right"))

    def home(self, cells: npt.NDArray[np.int32], hashes: npt.NDArray[np.uint64]) -> Int64Array:
        """Return the block of each track, of its cell and, where that is split, of its id's hash."""
        parts = self.parts[cells].astype(np.uint64)
        homes: Int64Array = self.first[cells] + (hashes % parts).astype(np.int64)
        return homes


def lay_out(
    centroids: Vectors,
    counts: Int64Array,
    block_rows: int,
    *,
    first_target: int = 0,
    probes: int = 1,
    probes_of_new: int = 1,
    visits: npt.ArrayLike | None = None,
) -> CellLayout:
    """Group cells into blocks of at most about `block_rows` tracks; near cells together, large ones split.

    Parameters
    ----------
    centroids : float32, shape (cells, dimensions)
    counts : int64, shape (cells,)
        Tracks in each cell.
    visits : array_like, shape (cells,), or None
        About how many queries probe each cell, where that is known. A block that many queries come to is worked on
        by several tasks.
    """
    first = np.zeros(len(counts), np.int64)
    parts = np.maximum(-(-counts // block_rows), 1)
    blocks = 0
    for cell in np.flatnonzero(parts > 1):
        first[cell] = blocks
        blocks += int(parts[cell])
    groups = _bisect(unit(centroids), counts, np.flatnonzero(parts == 1), block_rows)
    for number, cells in enumerate(groups):
        first[cells] = blocks + number
    blocks += len(groups)
    shares = np.ones(blocks, np.int64)
    if visits is not None:
        coming = np.zeros(blocks)
        for part in range(int(parts.max(initial=1))):
            split = parts > part
            np.add.at(coming, first[split] + part, np.asarray(visits)[split])
        shares = np.maximum(np.ceil(coming / max(4 * float(np.median(coming)), 1.0)), 1).astype(np.int64)
    return CellLayout(centroids, counts, first, parts, shares, first_target, probes, probes_of_new)


def default_cells(tracks: int) -> int:
    """Return how many cells suit a catalogue: a power of two near twice the root of the number of tracks.

    To compare a track with all centroids then costs a fraction of comparing it with the tracks of the probed cells.

    Examples
    --------
    >>> default_cells(278_000)
    1024
    """
    return min(1 << max(round(math.log2(2 * math.sqrt(max(tracks, 1)))), 2), MOST_CELLS)


def sample_size(cells: int) -> int:
    """Return on how many tracks cells are trained, if there are to be so many cells."""
    return min(cells * _POINTS_A_CELL, _MOST_POINTS)


def train(vectors: Vectors, cells: int, seed: int) -> Vectors:
    """Return the centroids of spherical k-means, float32, shape (cells, dimensions), of unit length.

    One thread, so that the same vectors give the same centroids however many cores there are.
    """
    import faiss  # noqa: PLC0415 - only where cells are trained

    cells = min(cells, len(vectors))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        means = faiss.Kmeans(
            vectors.shape[1],
            cells,
            niter=_ITERATIONS,
            spherical=True,
            seed=seed,
            min_points_per_centroid=1,
            max_points_per_centroid=_POINTS_A_CELL,
        )
        means.train(unit(np.ascontiguousarray(vectors)))
    finally:
        faiss.omp_set_num_threads(threads)
    return np.asarray(means.centroids, np.float32)


def one_cell() -> Vectors:
    """Return the centroid of exact search's one cell, which nothing is compared with."""
    return np.ones((1, 1), np.float32)


def imbalance(counts: Int64Array) -> float:
    """Return how much longer searches take than with cells of equal size; 1 for equal ones.

    Examples
    --------
    >>> imbalance(np.array([5, 5, 5, 5])), imbalance(np.array([20, 0, 0, 0]))
    (1.0, 4.0)
    """
    shares = counts / max(counts.sum(), 1)
    return float(len(counts) * (shares**2).sum())


def _bisect(centroids: Vectors, counts: Int64Array, cells: Int64Array, block_rows: int) -> list[Int64Array]:
    """Halve cells across the direction in which they are spread most, until they fit a block."""
    done: list[Int64Array] = []
    waiting: list[Int64Array] = [cells] if len(cells) else []
    while waiting:
        some = waiting.pop()
        total = counts[some].sum()
        if total <= block_rows or len(some) == 1:
            done.append(some)
            continue
        spread = centroids[some] - centroids[some].mean(axis=0)
        _, directions = np.linalg.eigh(spread.T.astype(np.float64) @ spread)
        some = some[np.argsort(spread @ directions[:, -1], kind="stable")]
        blocks = -(-total // block_rows)
        before = np.cumsum(counts[some])
        at = int(np.searchsorted(before, total * (blocks // 2) / blocks, side="right"))
        at = min(max(at, 1), len(some) - 1)
        waiting += [some[at:], some[:at]]
    return done


def recall_by_probes(ranks: Int64Array, cells: int) -> Float64Array:
    """Return the recall that 1, 2, … probes would have.

    Parameters
    ----------
    ranks : int64, shape (neighbours,)
        For each true neighbour, how many cells are nearer to the track than the one that holds the neighbour.
    """
    found: Float64Array = np.cumsum(np.bincount(ranks, minlength=cells)) / max(len(ranks), 1)
    return found


def needed_probes(recalls: Sequence[float] | Float64Array, floor: float) -> int:
    """Return the least number of probes whose recall is not below the floor.

    Examples
    --------
    >>> needed_probes([0.5, 0.9, 1.0], floor=0.9)
    2
    """
    return min(int(np.searchsorted(np.asarray(recalls), floor - 1e-12)) + 1, len(recalls))
