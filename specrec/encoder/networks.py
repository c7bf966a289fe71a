"""The two networks that turn a mel spectrogram into a vector.

Both take float32 (batch, n_mels, n_frames) in [0, 1] and give float32 (batch, dimensions).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Total stride of the convolutions of each network, along either axis.
_STRIDE = 16


class Autoencoder(nn.Module):
    """A 1-D convolutional encoder along time and one along frequency, joined; a 2-D convolutional decoder.

    The encoder along time has the mel bands as channels, the one along frequency the frames, so the number of
    frames is fixed. The design is that of "Exploring the Sonic Landscape", one of the seeds of this project.

    Parameters
    ----------
    n_mels, n_frames : shape of a spectrogram.
    dimensions : of the vector, an even number.
    """

    def __init__(self, n_mels: int, n_frames: int, dimensions: int = 256) -> None:
        super().__init__()
        self.n_mels, self.n_frames, self.dimensions = n_mels, n_frames, dimensions
        self.along_time = _encoder_1d(n_mels, n_frames, dimensions // 2)
        self.along_frequency = _encoder_1d(n_frames, n_mels, dimensions // 2)
        self._small = (-(-n_mels // _STRIDE), -(-n_frames // _STRIDE))
        self.widen = nn.Linear(dimensions, 128 * self._small[0] * self._small[1])
        self.decoder = nn.Sequential(
            *_upwards(128, 64),
            *_upwards(64, 32),
            *_upwards(32, 16),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
        )
        self.levels = nn.Linear(dimensions, n_mels)  # of each band over the whole excerpt

    def forward(self, mels: Tensor) -> Tensor:
        """Return the latent vectors, float32 (batch, dimensions)."""
        return torch.cat([self.along_time(mels), self.along_frequency(mels.transpose(1, 2))], dim=1)

    def decode(self, latent: Tensor) -> Tensor:
        """Return spectrograms of latent vectors, float32 (batch, n_mels, n_frames)."""
        small = self.widen(latent).view(-1, 128, *self._small)
        moving = self.decoder(small)[:, 0, : self.n_mels, : self.n_frames]
        return torch.sigmoid(moving + self.levels(latent)[:, :, None])


class Contrastive(nn.Module):
    """A 2-D convolutional encoder of any number of frames; mean and deviation over time are what it describes.

    Spectrograms are halved along both axes first and strides come before widths, so that a clip of 30 s costs 60
    million multiplications: what a core does a few hundred times a second.

    Parameters
    ----------
    n_mels : mel bands.
    dimensions : of the vector.
    width : channels of the first layer.
    """

    def __init__(self, n_mels: int, dimensions: int = 256, width: int = 12) -> None:
        super().__init__()
        self.n_mels, self.dimensions = n_mels, dimensions
        widths = [width, 2 * width, 4 * width, 8 * width, 16 * width]
        self.stem = nn.Sequential(
            nn.BatchNorm2d(1),
            nn.Conv2d(1, width, 5, stride=(1, 2), padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(*(_block(a, b) for a, b in pairwise(widths)))
        bands = -(-n_mels // (2 * _STRIDE))
        self.out = nn.Linear(2 * widths[-1] * bands, dimensions)
        self.head = nn.Sequential(  # left away after training (Chen et al. 2020)
            nn.BatchNorm1d(dimensions), nn.ReLU(), nn.Linear(dimensions, dimensions // 2)
        )

    def forward(self, mels: Tensor) -> Tensor:
        """Return the vectors, float32 (batch, dimensions)."""
        return self.encode(self.reduce(mels))

    @staticmethod
    def reduce(mels: Tensor) -> Tensor:
        """Return spectrograms of half the bands and half the frames, float32 (batch, n_mels / 2, n_frames / 2)."""
        return F.avg_pool2d(mels[:, None], 2, ceil_mode=True, count_include_pad=False)[:, 0]

    def encode(self, reduced: Tensor) -> Tensor:
        """Return the vectors of what :meth:`reduce` made."""
        maps = self.blocks(self.stem(reduced[:, None])).flatten(1, 2)
        mean = maps.mean(dim=2)
        deviation = ((maps - mean[:, :, None]).square().mean(dim=2) + 1e-5).sqrt()
        vectors: Tensor = self.out(torch.cat([mean, deviation], dim=1))
        return vectors

    def project(self, vectors: Tensor) -> Tensor:
        """Return what the loss compares, of length 1."""
        return F.normalize(self.head(vectors), dim=1)


def nt_xent(one: Tensor, other: Tensor, songs: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy of pairs (Chen et al. 2020, "SimCLR").

    Parameters
    ----------
    one, other : float32, shape (n, dimensions), of length 1; row i of either is of one song.
    songs : int64, shape (n,); rows of the same song are not held against each other.
    temperature : of the softmax.

    Returns
    -------
    float32, the mean over the 2 n rows of -log of the softmax of its pair among all rows but itself.
    """
    n = len(one)
    both, song = torch.cat([one, other]), torch.cat([songs, songs])
    rows = torch.arange(2 * n, device=both.device)
    pair = (rows + n) % (2 * n)
    logits = both @ both.T / temperature
    alike = song[:, None] == song[None, :]
    alike[rows, pair] = False
    return F.cross_entropy(logits.masked_fill(alike, float("-inf")), pair)


def _encoder_1d(channels: int, length: int, dimensions: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels, 128, 5, stride=2, padding=2),
        nn.BatchNorm1d(128),
        nn.LeakyReLU(0.1),
        nn.Conv1d(128, 128, 5, stride=2, padding=2),
        nn.BatchNorm1d(128),
        nn.LeakyReLU(0.1),
        nn.Conv1d(128, 64, 5, stride=2, padding=2),
        nn.BatchNorm1d(64),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Linear(64 * -(-length // 8), dimensions),
    )


def _upwards(channels: int, out: int) -> tuple[nn.Module, ...]:
    return (
        nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1),
        nn.BatchNorm2d(out),
        nn.LeakyReLU(0.1),
    )


def _block(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )
