"""The tags inside an audio file, as catalogue attributes."""

from __future__ import annotations

import math
import posixpath
from typing import Any, BinaryIO

import mutagen

from specrec.errors import StorageError

#: Endings of the files that a folder catalogue takes up.
AUDIO_ENDINGS = (
    "mp3", "ogg", "oga", "opus", "flac", "wav", "wave", "aif", "aiff", "m4a", "mp4", "aac", "wma", "au", "caf",
)  # fmt: skip

#: Tag names of an attribute: Vorbis comments and mutagen's easy names, then ID3 frames, then Windows Media.
_NAMES = {
    "artists": ("artist", "TPE1", "Author"),
    "album_name": ("album", "TALB", "WM/AlbumTitle"),
    "track_name": ("title", "TIT2", "Title"),
    "track_genre": ("genre", "TCON", "WM/Genre"),
}


def read_tags(file: BinaryIO, name: str) -> dict[str, str | int]:
    """Return what a file's tags say: ``artists``, ``album_name``, ``track_name``, ``track_genre``, ``duration_ms``.

    A file without tags, or that no reader understands, gets its title from its name; whether it can be decoded
    is for extraction to find out.

    Parameters
    ----------
    file : the file, readable and seekable.
    name : its name.

    Raises
    ------
    StorageError
        If the store failed: tags that were not read must not pass for tags that are not there.
    """
    found: dict[str, str | int] = {"track_name": posixpath.splitext(name)[0]}
    try:
        tagged = mutagen.File(file, easy=True)
    except Exception as error:  # mutagen raises what its parsers meet in damaged files
        if fault := _fault_of_the_store(error):
            raise fault from None
        return found
    if tagged is None:
        return found
    for attribute, candidates in _NAMES.items():
        values = next((_texts(tagged, key) for key in candidates if _texts(tagged, key)), [])
        if values:
            found[attribute] = ";".join(values)
    length = getattr(tagged.info, "length", None)
    if length and math.isfinite(length):
        found["duration_ms"] = round(length * 1000)
    return found


def _fault_of_the_store(error: BaseException | None) -> StorageError | None:
    """Return the fault of the store that lies under mutagen's own errors, if there is one."""
    while error is not None:
        if isinstance(error, StorageError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _texts(tagged: Any, key: str) -> list[str]:
    try:
        value = tagged[key]
    except (KeyError, ValueError, TypeError):
        return []
    values = getattr(value, "text", value)
    values = values if isinstance(values, list) else [values]
    return [text for text in (str(value).strip().replace("\x00", "") for value in values) if text]
