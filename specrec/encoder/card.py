"""What is kept beside a model: its card (Mitchell et al. 2019) and the curve of its losses."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import specrec
from specrec.arrays import Int64Array
from specrec.config import Config
from specrec.encoder.data import Spectrograms
from specrec.encoder.finish import Labelling
from specrec.encoder.train import Objective, Reconstruction, State, scale

_VERSIONS = ("torch", "onnx", "onnxruntime", "numpy", "deltalake", "pyarrow")
_EXCERPTS = 4  # of each track, that it is measured on
_BATCH = 64


@torch.no_grad()
def measure(
    objective: Objective, data: Spectrograms, tracks: Int64Array, frames: int, seed: int
) -> dict[str, float]:
    """Measure an encoder on tracks, by excerpts of them.

    Returns
    -------
    dict of str to float
        ``mse``, and beside it ``mse_of_band_means``: the error of each band's mean over the excerpt; for a
        contrastive encoder ``finds_own_track`` instead: the share of excerpts whose nearest is of the same song,
        and by chance.
    """
    random = np.random.default_rng(seed)
    drawn = np.repeat(tracks, _EXCERPTS)
    excerpts = data.draw(drawn, frames, random)
    network, device = objective.network.eval(), torch.device("cpu")
    network.to(device)
    if isinstance(objective, Reconstruction):
        errors, of_means = [], []
        for start in range(0, len(drawn), _BATCH):
            mels = scale(excerpts[start : start + _BATCH], device)
            errors.append((objective.network.decode(network(mels)) - mels).square().mean(dim=(1, 2)))
            of_means.append((mels.mean(dim=2, keepdim=True) - mels).square().mean(dim=(1, 2)))
        return {"mse": float(torch.cat(errors).mean()), "mse_of_band_means": float(torch.cat(of_means).mean())}
    vectors = torch.cat([network(scale(excerpts[i : i + _BATCH], device)) for i in range(0, len(drawn), _BATCH)])
    unit = torch.nn.functional.normalize(vectors, dim=1)
    songs = torch.from_numpy(data.songs[drawn])
    nearest = (unit @ unit.T).fill_diagonal_(-2).argmax(dim=1)
    alike = songs[:, None] == songs[None, :]
    chance = (alike.sum(dim=1) - 1) / (len(songs) - 1)
    return {
        "finds_own_track": float((songs[nearest] == songs).float().mean()),
        "finds_own_track_by_chance": float(chance.mean()),
    }


def write_card(
    path: Path,
    config: Config,
    data: Spectrograms,
    state: State,
    model: Path,
    *,
    loss: str,
    labelling: Labelling,
    metrics: Mapping[str, Mapping[str, float]],
    parameters: int,
    parity: float,
) -> dict[str, Any]:
    """Write the model card as JSON, and return it.

    Parameters
    ----------
    model : Path
        The exported file.
    loss : str
        What the losses are.
    labelling : Labelling
        What the labels that it was fitted to did.
    metrics : mapping
        Of :func:`measure`, by the side of the split.
    parameters : int
        Numbers in the encoder.
    parity : float
        Greatest difference of ONNX Runtime from PyTorch.
    """
    settings = config.encoder
    card = {
        "model": {
            "file": model.name,
            "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
            "bytes": model.stat().st_size,
            "architecture": settings.architecture,
            "parameters": parameters,
            "input": f"float32 (batch, {data.n_mels}, frames): stored mel spectrograms, (dB + 80) / 80",
            "output": f"float32 (batch, {settings.dimensions}); cosine similarity is its measure",
            "greatest_difference_from_torch": parity,
        },
        "use": "similarity of music by its sound; it knows nothing of words, fame or listeners, and of styles that "
        "the sample lacks",
        "data": {
            "warehouse": config.warehouse,
            "tracks": len(data.lengths),
            "held_out_tracks": int(data.held_out.sum()),
            "split": "by the first artist, else the album, else the song, else the track",
            "frames": int(data.lengths.sum()),
            "labels": {"column": settings.label_column if labelling.tracks else None} | asdict(labelling),
            "measures_told": data.measured.shape[1],
            "fingerprint": data.fingerprint,
            "audio": config.audio.model_dump(),
            "audio_hash": str(config.audio_hash),
        },
        "settings": settings.model_dump(),
        "training": {
            "epochs": state.epoch,
            "best_epoch": state.best_epoch,
            "kept_epoch": state.kept_epoch,
            "seconds": round(state.seconds, 1),
            "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else platform.processor() or "CPU",
            "loss": loss,
            "losses": state.losses,
            "held_out_loss_at_start": None if math.isinf(state.first_loss) else state.first_loss,
            "held_out_losses": state.held_out_losses,
        },
        "metrics": {side: dict(of) for side, of in metrics.items()},
        "versions": {"specrec": specrec.__version__, "python": platform.python_version()}
        | {name: version(name) for name in _VERSIONS},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return card


def draw_losses(path: Path, state: State, words: str) -> None:
    """Draw the losses of every epoch as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 (a second to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    epochs = np.arange(1, state.epoch + 1)
    axes.plot(epochs, state.losses, label="trained on")
    axes.plot(epochs, state.held_out_losses, label="held out")
    axes.axvline(state.kept_epoch, color="grey", linewidth=0.8, linestyle=":", label=f"kept: {state.kept_epoch}")
    axes.set(xlabel="epoch", ylabel=words, title="Losses of the encoder")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
