"""How fast stored spectrograms are embedded by an encoder: ONNX Runtime alone, and in Spark on two cores.

    make bench-embedding

The encoder is the project's contrastive one with random weights, exported as training exports it: the rate does not
depend on what it learned. The clips are those of ../shared/music, or rendered where that folder is absent, 30 s
each, turned in time until there are enough. Spark runs what the stage runs: it reads the table, and its Python
workers decode each spectrogram, scale it and run the model; the vectors are not written. ONNX Runtime alone is one
process and one thread on spectrograms that are in memory; so is each further step, timed beside it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# read when numpy is first imported, also by Spark's workers
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import click
import deltalake
import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import torch
from clips import cpu_model, find_clips, spread
from results import write
from rich.console import Console
from rich.table import Table

from specrec.audio.analyse import Analysis, analyse
from specrec.audio.mel import decode_mel, encode_mel
from specrec.config import Config, load
from specrec.embedding.models import Model, load_model, outputs, unit_mel
from specrec.embedding.spaces import spaces_of
from specrec.embedding.spark import embed
from specrec.encoder.export import export
from specrec.encoder.networks import Contrastive
from specrec.session import get_spark
from specrec.warehouse.tables import Warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build" / "bench"
CORES = 2
CLIPS = 40
#: Rows of one file and of one row group, about as extraction leaves them.
FILE_ROWS, GROUP_ROWS = 500, 50
ROUNDS = 3

Mel = npt.NDArray[np.float32]


def settings(folder: Path) -> Config:
    return load(
        None,
        (
            f"warehouse={folder / 'warehouse'}",
            f"embedding.models={{encoder: {{path: {folder / 'encoder.onnx'}}}}}",
            f"spark.master=local[{CORES}]",
            f"spark.jars_dir={REPOSITORY / '.jars'}",
            "log.level=error",
        ),
        needs_catalogue=False,
    )


def write_model(path: Path, n_mels: int) -> None:
    torch.manual_seed(0)
    export(Contrastive(n_mels), path, patch_frames=216)


def write_table(config: Config, heard: Sequence[Analysis], rows: int) -> None:
    """Write ``mel_spectrograms`` with so many rows: the clips, each further time turned by some other time."""
    place = f"{config.warehouse}/mel_spectrograms"
    mels = [decode_mel(of.mel, of.n_mels, of.n_frames) for of in heard]
    random = np.random.default_rng(0)
    for start in range(0, rows, FILE_ROWS):
        made = []
        for row in range(start, min(start + FILE_ROWS, rows)):
            of, mel = heard[row % len(heard)], mels[row % len(heard)]
            turned = np.roll(mel, int(random.integers(mel.shape[1])), axis=1)
            made.append(
                {
                    "track_id": f"t{row:06}",
                    "mel": encode_mel(turned),
                    "n_mels": of.n_mels,
                    "n_frames": of.n_frames,
                    "sample_rate": of.sample_rate,
                    "audio_hash": str(config.audio_hash),
                    "run_id": "bench",
                }
            )
        properties = deltalake.WriterProperties(compression="ZSTD", max_row_group_size=GROUP_ROWS)
        deltalake.write_deltalake(place, pa.Table.from_pylist(made), mode="append", writer_properties=properties)


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those that it started and that live."""
    times = [of.cpu_times() for of in (psutil.Process(), *psutil.Process().children(recursive=True))]
    return float(sum(of.user + of.system for of in times))


def rate(work: Callable[[Any], object], items: Iterable[Any], count: int) -> float:
    """Return how many a second, the best of some rounds: what else the machine does can only slow it down."""
    best = 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for item in items:
            work(item)
        best = max(best, count / (time.perf_counter() - start))
    return best


def measure_alone(model: Model, heard: Sequence[Analysis]) -> dict[str, float]:
    """Return the clips a second of one thread, step by step and all steps together."""
    mels = [decode_mel(of.mel, of.n_mels, of.n_frames) for of in heard]
    scaled = [unit_mel(mel) for mel in mels]
    outputs(model, scaled[0])  # the session

    def all_steps(of: Analysis) -> None:
        outputs(model, unit_mel(decode_mel(of.mel, of.n_mels, of.n_frames)))

    return {
        "onnxruntime_rate": rate(lambda mel: outputs(model, mel), scaled, len(scaled)),
        "decode_rate": rate(lambda of: decode_mel(of.mel, of.n_mels, of.n_frames), heard, len(heard)),
        "scale_rate": rate(unit_mel, mels, len(mels)),
        "all_steps_rate": rate(all_steps, heard, len(heard)),
    }


def measure_spark(config: Config, model: Model, rows: int) -> dict[str, float]:
    """Return the clips a second of the stage on two cores, what CPU a clip costs, and the rate of reading alone."""
    spark = get_spark(config)
    try:
        table = Warehouse(lambda: spark, config.warehouse, config.storage).read("mel_spectrograms")
        space, known = spaces_of(config)[model.name], {model.name: model}

        def run(frame: Any) -> None:
            frame.write.format("noop").mode("overwrite").save()

        run(embed(space, table.limit(100), known))  # workers start
        before = cpu_seconds()
        measured = rate(lambda _: run(embed(space, table, known)), [None], rows)
        cpu = (cpu_seconds() - before) / (ROUNDS * rows)
        return {
            "spark_rate": measured,
            "spark_cpu_ms": 1e3 * cpu,
            "spark_reading_rate": rate(lambda _: run(table), [None], rows),
        }
    finally:
        spark.stop()


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("specrec", "numpy", "onnxruntime", "pyspark", "pyarrow")}


def show(results: dict[str, Any], console: Console) -> None:
    table = Table("30 s clips a second", "", title=f"{results['rows']} stored spectrograms, {results['cpu']}")
    for name, value in results.items():
        if name.endswith("_rate"):
            table.add_row(name.removesuffix("_rate").replace("_", " "), f"{value:,.0f}")
    console.print(table)


@click.command(help=__doc__)
@click.option("--rows", default=4000, show_default=True, help="Spectrograms that Spark embeds.")
@click.option("--out", type=click.Path(path_type=Path), default=BUILD / "embedding.json", help="Where results go.")
def main(rows: int, out: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = settings(folder)
        clips = spread(find_clips(CLIPS, folder / "rendered"), CLIPS)
        heard = [analyse(clip.read_bytes(), config.audio, clip.name) for clip in clips]
        write_model(folder / "encoder.onnx", config.audio.n_mels)
        write_table(config, heard, rows)
        model = load_model("encoder", config)
        results: dict[str, Any] = {
            "rows": rows,
            "cpu": cpu_model(),
            "versions": versions(),
            **measure_alone(model, heard),
        }
        results |= measure_spark(config, model, rows)
        results["spark_efficiency"] = results["spark_rate"] / (CORES * results["onnxruntime_rate"])
    write(results, out)
    show(results, Console())


if __name__ == "__main__":
    main()
