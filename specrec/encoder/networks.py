"""The two networks that turn a mel spectrogram into a vector.

Both take float32 (batch, n_mels, n_frames) in [0, 1] and give float32 (batch, dimensions).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Total stride of the convolutions of each network, along either axis.
_STRIDE = 16
#: Of :class:`Statistics`: cepstral coefficients, groups of bands, and lags in frames of half the rate (46 ms).
_COEFFICIENTS, _GROUPS = 20, 8
_LAGS = (1, 2, 8)
_BEATS = (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17, 19, 22, 26, 32)
_MOST_DEVIATIONS = 5.0  # of a statistic: no odd one decides


class Autoencoder(nn.Module):
    """A 1-D convolutional encoder along time and one along frequency, joined; a 2-D convolutional decoder.

    The encoder along time has the mel bands as channels, the one along frequency the frames, so the number of
    frames is fixed. The design is that of "Exploring the Sonic Landscape", one of the seeds of this project. What
    was added: both sides start from the best linear code of what they are trained on (:meth:`start_from`), and
    learn what that lacks. From few hundred clips the plain networks learn no more than the level of each band. A
    network that was neither started nor loaded gives zeros.

    Parameters
    ----------
    n_mels, n_frames : int
        Shape of a spectrogram.
    dimensions : int
        Of the vector, an even number.
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
        for layer in (self.along_time[-1], self.along_frequency[-1], self.decoder[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("level", torch.zeros(n_mels, 1))
        self.register_buffer("of_bands", torch.zeros(dimensions, n_mels))
        self.register_buffer("of_frames", torch.zeros(dimensions, n_frames))
        self.scale = nn.Parameter(torch.ones(dimensions))

    @torch.no_grad()
    def start_from(self, batches: Iterable[Tensor]) -> None:
        """Take as the linear part the :func:`linear_code` of spectrograms, float32 (batch, n_mels, n_frames)."""
        level, bands, frames, sizes = linear_code(batches, self.n_frames, self.dimensions)
        self.level.copy_(level[:, None])
        self.of_bands.copy_(bands)
        self.of_frames.copy_(frames)
        self.scale.copy_(sizes)

    def forward(self, mels: Tensor) -> Tensor:
        """Return the latent vectors, float32 (batch, dimensions)."""
        waves = ((self.of_bands @ (mels - self.level)) * self.of_frames).sum(dim=2)
        learned = torch.cat([self.along_time(mels), self.along_frequency(mels.transpose(1, 2))], dim=1)
        return waves / self.scale + learned

    def decode(self, latent: Tensor) -> Tensor:
        """Return spectrograms of latent vectors, float32 (batch, n_mels, n_frames)."""
        small = self.widen(latent).view(-1, 128, *self._small)
        learned = self.decoder(small)[:, 0, : self.n_mels, : self.n_frames]
        waves = self.of_bands.T @ ((latent * self.scale)[:, :, None] * self.of_frames)
        return (self.level + waves + learned).clamp(0, 1)


class Statistics(nn.Module):
    """What needs no learning: the spectrogram's bands, cepstrum and rhythm, each summed up over time.

    Of each band its level, the same against those near by, its deviation, and how it moves over several lags, as in
    the space ``spectrogram``; of the cepstral coefficients (a cosine transform over the bands) mean, deviation,
    movement and correlations, as in the Gaussians of Mandel and Ellis 2005; and of eight groups of bands the
    movement over lags up to 1.5 s, which dips at the beat.

    Parameters
    ----------
    n_bands : int
        Bands of the spectrograms, any number of frames.
    """

    def __init__(self, n_bands: int) -> None:
        super().__init__()
        coefficients = min(_COEFFICIENTS, n_bands)
        order, place = torch.arange(coefficients)[:, None], torch.arange(n_bands) + 0.5
        cosines = F.normalize(torch.cos(math.pi * order * place / n_bands), dim=1)
        self.register_buffer("cosines", cosines, persistent=False)
        groups = F.normalize(
            (torch.arange(n_bands) * _GROUPS // n_bands == torch.arange(_GROUPS)[:, None]).float(), p=1
        )
        self.register_buffer("groups", groups, persistent=False)
        pairs = torch.tril_indices(coefficients, coefficients, -1)
        self.register_buffer("pairs", pairs[0] * coefficients + pairs[1], persistent=False)
        self.count = (3 + len(_LAGS)) * n_bands + 3 * coefficients + len(self.pairs) + _GROUPS * len(_BEATS)

    def forward(self, mels: Tensor) -> Tensor:
        """Return float32 (batch, count) of spectrograms (batch, n_bands, frames)."""
        level = mels.mean(dim=2)
        near = F.avg_pool1d(level[:, None], 5, stride=1, padding=2, count_include_pad=False)[:, 0]
        parts = [level, level - near, _deviation(mels), *(_movement(mels, lag) for lag in _LAGS)]
        cepstrum = self.cosines @ mels
        mean, deviation = cepstrum.mean(dim=2), _deviation(cepstrum)
        unit = (cepstrum - mean[:, :, None]) / deviation[:, :, None]
        correlations = (unit @ unit.transpose(1, 2)).flatten(1) / mels.shape[2]
        parts += [mean, deviation.log(), _movement(cepstrum, 1).log(), correlations[:, self.pairs]]
        rhythm = self.groups @ mels
        spread = _deviation(rhythm)
        parts += [_movement(rhythm, lag) / spread for lag in _BEATS]
        return torch.cat(parts, dim=1)


class Contrastive(nn.Module):
    """A 2-D convolutional encoder of any number of frames; mean and deviation over time are what it describes.

    Beside them the last layer gets :class:`Statistics`, so that few tracks are enough to be no worse than these.
    Spectrograms are halved along both axes first and strides come before widths, so that a clip of 30 s costs 60
    million multiplications: what a core does a few hundred times a second.

    Parameters
    ----------
    n_mels : int
        Mel bands.
    dimensions : int
        Of the vector.
    width : int
        Channels of the first layer.
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
        self.statistics = Statistics(-(-n_mels // 2))
        self.standard = nn.BatchNorm1d(self.statistics.count, affine=False)
        self.out = nn.Linear(2 * widths[-1] * bands + self.statistics.count, dimensions)
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
        mean, deviation = maps.mean(dim=2), _deviation(maps)
        standard = self._standardise(self.statistics(reduced)).clamp(-_MOST_DEVIATIONS, _MOST_DEVIATIONS)
        vectors: Tensor = self.out(torch.cat([mean, deviation, standard], dim=1))
        return vectors

    def _standardise(self, statistics: Tensor) -> Tensor:
        norm = self.standard
        if self.training:
            return norm(statistics)
        # the same; the exporter has no batch norm of what it knows no size of
        return (statistics - norm.running_mean) * (norm.running_var + norm.eps).rsqrt()

    def project(self, vectors: Tensor) -> Tensor:
        """Return what the loss compares, of length 1."""
        return F.normalize(self.head(vectors), dim=1)


def linear_code(batches: Iterable[Tensor], n_frames: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the `count` products of a wave over the bands and one over the frames that vary most.

    The principal components of excerpts, if a place in time is like any other: then those of each cosine over the
    frames can be had alone (the Karhunen-Loève transform of a stationary process; Ahmed et al. 1974), and few
    hundred excerpts tell them, where the components of whole excerpts would be learned by heart.

    Parameters
    ----------
    batches : iterable of Tensor
        Of spectrograms, float32 (batch, n_mels, n_frames), on the CPU; one is in memory at a time.
    n_frames : int
        Frames of each.
    count : int
        At most n_mels * n_frames.

    Returns
    -------
    mean : float32, shape (n_mels,)
        Of each band.
    bands, frames : float32, shapes (count, n_mels) and (count, n_frames)
        The waves over the bands and over the frames, of length 1 each.
    deviation : float32, shape (count,)
        Standard deviation of each product's coefficient, the greatest first, and none less than a thousandth of it.
    """
    order, place = torch.arange(n_frames)[:, None], torch.arange(n_frames) + 0.5
    cosines = F.normalize(torch.cos(math.pi * order * place / n_frames), dim=1)
    total, scatter, number = torch.zeros(()), torch.zeros(()), 0
    for mels in batches:
        coefficients = (mels @ cosines.T).permute(2, 0, 1)  # (n_frames, batch, n_mels)
        scatter = scatter + (coefficients.transpose(1, 2) @ coefficients).double()
        total = total + mels.mean(dim=2).sum(dim=0).double()
        number += len(mels)
    level = total / number
    scatter = scatter / number
    scatter[0] -= len(scatter) * torch.outer(level, level)
    squares, waves = torch.linalg.eigh(scatter)
    chosen = squares.flatten().argsort(descending=True, stable=True)[:count]
    orders, numbers = chosen // squares.shape[1], chosen % squares.shape[1]
    sizes = squares.flatten()[chosen].clamp(min=0).sqrt()
    sizes = sizes.clamp(min=max(float(sizes[0]) * 1e-3, 1e-6))
    return level.float(), waves[orders, :, numbers].float(), cosines[orders], sizes.float()


def nt_xent(one: Tensor, other: Tensor, songs: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy of pairs (Chen et al. 2020, "SimCLR").

    Parameters
    ----------
    one, other : float32, shape (n, dimensions)
        Of length 1; row i of either is of one song.
    songs : int64, shape (n,)
        Rows of the same song are not held against each other.
    temperature : float
        Of the softmax.

    Returns
    -------
    float32, shape ()
        The mean over the 2 n rows of -log of the softmax of its pair among all rows but itself.

    Examples
    --------
    >>> one = torch.eye(3)
    >>> round(float(nt_xent(one, one, songs=torch.arange(3), temperature=0.5)), 2)
    0.43
    >>> round(float(nt_xent(one, one.flip(0), songs=torch.arange(3), temperature=0.5)), 2)
    1.77
    """
    n = len(one)
    both, song = torch.cat([one, other]), torch.cat([songs, songs])
    rows = torch.arange(2 * n, device=both.device)
    pair = (rows + n) % (2 * n)
    logits = both @ both.T / temperature
    alike = song[:, None] == song[None, :]
    alike[rows, pair] = False
    return F.cross_entropy(logits.masked_fill(alike, float("-inf")), pair)


def _deviation(values: Tensor) -> Tensor:
    """Return the standard deviation over time, a little above 0, without that axis."""
    return ((values - values.mean(dim=2, keepdim=True)).square().mean(dim=2) + 1e-5).sqrt()


def _movement(values: Tensor, lag: int) -> Tensor:
    """Return the root mean square change over a lag in frames, a little above 0; the last frame lasts."""
    later = F.pad(values, (0, lag), mode="replicate")[:, :, lag:]
    return ((later - values).square().mean(dim=2) + 1e-5).sqrt()


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
