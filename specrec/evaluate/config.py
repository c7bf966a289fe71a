"""What an evaluation measures."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from specrec.settings import PositiveInt, Section
from specrec.storage import Place

#: How what people liked is held out: what they did last, or all that some people did.
Split = Literal["time", "user"]


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
    held_out: tuple[Split, ...] = Field(
        default=get_args(Split),
        description="how lists for people are measured, by what the models are fitted without: time, the newest "
        "events of all; user, some people; []: not at all, as either fits anew what all listeners tell of tracks",
    )
    held_out_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="about which share of the events is held out by time: whole days, the newest"
    )
    sample_people: PositiveInt = Field(
        default=1_000,
        description="how many people are asked, at most: of one in four, where some people are held out",
    )
    resamples: PositiveInt = Field(default=1_000, description="bootstrap resamples that an interval is made of")
    seed: int = Field(default=0, description="seed that chooses the sample, the random lists and the resamples")
