"""The last touch of a contrastive encoder: its vectors centred and, in part, whitened.

The loss leaves a few directions, loud from quiet or full from thin, with most of the variance, and cosine
similarity hears little else; whitening lets the finer ones speak (Su et al. 2021, "Whitening Sentence
Representations for Better Semantics and Faster Retrieval"). The map is linear and goes into the last layer:
no file grows by it.
"""

from __future__ import annotations

import numpy as np
import torch

from specrec.encoder.data import IntArray, Spectrograms
from specrec.encoder.networks import Contrastive
from specrec.encoder.train import scale

_MOST_TRACKS = 4_000
#: Added to each deviation, as a share of the greatest: directions that the sample hardly has are not blown up.
_LEAST_DEVIATION = 0.02


@torch.no_grad()
def whiten(network: Contrastive, data: Spectrograms, tracks: IntArray, strength: float) -> None:
    """Change a network's last layer so that its vectors of whole clips are centred and whitened.

    Parameters
    ----------
    network : changed in place, and on the CPU afterwards.
    data, tracks : the sample, and which of it to fit on: those trained on. Of more than 4,000 the first are used.
    strength : the power of its deviation that each direction is divided by; 0 changes nothing, 1 whitens wholly.
    """
    network.cpu().eval()
    if not strength:
        return
    vectors = torch.cat([network(_whole_clip(data, track)) for track in tracks[:_MOST_TRACKS].tolist()]).double()
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    _, deviations, directions = torch.linalg.svd(centred / len(vectors) ** 0.5)
    if not deviations[0] > 0:  # all alike
        return
    spread = torch.zeros_like(mean)
    spread[: len(deviations)] = deviations
    change = directions / (spread + _LEAST_DEVIATION * spread[0]).pow(strength)[:, None]
    change *= centred.norm() / (centred @ change.T).norm()  # as long as before, on average
    out = network.out
    out.bias.copy_(change @ (out.bias.double() - mean))
    out.weight.copy_(change @ out.weight.double())


def _whole_clip(data: Spectrograms, track: int) -> torch.Tensor:
    codes = data.excerpts(np.array([track]), np.array([0]), int(data.lengths[track]))
    return scale(codes, torch.device("cpu"))
