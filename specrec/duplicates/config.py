"""When two tracks are one recording."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from specrec.settings import PositiveInt, Section, SettingsHash, settings_hash

#: Raised by one whenever the code finds other groups in the same spectrograms.
DUPLICATES_VERSION = 1


class DuplicatesConfig(Section):
    """When two tracks are one recording. To miss a duplicate is the lesser error.

    Examples
    --------
    >>> DuplicatesConfig(min_overlap=0.8).differing()
    {'min_overlap': 0.8}
    """

    min_cosine: float = Field(
        default=0.8,
        ge=-1,
        le=1,
        description="two tracks are compared if their cosine in the space `spectrogram` is at least this, or "
        "their titles agree",
    )
    max_rank: PositiveInt = Field(
        default=5, description="a track is compared with so many of its nearest neighbours, at most"
    )
    min_similarity: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description="two tracks are one recording if their spectrograms correlate at least this much",
    )
    min_overlap: float = Field(
        default=0.9, gt=0, le=1, description="share of the longer clip that must overlap with the other"
    )
    duration_tolerance: Annotated[float, Field(ge=0)] = Field(
        default=5.0,
        description="two tracks are not compared if the catalogue's lengths differ by more than so many seconds",
    )

    def settings_hash(self, audio: SettingsHash) -> SettingsHash:
        """Return what the groups of one recording depend on, besides tracks, spectrograms and neighbours.

        Parameters
        ----------
        audio : SettingsHash
            Of what the spectrograms depend on.
        """
        before = self.former("min_cosine", "max_rank", "min_similarity", "min_overlap", "duration_tolerance")
        return settings_hash(
            DUPLICATES_VERSION, audio, self.differing(), previous=[DUPLICATES_VERSION, audio, before]
        )

    def comparison_hash(self, audio: SettingsHash) -> SettingsHash:
        """Return what the comparison of two spectrograms depends on, besides these, and not what follows from it.

        Parameters
        ----------
        audio : SettingsHash
            Of what the spectrograms depend on.
        """
        return settings_hash(DUPLICATES_VERSION, audio, self.differing("min_overlap"))
