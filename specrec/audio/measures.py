"""What is measured of a clip: each feature's name, family, size and unit, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Feature:
    """One declared feature.

    Attributes
    ----------
    name : str
        Of the feature; its columns are named after it.
    family : str
        What of the sound it tells: timbre, brightness, harmony, rhythm, dynamics or noisiness.
    dimensions : int or "n_mfcc"
        Values in a frame or clip, or the setting of :class:`~specrec.config.AudioConfig` that says how many.
    unit : str
        Empty where it has none.
    description : str
        One line.
    """

    name: str
    family: str
    dimensions: int | Literal["n_mfcc"]
    unit: str
    description: str

    def size(self, n_mfcc: int) -> int:
        """Values in a frame or clip."""
        return n_mfcc if self.dimensions == "n_mfcc" else self.dimensions


#: Measured in every frame, summarised by ``{name}_mean`` and ``{name}_std``.
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

#: Measured once a clip; the column is the name.
CLIP_FEATURES: tuple[Feature, ...] = (
    Feature("tempo", "rhythm", 1, "BPM", "most salient tempo; 0 where nothing ever begins"),
    Feature("key", "harmony", 1, "pitch class", "tonic of the likeliest key, C being 0"),
    Feature("mode", "harmony", 1, "", "1 for major, 0 for minor"),
    Feature("key_strength", "harmony", 1, "", "correlation of the chroma with the profile of that key"),
    Feature("spectral_detail", "timbre", 64, "dB", "level of each of 64 bands against the bands near by"),
    Feature("modulation", "rhythm", 128, "dB", "how much each of 16 bands moves at each of 8 rates, 0.5 to 16 Hz"),
    Feature("onset_autocorrelation", "rhythm", 32, "", "how well onsets repeat after each of 32 times, 0.2 to 2 s"),
    Feature(
        "chroma_change", "harmony", 4, "", "1 less the cosine of the chroma with that 0.4, 0.7, 1.5 and 3 s on"
    ),
)

STATISTICS = ("mean", "std")


def columns(n_mfcc: int) -> dict[str, int]:
    """Name every column with its number of values, in the order of the embedding.

    Parameters
    ----------
    n_mfcc : cepstral coefficients, as configured.
    """
    sizes = {f"{f.name}_{statistic}": f.size(n_mfcc) for f in FEATURES for statistic in STATISTICS}
    return sizes | {f.name: f.size(n_mfcc) for f in CLIP_FEATURES}
