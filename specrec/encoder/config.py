"""How an encoder is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from specrec.settings import PositiveFloat, PositiveInt, Section


class EncoderConfig(Section):
    """The encoder that `specrec train-encoder` trains. Nothing here changes a night.

    Examples
    --------
    >>> EncoderConfig(epochs=5).differing()
    {'epochs': 5}
    """

    architecture: Literal["contrastive", "autoencoder"] = Field(
        default="contrastive",
        description="contrastive: the encoder learns to tell tracks apart; autoencoder: it learns to rebuild "
        "spectrograms",
    )
    dimensions: Annotated[int, Field(ge=2, multiple_of=2)] = Field(
        default=256, description="number of dimensions of the encoder's vectors; it must be even"
    )
    patch_frames: Annotated[int, Field(ge=16)] = Field(
        default=216,
        description="length, in STFT frames, of the excerpts that the encoder is trained on; 216 frames are 5 s",
    )
    sample_tracks: PositiveInt = Field(
        default=20_000, description="how many tracks the encoder is trained and judged on, at most"
    )
    held_out_share: float = Field(
        default=0.1,
        gt=0,
        le=0.5,
        description="share of the artists whose tracks the encoder is judged by, and not trained on",
    )
    epochs: PositiveInt = Field(default=40, description="how often training goes through the sample, at most")
    patience: PositiveInt = Field(
        default=20,
        description="training ends after this many passes without a better loss on the tracks that are held out",
    )
    excerpts_per_track: PositiveInt = Field(
        default=4, description="how many excerpts of a track, or pairs of them, one pass draws"
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        default=64, description="how many excerpts, or pairs of them, one step of training sees"
    )
    learning_rate: PositiveFloat = Field(
        default=0.001,
        description="greatest learning rate of the optimiser AdamW; for an autoencoder and thousands of "
        "tracks 0.01 is better",
    )
    temperature: PositiveFloat = Field(
        default=0.1,
        description="temperature of the contrastive loss; the lower it is, the more the hardest pairs count",
    )
    distillation: Annotated[float, Field(ge=0)] = Field(
        default=1.0,
        description="weight of a second loss, by which a contrastive encoder also learns to tell the "
        "features; 0: none",
    )
    whitening: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="how far a contrastive encoder's vectors are whitened; 0: not at all; 1: excerpts of one "
        "clip then differ equally in all directions",
    )
    label_column: str | None = Field(
        default="track_genre",
        description="column of the catalogue that labels tracks, or some of them; a contrastive encoder then "
        "hears what sets labels apart; null: it learns from no label",
    )
    label_weight: float = Field(
        default=0.15,
        ge=0,
        lt=1,
        description="share of the squared length of a contrastive encoder's vectors that is given to what "
        "sets labels apart",
    )
    threads: PositiveInt = Field(
        default=2, description="how many threads of the CPU training uses where there is no GPU"
    )
    seed: int = Field(
        default=0,
        description="seed that chooses the sample, the tracks held out, the first weights and the excerpts",
    )
