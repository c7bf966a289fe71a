"""What people do, how it is read, and what it says of the tracks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from specrec.catalogue.config import Delimiter
from specrec.embedding.config import HYBRID
from specrec.events.rules import Rules
from specrec.settings import (
    PositiveFloat,
    PositiveInt,
    Section,
    SettingsHash,
    Share,
    System,
    nearest_name,
    settings_hash,
)
from specrec.storage import Place

#: The list of whoever nothing is known of is under this user_id.
NOBODY = ""

#: What a person's score for a track is made of: factors of alternating least squares, how the track sounds, how
#: many people know it, how many of these like it, what is liked together with it, and how many like it of those who
#: are near to the person.
COMPONENTS = ("als", "content", "popularity", "average", "item_based", "user_based")
#: The components that are of a track alone, whoever it is for.
OF_TRACKS = ("popularity", "average")

#: Raised when preferences come to something else from the same events, or a default of theirs changes.
PREFERENCES_VERSION = 2

#: The settings that preferences depend on, besides the events.
OF_PREFERENCES = (
    "rating_scale", "rating_weight", "like_weight", "dislike_weight", "save_weight", "play_weight", "skip_weight",
    "unknown_play_weight", "skip_share", "full_share", "half_life_days", "max_plays_a_day", "max_confidence",
    "max_tracks_a_person",
)  # fmt: skip

#: Raised when lists of people come to something else from the same preferences, or a default of theirs changes.
LISTENERS_VERSION = 2

#: The settings that what is fitted to all listeners depends on.
_OF_FIT = (
    "factors", "als_alpha", "als_regularisation", "als_iterations", "min_together", "together_shrinkage",
    "together_weighting", "together_top_n", "crowd", "nearest",
)  # fmt: skip
#: The settings that people's lists depend on, besides.
_OF_LISTS = (
    "space", "systems", "top_n", "few_preferences", "familiar_share", "variety", "new_share", "new_below",
)  # fmt: skip
#: All settings that change what is made of listeners.
OF_RESULTS = (*OF_PREFERENCES, *_OF_FIT, *_OF_LISTS, "blend_sample")


class ListenersConfig(Section):
    """What people play, skip and rate, and what it says of the tracks. Without `events` there are no listeners.

    Examples
    --------
    >>> ListenersConfig(half_life_days=90).rules.half_life_days
    90.0
    """

    events: Place | None = Field(
        default=None,
        description="where the events are: a CSV file, plain or packed by gzip, or a Parquet file, a folder of "
        "such files that grows, or a Delta table; null: there are none, and nothing is made of listeners",
    )
    format: Literal["auto", "csv", "parquet", "delta"] = Field(
        default="auto", description="kind of the events; auto: the ending of each file tells it"
    )
    encoding: str | None = Field(
        default=None,
        description="encoding of CSV files of events, such as cp1252; null: what their byte order mark says, else "
        "UTF-8",
    )
    delimiter: Delimiter | None = Field(
        default=None,
        description="what stands between the columns of CSV files of events; null: the comma, semicolon, tab or "
        "bar that their header has most of",
    )
    max_refused_share: Share = Field(
        default=0.5,
        description="stop, before anything is written, if more than this share of the new events cannot be used: "
        "the catalogue may be another",
    )
    always_refusable: Annotated[int, Field(ge=0)] = Field(
        default=10,
        description="so many new events may be refused whatever their share: a small delivery is half wrong easily",
    )
    hash_users: bool = Field(
        default=False,
        description="whether people are stored as a keyed hash of their user_id, so that the tables do not say who "
        "they are; the key is in the environment: SPECREC_HASH_KEY",
    )
    rating_scale: tuple[float, float] = Field(
        default=(1.0, 5.0),
        description="the least and the greatest value of a rating; the least says -1, the greatest 1, the middle 0",
    )
    rating_weight: PositiveFloat = Field(
        default=4.0, description="how much a rating counts; who rates means it, so it outweighs some plays"
    )
    like_weight: PositiveFloat = Field(default=4.0, description="how much a like counts: as a rating, and for 1")
    dislike_weight: PositiveFloat = Field(default=4.0, description="how much a dislike counts, and for -1")
    save_weight: PositiveFloat = Field(
        default=3.0,
        description="how much it counts, for 1, to save a track: it is done on purpose, if not as praise",
    )
    play_weight: PositiveFloat = Field(
        default=1.0,
        description="how much a play counts whose length is known: for 1 if nearly all was heard, for -1 if little",
    )
    skip_weight: PositiveFloat = Field(
        default=1.0, description="how much a skip counts, for -1, or by the share heard where that is known"
    )
    unknown_play_weight: PositiveFloat = Field(
        default=0.5,
        description="how much a play counts, for 1, whose length nobody knows: less, as some of these were skipped",
    )
    skip_share: Share = Field(
        default=0.25,
        description="who heard no more than this share of a track did not like it; what is between this and "
        "full_share lies on a line from -1 to 1",
    )
    full_share: Share = Field(
        default=0.75, description="who heard this share of a track liked it; the end is often cut off"
    )
    half_life_days: PositiveFloat = Field(
        default=365.0,
        description="an event counts half after so many days, measured back from about the person's newest event: "
        "tastes change, and who is away for a year likes the same as before",
    )
    max_plays_a_day: PositiveInt = Field(
        default=3,
        description="so many plays of a track by one person count a day: more is a loop, or a machine that plays",
    )
    max_confidence: PositiveFloat = Field(
        default=20.0,
        description="greater confidence in a preference is taken for this, lest one track outweigh all others",
    )
    max_tracks_a_person: PositiveInt = Field(
        default=2000,
        description="of one person, the preferences for so many tracks are kept, the most certain: shops and "
        "machines play everything",
    )

    space: System = Field(
        default=HYBRID, description="the space by whose cosine it is told how alike two tracks sound, for people"
    )
    factors: PositiveInt = Field(
        default=64, description="how many factors alternating least squares (ALS) describes people and tracks by"
    )
    als_alpha: PositiveFloat = Field(
        default=1.0,
        description="how much the evidence of a preference adds to its confidence in ALS; that of a pair of which "
        "nothing is known is 1",
    )
    als_regularisation: PositiveFloat = Field(
        default=0.1, description="how strongly ALS holds factors near to zero, for each preference above 0"
    )
    als_iterations: PositiveInt = Field(default=10, description="how often ALS goes through people and tracks")
    min_together: PositiveInt = Field(
        default=2,
        description="two tracks are liked together if at least so many people like both, and two people are near "
        "to each other if they like at least so many of the same tracks",
    )
    together_shrinkage: Annotated[float, Field(ge=0)] = Field(
        default=5.0,
        description="how little is believed of tracks that few people like together: with so many who do, half; "
        "likewise of people who both like few tracks",
    )
    together_weighting: Literal["cosine", "bm25"] = Field(
        default="cosine",
        description="what a like weighs where it is told which tracks are liked together: cosine, all the same; "
        "bm25, more the more evidence there is, at first, and less where the person likes much or the track is "
        "liked much",
    )
    together_top_n: PositiveInt = Field(
        default=50, description="of each track, so many that are liked together with it are kept"
    )
    crowd: PositiveInt = Field(
        default=20_000,
        description="people, at most, among whom those are found who are near to a person; they are chosen by lot",
    )
    nearest: PositiveInt = Field(
        default=50, description="so many people, the nearest, tell what else a person might like"
    )
    refit_share: PositiveFloat = Field(
        default=0.1,
        description="what all listeners tell of tracks is fitted anew, and all people's lists with it, once more "
        "than this share of the evidence came or went, added up track by track; until then new events change only "
        "the lists of those whose they are",
    )
    systems: tuple[System, ...] = Field(
        default=(HYBRID,),
        description=f"systems that make lists for people: {HYBRID}, or one component of it alone: "
        f"{', '.join(COMPONENTS)}",
    )
    top_n: PositiveInt = Field(default=50, description="how many tracks are recommended to a person")
    few_preferences: PositiveInt = Field(
        default=5,
        description="little is known of who has fewer preferences than this; how much each component counts is "
        "learned apart for those of whom nothing, little and much is known",
    )
    familiar_share: Share = Field(
        default=0.0, description="share of a person's list that may be tracks which the person knows already"
    )
    variety: Share = Field(
        default=0.0,
        description="how much it counts against a track, for a person's list, that it sounds like one that is in "
        "the list already: from 0, the score alone counts, to 1, the sound alone does",
    )
    new_share: Share = Field(
        default=0.1, description="share of a person's list that is kept for new tracks, as far as there are any"
    )
    new_below: PositiveInt = Field(
        default=3, description="a track is new while the opinions of fewer people than this are known of it"
    )
    blend_sample: PositiveInt = Field(
        default=2000,
        description="people, at most, that are set aside to learn how much each component of a score counts",
    )

    @field_validator("systems")
    @classmethod
    def _known_systems(cls, value: tuple[System, ...]) -> tuple[System, ...]:
        known = (HYBRID, *COMPONENTS)
        for name in value:
            if name not in known:
                raise ValueError(f"systems: there is no system {name!r} for people{nearest_name(name, known)}")
        if not value:
            raise ValueError("systems must name at least one")
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _rules_fit(self) -> ListenersConfig:
        low, high = self.rating_scale
        if not low < high:
            raise ValueError("rating_scale must name the least value first, and then a greater one")
        if self.skip_share > self.full_share:
            raise ValueError("skip_share must not exceed full_share")
        return self

    @property
    def rules(self) -> Rules:
        """By which rule events become preferences."""
        return Rules(
            rating_scale=self.rating_scale,
            weights={
                "rating": self.rating_weight,
                "like": self.like_weight,
                "dislike": self.dislike_weight,
                "save": self.save_weight,
                "play": self.play_weight,
                "skip": self.skip_weight,
            },
            unknown_play_weight=self.unknown_play_weight,
            skip_share=self.skip_share,
            full_share=self.full_share,
            half_life_days=self.half_life_days,
            max_plays_a_day=self.max_plays_a_day,
            max_confidence=self.max_confidence,
            max_tracks_a_person=self.max_tracks_a_person,
        )

    @property
    def candidates(self) -> int:
        """How many tracks of each block are looked at for a person's list.

        Limits leave some of them out, and where that leaves a list short, more are looked at. A varied list is
        chosen among all of them.
        """
        return 4 * self.top_n if self.variety else 2 * self.top_n

    @property
    def new_candidates(self) -> int:
        """How many new tracks of each block are looked at, besides."""
        return 4 * self.kept_for_new

    @property
    def kept_for_new(self) -> int:
        """How many places of a list are kept for new tracks."""
        return round(self.new_share * self.top_n)

    @property
    def most_familiar(self) -> int:
        """How many tracks that a person knows may be in the list."""
        return round(self.familiar_share * self.top_n)

    @property
    def fit_hash(self) -> SettingsHash:
        """What is told of tracks by their listeners depends on, besides the preferences."""
        return settings_hash("listeners", LISTENERS_VERSION, self.differing(*_OF_FIT))

    def blend_hash(self, *others: Any) -> SettingsHash:
        """Return what it depends on how much each component counts, besides what is fitted to all listeners.

        Parameters
        ----------
        others : SettingsHash, or JSON values
            Of the vectors, and the seed.
        """
        own = self.differing("few_preferences", "blend_sample", "new_below")
        return settings_hash("blend", LISTENERS_VERSION, self.fit_hash, own, *others)

    def lists_hash(self, *others: SettingsHash) -> SettingsHash:
        """Return what people's lists depend on, besides preferences, what is fitted to them, and vectors.

        Parameters
        ----------
        others : SettingsHash
            Of which tracks may be recommended, and of the vectors.
        """
        return settings_hash("people", LISTENERS_VERSION, self.differing(*_OF_LISTS), *others)

    @property
    def preferences_hash(self) -> SettingsHash:
        """What preferences depend on, besides the events and the lengths of the tracks."""
        return settings_hash("preferences", PREFERENCES_VERSION, self.differing(*OF_PREFERENCES))
