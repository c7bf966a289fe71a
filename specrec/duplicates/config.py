"""When two tracks are one recording."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from specrec.settings import PositiveInt, Section, SettingsHash, settings_hash

#: Raised by one whenever the code finds other groups in the same spectrograms.
DUPLICATES_VERSION = 1


class DuplicatesConfig(Section):
    """When two tracks are one recording. To miss a duplicate is the lesser error."""

    min_cosine: float = Field(
        default=0.8, ge=-1, le=1, description="tracks nearer than this in the space `spectrogram` are compared"
    )
    max_rank: PositiveInt = Field(default=5, description="so many of a track's neighbours, at most")
    min_similarity: float = Field(
        default=0.85, gt=0, le=1, description="correlation of two spectrograms that makes them one recording"
    )
    min_overlap: float = Field(
        default=0.9, gt=0, le=1, description="share of the longer clip that the other must cover"
    )
    duration_tolerance: Annotated[float, Field(ge=0)] = Field(
        default=5.0, description="seconds that the catalogue's lengths of one recording may differ by"
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
