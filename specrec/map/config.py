"""Two coordinates a track, and clusters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from specrec.settings import PositiveInt, Section, SettingsHash, Share, System, settings_hash

#: Raised by one whenever the code makes another map of the same vectors.
MAP_VERSION = 1

#: Settings that say when a map is fitted anew, and not what it is.
_NO_RESULT = {"refit_share"}


class MapConfig(Section):
    """The map: two coordinates a track, and clusters.

    Examples
    --------
    >>> MapConfig(space="features").differing()
    {'space': 'features'}
    """

    space: System = Field(default="hybrid", description="the space that is drawn")
    sample_tracks: PositiveInt = Field(
        default=20_000, description="tracks that the map is fitted on, at most; all others are placed among them"
    )
    refit_share: Share = Field(
        default=0.5,
        description="fit the map anew when more than this share of the sample would be new or changed tracks",
    )
    neighbours: Annotated[int, Field(ge=2)] = Field(
        default=15,
        description="neighbours of each track that UMAP looks at: more show the map as a whole better, fewer "
        "its details",
    )
    tsne_up_to: Annotated[int, Field(ge=0)] = Field(
        default=5_000,
        description="fit t-SNE too for catalogues of up to so many tracks; its time grows with their square",
    )
    min_clusters: PositiveInt = Field(
        default=4, description="fewest clusters that the map may have; the silhouette chooses how many it has"
    )
    max_clusters: PositiveInt = Field(default=12, description="most clusters that the map may have")

    @model_validator(mode="after")
    def _some_number(self) -> MapConfig:
        if self.min_clusters > self.max_clusters:
            raise ValueError("min_clusters must not exceed max_clusters")
        return self

    def settings_hash(self, space: SettingsHash, seed: int) -> SettingsHash:
        """Return what the map depends on, besides the vectors that it is fitted to.

        Parameters
        ----------
        space : SettingsHash
            Of what these vectors depend on.
        seed : int
            Chooses the sample.
        """
        own = {name: value for name, value in self.differing().items() if name not in _NO_RESULT}
        before = self.former(
            "space", "sample_tracks", "neighbours", "tsne_up_to", "min_clusters", "max_clusters", beside=_NO_RESULT
        )
        return settings_hash(MAP_VERSION, space, own, seed, previous=[MAP_VERSION, space, before, seed])
