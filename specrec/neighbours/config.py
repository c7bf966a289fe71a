"""The search for the nearest tracks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from specrec.settings import PositiveInt, Section, SettingsHash, settings_hash

#: Settings of the search that change how it is done and not what comes out.
NO_RESULT = {"block_rows", "rebuild_share", "recall_sample", "update_from"}


class NeighboursConfig(Section):
    """The search for the nearest tracks."""

    method: Literal["auto", "exact", "approximate"] = Field(
        default="auto", description="exact compares all with all; auto does so up to `exact_up_to` tracks"
    )
    exact_up_to: PositiveInt = Field(default=20_000, description="where exact search is about as fast")
    top_n: PositiveInt = Field(default=30, description="neighbours kept a track; more than recommend.top_n")
    cells: PositiveInt | None = Field(default=None, description="of the approximate search; null: by the tracks")
    probes: PositiveInt | None = Field(
        default=None, description="cells that a track is compared with, at least; null: what recall_floor needs"
    )
    recall_floor: float = Field(
        default=0.97, gt=0, lt=1, description="share of the true neighbours that the lists must hold"
    )
    recall_sample: int = Field(default=1_000, ge=100, description="tracks that recall is measured on, each run")
    rebuild_share: float = Field(
        default=0.3, ge=0, le=1, description="a space of which more changed is searched as a whole"
    )
    update_from: int = Field(
        default=10_000, ge=0, description="a space of fewer tracks is always searched as a whole: it is faster"
    )
    block_rows: PositiveInt = Field(default=16_384, description="tracks of one block")

    def settings_hash(self, space: SettingsHash) -> SettingsHash:
        """Return what a space's neighbours depend on, besides the embeddings.

        Parameters
        ----------
        space : SettingsHash
            Of what its vectors depend on.
        """
        own = {name: value for name, value in self.differing().items() if name not in NO_RESULT}
        before = self.former("method", "exact_up_to", "top_n", "cells", "probes", "recall_floor", beside=NO_RESULT)
        return settings_hash(space, own, previous=[space, before])
