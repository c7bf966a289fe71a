"""The last touch of a contrastive encoder: its vectors centred, whitened, and turned to what labels tell.

The loss leaves a few directions, loud from quiet or full from thin, with most of the variance, and cosine
similarity hears little else. What changes within a clip tells no clip from another: the directions are whitened by
how much the thirds of a clip differ in them (within-class covariance normalisation, Hatch et al. 2006, with each
clip a class: it needs no labels), and the finer ones are heard. Where the catalogue labels its tracks, by genre
say, those directions are then stretched in which tracks of one label lie close and others apart (Fisher 1936;
shrunk as in Friedman 1989): a closed form, which a few dozen labelled tracks are enough for where a network would
learn them by heart. The map is linear and goes into the last layer: no file grows by it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from specrec.encoder.data import IntArray, Spectrograms
from specrec.encoder.networks import Contrastive
from specrec.encoder.train import scale

_MOST_TRACKS, _PARTS = 4_000, 3
#: Of the variance between clips, added to that within them: the sample is small.
_BETWEEN = 0.05
#: Added to each deviation, as a share of the greatest: directions that the sample hardly has are not blown up.
_LEAST_DEVIATION = 0.02
#: Tracks that a label needs to count.
_LEAST_TRACKS = 5
#: Of the variance within labels, added to each direction as a multiple of the mean one: the sample is small.
_SHRINKAGE = 1.0


@torch.no_grad()
def finish(
    network: Contrastive, data: Spectrograms, tracks: IntArray, whitening: float, label_weight: float
) -> int:
    """Change a network's last layer so that its vectors of whole clips are centred, whitened, and tell labels.

    Parameters
    ----------
    network : changed in place, and on the CPU afterwards.
    data, tracks : the sample, and which of it to fit on: those trained on. Of more than 4,000 the first are used.
    whitening : the power of its deviation within clips that each direction is divided by; 0 changes nothing.
    label_weight : share of the mean squared length that the directions of the labels get at least.

    Returns
    -------
    int, the tracks whose labels were used: of labels that have five tracks or more, if there are two of them.
    """
    network.cpu().eval()
    tracks = tracks[:_MOST_TRACKS]
    labels = _frequent(torch.from_numpy(data.labels[tracks])) if label_weight else torch.full((len(tracks),), -1)
    labelled = int((labels >= 0).sum())
    if not (whitening or labelled):
        return 0
    vectors = torch.cat([network(_parts(data, track, 1)) for track in tracks.tolist()]).double()
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    if not centred.norm() > 1e-6 * vectors.norm():  # all alike
        return 0
    parts = torch.stack([network(_parts(data, track, _PARTS)) for track in tracks.tolist()]).double()
    within = (parts - parts.mean(dim=1, keepdim=True)).flatten(0, 1)
    scatter = within.T @ within / len(within) + _BETWEEN * centred.T @ centred / len(centred)
    squares, directions = torch.linalg.eigh(scatter)
    deviations = squares.clamp(min=0).sqrt()
    change = directions.T / (deviations + _LEAST_DEVIATION * deviations[-1]).pow(whitening)[:, None]
    if labelled:
        change = _stretch(centred @ change.T, labels, label_weight) @ change
    change *= centred.norm() / (centred @ change.T).norm()  # as long as before, on average
    out = network.out
    out.bias.copy_(change @ (out.bias.double() - mean))
    out.weight.copy_(change @ out.weight.double())
    return labelled


def _stretch(vectors: Tensor, labels: Tensor, weight: float) -> Tensor:
    """Return the symmetric map by which the discriminant directions of labels get their share of the length."""
    numbers = labels[labels >= 0].unique()
    of_label = labels[:, None] == numbers
    counts = of_label.sum(dim=0).double()
    means = of_label.double().T @ vectors / counts[:, None]
    within = vectors[labels >= 0] - means[torch.searchsorted(numbers, labels[labels >= 0])]
    size = vectors.shape[1]
    scatter = within.T @ within / len(within)
    scatter += _SHRINKAGE * scatter.trace() / size * torch.eye(size, dtype=torch.double)
    values, axes = torch.linalg.eigh(scatter)
    root = axes @ torch.diag(values.clamp(min=1e-12).rsqrt()) @ axes.T
    apart = (means - (counts[:, None] * means).sum(dim=0) / counts.sum()) * counts[:, None].sqrt()
    discriminants = torch.linalg.svd(apart @ root, full_matrices=False).Vh[: min(len(numbers) - 1, size // 2)]
    found, _ = torch.linalg.qr(root @ discriminants.T)
    own = (vectors @ found).square().sum()
    rest = vectors.square().sum() - own
    factor = (weight * rest / ((1 - weight) * own)).sqrt().clamp(min=1)
    return torch.eye(size, dtype=torch.double) + (factor - 1) * found @ found.T


def _frequent(labels: Tensor) -> Tensor:
    """Return the labels with -1 for those that few tracks have, and for all if fewer than two are left."""
    numbers, counts = labels[labels >= 0].unique(return_counts=True)
    kept = numbers[counts >= _LEAST_TRACKS]
    if len(kept) < 2:
        return torch.full_like(labels, -1)
    return torch.where(torch.isin(labels, kept), labels, -1)


def _parts(data: Spectrograms, track: int, count: int) -> Tensor:
    """Return a clip in so many parts of one length, float32 (count, n_mels, frames)."""
    length = max(int(data.lengths[track]) // count, 1)
    codes = data.excerpts(np.full(count, track), np.arange(count) * length, length)
    return scale(codes, torch.device("cpu"))
