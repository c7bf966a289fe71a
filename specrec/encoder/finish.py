"""The last touch of a contrastive encoder: its vectors centred, whitened, and turned to what labels tell.

The loss leaves a few directions, loud from quiet or full from thin, with most of the variance, and cosine
similarity hears little else. What changes within a clip tells no clip from another: the directions are whitened by
how much the thirds of a clip differ in them (within-class covariance normalisation, Hatch et al. 2006, with each
clip a class: it needs no labels), and the finer ones are heard. Where the catalogue labels its tracks, by genre
say, directions are then stretched by how far labels lie apart in them and how close tracks of one label (Fisher
1936; shrunk as in Friedman 1989): a closed form, which a few dozen labelled tracks are enough for where a network
would learn them by heart. The map is linear and goes into the last layer: no file grows by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from specrec.arrays import Int64Array
from specrec.encoder.data import Spectrograms
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


@dataclass(frozen=True)
class Labelling:
    """What labels did to vectors.

    Attributes
    ----------
    tracks, labels : int
        How many were used; 0 if none were.
    share_before, share : float
        Of the mean squared length, what lies in the directions by which labels differ: before, and now.
    stretch : float
        Of the direction that tells them apart best, against one that tells nothing.
    """

    tracks: int = 0
    labels: int = 0
    share_before: float = 0.0
    share: float = 0.0
    stretch: float = 1.0


@torch.no_grad()
def finish(
    network: Contrastive, data: Spectrograms, tracks: Int64Array, whitening: float, label_weight: float
) -> Labelling:
    """Change a network's last layer so that its vectors of whole clips are centred, whitened, and tell labels.

    Where `whitening` is 0 and no label is used, nothing is changed.

    Parameters
    ----------
    network : Contrastive
        Changed in place, and on the CPU afterwards.
    data, tracks : Spectrograms, int64 array
        The sample, and which of it to fit on: those trained on. Of more than 4,000 some are drawn.
    whitening : float
        The power of its deviation within clips that each direction is divided by; 0 whitens nothing.
    label_weight : float
        Share of the mean squared length that is given to what tells labels apart, beside what its directions have
        of the rest. A label counts if five tracks or more have it, be they of one album or not, and if there is
        another one.
    """
    network.cpu().eval()
    tracks = data.some(tracks, _MOST_TRACKS)
    labels = _frequent(torch.from_numpy(data.labels[tracks])) if label_weight else torch.full((len(tracks),), -1)
    if not (whitening or (labels >= 0).any()):
        return Labelling()
    vectors = torch.cat([network(_parts(data, track, 1)) for track in tracks.tolist()]).double()
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    if not centred.norm() > 1e-6 * vectors.norm():  # all alike
        return Labelling()
    parts = torch.stack([network(_parts(data, track, _PARTS)) for track in tracks.tolist()]).double()
    within = (parts - parts.mean(dim=1, keepdim=True)).flatten(0, 1)
    scatter = within.T @ within / len(within) + _BETWEEN * centred.T @ centred / len(centred)
    squares, directions = torch.linalg.eigh(scatter)
    deviations = squares.clamp(min=0).sqrt()
    change = directions.T / (deviations + _LEAST_DEVIATION * deviations[-1]).pow(whitening)[:, None]
    labelling = Labelling()
    if (labels >= 0).any():
        stretched, labelling = _stretch(centred @ change.T, labels, label_weight)
        change = stretched @ change
    change *= centred.norm() / (centred @ change.T).norm()  # as long as before, on average
    out = network.out
    out.bias.copy_(change @ (out.bias.double() - mean))
    out.weight.copy_(change @ out.weight.double())
    return labelling


def _stretch(vectors: Tensor, labels: Tensor, weight: float) -> tuple[Tensor, Labelling]:
    """Return the symmetric map after which a share of the squared length is what tells labels apart.

    With W and B, the scatter within labels (shrunk) and between them, W⁻¹ B W⁻¹ measures how far vectors differ in
    Fisher's discriminants, each weighed by its ratio of the two: many labels, which together lie in most
    directions, are told by the few best. The cosine becomes, on average, `weight` of that and the rest of what it
    was. Labels whose means are all alike change nothing.
    """
    known, size = vectors[labels >= 0], vectors.shape[1]
    _, of_track, counts = labels[labels >= 0].unique(return_inverse=True, return_counts=True)
    means = torch.zeros(len(counts), size, dtype=torch.double).index_add_(0, of_track, known) / counts[:, None]
    within = known - means[of_track]
    scatter = within.T @ within / len(within)
    shrunk = (_SHRINKAGE * scatter.trace() / size).clamp(min=1e-12)
    scatter += shrunk * torch.eye(size, dtype=torch.double)
    apart = (means - known.mean(dim=0)) * (counts[:, None] / len(known)).sqrt()
    if not apart.norm() > 1e-6 * (vectors.norm() / len(vectors) ** 0.5):  # the labels are all alike
        return torch.eye(size, dtype=torch.double), Labelling()
    discriminants = torch.linalg.solve(scatter, apart.T)  # W⁻¹ B W⁻¹ is this times its transpose
    ratio = vectors.square().sum() / (vectors @ discriminants).square().sum()
    form = weight / (1 - weight) * ratio * discriminants @ discriminants.T
    values, axes = torch.linalg.eigh(form)
    stretches = (1 + values.clamp(min=0)).sqrt()
    # labels differ in one direction fewer than there are labels
    squares = (vectors @ axes).square().sum(dim=0)
    own = slice(-min(len(counts) - 1, size), None)
    longer = squares * stretches.square()
    found = Labelling(
        tracks=len(known),
        labels=len(counts),
        share_before=float(squares[own].sum() / squares.sum()),
        share=float(longer[own].sum() / longer.sum()),
        stretch=float(stretches[-1]),
    )
    return axes @ torch.diag(stretches) @ axes.T, found


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
