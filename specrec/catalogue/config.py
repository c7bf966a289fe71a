"""Where the tracks are listed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from specrec.settings import Section, Share
from specrec.storage import Place


def _delimiter(text: str) -> str:
    """Return a delimiter as it is meant: a tab can hardly be typed."""
    return "\t" if text in ("\\t", "tab") else text


#: The type of a setting that is a delimiter: one character.
Delimiter = Annotated[str, Field(min_length=1, max_length=1), BeforeValidator(_delimiter)]


class CatalogueConfig(Section):
    """Where the tracks are listed, and where their audio lies.

    Examples
    --------
    >>> CatalogueConfig(path="/music/tracks.csv", max_removed_share=0.2).differing()
    {'path': '/music/tracks.csv', 'max_removed_share': 0.2}
    """

    path: Place = Field(
        description="where the catalogue is: a CSV file, plain or packed by gzip, a Parquet or Delta table, or a "
        "folder of audio files"
    )
    format: Literal["auto", "csv", "parquet", "delta", "folder"] = Field(
        default="auto",
        description="kind of the catalogue; auto: the path's ending tells it, and what has no ending is a "
        "Delta table or a folder",
    )
    encoding: str | None = Field(
        default=None,
        description="encoding of a CSV catalogue, such as cp1252; null: what its byte order mark says, else UTF-8",
    )
    delimiter: Delimiter | None = Field(
        default=None,
        description="what stands between the columns of a CSV catalogue; null: the comma, semicolon, tab or bar "
        "that its header has most of",
    )
    audio_root: Place | None = Field(
        default=None,
        description="folder or s3:// prefix that the column `audio` is relative to; null: the folder that the "
        "catalogue lies in",
    )
    max_removed_share: Share = Field(
        default=0.1,
        description="stop, before anything is deleted, if more than this share of the tracks or of their "
        "audio is gone",
    )
    always_removable: Annotated[int, Field(ge=0)] = Field(
        default=5,
        description="so many tracks may be gone whatever their share, unless they are more than half of all: a "
        "small catalogue loses a tenth easily",
    )

    @property
    def written(self) -> dict[str, str | None]:
        """How a CSV is written, where that is known: other lists of the same person are written alike."""
        return {"encoding": self.encoding, "delimiter": self.delimiter}
