"""What an evaluation measures."""

from __future__ import annotations

from pydantic import Field

from specrec.settings import PositiveInt, Section
from specrec.storage import Place


class EvaluateConfig(Section):
    """What `specrec evaluate` measures. Nothing here changes a list."""

    sample_tracks: PositiveInt = Field(default=2_000, description="tracks that a metric is measured on, at most")
    song_column: str = Field(
        default="source_song", description="column of the catalogue that names the song a clip is of"
    )
    feedback: Place | None = Field(
        default=None, description="CSV with the columns track_id, liked and disliked; null: none"
    )
    resamples: PositiveInt = Field(default=1_000, description="bootstrap resamples of an interval")
    seed: int = Field(default=0, description="chooses the sample, the random lists and the resamples")
