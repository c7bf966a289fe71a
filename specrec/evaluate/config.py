"""What an evaluation measures."""

from __future__ import annotations

from pydantic import Field

from specrec.settings import PositiveInt, Section
from specrec.storage import Place


class EvaluateConfig(Section):
    """What `specrec evaluate` measures. Nothing here changes a list.

    Examples
    --------
    >>> EvaluateConfig(resamples=200).differing()
    {'resamples': 200}
    """

    sample_tracks: PositiveInt = Field(
        default=2_000,
        description="how many tracks each question is asked of, at most; what is counted over all lists is not "
        "sampled",
    )
    song_column: str = Field(
        default="source_song", description="column of the catalogue that names the song which a clip is taken from"
    )
    feedback: Place | None = Field(
        default=None,
        description="CSV file with the columns track_id, liked and disliked (numbers of people); null: there "
        "is none",
    )
    resamples: PositiveInt = Field(default=1_000, description="bootstrap resamples that an interval is made of")
    seed: int = Field(default=0, description="seed that chooses the sample, the random lists and the resamples")
