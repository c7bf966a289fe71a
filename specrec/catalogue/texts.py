"""Texts that lie in files in formats of their own: ID3 of either kind, APE, and the chunks of WAV and AIFF.

Each function returns what it found by attribute, as :data:`Texts`; nothing is cleaned.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from tinytag import tinytag as readers

from specrec.catalogue.lengths import chunks

#: Values by attribute; one value may yet hold several, with NUL in between.
Texts = dict[str, list[str]]

GENRES: tuple[str, ...] = readers._ID3._ID3V1_GENRES

#: A longer text is not read: a tag of a listener's is not, a damaged one may seem to be.
_MOST_BYTES = 1 << 20
_MOST_FRAMES = 10_000
_MOST_INFLATED = 16 * _MOST_BYTES  # of all frames of a tag
_TAIL_BYTES = 1 << 16

_FRAMES = {
    "TPE1": "artists", "TALB": "album_name", "TIT2": "track_name", "TCON": "track_genre",
    "TP1": "artists", "TAL": "album_name", "TT2": "track_name", "TCO": "track_genre",
}  # fmt: skip
_APE = {"artist": "artists", "album": "album_name", "title": "track_name", "genre": "track_genre"}
_INFO = {
    b"IART": "artists", b"IPRD": "album_name", b"INAM": "track_name", b"TITL": "track_name", b"IGNR": "track_genre",
}  # fmt: skip
_AIFF = {b"NAME": "track_name", b"AUTH": "artists"}


def undeclared(data: bytes) -> str:
    r"""Return a text whose encoding nothing tells: UTF-8 if it can be, or else that of Windows in the west.

    Examples
    --------
    >>> undeclared("Björk".encode()), undeclared(b"Bj\xf6rk"), undeclared(b"don\x92t")
    ('Björk', 'Björk', 'don’t')
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _western(data)


def _western(data: bytes) -> str:
    """Decode Latin-1, whose control characters are letters and quotes in Windows' version of it."""
    return "".join(bytes([byte]).decode("cp1252", "replace") if 0x80 <= byte < 0xA0 else chr(byte) for byte in data)


# --- ID3 ------------------------------------------------------------------------------------------------------

_UNSYNCHRONISED, _EXTENDED = 0x80, 0x40
HEADER_BYTES = 10


def id3v2_size(header: bytes) -> int:
    """Return how many bytes an ID3v2 tag has, by its first ten; 0 if it is none."""
    is_tag = len(header) == HEADER_BYTES and header[:3] == b"ID3" and max(header[6:10]) < 0x80
    footer = HEADER_BYTES if is_tag and header[5] & 0x10 else 0
    return HEADER_BYTES + _synchsafe(header[6:10]) + footer if is_tag else 0


def id3v2(file: BinaryIO, start: int) -> Texts:
    """Return the texts of the ID3v2 tag that begins at a place of a file."""
    file.seek(start)
    header = file.read(HEADER_BYTES)
    found: Texts = {}
    for name, content in _id3_frames(file, header, start + HEADER_BYTES, start + id3v2_size(header)):
        attribute = _FRAMES.get(name)
        if attribute and content:
            values = _id3_values(content[0], content[1:])
            if attribute == "track_genre":
                values = [genre for value in values for genre in _genres(value)]
            found.setdefault(attribute, []).extend(values)
    return found


def _id3_frames(file: BinaryIO, header: bytes, at: int, stop: int) -> Iterator[tuple[str, bytes]]:
    version, flags = header[3], header[5]
    is_whole = version < 4 and flags & _UNSYNCHRONISED
    body = b""
    if is_whole:  # a zero byte follows each 0xFF, lest an old player takes it for sound
        file.seek(at)
        body = file.read(min(stop - at, 16 * _MOST_BYTES)).replace(b"\xff\x00", b"\xff")
        at, stop = 0, len(body)

    def read(place: int, size: int) -> bytes:
        if is_whole:
            return body[place : place + size]
        file.seek(place)
        return file.read(size)

    if version > 2 and flags & _EXTENDED:
        length = read(at, 4)
        # version 2.3 does not count the four bytes of the length itself
        at += 4 + int.from_bytes(length, "big") if version == 3 else _synchsafe(length)
    head_bytes = 6 if version == 2 else 10
    left = _MOST_INFLATED
    for _ in range(_MOST_FRAMES):
        head = read(at, head_bytes)
        name = head[: 3 if version == 2 else 4].decode("latin-1")
        if len(head) < head_bytes or not name.isalnum() or at + head_bytes > stop:
            return
        if version == 2:
            size, status = int.from_bytes(head[3:6], "big"), 0
        else:
            size = _synchsafe(head[4:8]) if version == 4 else int.from_bytes(head[4:8], "big")
            status = head[9]
        at += head_bytes
        if name in _FRAMES and 0 < size <= min(stop - at, _MOST_BYTES):
            content = _plain(read(at, size), status, version, bool(flags & _UNSYNCHRONISED))
            left -= len(content)
            if left < 0:  # a bomb
                return
            yield name, content
        at += size


def _plain(content: bytes, status: int, version: int, unsynchronised: bool) -> bytes:
    """Return what a frame holds without what its flags say was done to it."""
    if version == 3:
        content = content[bool(status & 0x20) :] if not status & 0x80 else content
        return _inflated(content[4 + bool(status & 0x20) :]) if status & 0x80 else content
    if version == 4:
        if unsynchronised or status & 0x02:
            content = content.replace(b"\xff\x00", b"\xff")
        content = content[bool(status & 0x40) + 4 * bool(status & 0x01) :]
        return _inflated(content) if status & 0x08 else content
    return content


def _inflated(content: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(content, _MOST_BYTES)
    except zlib.error:
        return b""


def _id3_values(encoding: int, data: bytes) -> list[str]:
    if encoding not in (1, 2):
        return (data.decode("utf-8", "replace") if encoding == 3 else _western(data)).split("\0")
    order = "utf-16-be" if encoding == 2 else "utf-16-le"
    values = []
    for text in _words(data):
        if text[:2] in (b"\xff\xfe", b"\xfe\xff"):  # of those that follow, some taggers leave it out
            order = "utf-16-le" if text[:2] == b"\xff\xfe" else "utf-16-be"
        values.append(text.decode(order, "replace"))
    return values


def _words(data: bytes) -> Iterator[bytes]:
    """Yield what is between zeros of two bytes."""
    begun = 0
    for at in range(0, len(data) - 1, 2):
        if data[at : at + 2] == b"\0\0":
            yield data[begun:at]
            begun = at + 2
    yield data[begun : len(data) // 2 * 2]


def _genres(value: str) -> list[str]:
    """Return the names of genres, which ID3 may give by numbers.

    Examples
    --------
    >>> _genres("(17)"), _genres("17"), _genres("(17)(21)"), _genres("Rock (live)")
    (['Rock'], ['Rock'], ['Rock', 'Ska'], ['Rock (live)'])
    """
    numbers = re.match(r"(?:\((\d{1,3})\))+", value)
    found = re.findall(r"\((\d{1,3})\)", numbers[0]) if numbers else re.findall(r"^\s*(\d{1,3})\s*$", value)
    names = [GENRES[int(number)] for number in found if int(number) < len(GENRES)]
    return names or [value]


def id3v1(file: BinaryIO, size: int) -> Texts:
    """Return the texts of the ID3v1 tag that ends a file of so many bytes."""
    tag = _last(file, size, 128)
    if tag[:3] != b"TAG" or len(tag) < 128:
        return {}
    fields = {"track_name": tag[3:33], "artists": tag[33:63], "album_name": tag[63:93]}
    found = {name: [undeclared(data.split(b"\0")[0])] for name, data in fields.items()}
    if tag[127] < len(GENRES):
        found["track_genre"] = [GENRES[tag[127]]]
    return found


# --- APE ------------------------------------------------------------------------------------------------------


def ape(file: BinaryIO, size: int) -> Texts:
    """Return the texts of an APE tag, which ends a file, before an ID3v1 tag if there is one, or begins it."""
    file.seek(max(size - _TAIL_BYTES, 0))
    file.read(1)  # of object storage the whole end is fetched at once, and not piece by piece from behind
    end = size
    for _ in range(3):
        footer = _last(file, end, 32)
        if footer[:8] == b"APETAGEX" and len(footer) == 32:
            length, count = struct.unpack_from("<II", footer, 12)
            return _ape_items(_last(file, end - 32, min(max(length, 32) - 32, 16 * _MOST_BYTES)), count)
        if _last(file, end, 128)[:3] == b"TAG":
            end -= 128
        elif (last := _last(file, end, 15))[6:] == b"LYRICS200" and last[:6].isdigit():
            end -= 15 + int(last[:6])
        else:
            break
    file.seek(0)
    header = file.read(32)
    if header[:8] == b"APETAGEX" and len(header) == 32:
        length, count = struct.unpack_from("<II", header, 12)
        return _ape_items(file.read(min(length, 16 * _MOST_BYTES)), count)
    return {}


def _last(file: BinaryIO, end: int, size: int) -> bytes:
    """Return the last bytes before a place of a file."""
    start = max(end - size, 0)
    file.seek(start)
    return file.read(max(end - start, 0))


def _ape_items(data: bytes, count: int) -> Texts:
    found: Texts = {}
    at = 0
    for _ in range(min(count, _MOST_FRAMES)):
        end = data.find(b"\0", at + 8)
        if end < 0:
            break
        size, flags = struct.unpack_from("<II", data, at)
        attribute = _APE.get(data[at + 8 : end].decode("latin-1").lower())
        if attribute and not flags & 6 and size <= _MOST_BYTES:  # a text, neither bytes nor an address
            found.setdefault(attribute, []).append(undeclared(data[end + 1 : end + 1 + size]))
        at = end + 1 + size
    return found


# --- chunks of WAV and AIFF -----------------------------------------------------------------------------------


def riff(file: BinaryIO, start: int, size: int) -> list[Texts]:
    """Return the texts of a WAV file: those of its ID3 tag, then those of its list of texts."""
    tag, listed = Texts(), Texts()
    for name, at, length in chunks(file, start + 12, size, "<"):
        if name in (b"id3 ", b"ID3 "):
            tag = tag or id3v2(file, at)
        elif name == b"LIST" and length >= 4:
            file.seek(at)
            if file.read(4) == b"INFO":
                for text, place, bytes_ in chunks(file, at + 4, at + length, "<"):
                    if text in _INFO and bytes_ <= _MOST_BYTES:
                        file.seek(place)
                        listed.setdefault(_INFO[text], []).append(undeclared(file.read(bytes_)))
    return [tag, listed]


def aiff(file: BinaryIO, start: int, size: int) -> list[Texts]:
    """Return the texts of an AIFF file: those of its ID3 tag, then those of its own chunks."""
    tag, own = Texts(), Texts()
    for name, at, length in chunks(file, start + 12, size, ">"):
        if name in (b"id3 ", b"ID3 "):
            tag = tag or id3v2(file, at)
        elif name in _AIFF and length <= _MOST_BYTES:
            file.seek(at)
            own.setdefault(_AIFF[name], []).append(undeclared(file.read(length)))
    return [tag, own]


def _synchsafe(data: bytes) -> int:
    """Return the number that four bytes of seven bits are."""
    return data[0] << 21 | data[1] << 14 | data[2] << 7 | data[3]
