"""Where the tracks are listed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from specrec.settings import Section, Share
from specrec.storage import Place


class CatalogueConfig(Section):
    """Where the tracks are listed, and where their audio lies.

    Examples
    --------
    >>> CatalogueConfig(path="/music/tracks.csv", max_removed_share=0.2).differing()
    {'path': '/music/tracks.csv', 'max_removed_share': 0.2}
    """

    path: Place = Field(
        description="where the catalogue is: a CSV file, a Parquet or Delta table, or a folder of audio files"
    )
    format: Literal["auto", "csv", "parquet", "delta", "folder"] = Field(
        default="auto",
        description="kind of the catalogue; auto: the path's ending tells it, and what has no ending is a "
        "Delta table or a folder",
    )
    audio_root: Place | None = Field(
        default=None,
        description="folder or s3:// prefix that the column `audio` is relative to; null: the folder that the "
        "catalogue lies in",
    )
    max_removed_share: Share = Field(
        default=0.5,
        description="stop, before anything is deleted, if more than this share of the tracks or of their "
        "audio is gone",
    )
