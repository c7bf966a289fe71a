"""``specrec train-encoder``: from the table of spectrograms to an ONNX model, its card and its loss curve."""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from specrec.config import Config
from specrec.embedding.models import AUDIO, heard
from specrec.encoder.data import Spectrograms, collect
from specrec.errors import SpecrecError
from specrec.logs import configure, get_logger
from specrec.warehouse.reader import Reader

MODEL, CARD, CURVE = "model.onnx", "model.json", "loss.png"
_MEASURED = 1_000  # tracks of either side, at most
_NEEDED = ("torch", "onnx", "matplotlib")


def train_encoder(config: Config, out: Path, *, resume: bool = False, workers: int = 1) -> dict[str, Any]:
    """Train an encoder on the warehouse's spectrograms and export it.

    Parameters
    ----------
    config : sections ``encoder``, ``audio`` and ``evaluate`` (the column of the song) are read.
    out : folder of the model, its card, its loss curve, the checkpoint, and the sample while it is trained.
    resume : continue a training that was stopped.
    workers : above 1, as many processes by Spark's TorchDistributor; `out` must be a folder that all of them reach.

    Returns
    -------
    dict, the model card.

    Raises
    ------
    SpecrecError
        If PyTorch is not installed, the warehouse holds too little, or the folder holds another training.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise SpecrecError(f"training needs {', '.join(missing)}: pip install 'specrec[train]'")
    configure(config.log)
    if workers == 1:
        return _train(config, out.absolute(), resume)
    return _distribute(config, out.absolute(), resume, workers)


def _train(config: Config, out: Path, resume: bool) -> dict[str, Any]:
    """Train in this process, which may be one of a group."""
    from torch import distributed as dist  # noqa: PLC0415

    from specrec.encoder.card import draw_losses, measure, write_card  # noqa: PLC0415
    from specrec.encoder.export import export  # noqa: PLC0415
    from specrec.encoder.finish import Labelling, finish  # noqa: PLC0415
    from specrec.encoder.networks import Contrastive  # noqa: PLC0415
    from specrec.encoder.train import CHECKPOINT, train  # noqa: PLC0415

    log, settings = get_logger(), config.encoder
    if (out / CHECKPOINT).exists() and not resume:
        raise SpecrecError(f"{out} holds a training: continue it with --resume, or choose another folder")
    in_group = dist.is_initialized()
    first = not in_group or dist.get_rank() == 0
    with tempfile.TemporaryDirectory(prefix="specrec-mels-") as own:
        # each process of a group has the sample on its own machine's disk
        data = _sample(config, Path(own) if in_group else out / "sample")
        sides = {"trained_on": ~data.held_out, "held_out": data.held_out}
        if first:
            log.info("training_started", **{side: int(of.sum()) for side, of in sides.items()})
        with _Bar(settings.epochs, shown=first and sys.stderr.isatty()) as bar:
            objective, state = train(data, settings, out, resume=resume, told=bar.step)
        if not first:
            return {}
        labelling = Labelling()
        if isinstance(objective.network, Contrastive):
            tracks = sides["trained_on"].nonzero()[0]
            labelling = finish(objective.network, data, tracks, settings.whitening, settings.label_weight)
        metrics = {
            side: measure(
                objective, data, data.some(of.nonzero()[0], _MEASURED), settings.patch_frames, settings.seed
            )
            for side, of in sides.items()
        }
        model = out / MODEL
        properties = {"architecture": settings.architecture, AUDIO: json.dumps(heard(config.audio))}
        parity = export(objective.network, model, settings.patch_frames, properties)
        parameters = sum(weights.numel() for weights in objective.network.parameters())
        draw_losses(out / CURVE, state, objective.words)
        card = write_card(
            out / CARD,
            config,
            data,
            state,
            model,
            loss=objective.words,
            labelling=labelling,
            metrics=metrics,
            parameters=parameters,
            parity=parity,
        )
    if state.kept_epoch == 0:
        log.warning("nothing_learned", what="no epoch was better than the linear code that training started from")
    log.info(
        "training_done",
        epochs=state.epoch,
        kept_epoch=state.kept_epoch,
        labelled=labelling.tracks,
        **metrics["held_out"],
    )
    return card


def _sample(config: Config, folder: Path) -> Spectrograms:
    settings = config.encoder
    contrastive = settings.architecture == "contrastive"
    data = collect(
        Reader(config.warehouse, config.storage),
        folder,
        size=settings.sample_tracks,
        seed=settings.seed,
        held_out_share=settings.held_out_share,
        song_column=config.evaluate.song_column,
        label_column=settings.label_column,
        n_mfcc=config.audio.n_mfcc if contrastive and settings.distillation > 0 else None,
        audio_hashes=config.audio_hash.accepted,
    )
    by_default = type(settings).model_fields["label_column"].default
    if contrastive and settings.label_column not in (None, by_default) and (data.labels < 0).all():
        raise SpecrecError(
            f"no track of the sample has a label in {settings.label_column!r}: encoder.label_column names a column "
            "of the catalogue, or null to train without labels"
        )
    return data


def _distribute(config: Config, out: Path, resume: bool, workers: int) -> dict[str, Any]:
    """Train in a group of processes that Spark starts, on the driver's machine in its local mode."""
    import torch  # noqa: PLC0415
    from pyspark.ml.torch.distributor import TorchDistributor  # noqa: PLC0415

    from specrec.session import get_spark  # noqa: PLC0415

    local = (get_spark(config).sparkContext.master or "").startswith("local")
    gpu = torch.cuda.is_available() if local else "spark.task.resource.gpu.amount" in config.spark.conf
    distributor = TorchDistributor(num_processes=workers, local_mode=local, use_gpu=gpu)
    return distributor.run(_train_in_group, config.model_dump_json(), str(out), resume) or {}


def _train_in_group(config: str, out: str, resume: bool) -> dict[str, Any]:
    """Run in each process of the group; that of rank 0 returns the card."""
    import torch  # noqa: PLC0415
    from torch import distributed as dist  # noqa: PLC0415

    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        return _train(Config.model_validate_json(config), Path(out), resume)
    finally:
        dist.destroy_process_group()


class _Bar:
    """Shows a person how far a training is, and anyone else nothing."""

    def __init__(self, epochs: int, *, shown: bool) -> None:
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn  # noqa: PLC0415

        self._epochs = epochs
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            TextColumn("at most"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not shown,
        )
        self._task = self._bar.add_task("training", total=epochs)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *of: object) -> None:
        self._bar.stop()

    def step(self, epoch: int, step: int, steps: int) -> None:
        words = f"epoch {epoch + 1} of {self._epochs}"
        self._bar.update(self._task, description=words, completed=epoch + step / steps)
