"""Training: epochs of excerpts, early stopping on held-out tracks, and checkpoints to continue from.

All that is drawn at random in an epoch comes from the seed and the epoch's number, so a checkpoint needs no state
of a generator, and a run that was stopped and continued gives the weights of one that was not.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from specrec.arrays import Int64Array
from specrec.encoder.augment import augment
from specrec.encoder.config import EncoderConfig
from specrec.encoder.data import STEP, Spectrograms
from specrec.encoder.networks import Autoencoder, Contrastive, nt_xent
from specrec.errors import SpecrecError

CHECKPOINT = "checkpoint.pt"
_WEIGHT_DECAY = 1e-4
_WARM_UP = 0.05  # of all steps
_AFTERWARDS = ("whitening", "label_column", "label_weight")  # settings of what is done to trained weights
_VERSION = 2  # of networks and losses: weights of another are not continued
_WORDS = {
    "version": "the releases",
    "data": "the spectrograms",
    "split": "the songs, or the split into trained on and held out,",
}
_HELD_OUT = 2**31  # the "epoch" whose draws the held-out excerpts are
_STARTING = _HELD_OUT + 1  # the "epoch" whose draws are the excerpts that an autoencoder starts from
_LINEAR_EXCERPTS, _LINEAR_BATCH = 4_096, 64

#: Called after each step with the epoch, the step and the steps of an epoch.
Told = Callable[[int, int, int], None]


@dataclass
class State:
    """What a training has come to.

    Attributes
    ----------
    epoch : int
        Epochs that are done.
    best_epoch : int
        The one with the least held-out loss, from 1; 0: none was better than the start.
    kept_epoch : int
        The one whose weights are kept, from 1; 0: those that training started with.
    first_loss : float
        Held out, before training, where the best weights are kept.
    losses, held_out_losses : list of float
        The mean of each epoch.
    seconds : float
        Time spent.
    """

    epoch: int = 0
    best_epoch: int = 0
    kept_epoch: int = 0
    first_loss: float = math.inf
    losses: list[float] = field(default_factory=list)
    held_out_losses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def is_over(self, settings: EncoderConfig) -> bool:
        """Tell whether the epochs are done, or the held-out loss has not fallen for `patience` of them."""
        return self.epoch >= settings.epochs or self.epoch - self.best_epoch >= settings.patience


class Reconstruction(nn.Module):
    """The loss of an autoencoder: mean squared error of the values in [0, 1]."""

    views, keeps_best, words = 1, True, "MSE"

    def __init__(self, network: Autoencoder) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, views: list[Tensor], songs: Tensor, measured: list[Tensor], random: torch.Generator
    ) -> Tensor:
        """Return the loss of a batch."""
        (mels,) = views
        return (self.network.decode(self.network(mels)) - mels).square().mean()


class Contrast(nn.Module):
    """The loss of a contrastive encoder: :func:`nt_xent` of two changed excerpts of each song, and of features.

    The latter is 1 - the cosine of the clip's standardised features with what a linear layer, left away afterwards,
    tells of them by the vector. It teaches from few tracks what contrast alone learns from many (distillation, as
    in Romero et al. 2015).

    The last weights are kept: the held-out loss punishes a growing certainty, while what it is for, the order of
    neighbours, still improves. Of 385 clips in three folds, one that kept the best found 0.25 of the songs first
    where the last found 0.28.
    """

    views, keeps_best = 2, False

    def __init__(self, network: Contrastive, temperature: float, measures: int, distillation: float) -> None:
        super().__init__()
        self.network, self.temperature, self.distillation = network, temperature, distillation
        self.teller = nn.Linear(network.dimensions, measures) if measures and distillation else None
        self.words = "NT-Xent"
        if self.teller is not None:
            self.words += f" + {distillation:g} · (1 - cosine of the features)"

    def forward(
        self, views: list[Tensor], songs: Tensor, measured: list[Tensor], random: torch.Generator
    ) -> Tensor:
        """Return the loss of a batch."""
        both = torch.cat([augment(self.network.reduce(view), random) for view in views])
        vectors = self.network.encode(both)
        one, other = self.network.project(vectors).chunk(2)
        loss = nt_xent(one, other, songs, self.temperature)
        if self.teller is not None:
            alike = F.cosine_similarity(self.teller(vectors), torch.cat(measured))
            loss = loss + self.distillation * (1 - alike).mean()
        return loss


Objective = Reconstruction | Contrast


def build(settings: EncoderConfig, data: Spectrograms, tracks: Int64Array) -> Objective:
    """Return the network and its loss as training starts, with weights of the seed.

    Parameters
    ----------
    tracks : int64 array
        Of the sample, those to train on: an autoencoder starts from the best linear code of excerpts of them.

    Raises
    ------
    SpecrecError
        If an autoencoder's vector would have more numbers than an excerpt.
    """
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        if settings.architecture == "autoencoder":
            if settings.dimensions > data.n_mels * settings.patch_frames:
                raise SpecrecError(
                    f"an excerpt has fewer values than encoder.dimensions ({settings.dimensions}): lower that, or "
                    "raise encoder.patch_frames"
                )
            network = Autoencoder(data.n_mels, settings.patch_frames, settings.dimensions)
            network.start_from(_some_excerpts(data, tracks, settings))
            return Reconstruction(network)
        encoder = Contrastive(data.n_mels, settings.dimensions)
        encoder.to(memory_format=torch.channels_last)  # faster on a CPU
        return Contrast(encoder, settings.temperature, data.measured.shape[1], settings.distillation)


def _some_excerpts(data: Spectrograms, tracks: Int64Array, settings: EncoderConfig) -> Iterator[Tensor]:
    """Yield batches of excerpts of tracks, several of each if they are few, on the CPU."""
    random = np.random.default_rng([settings.seed, _STARTING])
    of = np.resize(data.some(tracks, _LINEAR_EXCERPTS), _LINEAR_EXCERPTS)
    for some in np.array_split(of, _LINEAR_EXCERPTS // _LINEAR_BATCH):
        yield scale(data.draw(some, settings.patch_frames, random), torch.device("cpu"))


def train(
    data: Spectrograms, settings: EncoderConfig, folder: Path, *, resume: bool = False, told: Told | None = None
) -> tuple[Objective, State]:
    """Train on the tracks of the sample that are not held out; return the weights that the objective keeps.

    In a process group of torch.distributed each process takes its share of every epoch, on gradients that are
    averaged; the first one writes.

    Parameters
    ----------
    data : Spectrograms
        Of :func:`specrec.encoder.data.collect`.
    settings : EncoderConfig
        Section ``encoder`` of the configuration.
    folder : Path
        Of the checkpoint.
    resume : bool
        Continue from the checkpoint that is there, if there is one.
    told : Told or None
        Hears of each step.

    Raises
    ------
    SpecrecError
        If the checkpoint is of another training, or there is one and `resume` is false.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    device = torch.device(f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(settings.threads)
    training, judging = np.flatnonzero(~data.held_out), np.flatnonzero(data.held_out)
    _need_two(data, training, judging)
    objective = build(settings, data, training).to(device)
    optimiser = torch.optim.AdamW(objective.parameters(), settings.learning_rate, weight_decay=_WEIGHT_DECAY)
    checkpoint = folder / CHECKPOINT
    state, kept = State(), _copy(objective)
    if checkpoint.exists():
        if not resume:
            raise SpecrecError(f"{folder} holds a training: continue it with --resume, or choose another folder")
        saved = _load(checkpoint, settings, data)
        objective.load_state_dict(saved["weights"])
        optimiser.load_state_dict(saved["optimiser"])
        state, kept = State(**saved["state"]), saved["kept"]
    elif objective.keeps_best:
        state.first_loss = _of_first(held_out_loss(objective, data, judging, settings, device))
    model = DistributedDataParallel(objective) if world > 1 else objective
    while not state.is_over(settings):
        started = time.monotonic()
        objective.train()
        losses = []
        batches = list(_batches(training, settings, state.epoch, rank, world))
        for step, tracks in enumerate(batches):
            rate = _rate((state.epoch + step / len(batches)) / settings.epochs)
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * rate
            loss = model(*_draw(data, tracks, settings, [state.epoch, step, rank], objective.views, device=device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
            if told is not None:
                told(state.epoch, step + 1, len(batches))
        state.losses.append(_mean_of_all(torch.stack(losses).mean()))
        state.held_out_losses.append(_of_first(held_out_loss(objective, data, judging, settings, device)))
        state.epoch += 1
        if state.held_out_losses[-1] <= min(state.first_loss, *state.held_out_losses):
            state.best_epoch = state.epoch
        if state.best_epoch == state.epoch or not objective.keeps_best:
            state.kept_epoch = state.epoch
            kept = _copy(objective)
        state.seconds += time.monotonic() - started
        if rank == 0:
            _save(checkpoint, settings, data, objective=objective, optimiser=optimiser, state=state, kept=kept)
    objective.load_state_dict(kept)
    return objective.eval(), state


@torch.no_grad()
def held_out_loss(
    objective: Objective, data: Spectrograms, tracks: Int64Array, settings: EncoderConfig, device: torch.device
) -> float:
    """Return the mean loss of excerpts of these tracks, the same excerpts each time."""
    objective.eval()
    batches = list(_batches(tracks, settings, _HELD_OUT, 0, 1))
    losses = [
        float(objective(*_draw(data, batch, settings, [_HELD_OUT, step, 0], objective.views, device=device)))
        * len(batch)
        for step, batch in enumerate(batches)
    ]
    return sum(losses) / sum(map(len, batches))


def scale(codes: Any, device: torch.device) -> Tensor:
    """Return excerpts, uint8 (n, frames, n_mels), as float32 (n, n_mels, frames) in [0, 1].

    Examples
    --------
    >>> codes = np.full((2, 300, 128), 51, np.uint8)
    >>> scale(codes, torch.device("cpu")).shape
    torch.Size([2, 128, 300])
    """
    mels = torch.from_numpy(codes).to(device).transpose(1, 2).contiguous()
    return (1 - mels.float() * STEP).clamp_(min=0)


def _draw(
    data: Spectrograms,
    tracks: Int64Array,
    settings: EncoderConfig,
    place: list[int],
    views: int,
    *,
    device: torch.device,
) -> tuple[list[Tensor], Tensor, list[Tensor], torch.Generator]:
    """Return a batch as an objective takes it, drawn by the seed and its place."""
    random = np.random.default_rng([settings.seed, *place])
    drawn = [tracks, data.alike(tracks, random)][:views]
    mels = [scale(data.draw(of, settings.patch_frames, random), device) for of in drawn]
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    measured = [torch.from_numpy(data.measured[of]).to(device) for of in drawn]
    return mels, torch.from_numpy(data.songs[tracks]).to(device), measured, generator


def _batches(
    tracks: Int64Array, settings: EncoderConfig, epoch: int, rank: int, world: int
) -> Iterator[Int64Array]:
    """Yield the batches of an epoch: all tracks in another order, `excerpts_per_track` times."""
    random = np.random.default_rng([settings.seed, epoch])
    for _ in range(settings.excerpts_per_track):
        own = random.permutation(tracks)[: len(tracks) // world * world][rank::world]
        parts = max(round(len(own) / settings.batch_size), 1)
        yield from np.array_split(own, parts)


def _rate(done: float) -> float:
    """Return the share of the learning rate: up in a line, down by half a cosine (Loshchilov & Hutter 2017)."""
    if done < _WARM_UP:
        return 0.05 + 0.95 * done / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))) + 1e-3


def _copy(objective: Objective) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in objective.state_dict().items()}


def _need_two(data: Spectrograms, training: Int64Array, judging: Int64Array) -> None:
    """Raise where there is nothing to tell apart."""
    for tracks, words in ((training, "to train on"), (judging, "held out")):
        if len(np.unique(data.songs[tracks])) < 2:
            raise SpecrecError(
                f"fewer than two tracks are {words}: raise encoder.sample_tracks, or change "
                "encoder.held_out_share or encoder.seed"
            )


def _mean_of_all(loss: Tensor) -> float:
    if dist.is_initialized():
        dist.all_reduce(loss)
        loss /= dist.get_world_size()
    return float(loss)


def _of_first(loss: float) -> float:
    """Return what the first process found: each has its own statistics of batches, and all must end together."""
    if not dist.is_initialized():
        return loss
    found = [loss]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def _identity(settings: EncoderConfig, data: Spectrograms) -> dict[str, Any]:
    """Return what decides the weights: the settings, the sample, and its songs and split."""
    split = hashlib.sha256(data.songs.tobytes() + data.held_out.tobytes()).hexdigest()
    own = settings.model_dump(exclude={"threads", *_AFTERWARDS})
    return own | {"data": data.fingerprint, "split": split, "version": _VERSION}


def _save(
    path: Path,
    settings: EncoderConfig,
    data: Spectrograms,
    *,
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    state: State,
    kept: dict[str, Tensor],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")  # a run that is killed while it writes leaves the last one
    torch.save(
        {
            "identity": _identity(settings, data),
            "weights": objective.state_dict(),
            "optimiser": optimiser.state_dict(),
            "state": vars(state),
            "kept": kept,
        },
        partial,
    )
    partial.replace(path)


def _load(path: Path, settings: EncoderConfig, data: Spectrograms) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    identity = _identity(settings, data)
    differing = [name for name, value in identity.items() if saved["identity"].get(name) != value]
    if differing:
        what = ", ".join(_WORDS.get(name, f"encoder.{name}") for name in differing)
        raise SpecrecError(f"{path} is of another training ({what} differ): choose another folder")
    return saved
