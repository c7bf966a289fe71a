"""Where the tracks are listed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from specrec.settings import Section, Share
from specrec.storage import Place


class CatalogueConfig(Section):
    """Where the tracks are listed, and where their audio lies."""

    path: Place = Field(description="CSV, Parquet or Delta table, or a folder of audio files")
    format: Literal["auto", "csv", "parquet", "delta", "folder"] = Field(
        default="auto", description="auto: by the path's ending; what has none is a Delta table or a folder"
    )
    audio_root: Place | None = Field(
        default=None,
        description="folder or s3:// prefix that `audio` is relative to; default: beside the catalogue",
    )
    max_removed_share: Share = Field(
        default=0.5, description="stop before anything is deleted if more than this share of the tracks vanished"
    )
