"""What is measured of a clip: each feature is declared here, once.

A new feature is one line here and, in :mod:`specrec.audio.features`, the function that computes it: its columns in
the table ``audio_features`` and its place in the embedding follow from the declaration.

>>> columns(n_mfcc=13)["mfcc_mean"]
13
>>> TABLE_COLUMNS[-1].name, TABLE_COLUMNS[-1].kind
('chroma_change', 'array<float>')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: How a column is stored, in the words of SQL.
Kind = Literal["float", "int", "array<float>"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One declared feature.

    Attributes
    ----------
    name : str
        Its columns are named after it.
    family : str
        Which side of the sound it describes: timbre, brightness, harmony, rhythm, dynamics or noisiness.
    dimensions : int or "n_mfcc"
        How many values it has in a frame or clip, or the setting of :class:`~specrec.audio.config.AudioConfig`
        that says so.
    unit : str
        Empty where it has none, or where the description names it.
    description : str
        One line.
    is_whole : bool
        Whether its one value is a whole number, such as a pitch class.
    """

    name: str
    family: str
    dimensions: int | Literal["n_mfcc"]
    unit: str
    description: str
    is_whole: bool = False

    def size(self, n_mfcc: int) -> int:
        """Return how many values it has in a frame or clip."""
        return n_mfcc if self.dimensions == "n_mfcc" else self.dimensions

    def column(self, name: str, summary: str = "") -> TableColumn:
        """Return a column that holds it, or that holds a summary of its frames."""
        kind: Kind = "array<float>" if self.dimensions != 1 else "int" if self.is_whole else "float"
        told = "; ".join(part for part in (self.unit, self.family) if part)
        return TableColumn(name, kind, f"{self.description}{summary} ({told})")


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column of the table ``audio_features``."""

    name: str
    kind: Kind
    comment: str


#: Measured in every frame and summarised in the columns ``{name}_mean`` and ``{name}_std``.
FEATURES: tuple[Feature, ...] = (
    Feature("mfcc", "timbre", "n_mfcc", "dB", "mel-frequency cepstral coefficients: the spectrum's envelope"),
    Feature("mfcc_delta", "timbre", "n_mfcc", "dB/frame", "slope of each coefficient over nine frames"),
    Feature("spectral_contrast", "timbre", 7, "dB", "peaks against valleys of the spectrum, by octave band"),
    Feature("spectral_centroid", "brightness", 1, "Hz", "centre of gravity of the spectrum"),
    Feature("spectral_bandwidth", "brightness", 1, "Hz", "spread of the spectrum about its centroid"),
    Feature("spectral_rolloff", "brightness", 1, "Hz", "frequency below which 85 % of the magnitude lies"),
    Feature("chroma", "harmony", 12, "", "strength of each pitch class from C to B, the strongest being 1"),
    Feature("tonnetz", "harmony", 6, "", "tonal centroid: fifths, minor thirds, major thirds (x and y of each)"),
    Feature("onset_strength", "rhythm", 1, "dB", "rise of the mel bands from frame to frame"),
    Feature("rms", "dynamics", 1, "full scale", "root mean square of the samples: loudness"),
    Feature("spectral_flatness", "noisiness", 1, "", "0 for a tone, 1 for white noise"),
    Feature("zero_crossing_rate", "noisiness", 1, "crossings/sample", "how often the signal changes sign"),
)

#: Measured once a clip; each has a column of its name.
CLIP_FEATURES: tuple[Feature, ...] = (
    Feature("tempo", "rhythm", 1, "", "estimated tempo in BPM"),  # 0 where nothing ever begins
    Feature("key", "harmony", 1, "", "estimated pitch class, 0 (C) to 11 (B)", is_whole=True),
    Feature("mode", "harmony", 1, "", "estimated mode: 1 major, 0 minor", is_whole=True),
    Feature("key_strength", "harmony", 1, "", "correlation of the mean chroma with that key's profile"),
    Feature("spectral_detail", "timbre", 64, "dB", "level of each of 64 bands against the bands near by"),
    Feature("modulation", "rhythm", 128, "dB", "how much each of 16 bands moves at each of 8 rates, 0.5 to 16 Hz"),
    Feature("onset_autocorrelation", "rhythm", 32, "", "how well onsets repeat after each of 32 times, 0.2 to 2 s"),
    Feature(
        "chroma_change", "harmony", 4, "", "1 less the cosine of the chroma with that 0.4, 0.7, 1.5 and 3 s on"
    ),
)

#: Every family, in the order in which vectors and explanations have them.
FAMILIES = tuple(dict.fromkeys(feature.family for feature in (*FEATURES, *CLIP_FEATURES)))


#: How the frames of a feature are summarised: the function of numpy, and its name in words.
STATISTICS = {"mean": "mean", "std": "standard deviation"}


def columns(n_mfcc: int) -> dict[str, int]:
    """Return the number of values in every column, in the order of the embedding.

    Parameters
    ----------
    n_mfcc : int
        Cepstral coefficients, as configured.
    """
    sizes = {f"{f.name}_{statistic}": f.size(n_mfcc) for f in FEATURES for statistic in STATISTICS}
    return sizes | {f.name: f.size(n_mfcc) for f in CLIP_FEATURES}


def table_columns(of_frames: Sequence[Feature], of_clips: Sequence[Feature]) -> tuple[TableColumn, ...]:
    """Return the columns that features have in a table, in the order of :func:`columns`.

    Parameters
    ----------
    of_frames : sequence of Feature
        Measured in every frame; each has a column a statistic.
    of_clips : sequence of Feature
        Measured once a clip; each has one column.
    """
    summarised = [
        feature.column(f"{feature.name}_{statistic}", f": {words} over frames")
        for feature in of_frames
        for statistic, words in STATISTICS.items()
    ]
    return (*summarised, *(feature.column(feature.name) for feature in of_clips))


#: The columns of the table ``audio_features`` that hold what was measured.
TABLE_COLUMNS = table_columns(FEATURES, CLIP_FEATURES)
