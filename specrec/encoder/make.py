"""An encoder, from the table of spectrograms to an ONNX model, its card and its loss curve."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from specrec.config import Config
from specrec.embedding.models import AUDIO, heard
from specrec.encoder.data import Spectrograms, collect
from specrec.errors import SpecrecError
from specrec.logs import get_logger
from specrec.terminal import console
from specrec.warehouse.reader import Reader

MODEL, CARD, CURVE = "model.onnx", "model.json", "loss.png"

#: What training reads of a warehouse.
TABLES = ("mel_spectrograms", "tracks", "audio_features")

#: What must be installed.
NEEDED = ("torch", "onnx", "matplotlib")

_MEASURED = 1_000  # tracks of either side, at most


def make_model(config: Config, reader: Reader, out: Path, *, resume: bool) -> dict[str, Any]:
    """Train an encoder in this process, which may be one of a group, and export it.

    Parameters
    ----------
    config : Config
        Its sections ``encoder``, ``audio`` and ``evaluate`` (the column of the song) are read.
    reader : Reader
        Of the warehouse; :data:`TABLES` are read, several times over, and so must not change meanwhile.
    out : Path
        Folder of the model, its card, its loss curve, the checkpoint, and the sample while it is trained.
    resume : bool
        Whether to continue a training that was stopped.

    Returns
    -------
    dict
        The model card; empty in a process of a group that is not its first.

    Raises
    ------
    SpecrecError
        If the warehouse holds too little, or the folder holds another training.
    """
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
        data = sample(config, reader, Path(own) if in_group else out / "sample")
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


def sample(config: Config, reader: Reader, folder: Path) -> Spectrograms:
    """Return the sample that an encoder is trained on, collected into a folder.

    Raises
    ------
    SpecrecError
        If there are too few spectrograms, or no track has a label in a column that was chosen.
    """
    settings = config.encoder
    contrastive = settings.architecture == "contrastive"
    data = collect(
        reader,
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


class _Bar:
    """Shows a person how far a training is, and anyone else nothing."""

    def __init__(self, epochs: int, *, shown: bool) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn  # noqa: PLC0415

        self._epochs = epochs
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            TextColumn("at most"),
            TimeRemainingColumn(),
            console=console(stderr=True),
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
