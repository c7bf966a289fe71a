"""How fast extraction is: beside the notebook's loop, Essentia, openSMILE and the floor, and inside Spark.

    make bench-extract

Everything is timed in one run of one process, one thread each, clip by clip in changing order, so that whatever
else the machine does hits all alike; a ratio is the median over the clips of a rival's time divided by specrec's.
Spark then extracts many files on two cores, from disk and from S3 on loopback; its efficiency is the files it does
in a second, divided by twice what one core does without Spark.

The clips are those of ../shared/music, or rendered where that folder is absent.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# read when numpy and numba are first imported, also by the processes that are started from here
os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
)
# of its own: processes that fill numba's cache at the same time can spoil it, and librosa then crashes
os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).resolve().parents[2] / "build" / "bench" / "numba")

import click
import memory
import numpy as np
import psutil
import rivals
from clips import cpu_model, find_clips, spread
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from results import write
from rich.console import Console
from rich.table import Table
from servers import S3Server

from specrec.audio.analyse import analyse
from specrec.audio.isolated import Analyst, keep_freed_memory
from specrec.audio.spark import extract as extract_files
from specrec.config import Config, load
from specrec.session import get_spark
from specrec.storage import locate, parent

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build" / "bench"
CORES = 2
BLOCK = 10  # clips at a time, where two processes take turns
CONFIG = load(None, (f"warehouse={BUILD / 'unused'}",), needs_catalogue=False)

Contestant = Callable[[Path, bytes], Any]


# --- one core -----------------------------------------------------------------------------------------------


def in_this_process(path: Path, data: bytes) -> Any:
    """Analyse as `specrec.audio` does: what everything else is compared with."""
    return analyse(data, CONFIG.audio, path.name)


def contestants() -> dict[str, Contestant]:
    """Name who takes part; each is called with a clip's path and its bytes, and uses what it is made for."""
    essentia = rivals.Essentia()
    opensmile = rivals.OpenSmile()
    return {
        "specrec": in_this_process,
        "plain_loop": lambda path, _: rivals.plain_loop(path),
        "plain_loop_same_chroma": lambda path, _: rivals.plain_loop(path, tonnetz_from_chroma=True),
        "essentia": lambda path, _: essentia(path),
        "essentia_loading": lambda path, _: essentia.load(path),
        "opensmile": lambda path, _: opensmile(path),
        "decoding": lambda _, data: rivals.decoding(data),
        "floor": lambda _, data: rivals.floor(data),
    }


def time_isolation(clips: Sequence[Path]) -> dict[str, np.ndarray]:
    """Time the child process that decodes for Spark's workers against this one, by the clock and by the CPU.

    Blocks of clips in turn, each process first in every other: a process that comes back from a pause finds the
    processor's caches cold, which in Spark it does not do at every file.

    Returns
    -------
    dict[str, ndarray]
        ``here``, ``isolated``, ``here_cpu``, ``isolated_cpu``: seconds a clip, one value a block.
    """
    found: dict[str, list[float]] = {"here": [], "isolated": [], "here_cpu": [], "isolated_cpu": []}
    with Analyst(CONFIG.audio, CONFIG.extract) as analyst:

        def isolated(path: Path, _: bytes) -> Any:
            with path.open("rb") as file:
                return analyst.analyse(file, path.name)

        who: dict[str, Contestant] = {"here": in_this_process, "isolated": isolated}
        for path in {path.suffix: path for path in clips}.values():  # as in time_clips
            for contestant in who.values():
                contestant(path, path.read_bytes())
        blocks = [clips[first : first + BLOCK] for first in range(0, len(clips), BLOCK)] * 2
        for index, block in enumerate(blocks):
            for name in sorted(who, reverse=bool(index % 2)):
                began, cpu = time.perf_counter(), cpu_seconds()
                for path in block:
                    who[name](path, path.read_bytes() if name == "here" else b"")
                found[name].append((time.perf_counter() - began) / len(block))
                found[f"{name}_cpu"].append((cpu_seconds() - cpu) / len(block))
    return {name: np.array(values) for name, values in found.items()}


def cpu_seconds() -> float:
    """Return what this process and its children have had of the processor so far, in seconds."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children())]
    return float(sum(time.user + time.system for time in times))


def time_clips(who: dict[str, Contestant], clips: Sequence[Path]) -> dict[str, np.ndarray]:
    """Return each contestant's seconds, one value a clip."""
    seconds = {name: np.empty(len(clips)) for name in who}
    names = list(who)
    first_of_format = {path.suffix: path for path in clips}.values()
    for path in first_of_format:  # what is imported, compiled or cached at first use is no clip's time
        for name in names:
            who[name](path, path.read_bytes())
    for index, path in enumerate(clips):
        data = path.read_bytes()
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.perf_counter()
            who[name](path, data)
            seconds[name][index] = time.perf_counter() - began
    return seconds


def compare(seconds: dict[str, np.ndarray], isolation: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the ratios and their spread over the clips, from the seconds a clip of both rounds."""
    own, rest = seconds["specrec"], seconds["essentia"] - seconds["essentia_loading"]
    ratios = {
        "ratio_vs_plain_loop": seconds["plain_loop"] / own,
        "ratio_vs_plain_loop_same_chroma": seconds["plain_loop_same_chroma"] / own,
        "ratio_vs_essentia": seconds["essentia"] / own,
        # had it specrec's decoder and resampler in place of its own
        "ratio_vs_essentia_same_decoder": (rest + seconds["decoding"]) / own,
        "ratio_vs_opensmile": seconds["opensmile"] / own,
        "ratio_vs_floor": own / seconds["floor"],
        "isolation_overhead": isolation["isolated"] / isolation["here"] - 1,
        "isolation_overhead_cpu": isolation["isolated_cpu"] / isolation["here_cpu"] - 1,
    }
    everyone = {**seconds, "isolated": isolation["isolated"]}
    milliseconds = {name: 1000 * values for name, values in everyone.items()}
    return {
        **{name: float(np.median(values)) for name, values in ratios.items()},
        "ms_per_clip": float(np.median(milliseconds["specrec"])),
        "ms": {name: float(np.median(values)) for name, values in milliseconds.items()},
        "spread": {name: percentiles(values) for name, values in {**ratios, **milliseconds}.items()},
    }


def percentiles(values: np.ndarray) -> dict[str, float]:
    """Return the ends and the quartiles, without the outermost tenths."""
    return {f"p{share}": float(np.percentile(values, share)) for share in (10, 25, 75, 90)}


# --- Spark --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Span:
    """When a process began and ended its files, on the clock that all processes share."""

    began: float
    ended: float


_all_ready: Any = None


def _prepare(barrier: Any, first: Path) -> None:
    global _all_ready  # noqa: PLW0603 - how a pool hands a barrier to its processes
    _all_ready = barrier
    keep_freed_memory()
    analyse(first.read_bytes(), CONFIG.audio)


def _analyse_all(clips: Sequence[Path]) -> _Span:
    _all_ready.wait()
    began = time.monotonic()
    for path in clips:
        analyse(path.read_bytes(), CONFIG.audio, path.name)
    return _Span(began, time.monotonic())


def analysis_rate(clips: Sequence[Path], processes: int) -> float:
    """Return the clips a second that so many processes analyse side by side, without Spark."""
    context = multiprocessing.get_context("spawn")
    shares = [clips[first::processes] for first in range(processes)]
    prepare = (context.Barrier(processes), clips[0])
    with ProcessPoolExecutor(processes, context, _prepare, prepare) as pool:
        spans = list(pool.map(_analyse_all, shares))
    return len(clips) / (max(span.ended for span in spans) - min(span.began for span in spans))


def spark_config(server: S3Server) -> Config:
    settings = (
        f"warehouse={BUILD / 'unused'}",
        f"storage.endpoint_url={server.endpoint_url}",
        "storage.path_style=true",
        f"spark.master=local[{CORES}]",
        f"spark.jars_dir={REPOSITORY / '.jars'}",
    )
    return load(None, settings, needs_catalogue=False)


def copies(clips: Sequence[Path], count: int, folder: Path) -> list[str]:
    """Copy clips, the whole list again and again, until there are `count` files; return their names."""
    folder.mkdir()
    names = [f"{index:05d}-{clips[index % len(clips)].name}" for index in range(count)]
    for index, name in enumerate(names):
        shutil.copyfile(clips[index % len(clips)], folder / name)
    return names


def job(spark: SparkSession, uris: Sequence[str], config: Config) -> tuple[DataFrame, Observation]:
    """Return the extraction of files as the stage does it, and what counts those that fail."""
    rows = [(uri, "", [uri]) for uri in uris]
    files = spark.createDataFrame(rows, "audio_uri string, audio_fingerprint string, track_ids array<string>")
    tasks = max(-(-len(uris) // config.extract.files_per_task), min(len(uris), 4 * CORES))
    seen = Observation()
    extracted = extract_files(files, config, tasks, parent(locate(uris[0])))
    return extracted.observe(seen, F.count("code").alias("failed")), seen


def extraction_rate(spark: SparkSession, uris: Sequence[str], config: Config) -> float:
    """Return the files a second that Spark extracts."""
    extracted, seen = job(spark, uris, config)
    began = time.perf_counter()
    extracted.write.format("noop").mode("overwrite").save()
    seconds = time.perf_counter() - began
    if seen.get["failed"]:
        raise click.ClickException(
            f"{seen.get['failed']} of {len(uris)} files failed: see specrec.audio.extraction"
        )
    return len(uris) / seconds


@contextmanager
def running_spark(config: Config) -> Iterator[SparkSession]:
    spark = get_spark(config)
    try:
        yield spark
    finally:
        spark.stop()


def measure_spark(clips: Sequence[Path], count: int, folder: Path) -> dict[str, Any]:
    """Return the rates of Spark on two cores, and those of one and two processes without it."""
    names = copies(clips, count, folder / "files")
    with S3Server(folder / "s3") as server:
        os.environ |= server.environment()
        bucket = server.create_bucket("music")
        server.upload_folder(folder / "files", bucket)
        places = {"disk": str(folder / "files"), "s3": f"s3://{bucket}"}
        config = spark_config(server)
        # half before and half after Spark: the machine may not be the same all the time
        single = [analysis_rate(clips[::2], 1)]
        pair = analysis_rate(clips, CORES)
        rates = {}
        with running_spark(config) as spark, memory.Workers() as watched:
            for place, root in places.items():
                uris = [f"{root}/{name}" for name in names]
                extraction_rate(spark, uris[: 8 * CORES], config)  # workers start, librosa is imported
                rates[place] = extraction_rate(spark, uris, config)
        single.append(analysis_rate(clips[1::2], 1))
        one_core = len(single) / sum(1 / rate for rate in single)
        return {
            "spark_files": count,
            "spark_cores": CORES,
            "s3_server": server.kind,
            "single_core_rate": one_core,
            "two_process_rate": pair,
            **{f"spark_rate_{place}": rate for place, rate in rates.items()},
            **{f"spark_efficiency_{place}": rate / (CORES * one_core) for place, rate in rates.items()},
            **{f"spark_efficiency_{place}_vs_two_processes": rate / pair for place, rate in rates.items()},
            "peak_worker_mib": watched.peak_mib,
        }


# --- results ------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    packages = ("specrec", "numpy", "scipy", "librosa", "soundfile", "soxr", "essentia", "opensmile", "pyspark")
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def show(results: dict[str, Any], console: Console) -> None:
    spreads = results["spread"]
    times = Table("one core, ms a clip", title=f"{results['clips']} clips, {results['cpu']}")
    ratios = Table("ratio")
    for table in (times, ratios):
        for heading in ("median", "p10", "p90"):
            table.add_column(heading, justify="right")
    for name, median in results["ms"].items():
        times.add_row(name, f"{median:.1f}", f"{spreads[name]['p10']:.1f}", f"{spreads[name]['p90']:.1f}")
    for name, spread_of in spreads.items():
        if name not in results["ms"]:
            ratios.add_row(name, f"{results[name]:.2f}", f"{spread_of['p10']:.2f}", f"{spread_of['p90']:.2f}")
    console.print(times, ratios)
    if "spark_files" in results:
        spark = Table("Spark", "value", title=f"{results['spark_files']} files, local[{results['spark_cores']}]")
        for name, value in results.items():
            if name.startswith(("spark_rate", "spark_eff")) or name.endswith(("_rate", "_mib")):
                spark.add_row(name, f"{value:.2f}")
        console.print(spark)


@click.command(help=__doc__)
@click.option("--clips", "count", default=100, show_default=True, help="Clips that the contestants are timed on.")
@click.option("--spark/--no-spark", default=True, help="Whether to measure extraction through Spark.")
@click.option("--spark-files", default=1000, show_default=True, help="Files that Spark extracts, from each store.")
@click.option("--out", type=click.Path(path_type=Path), default=BUILD / "extract.json", help="Where results go.")
def main(count: int, spark: bool, spark_files: int, out: Path) -> None:
    keep_freed_memory()  # as the process that decodes for Spark does; all contestants have the good of it
    with tempfile.TemporaryDirectory() as name:
        clips = find_clips(count, Path(name) / "rendered")
        chosen = spread(clips, count)
        rivals.plain_loop(chosen[0])  # fills numba's cache before there is a second process
        measured = compare(time_clips(contestants(), chosen), time_isolation(chosen))
        results = {"clips": len(chosen), **machine(), **measured}
        if spark:
            results |= measure_spark(clips, spark_files, Path(name))
    write(results, out)
    show(results, Console())


if __name__ == "__main__":
    main()
