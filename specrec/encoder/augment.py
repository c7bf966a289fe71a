"""What a contrastive encoder must not hear: changes of a recording that leave the music what it is.

Spectrograms are float32 (batch, n_mels, n_frames) in [0, 1], 80 dB apart; each is changed on its own, in ways that
are drawn from a generator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specrec.audio.mel import TOP_DB

#: dB: greatest change of level, and of either end of the spectrum against the other.
GAIN_DB, TILT_DB = 10.0, 8.0
#: dB below the maximum, from and to, that noise is added at.
NOISE_DB = (-70.0, -35.0)
_NOISE_SPREAD_DB = 12.0  # from one frame and band to another
#: Greatest share of the bands and of the frames that one mask hides, and how many masks there are of either.
MASKED, MASKS = 0.15, 2


def augment(mels: Tensor, random: torch.Generator) -> Tensor:
    """Return spectrograms with another gain, noise, filtering and masks (Park et al. 2019), same shape, in [0, 1].

    Parameters
    ----------
    mels : float32, shape (batch, n_mels, n_frames)
        In [0, 1].
    random : torch.Generator
        A generator on the CPU, so that every device draws the same.

    Examples
    --------
    >>> mels = torch.full((4, 128, 300), 0.5)
    >>> augment(mels, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 128, 300])
    """
    n, bands, frames = mels.shape
    device = mels.device

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return (low + (high - low) * torch.rand(shape, generator=random)).to(device)

    # filtering: a line over the bands, and a bend in its middle
    place = torch.linspace(-1, 1, bands, device=device)
    tilt, bend = uniform(2, n, 1, low=-TILT_DB, high=TILT_DB)
    shape = tilt * place + bend * (place.square() - 1 / 3)
    gain = uniform(n, 1, low=-GAIN_DB, high=0)
    changed = mels + ((shape + gain) / TOP_DB)[:, :, None]
    # noise and music add up as powers do: the louder of the two is left, nearly
    noise = torch.rand((n, bands, frames), generator=random).to(device).mul_(_NOISE_SPREAD_DB / TOP_DB)
    noise += 1 + uniform(n, 1, 1, low=NOISE_DB[0], high=NOISE_DB[1]) / TOP_DB
    noise *= uniform(n, 1, 1) < 0.5
    torch.maximum(changed, noise, out=changed)
    for _ in range(MASKS):
        for size, axis in ((bands, 2), (frames, 1)):
            width = uniform(n, 1, high=MASKED * size)
            start = uniform(n, 1) * (size - width)
            within = torch.arange(size, device=device)[None, :]
            heard = (within < start) | (within >= start + width)
            changed *= heard.unsqueeze(axis)
    return changed.clamp_(0.0, 1.0)
