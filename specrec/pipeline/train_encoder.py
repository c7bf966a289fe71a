"""Training an encoder: as a stage it holds the warehouse, and leaves a row in ``runs``."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from specrec.config import Config
from specrec.encoder.make import NEEDED, TABLES, make_model
from specrec.errors import SpecrecError
from specrec.pipeline.run import RECORDS, open_run
from specrec.storage import path_on_disk
from specrec.warehouse.reader import Reader


def train_encoder(config: Config, out: str | Path, *, resume: bool = False, workers: int = 1) -> dict[str, Any]:
    """Train an encoder on the warehouse's spectrograms and export it.

    No night runs beside it, and whatever becomes of the warehouse, each table is read at the version that it had at
    the start: spectrograms, features and titles stay those of one catalogue. With one worker no JVM is started.

    Parameters
    ----------
    config : Config
        Its sections ``encoder``, ``audio`` and ``evaluate`` (the column of the song) are read.
    out : str or Path
        Folder on disk of the model, its card, its loss curve, the checkpoint, and the sample while it is trained.
    resume : bool
        Whether to continue a training that was stopped.
    workers : int
        Above 1, as many processes by Spark's TorchDistributor; `out` must be a folder that all of them reach.

    Returns
    -------
    dict
        The model card.

    Raises
    ------
    SpecrecError
        If PyTorch is not installed, the folder is not on disk or cannot be written, another run holds the
        warehouse, the warehouse holds too little, or the folder holds another training.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise SpecrecError(f"training needs {', '.join(missing)}: pip install 'specrec[train]'")
    out = (path_on_disk(out) if isinstance(out, str) else out).absolute()
    try:
        existing = next(folder for folder in (out, *out.parents) if folder.exists())
        tempfile.TemporaryFile(dir=existing).close()  # training takes hours, and writes the model at its end
    except OSError as error:
        raise SpecrecError(f"the model cannot be written to {out}: {error.strerror or error}") from None
    Reader(config.warehouse, config.storage).table(TABLES[0])  # or a mistyped path would get empty tables
    with open_run(config, shown=False) as run:  # training shows how far it is itself
        run.warehouse.create_missing(RECORDS)
        with run.stage("train_encoder") as report:
            reader = Reader(config.warehouse, config.storage).pinned(TABLES)
            for name, version in reader.versions.items():
                report.record("table_version", version, name)
                report.details[f"{name}_version"] = version
            if workers == 1:
                card = make_model(config, reader, out, resume=resume)
            else:
                from specrec.encoder.spark import make_in_group  # noqa: PLC0415

                spark = run.warehouse.spark
                card = make_in_group(spark, config, reader.versions, out, resume=resume, workers=workers)
            report.rows_in = card["data"]["tracks"]
            for name in ("epochs", "kept_epoch"):
                report.count(name, card["training"][name])
            report.details["model"] = card["model"]["sha256"]
    return card
