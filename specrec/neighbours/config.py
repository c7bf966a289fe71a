"""The search for the nearest tracks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from specrec.settings import PositiveInt, Section, SettingsHash, settings_hash

#: Raised by one whenever the code finds other neighbours of the same vectors.
NEIGHBOURS_VERSION = 1

#: Settings of the search that change how it is done and not what comes out.
NO_RESULT = {"block_rows", "compare_up_to", "rebuild_share", "recall_sample", "update_from"}


class NeighboursConfig(Section):
    """The search for the nearest tracks.

    Examples
    --------
    >>> NeighboursConfig(top_n=50).differing()
    {'top_n': 50}
    """

    method: Literal["auto", "exact", "approximate"] = Field(
        default="auto",
        description="exact compares every track with every other; approximate with those of some cells; auto "
        "is exact up to `exact_up_to` tracks",
    )
    exact_up_to: PositiveInt = Field(
        default=20_000, description="tracks up to which auto is exact: about where both methods take the same time"
    )
    top_n: PositiveInt = Field(
        default=30,
        description="neighbours that are kept of each track; more than recommend.top_n, whose filters take "
        "from them",
    )
    cells: PositiveInt | None = Field(
        default=None,
        description="cells that an approximate search sorts the tracks into; null: as many as suit the number "
        "of tracks",
    )
    probes: PositiveInt | None = Field(
        default=None,
        description="cells that each track is compared with, at least; null: as many as recall_floor needs",
    )
    recall_floor: float = Field(
        default=0.97,
        gt=0,
        lt=1,
        description="share of the true neighbours that the lists of an approximate search must hold",
    )
    recall_sample: int = Field(
        default=1_000,
        ge=100,
        description="tracks on which it is measured, in each run, how much of their true neighbours the lists hold",
    )
    rebuild_share: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="search a space as a whole if at least this share of its tracks must be searched anew",
    )
    update_from: int = Field(
        default=10_000,
        ge=0,
        description="search a space of fewer tracks as a whole, whatever changed: that is faster",
    )
    compare_up_to: int = Field(
        default=4_096,
        ge=0,
        description="compare the tracks that an update searches with all others, whatever the method, if they "
        "are no more than this: that is exact, and moves no vectors",
    )
    block_rows: PositiveInt = Field(default=16_384, description="tracks that one task compares at once, about")

    def settings_hash(self, space: SettingsHash) -> SettingsHash:
        """Return what a space's neighbours depend on, besides the embeddings.

        Parameters
        ----------
        space : SettingsHash
            Of what its vectors depend on.
        """
        own = {name: value for name, value in self.differing().items() if name not in NO_RESULT}
        before = self.former("method", "exact_up_to", "top_n", "cells", "probes", "recall_floor", beside=NO_RESULT)
        return settings_hash(NEIGHBOURS_VERSION, space, own, previous=[space, before])
