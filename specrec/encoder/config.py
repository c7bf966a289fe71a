"""How an encoder is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from specrec.settings import PositiveFloat, PositiveInt, Section


class EncoderConfig(Section):
    """The encoder that `specrec train-encoder` trains. Nothing here changes a night."""

    architecture: Literal["contrastive", "autoencoder"] = Field(
        default="contrastive", description="contrastive: tells tracks apart; autoencoder: rebuilds a spectrogram"
    )
    dimensions: Annotated[int, Field(ge=2, multiple_of=2)] = Field(
        default=256, description="of its vectors, an even number"
    )
    patch_frames: Annotated[int, Field(ge=16)] = Field(
        default=216, description="STFT frames of the excerpts that it is trained on; 216 are 5 s"
    )
    sample_tracks: PositiveInt = Field(default=20_000, description="tracks that it is trained and judged on")
    held_out_share: float = Field(
        default=0.1, gt=0, le=0.5, description="share of the artists that it is judged by and not trained on"
    )
    epochs: PositiveInt = Field(default=40, description="passes over the sample, at most")
    patience: PositiveInt = Field(
        default=20, description="passes without a better held-out loss before training stops early"
    )
    excerpts_per_track: PositiveInt = Field(default=4, description="excerpts (or pairs) of each track in a pass")
    batch_size: Annotated[int, Field(ge=2)] = Field(default=64, description="excerpts (or pairs) of one step")
    learning_rate: PositiveFloat = Field(
        default=0.001, description="of AdamW, at its greatest; an autoencoder of thousands of tracks learns by 0.01"
    )
    temperature: PositiveFloat = Field(default=0.1, description="of the contrastive loss")
    distillation: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="weight of a loss by which a contrastive encoder also tells the features; 0: none"
    )
    whitening: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="of a contrastive encoder's vectors: 0 none, 1 all that changes within a clip alike",
    )
    label_column: str | None = Field(
        default="track_genre",
        description="column of the catalogue, for tracks that have a label: a contrastive encoder hears what "
        "sets labels apart; null: none",
    )
    label_weight: float = Field(
        default=0.15, ge=0, lt=1, description="share of a vector's squared length given to what tells labels apart"
    )
    threads: PositiveInt = Field(default=2, description="of the CPU, where there is no GPU")
    seed: int = Field(default=0, description="chooses the sample, the split, the weights and the excerpts")
