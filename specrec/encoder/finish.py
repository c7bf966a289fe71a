"""The last touch of a contrastive encoder: its vectors centred, in part whitened, and turned to what labels tell.

The loss leaves a few directions, loud from quiet or full from thin, with most of the variance, and cosine
similarity hears little else; whitening lets the finer ones speak (Su et al. 2021, "Whitening Sentence
Representations for Better Semantics and Faster Retrieval"). Where the catalogue labels its tracks, by genre say,
those directions are then stretched in which tracks of one label lie close and others apart (Fisher 1936; shrunk as
in Friedman 1989): a closed form, which a few dozen labelled tracks are enough for where a network would learn them
by heart. The map is linear and goes into the last layer: no file grows by it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from specrec.encoder.data import IntArray, Spectrograms
from specrec.encoder.networks import Contrastive
from specrec.encoder.train import scale

_MOST_TRACKS = 4_000
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
    whitening : the power of its deviation that each direction is divided by; 0 changes nothing, 1 whitens wholly.
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
    vectors = torch.cat([network(_whole_clip(data, track)) for track in tracks.tolist()]).double()
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    _, deviations, directions = torch.linalg.svd(centred / len(vectors) ** 0.5)
    if not deviations[0] > 0:  # all alike
        return 0
    spread = torch.zeros_like(mean)
    spread[: len(deviations)] = deviations
    change = directions / (spread + _LEAST_DEVIATION * spread[0]).pow(whitening)[:, None]
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
    root = axes @ torch.diag(values.rsqrt()) @ axes.T
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


def _whole_clip(data: Spectrograms, track: int) -> Tensor:
    codes = data.excerpts(np.array([track]), np.array([0]), int(data.lengths[track]))
    return scale(codes, torch.device("cpu"))
