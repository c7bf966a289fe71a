"""The vector spaces, and what is fitted to the catalogue."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from specrec.audio.config import ModelMelConfig
from specrec.audio.measures import FAMILIES
from specrec.settings import PositiveFloat, PositiveInt, Section, System, nearest_name
from specrec.storage import Location, place

#: Raised by one whenever the code makes other vectors or artefacts of the same features and spectrograms.
EMBEDDING_VERSION = 3

#: The path of the model that lies in the package, trained on clips like the demo's (deploy/ship_encoder.py).
SHIPPED = "shipped"

#: The spaces that every run has beside those of models, and the one that joins spaces.
FEATURES, SPECTROGRAM = "features", "spectrogram"
BUILT_IN: tuple[System, ...] = (FEATURES, SPECTROGRAM)
HYBRID: System = "hybrid"
#: The space of what people like, which runs have beside these where `listeners.events` is set.
LISTENERS: System = "listeners"
#: The systems that every run has, since each space has its lists.
SYSTEMS = (*BUILT_IN, HYBRID)
#: What stages call their other figures in `runs`, where each space is named, too: no model may be called so.
_NAMES_IN_RUNS = ("agreement", "drift", "removed", LISTENERS)


class FitConfig(Section):
    """What is fitted to the catalogue, and when it is fitted anew."""

    sample_tracks: PositiveInt = Field(
        default=20_000,
        description="how many tracks the scaler of the features and the statistics of the catalogue are fitted on",
    )
    sample_spectrograms: PositiveInt = Field(
        default=5_000, description="how many mel spectrograms the principal component analysis (PCA) is fitted on"
    )
    max_drift: PositiveFloat = Field(
        default=0.5,
        description="all is fitted anew once the features have moved further than this, on average, from what"
        " was fitted; in standard deviations",
    )
    max_statistics_shift: Annotated[float, Field(ge=0)] = Field(
        default=2.0,
        description="what is usual in the catalogue, which sentences are measured by, is fitted anew, and all "
        "sentences with it, once a share of the tracks that a sentence could tell moved by more than this; in "
        "percentage points",
    )
    seed: int = Field(default=0, description="seed that chooses the samples")


def _model_place(text: str) -> Location:
    return Location(text) if text == SHIPPED else place(text)


ModelPlace = Annotated[Location, AfterValidator(_model_place)]


class ModelConfig(Section):
    """A model in ONNX that makes a vector of a mel spectrogram: a space, and a system, of its own."""

    path: ModelPlace = Field(
        description="the model's file, .onnx, on disk or in s3://; shipped: the encoder that comes with specrec"
    )
    patch_frames: PositiveInt | None = Field(
        default=None,
        description="frames of the model's input; the vectors of a clip's patches are averaged; null: what "
        "the file says, else whole clips",
    )
    mel: ModelMelConfig | None = Field(
        default=None, description="the mel spectrogram that the model takes; null: the stored one, scaled to 0 … 1"
    )

    @model_validator(mode="after")
    def _heard(self) -> ModelConfig:
        if self.path == SHIPPED and self.mel is not None:
            raise ValueError(f"path: the encoder {SHIPPED!r} takes the stored mel spectrograms: leave mel out")
        return self


class EmbeddingConfig(Section):
    """The vector spaces.

    Examples
    --------
    >>> EmbeddingConfig().hybrid_shares
    {'features': 0.6, 'spectrogram': 0.4}
    """

    family_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {
            "timbre": 3.0,
            "brightness": 1.0,
            "harmony": 3.0,
            "rhythm": 3.0,
            "dynamics": 1.0,
            "noisiness": 1.0,
        },
        description="weight of each family of features in the space `features`",
    )
    clip_sd: PositiveFloat = Field(
        default=4.0,
        description="standardised features are limited to this many standard deviations on either side, lest "
        "one extreme decides",
    )
    pca_components: PositiveInt = Field(default=64, description="number of dimensions of the space `spectrogram`")
    models: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], ModelConfig] = Field(
        default_factory=dict,
        description="models by name, {NAME: {path: FILE.onnx}}; each is a further space with lists of its "
        "own; {encoder: {path: shipped}} is the encoder that comes with specrec",
    )
    listeners: bool = Field(
        default=True,
        description="whether what people like, where listeners.events is set, is one more space, `listeners`, with "
        "lists of its own: tracks are near that the same people like; of `hybrid` it is a part with a weight there",
    )
    hybrid_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {FEATURES: 0.6, SPECTROGRAM: 0.4},
        description="weight of each system in `hybrid`; the weights are divided by their sum; a system that "
        "is not named has none",
    )

    @model_validator(mode="after")
    def _weights(self) -> EmbeddingConfig:
        for name in self.family_weights:
            if name not in FAMILIES:
                raise ValueError(f"family_weights has no family {name!r}{nearest_name(name, FAMILIES)}")
        if not any(self.family_weights.values()):
            raise ValueError("at least one of family_weights must be positive")
        for name in self.models:
            if name in (*SYSTEMS, *_NAMES_IN_RUNS):
                raise ValueError(f"models: {name!r} means something else in every run; choose another name")
        parts = (*BUILT_IN, *self.models, LISTENERS)
        for name in self.hybrid_weights:
            if name not in parts:
                raise ValueError(f"hybrid_weights has no system {name!r}{nearest_name(name, parts)}")
        if not any(self.hybrid_weights.values()):
            raise ValueError("at least one of hybrid_weights must be positive")
        return self

    @property
    def hybrid_shares(self) -> dict[str, float]:
        """The share of each system in `hybrid`, in the order of its vector; they sum to 1."""
        total = sum(self.hybrid_weights.values())
        parts = (*BUILT_IN, *sorted(self.models), LISTENERS)
        return {name: self.hybrid_weights[name] / total for name in parts if self.hybrid_weights.get(name)}

    @property
    def sound_shares(self) -> dict[str, float]:
        """The share of each space of sound in what `hybrid` knows of the sound; they sum to 1."""
        parts = (*BUILT_IN, *sorted(self.models))
        weights = {name: self.hybrid_weights[name] for name in parts if self.hybrid_weights.get(name)}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()} or {FEATURES: 1.0}
