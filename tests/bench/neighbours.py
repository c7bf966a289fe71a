"""How fast neighbours are found: in Spark beside FAISS, hnswlib, voyager and MLlib, on vectors like real ones.

    make bench-neighbours

The vectors are the hybrid embeddings of the clips of ../shared/music (or of rendered ones), turned onto their 256
greatest directions and multiplied: each new one mixes a clip with one of its eight nearest and moves by three
differences between other clips and one of theirs, so that they have the spread of real ones, also near by. Every
contestant is a process of its own, on two cores, one after the other; the time of specrec is that of its stage
`neighbours`, from the table `embeddings` to the table `neighbours`, training, measuring its recall and writing
included. FAISS has its vectors in memory and writes nothing; it searches for a tenth of the tracks, and that time
counts tenfold.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
CORES = 2
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(CORES)

import click
import deltalake
import numpy as np
import numpy.typing as npt
import pandas as pd
from clips import FORMATS, MUSIC
from measured import measure_night
from results import write
from rich.console import Console
from rich.table import Table
from vectors import write_embeddings

from specrec.audio.analyse import analyse
from specrec.audio.mel import decode_mel
from specrec.config import load
from specrec.demo import render_catalogue
from specrec.embedding import features as feature_space
from specrec.embedding import spectrogram as spectrogram_space
from specrec.neighbours.kernel import unit

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build" / "bench"
DIMENSIONS, TOP_N, FLOOR = 256, 10, 0.99
NEAR, DIFFERENCES = 8, 3
SHARE = 10  # of the tracks, one in so many is searched for by FAISS

Vectors = npt.NDArray[np.float32]


# --- vectors ------------------------------------------------------------------------------------------------


def real_embeddings() -> Vectors:
    """Return hybrid embeddings of real clips, shape (clips, DIMENSIONS); computed once and kept in build/bench."""
    kept = BUILD / "embeddings.npy"
    if kept.exists():
        return np.asarray(np.load(kept))
    config = load(None, ("warehouse=unused",), needs_catalogue=False)
    with tempfile.TemporaryDirectory() as folder:
        clips = sorted(path for path in MUSIC.rglob("*") if path.suffix in FORMATS)
        if not clips:
            print(f"{MUSIC} is absent: rendering clips")
            render_catalogue(Path(folder), 400, seconds=10.0, processes=os.cpu_count() or 1)
            clips = sorted((Path(folder) / "audio").iterdir())
        with multiprocessing.get_context("spawn").Pool(CORES) as pool:
            done = pool.map(_analyse, clips, chunksize=8)
    layout = feature_space.layout_of(config.audio.n_mfcc)
    matrix = feature_space.stack(pd.DataFrame([values for values, _ in done]), layout)
    scaler = feature_space.fit_scaler(matrix, layout)
    settings = config.embedding
    features = feature_space.embed(matrix, layout, scaler, settings.family_weights, settings.clip_sd)
    described = np.stack([spectrogram_space.describe(mel) for _, mel in done])
    pca = spectrogram_space.fit_pca(described, settings.pca_components)
    regions = spectrogram_space.band_regions(config.audio, config.audio.sample_rate or 22_050)
    spectrograms, _ = spectrogram_space.embed(described, pca, regions)
    weights = settings.hybrid_weights
    joined = np.hstack(
        [
            math.sqrt(weights["features"]) * unit(features.astype(np.float32)),
            math.sqrt(weights["spectrogram"]) * unit(spectrograms),
        ]
    ).astype(np.float32)
    _, _, axes = np.linalg.svd(joined, full_matrices=False)
    turned: Vectors = joined @ axes[:DIMENSIONS].T
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, turned)
    return turned


def _analyse(path: Path) -> tuple[dict[str, Any], npt.NDArray[np.float32]]:
    config = load(None, ("warehouse=unused",), needs_catalogue=False)
    done = analyse(path.read_bytes(), config.audio, path.name)
    return done.values, decode_mel(done.mel, done.n_mels, done.n_frames)


def multiplied(real: Vectors, count: int, seed: int = 0) -> Vectors:
    """Return `count` vectors with the spread of the real ones: see above."""
    rng = np.random.default_rng(seed)
    similar = unit(real) @ unit(real).T
    np.fill_diagonal(similar, -2)
    near = np.argsort(-similar, axis=1)[:, :NEAR]

    def pick(size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        one = rng.integers(len(real), size=size)
        return one, near[one, rng.integers(NEAR, size=size)]

    found = np.empty((count, real.shape[1]), np.float32)
    for start in range(0, count, 1 << 15):
        size = min(1 << 15, count - start)
        one, other = pick(size)
        share = rng.uniform(0.5, 1.0, (size, 1))
        vectors = share * real[one] + (1 - share) * real[other]
        for _ in range(DIFFERENCES):
            one, other = pick(size)
            vectors += rng.normal(0, 0.5, (size, 1)) * (real[one] - real[other])
        found[start : start + size] = vectors
    return found


# --- contestants --------------------------------------------------------------------------------------------


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def true_lists(file: Path, sample: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the cosines of the sample's true neighbours, shape (sample, TOP_N), descending."""
    vectors = unit(np.load(file))
    similar = vectors[sample] @ vectors.T
    similar[np.arange(len(sample)), sample] = -2
    return np.asarray(-np.sort(-np.partition(similar, -TOP_N, axis=1)[:, -TOP_N:], axis=1))


def recall_of(cosines: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    """Return the share of places whose neighbour is as near as the last true one."""
    return float((cosines >= truth[:, -1:] - 1e-5).mean())


def faiss_flat(file: Path) -> dict[str, float]:
    import faiss

    faiss.omp_set_num_threads(CORES)
    vectors = unit(np.load(file))
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    began = time.perf_counter()
    index.search(vectors[::SHARE], TOP_N + 1)
    return {"seconds": SHARE * (time.perf_counter() - began)}


def faiss_ivf(file: Path, sample: npt.NDArray[np.int64], truth: npt.NDArray[Any], lists: int) -> dict[str, Any]:
    import faiss

    faiss.omp_set_num_threads(CORES)
    vectors = unit(np.load(file))
    began = time.perf_counter()
    quantiser = faiss.IndexFlatIP(vectors.shape[1])
    index = faiss.IndexIVFFlat(quantiser, vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = 64  # as many as specrec takes; its default, 256, only takes longer
    index.train(vectors)
    index.add(vectors)
    built = time.perf_counter() - began
    index.nprobe = 16
    while True:
        found = recall_of(index.search(vectors[sample], TOP_N + 1)[0][:, 1:], truth)
        if found >= FLOOR:
            break
        index.nprobe = math.ceil(index.nprobe * 1.1)
    began = time.perf_counter()
    index.search(vectors[::SHARE], TOP_N + 1)
    searched = SHARE * (time.perf_counter() - began)
    return {"seconds": built + searched, "built": built, "probes": index.nprobe, "recall": found, "lists": lists}


def hnsw(library: str, file: Path, sample: npt.NDArray[np.int64], truth: npt.NDArray[Any]) -> dict[str, Any]:
    vectors = unit(np.load(file))
    began = time.perf_counter()
    if library == "voyager":
        import voyager

        index = voyager.Index(voyager.Space.InnerProduct, vectors.shape[1], M=16, ef_construction=100)
        index.add_items(vectors, num_threads=CORES)

        def ask(rows: Vectors, ef: int) -> npt.NDArray[Any]:
            return np.asarray(1 - index.query(rows, TOP_N + 1, num_threads=CORES, query_ef=ef)[1])

    else:
        import hnswlib

        index = hnswlib.Index("ip", vectors.shape[1])
        index.init_index(len(vectors), M=16, ef_construction=100)
        index.add_items(vectors, num_threads=CORES)

        def ask(rows: Vectors, ef: int) -> npt.NDArray[Any]:
            index.set_ef(ef)
            return np.asarray(1 - index.knn_query(rows, TOP_N + 1, num_threads=CORES)[1])

    built = time.perf_counter() - began
    ef, found = TOP_N + 6, 0.0
    while True:
        found = recall_of(ask(vectors[sample], ef)[:, 1:], truth)
        if found >= FLOOR or ef > 2000:
            break
        ef = math.ceil(ef * 1.25)
    began = time.perf_counter()
    ask(vectors, ef)
    seconds = built + time.perf_counter() - began
    return {"seconds": seconds, "built": built, "ef": ef, "recall": found}


def mllib_lsh(file: Path, sample: npt.NDArray[np.int64], truth: npt.NDArray[Any]) -> dict[str, Any]:
    """Join the vectors with themselves by MLlib's random projections, within the distance of most true neighbours.

    It knows no top N: the distance is that of 99 in 100 true ones, and what is found within it is ranked.
    """
    from pyspark.ml.feature import BucketedRandomProjectionLSH
    from pyspark.ml.linalg import Vectors as Dense
    from pyspark.sql import functions as F

    from specrec.session import get_spark

    spark = get_spark(load(None, settings(file.parent / "unused"), needs_catalogue=False))
    vectors = unit(np.load(file))
    reach = float(np.sqrt(2 - 2 * np.percentile(truth[:, -1], 1)))
    rows = spark.createDataFrame(
        ((i, Dense.dense(row)) for i, row in enumerate(vectors.tolist())), ["id", "vector"]
    )
    rows = rows.repartition(4 * CORES).cache()
    rows.count()
    found, tables, seconds = 0.0, 4, 0.0
    while found < FLOOR and tables <= 16 and seconds < 300:
        lsh = BucketedRandomProjectionLSH(
            inputCol="vector", outputCol="hashes", bucketLength=reach, numHashTables=tables, seed=0
        )
        began = time.perf_counter()
        pairs = lsh.fit(rows).approxSimilarityJoin(rows, rows, reach, "distance")
        pairs = pairs.select(F.col("datasetA.id").alias("a"), F.col("datasetB.id").alias("b"), "distance")
        nearest = (
            pairs.where("a != b")
            .groupBy("a")
            .agg(F.slice(F.sort_array(F.collect_list("distance")), 1, TOP_N).alias("distances"))
        )
        lists = {row.a: row.distances for row in nearest.collect()}
        seconds = time.perf_counter() - began
        cosines = np.full(truth.shape, -2.0)
        for place, row in enumerate(sample.tolist()):
            distances = np.array(lists.get(row, []))
            cosines[place, : len(distances)] = 1 - distances**2 / 2
        found, tables = recall_of(cosines, truth), 2 * tables
    spark.stop()
    return {"seconds": seconds, "recall": found, "tables": tables // 2, "reach": reach}


# --- specrec ------------------------------------------------------------------------------------------------


def settings(warehouse: Path) -> tuple[str, ...]:
    return (
        f"warehouse={warehouse}",
        f"neighbours.top_n={TOP_N}",
        f"recommend.top_n={TOP_N}",
        f"neighbours.recall_floor={FLOOR}",
        f"spark.master=local[{CORES}]",
        f"spark.jars_dir={REPOSITORY / '.jars'}",
        "log.level=warning",
    )


def find_neighbours(warehouse: Path, *more: str) -> dict[str, Any]:
    """Run the stage in a process of its own; return what `runs` says of it, and the largest process's memory."""
    done = measure_night((*settings(warehouse), *more), ["neighbours"])
    stage = done.stages["neighbours"]
    return {
        "seconds": stage["seconds"],
        "wall": done.wall,
        "peak_gib": done.peak_gib,
        "details": stage["details"],
    }


def recall_of_table(
    warehouse: Path, ids: Sequence[str], sample: npt.NDArray[np.int64], truth: npt.NDArray[Any]
) -> float:
    lists = deltalake.DeltaTable(str(warehouse / "neighbours")).to_pyarrow_table(
        filters=[("space", "=", "hybrid")], columns=["track_id", "rank", "cosine"]
    )
    frame = lists.to_pandas().set_index("track_id").loc[[ids[row] for row in sample]].reset_index()
    cosines = frame.pivot_table(index="track_id", columns="rank", values="cosine")
    return recall_of(cosines.loc[[ids[row] for row in sample]].to_numpy(), truth)


class Case:
    """So many vectors: in a file for the others, in a warehouse for specrec, with the truth of a sample."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count, self.file, self.warehouse = count, folder / f"{count}.npy", folder / f"warehouse-{count}"
        np.save(self.file, multiplied(real_embeddings(), count))
        self.ids = [f"track-{number:08d}" for number in range(count)]
        self.sample = np.random.default_rng(9).choice(count, 1000, replace=False)
        self.truth = alone(true_lists, self.file, self.sample)

    def search(self) -> dict[str, Any]:
        write_embeddings(self.warehouse, "hybrid", self.ids, np.load(self.file), self.ids)
        done = find_neighbours(self.warehouse)
        return done | {"recall": recall_of_table(self.warehouse, self.ids, self.sample, self.truth)}

    def update(self) -> dict[str, Any]:
        """Take away 0.5 % of the tracks, add 1 %, and search again."""
        new = multiplied(real_embeddings(), self.count // 100, seed=1)
        vectors = np.concatenate([np.load(self.file), new])[self.count // 200 :]
        ids = [f"track-{number:08d}" for number in range(self.count // 200, self.count + len(new))]
        write_embeddings(self.warehouse, "hybrid", ids, vectors, ids)
        return find_neighbours(self.warehouse)

    def close(self) -> None:
        shutil.rmtree(self.warehouse, ignore_errors=True)


def unchanged_night(folder: Path, clips: int) -> dict[str, float]:
    """Return how long a night takes when nothing changed, the process's and Spark's start included."""
    if not (folder / "catalogue.csv").exists():
        render_catalogue(folder, clips, seconds=10.0, processes=os.cpu_count() or 1)
    command = [sys.executable, "-m", "specrec.cli", "nightly"]
    places = (f"catalogue.path={folder / 'catalogue.csv'}", f"warehouse={folder / 'warehouse'}")
    for setting in (*places, f"spark.master=local[{CORES}]", f"spark.jars_dir={REPOSITORY / '.jars'}"):
        command += ["--set", setting]
    seconds = []
    for _ in range(2):  # the first may have something to do
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    return {"unchanged_night_seconds": seconds[-1], "unchanged_night_tracks": clips}


def growth(points: dict[int, float]) -> float:
    """Return the exponent of time in the number of tracks, by least squares of the logarithms."""
    slope, _ = np.polyfit(np.log(list(points)), np.log(list(points.values())), 1)
    return float(slope)


def show(results: dict[str, Any], console: Console) -> None:
    table = Table("what", "value")
    for name, value in results.items():
        if isinstance(value, float):
            table.add_row(name, f"{value:.3f}")
    console.print(table)
    for name, rows in results["runs"].items():
        console.print(name, rows)


@click.command(help=__doc__)
@click.option("--tracks", default=278_000, show_default=True, help="How many tracks are searched.")
@click.option("--small", default=50_000, show_default=True, help="How many the slower rivals are given.")
@click.option("--rivals/--no-rivals", default=True, help="Whether hnswlib, voyager and MLlib take part.")
@click.option("--night", type=click.Path(path_type=Path), default=BUILD / "night", help="Rendered clips, kept.")
@click.option("--clips", default=5_000, show_default=True, help="How many clips the unchanged night has; 0: none.")
@click.option("--out", type=click.Path(path_type=Path), default=BUILD / "neighbours.json", help="Where results go.")
def main(*, tracks: int, small: int, rivals: bool, night: Path, clips: int, out: Path) -> None:
    runs: dict[str, Any] = {}

    def note(name: str, result: dict[str, Any]) -> dict[str, Any]:
        runs[name] = result
        print(name, result, flush=True)
        return result

    with tempfile.TemporaryDirectory() as name:
        folder, times = Path(name), {}
        sizes = sorted({min(small, tracks), min(100_000, tracks), tracks})
        for count in sizes:
            case = Case(folder, count)
            done = note(f"specrec {count}", case.search())
            times[count] = done["seconds"]
            if count == small and rivals:
                for library in ("hnswlib", "voyager"):
                    note(f"{library} {count}", alone(hnsw, library, case.file, case.sample, case.truth))
                few = Case(folder, max(small // 10, 2000))
                note(f"MLlib LSH {few.count}", alone(mllib_lsh, few.file, few.sample, few.truth))
                note(f"specrec {few.count}", few.search())
            if count != tracks:
                case.close()
        update = note(f"specrec {tracks}, 1 % new, 0.5 % gone", case.update())
        ivf = note(f"FAISS IVF {tracks}", alone(faiss_ivf, case.file, case.sample, case.truth, 1024))
        flat = note(f"FAISS exact {tracks}", alone(faiss_flat, case.file))
    results: dict[str, Any] = {
        "tracks": tracks,
        "ratio_vs_faiss_ivf": done["seconds"] / ivf["seconds"],
        "ratio_vs_faiss_exact": done["seconds"] / flat["seconds"],
        "recall_at_10": done["recall"],
        "peak_process_gib": done["peak_gib"],
        "growth_exponent": growth(times) if len(times) > 1 else math.nan,
        "incremental_ratio": update["seconds"] / done["seconds"],
        "incremental_seconds": update["seconds"],
        **(unchanged_night(night, clips) if clips else {}),
        "runs": runs,
    }
    write(results, out)
    show(results, Console())


if __name__ == "__main__":
    main()
