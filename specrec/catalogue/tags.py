"""The tags inside an audio file, as catalogue attributes."""

from __future__ import annotations

import io
import math
import os
import posixpath
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from tinytag import TinyTag, UnsupportedFormatError
from tinytag import tinytag as readers

from specrec.errors import StorageError

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
    readers._ID3._ID3_MAPPING_CUSTOM,
    readers._MP4._CUSTOM_FIELD_NAME_MAPPING,
    readers._ASF._ASF_MAPPING,
):
    for _name in _ALSO_ARTISTS:
        _names.pop(_name, None)

#: Tags and headers are smaller; a damaged file is not searched for them from end to end.
_MOST_BYTES = 4 << 20

#: An Ogg page is no longer than 65,307 bytes: the last one begins within the last so many.
_OGG_TAIL_BYTES = 1 << 16

_ID3_HEADER_BYTES = 10
_UNSYNCHRONISED, _EXTENDED = 0x80, 0x40


def read_tags(file: BinaryIO, name: str) -> dict[str, str | int]:
    """Return what a file's tags say: ``artists``, ``album_name``, ``track_name``, ``track_genre``, ``duration_ms``.

    A file without tags, or that no reader understands, gets its title from its name; whether it can be decoded
    is for extraction to find out. Raw AAC, AU and CAF files have no length here: nothing in them says it.

    Parameters
    ----------
    file : BinaryIO
        The file, readable and seekable.
    name : str
        Its name; the content tells the format, and the ending only what the content does not.

    Returns
    -------
    dict
        The attributes that were found, ``track_name`` always. Semicolons separate several values of one tag.

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
    tagged = _try(lambda: _parse(_plain_id3(file), name, tags=True))
    for attribute, field in _FIELDS.items() if tagged else ():
        values = _texts([getattr(tagged, field), *tagged.other.get(field, ())])
        if values:
            found[attribute] = ";".join(values)
    seconds = _try(lambda: _seconds(file, name))
    if seconds and math.isfinite(seconds):
        found["duration_ms"] = round(seconds * 1000)
    return found


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


def _parse(file: BinaryIO, name: str, tags: bool) -> TinyTag:
    """Return a file's tags, or else its length."""
    file.seek(0)
    bounded = cast(BinaryIO, _Bounded(file))
    try:
        return TinyTag.get(file_obj=bounded, tags=tags, duration=not tags)
    except UnsupportedFormatError:  # such as an MP3 file that begins with anything else
        return TinyTag.get(name, bounded, tags=tags, duration=not tags)


def _texts(values: list[str | None]) -> list[str]:
    """Return the values that say something; some taggers put several into one, with NUL in between."""
    parts = (part.strip() for value in values if value for part in value.split("\x00"))
    return list(dict.fromkeys(part for part in parts if part))


class _Bounded:
    """A file that seems to end where more than a reader's due was read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell = file.seek, file.tell
        self._read, self._left = file.read, _MOST_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _plain_id3(file: BinaryIO) -> BinaryIO:
    """Return the file, or, where its ID3v2 tag is written in a way that TinyTag does not know, a plain tag alone.

    Such a tag has an extended header, or it is unsynchronised: a zero byte follows each 0xFF, lest an old player
    takes it for sound. Every text in UTF-16 has an 0xFF.
    """
    file.seek(0)
    header = file.read(_ID3_HEADER_BYTES)
    if len(header) < _ID3_HEADER_BYTES or header[:3] != b"ID3" or not header[5] & (_UNSYNCHRONISED | _EXTENDED):
        return file
    version, flags = header[3], header[5]
    body = file.read(min(_synchsafe(header[6:10]), _MOST_BYTES))
    if version < 4 and flags & _UNSYNCHRONISED:
        body = body.replace(b"\xff\x00", b"\xff")
    if version > 2 and flags & _EXTENDED:
        # version 2.3 does not count the four bytes of the length itself
        body = body[4 + int.from_bytes(body[:4], "big") if version == 3 else _synchsafe(body[:4]) :]
    if version == 4:
        body = b"".join(_plain_frames(body, bool(flags & _UNSYNCHRONISED)))
    size = bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return io.BytesIO(header[:5] + b"\0" + size + body)


def _plain_frames(body: bytes, unsynchronised: bool) -> Any:
    """Yield the frames of an ID3v2.4 tag without their own flags."""
    at = 0
    while len(body) >= at + 10 and body[at : at + 1].isalnum():
        size, flags = _synchsafe(body[at + 4 : at + 8]), body[at + 9]
        content = body[at + 10 : at + 10 + size]
        if unsynchronised or flags & 0x02:
            content = content.replace(b"\xff\x00", b"\xff")
        if flags & 0x01:  # its length comes first
            content = content[4:]
        length = bytes(len(content) >> shift & 0x7F for shift in (21, 14, 7, 0))
        yield body[at : at + 4] + length + b"\0\0" + content
        at += 10 + size


def _synchsafe(data: bytes) -> int:
    """Return the number that four bytes of seven bits are."""
    return data[0] << 21 | data[1] << 14 | data[2] << 7 | data[3]


def _seconds(file: BinaryIO, name: str) -> float | None:
    file.seek(0)
    if file.read(4) == b"OggS":
        return _ogg_seconds(file)
    return _parse(file, name, tags=False).duration


def _ogg_seconds(file: BinaryIO) -> float | None:
    """Return the length of an Ogg file by its last page; TinyTag would read all that lie before it."""
    file.seek(0)
    head = file.read(4096)
    at = 0
    while head[at : at + 4] == b"OggS" and head[at + 5] & 2:  # the first page of each stream in it
        serial, segments = head[at + 14 : at + 18], head[at + 26]
        packet = head[at + 27 + segments :]
        clock = _ogg_clock(packet)
        if clock:
            rate, skipped = clock
            return max(_last_position(file, serial) - skipped, 0) / rate
        at += 27 + segments + sum(head[at + 27 : at + 27 + segments])
    return None


def _ogg_clock(packet: bytes) -> tuple[int, int] | None:
    """Return how many samples a second an Ogg stream counts, and how many of its first are not played."""
    if packet.startswith(b"\x01vorbis"):
        return struct.unpack_from("<i", packet, 12)[0], 0
    if packet.startswith(b"OpusHead"):
        return 48_000, struct.unpack_from("<H", packet, 10)[0]
    if packet.startswith(b"Speex   "):
        return struct.unpack_from("<i", packet, 36)[0], 0
    if packet.startswith(b"\x7fFLAC"):
        return int.from_bytes(packet[27:30], "big") >> 4, 0
    return None


def _last_position(file: BinaryIO, serial: bytes) -> int:
    """Return the last position that a stream's pages name, in samples; 0 if none does."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _OGG_TAIL_BYTES, 0))
    tail = file.read(_OGG_TAIL_BYTES)
    at = tail.rfind(b"OggS")
    while at >= 0:
        page = tail[at : at + 18]
        if page[14:] == serial and (position := int(struct.unpack_from("<q", page, 6)[0])) >= 0:
            return position
        at = tail.rfind(b"OggS", 0, at)
    return 0
