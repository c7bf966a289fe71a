"""The tags inside an audio file, as catalogue attributes."""

from __future__ import annotations

import math
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from tinytag import TinyTag
from tinytag import tinytag as readers

from specrec.catalogue import texts
from specrec.catalogue.lengths import MP4_ATOMS, RIFF, seconds_of
from specrec.catalogue.texts import Texts
from specrec.errors import StorageError
from specrec.ogg import Part

#: Endings of the files that a folder catalogue takes up: of sound alone, or mostly, in formats that we decode.
AUDIO_ENDINGS = (
    "mp3", "mp2", "mp1", "mpga", "ogg", "oga", "opus", "spx", "flac", "wav", "wave", "bwf", "rf64", "w64",
    "aif", "aiff", "aifc", "m4a", "m4b", "m4r", "mp4", "aac", "wma", "au", "snd", "caf", "webm", "weba", "mka",
    "wv", "ape", "tta", "tak", "dsf", "dff", "ac3", "eac3", "dts",
)  # fmt: skip

#: What TinyTag calls an attribute.
_FIELDS = {"artists": "artist", "album_name": "album", "track_name": "title", "track_genre": "genre"}

#: Taggers write ARTISTS, a list for machines, beside ARTIST, which is what a listener reads; TinyTag takes the two
#: for one field, and would say "Simon & Garfunkel;Simon;Garfunkel".
_ALSO_ARTISTS = ("artists", "author", "WM/ARTISTS")
for _names in (
    readers._Ogg._VORBIS_MAPPING,
    readers._MP4._CUSTOM_FIELD_NAME_MAPPING,
    readers._ASF._ASF_MAPPING,
):
    for _name in _ALSO_ARTISTS:
        _names.pop(_name, None)

#: Tags and headers are smaller; a damaged file is not searched for them from end to end.
_MOST_BYTES = 4 << 20
#: So many bytes are read, in so many pieces, for all tags of a file, and for its length; of a file that asks for
#: more, as only one does that is made to, the rest is not known. A text that is longer is none.
_OF_TAGS, _OF_LENGTH = (64 << 20, 50_000), (512 << 20, 200_000)
_LONGEST_TEXT = 1 << 20

_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"


def read_tags(file: BinaryIO, name: str) -> dict[str, str | int]:
    """Return what a file's tags say: ``artists``, ``album_name``, ``track_name``, ``track_genre``, ``duration_ms``.

    A file without tags, or that no reader understands, gets its title from its name; whether it can be decoded
    is for extraction to find out. Where a file has tags of several kinds, each attribute is that of the first that
    has it: of the file's own format, then ID3v2, APE, RIFF's list of texts, ID3v1. The length is that of what the
    file plays, whatever its header says; of CAF, Matroska and some rare formats nothing here can tell it.

    Parameters
    ----------
    file : BinaryIO
        The file, readable and seekable.
    name : str
        Its name, which is the title where there is no other. The content alone tells the format.

    Returns
    -------
    dict
        The attributes that were found, ``track_name`` always. Semicolons separate several values of one tag.
        Values have neither control characters nor blanks at their ends.

    Raises
    ------
    StorageError
        If the store failed: tags that were not read must not pass for tags that are not there.

    Examples
    --------
    >>> import io
    >>> read_tags(io.BytesIO(), "no tags.mp3")
    {'track_name': 'no tags'}
    """
    found: dict[str, str | int] = {"track_name": posixpath.splitext(name)[0]}
    whole, file = file, cast(BinaryIO, _Sparing(file, *_OF_TAGS))
    size = _try(lambda: file.seek(0, os.SEEK_END)) or 0
    start = _try(lambda: _after_id3v2(file)) or 0
    said: dict[str, str] = {}
    tags = (tag for read in _readers(file, start, size) for tag in _try(read) or ())
    for attribute, values in (item for tag in tags for item in tag.items()):
        text = ";".join(_values(values))
        if 0 < len(text) <= _LONGEST_TEXT:
            said.setdefault(attribute, text)
    found |= said
    seconds = _try(lambda: _seconds(cast(BinaryIO, _Sparing(whole, *_OF_LENGTH)), start, size))
    if seconds and math.isfinite(seconds):
        found["duration_ms"] = round(seconds * 1000)
    return found


def _readers(file: BinaryIO, start: int, size: int) -> Iterator[Callable[[], list[Texts]]]:
    """Yield what reads the tags of a file; the tag whose word counts most comes first."""
    head = _try(lambda: _head(file, start)) or b""
    has_own = True
    if head[:4] in RIFF:
        yield lambda: texts.riff(file, start, size)
    elif head[:4] == b"FORM":
        yield lambda: texts.aiff(file, start, size)
    elif head[4:8] in MP4_ATOMS:
        yield lambda: [_by_tinytag(file, start, size, "an.mp4")]
    elif head[:4] in (b"fLaC", b"OggS") or head[:8] == _ASF:
        yield lambda: [_by_tinytag(file, start, size)]
    else:
        has_own = False
    if start:
        yield lambda: _id3v2_tags(file, start)
    if not has_own:
        yield lambda: [texts.ape(file, size)]
        yield lambda: [texts.id3v1(file, size)]


def _head(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    return file.read(12)


def _after_id3v2(file: BinaryIO) -> int:
    """Return where the ID3v2 tags end that begin a file; some taggers add one before another."""
    at = 0
    while True:
        file.seek(at)
        size = texts.id3v2_size(file.read(texts.HEADER_BYTES))
        if not size:
            return at
        at += size


def _id3v2_tags(file: BinaryIO, stop: int) -> list[Texts]:
    """Return the texts of the ID3v2 tags that begin a file."""
    found = []
    at = 0
    while at < stop:
        found.append(texts.id3v2(file, at))
        file.seek(at)
        at += texts.id3v2_size(file.read(texts.HEADER_BYTES))
    return found


def _by_tinytag(file: BinaryIO, start: int, size: int, kind: str | None = None) -> Texts:
    tag = TinyTag.get(kind, _bounded(file, start, size), tags=True, duration=False)
    found = {name: [getattr(tag, field), *tag.other.get(field, ())] for name, field in _FIELDS.items()}
    return {name: [value for value in values if value] for name, values in found.items()}


def _seconds(file: BinaryIO, start: int, size: int) -> float | None:
    if _head(file, start)[:8] == _ASF:
        return TinyTag.get(file_obj=_bounded(file, start, size), tags=False).duration
    return seconds_of(file, start, size)


def _bounded(file: BinaryIO, start: int, size: int) -> BinaryIO:
    file.seek(0)
    return cast(BinaryIO, _Bounded(cast(BinaryIO, Part(file, start, size)) if start else file))


def _values(values: list[str]) -> list[str]:
    """Return the values that say something; some taggers put several into one, with NUL in between."""
    cleaned = (_cleaned(part) for value in values for part in value.split("\0"))
    return list(dict.fromkeys(value for value in cleaned if value))


def _cleaned(value: str) -> str:
    r"""Return a value in one line: without byte order marks, and with a blank in place of control characters.

    Examples
    --------
    >>> _cleaned("\ufeff Simon\r\n& Garfunkel\t ")
    'Simon & Garfunkel'
    """
    text = value.replace("\ufeff", "")
    return re.sub(r"\s*[\x00-\x1f\x7f-\x9f\u2028\u2029]+\s*", " ", text).strip()


def _try(read: Callable[[], Any]) -> Any:
    """Return what a reader returns, or nothing of a file that it does not understand."""
    try:
        return read()
    except Exception as error:  # readers raise whatever they meet in damaged files
        if fault := _fault_of_the_store(error):
            raise fault from None
        return None


def _fault_of_the_store(error: BaseException | None) -> StorageError | None:
    """Return the fault of the store that lies under the reader's own errors, if there is one."""
    while error is not None:
        if isinstance(error, StorageError):
            return error
        error = error.__cause__ or error.__context__
    return None


class _Sparing:
    """A file that refuses to be read when so many bytes, or pieces, were read of it."""

    def __init__(self, file: BinaryIO, n_bytes: int, pieces: int) -> None:
        self.seek, self.tell = file.seek, file.tell
        self._read, self._bytes, self._pieces = file.read, n_bytes, pieces

    def read(self, size: int = -1) -> bytes:
        data = self._read(self._bytes + 1 if size < 0 else min(size, self._bytes + 1))
        self._bytes -= len(data)
        self._pieces -= 1
        if self._bytes < 0 or self._pieces < 0:
            raise ValueError("more is to be read of it than of any file that plays")
        return data


class _Bounded:
    """A file that seems to end where more than a reader's due was read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell = file.seek, file.tell
        self._read, self._left = file.read, _MOST_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data
