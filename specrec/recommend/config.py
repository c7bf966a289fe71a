"""The lists that services read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from specrec.settings import PositiveFloat, PositiveInt, Section, SettingsHash, settings_hash

#: Raised by one whenever the code makes other lists or sentences of the same vectors.
RECOMMEND_VERSION = 3

#: Settings that change no result.
_NO_RESULT = {"update_from"}

Hubs = Literal["off", "local_scaling", "mutual_proximity"]


class RecommendConfig(Section):
    """The lists that services read.

    Examples
    --------
    >>> RecommendConfig(top_n=20).differing()
    {'top_n': 20}
    """

    top_n: PositiveInt = Field(default=10, description="how many tracks are recommended for a track")
    excerpt_seconds: Annotated[float, Field(ge=1)] = Field(
        default=5.0,
        description="length, in seconds, of the excerpts at which two tracks sound most alike; a change "
        "embeds and searches anew",
    )
    hubs: Hubs = Field(
        default="mutual_proximity",
        description="how tracks that are near to all others are kept from filling all lists: "
        "mutual_proximity, local_scaling, or off",
    )
    max_hub_shift: Annotated[float, Field(ge=0)] = Field(
        default=0.25,
        description="how near the nearest of a track are, which hubs are told by, is kept from night to night until"
        " its mean or its standard deviation moved by more than this share of the standard deviation; 0: it is "
        "never kept, and nearly all lists change whenever a few tracks do",
    )
    update_from: Annotated[int, Field(ge=0)] = Field(
        default=2_000,
        description="catalogues of fewer tracks have all lists made whenever any may change, which is faster than"
        " to find out which",
    )
    max_per_artist: PositiveInt | None = Field(
        default=2, description="how many tracks of one artist a list may hold; null: any number"
    )
    max_per_album: PositiveInt | None = Field(
        default=2, description="how many tracks of one album of an artist a list may hold; null: any number"
    )
    min_duration_seconds: PositiveFloat | None = Field(
        default=None, description="tracks that are shorter, by the catalogue, are not recommended; null: no limit"
    )
    max_duration_seconds: PositiveFloat | None = Field(
        default=None, description="tracks that are longer, by the catalogue, are not recommended; null: no limit"
    )
    explicit: bool = Field(
        default=True, description="whether tracks that the catalogue calls explicit are recommended"
    )
    market: str | None = Field(
        default=None,
        pattern="^[A-Z]{2}$",
        description='country code such as "DE": tracks that are not available there are not recommended; '
        "null: no limit",
    )

    @field_validator("hubs", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return "off" if value is False else value  # as YAML reads it

    @field_validator("market", mode="before")
    @classmethod
    def _norway(cls, value: Any) -> Any:
        if value is False:
            raise ValueError('YAML reads this as false; write "NO" in quotes')
        return value

    @model_validator(mode="after")
    def _some_duration(self) -> RecommendConfig:
        if (self.min_duration_seconds or 0) > (self.max_duration_seconds or float("inf")):
            raise ValueError("min_duration_seconds must not exceed max_duration_seconds")
        return self

    def settings_hash(self, neighbours: SettingsHash) -> SettingsHash:
        """Return what a system's lists depend on, besides neighbours, embeddings and tracks.

        Parameters
        ----------
        neighbours : SettingsHash
            Of what its neighbours depend on.
        """
        own = {name: value for name, value in self.differing().items() if name not in _NO_RESULT}
        before = self.former(
            "top_n", "excerpt_seconds", "hubs", "max_per_artist", "max_per_album", "min_duration_seconds",
            "max_duration_seconds", "explicit", "market", beside=_NO_RESULT,
        )  # fmt: skip
        return settings_hash(RECOMMEND_VERSION, neighbours, own, previous=[RECOMMEND_VERSION, neighbours, before])
