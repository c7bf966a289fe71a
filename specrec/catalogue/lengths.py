"""How long a file plays, in seconds, by what is in it: a header's word is compared with the sound that follows.

Streaming writers leave lengths empty, joined files begin with the header of their first part, and headers of MP3
files are often of another file. Of long files some places are read, and all only where these disagree.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from specrec.ogg import PAGE_BYTES, Page, links, page_at

#: A file that is no longer is read as a whole: its ends are as many bytes.
_SMALL_BYTES = 1 << 18
_PLACE_BYTES = 1 << 16
#: Sound is looked for so far from where it should be, and a file in which all frames are counted is read so far.
_LOST_BYTES, _COUNTED_BYTES = 1 << 18, 256 << 20
_COUNTED_FRAMES = 2_000_000  # half a day
_TOLERATED = 1.5  # how much a header's mean length of a frame may differ from that of the places that are read
_OGG_PLACES, _OGG_TOLERATED = 4, 1.05  # so much longer than its pages tell, a file is of one stream
_FEWEST = 4  # in a file of frames these make up a quarter of it or more
_NEVER_WRITTEN = 0x7FFFFF00  # what streaming writers say of a WAV file is this or more, if it is not 0
_MOST_CHUNKS = 10_000

#: What RIFF files begin with, and what the first atom of an MP4 file is called.
RIFF = (b"RIFF", b"RF64", b"BW64")
MP4_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


class Chunk(NamedTuple):
    """A chunk of a RIFF or AIFF file, or an atom of MP4."""

    name: bytes
    start: int
    size: int


def seconds_of(file: BinaryIO, start: int, size: int) -> float | None:
    """Return how long a file plays; None if nothing here can tell.

    Parameters
    ----------
    file : BinaryIO
        The file, readable and seekable.
    start : int
        Where it begins, behind an ID3 tag.
    size : int
        Bytes of the whole file.

    Examples
    --------
    >>> head = b".snd" + struct.pack(">5I", 24, 0xFFFFFFFF, 2, 8_000, 1)  # of a writer that did not know the length
    >>> seconds_of(io.BytesIO(head + bytes(16_000)), 0, 16_024)
    2.0
    """
    file.seek(start)
    head = file.read(64)
    reader = next((reader for tells, reader in _READERS if tells(head)), None)
    return reader(file, start, size) if reader else None


def chunks(file: BinaryIO, start: int, stop: int, order: str) -> Iterator[Chunk]:
    """Yield the chunks of a RIFF file (``<``) or an AIFF file (``>``) that begin between two places."""
    for _ in range(_MOST_CHUNKS):
        file.seek(start)
        head = file.read(8)
        if len(head) < 8 or start >= stop:
            return
        chunk = Chunk(head[:4], start + 8, struct.unpack(order + "I", head[4:])[0])
        yield chunk
        start = chunk.start + chunk.size + chunk.size % 2


def _wav(file: BinaryIO, start: int, size: int) -> float | None:
    rate = align = bytes_a_second = samples = kind = 0
    long_data = None
    for name, at, length in chunks(file, start + 12, size, "<"):
        file.seek(at)
        if name == b"fmt ":
            kind, _, rate, bytes_a_second, align = struct.unpack("<HHIIH", file.read(14))
            if kind == 0xFFFE:
                file.seek(at + 24)
                kind = struct.unpack("<H", file.read(2))[0]
        elif name == b"ds64":
            long_data = struct.unpack("<Q", file.read(16)[8:])[0]
        elif name == b"fact":
            samples = struct.unpack("<I", file.read(4))[0]
        elif name == b"data":
            left = size - at
            said = long_data if length == 0xFFFFFFFF and long_data else length
            is_known = 0 < said < _NEVER_WRITTEN or said == long_data
            if said == 0 and _is_chunk(file, at, size):  # there are no samples, but tags
                left = 0
            sound = min(said, left) if is_known else left
            if kind in (1, 3) and align and rate:
                return sound / align / rate
            if samples and rate and is_known and said <= left:
                return float(samples / rate)
            return sound / bytes_a_second if bytes_a_second else None
    return None


def _is_chunk(file: BinaryIO, at: int, size: int) -> bool:
    file.seek(at)
    head = file.read(8)
    if len(head) < 8 or not head[:4].isascii():
        return False
    return at + 8 + int(struct.unpack("<I", head[4:])[0]) <= size and bool(head[:4].strip(b"\0"))


def _aiff(file: BinaryIO, start: int, size: int) -> float | None:
    frames = frame_bytes = 0
    rate = 0.0
    for name, at, length in chunks(file, start + 12, size, ">"):
        file.seek(at)
        if name == b"COMM":
            common = file.read(22)
            channels, frames, bits, exponent, mantissa = struct.unpack(">hLhHQ", common[:18])
            rate = mantissa * 2.0 ** (exponent - 0x3FFF - 63)
            plain = common[18:] in (
                b"",
                b"NONE",
                b"twos",
                b"sowt",
                b"raw ",
                b"in24",
                b"in32",
                b"fl32",
                b"FL32",
                b"fl64",
            )
            frame_bytes = channels * -(-bits // 8) if plain or length < 22 else 0
        elif name == b"SSND":
            # eight bytes of the chunk come before the sound
            sound = min(length, size - at) - 8 if length else size - at - 8
            if frame_bytes > 0:
                frames = max(sound, 0) // frame_bytes
            break
    return frames / rate if rate else None


def _au(file: BinaryIO, start: int, size: int) -> float | None:
    file.seek(start + 4)
    at, length, kind, rate, channels = struct.unpack(">5I", file.read(20))
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(kind, 0) * channels
    left = size - start - at
    return min(length, left) / width / rate if width and rate else None


_WAVPACK_RATES = (
    6_000, 8_000, 9_600, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000,
    192_000,
)  # fmt: skip


def _wavpack(file: BinaryIO, start: int, size: int) -> float | None:
    file.seek(start)
    said, _, _, flags = struct.unpack_from("<4I", file.read(32), 12)
    if said == 0xFFFFFFFF:  # a streaming writer did not know: the last block tells
        file.seek(max(size - 4 * _PLACE_BYTES, start))
        tail = file.read(4 * _PLACE_BYTES)
        begun, samples = struct.unpack_from("<II", tail, tail.rindex(b"wvpk") + 16)
        said = begun + samples
    rate = flags >> 23 & 15
    return said / _WAVPACK_RATES[rate] if rate < len(_WAVPACK_RATES) else None


def _tta(file: BinaryIO, start: int, size: int) -> float | None:
    file.seek(start + 10)
    rate, samples = struct.unpack("<II", file.read(8))
    return samples / rate if rate else None


def _mp4(file: BinaryIO, start: int, size: int) -> float | None:
    for moov in _atoms(file, start, size):
        if moov.name == b"moov":
            return _movie(file, moov)
    return None


def _movie(file: BinaryIO, moov: Chunk) -> float | None:
    """Return the length of a movie's sound by its table of samples; that of its header, if they are about equal."""
    said = sound = None
    for atom in _within(file, moov):
        if atom.name == b"mvhd":
            said = _by_scale(file, atom)
        elif atom.name == b"trak" and sound is None:
            media = {found.name: found for found in _within(file, atom)}.get(b"mdia")
            sound = _media(file, media) if media else None
    return said if said and (sound is None or abs(said - sound) < 0.25) else sound


def _media(file: BinaryIO, media: Chunk) -> float | None:
    parts = {found.name: found for found in _within(file, media)}
    file.seek(parts[b"hdlr"].start + 8 if b"hdlr" in parts else 0)
    if file.read(4) != b"soun" or b"mdhd" not in parts or b"minf" not in parts:
        return None
    for table in _within(file, parts[b"minf"]):
        for times in _within(file, table) if table.name == b"stbl" else ():
            if times.name == b"stts":
                file.seek(times.start)
                data = file.read(min(times.size, _SMALL_BYTES))
                entries = struct.iter_unpack(">II", data[8 : len(data) // 8 * 8])
                units, scale = sum(count * delta for count, delta in entries), _scale(file, parts[b"mdhd"])[0]
                return units / scale if units and scale else None
    return None


def _scale(file: BinaryIO, header: Chunk) -> tuple[int, int]:
    """Return units a second and a length in units, of a movie's header or a media's."""
    file.seek(header.start)
    data = file.read(36)
    scale, units = struct.unpack_from(">IQ", data, 20) if data[0] == 1 else struct.unpack_from(">II", data, 12)
    return scale, units


def _by_scale(file: BinaryIO, header: Chunk) -> float | None:
    scale, units = _scale(file, header)
    return units / scale if scale else None


def _within(file: BinaryIO, atom: Chunk) -> Iterator[Chunk]:
    return _atoms(file, atom.start, atom.start + atom.size)


def _atoms(file: BinaryIO, start: int, stop: int) -> Iterator[Chunk]:
    for _ in range(_MOST_CHUNKS):
        file.seek(start)
        head = file.read(16)
        if len(head) < 8 or start >= stop:
            return
        size, name, used = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, used = int.from_bytes(head[8:], "big"), 16
        size = stop - start if size == 0 else size
        if size < used:
            return
        yield Chunk(name, start + used, min(size, stop - start) - used)
        start += size


# --- Ogg ------------------------------------------------------------------------------------------------------


def _ogg(file: BinaryIO, start: int, size: int) -> float | None:
    """Return the length of all parts of an Ogg file; of a long one by its ends, if these are of one stream."""
    by_ends = _ogg_by_ends(file, size) if size > _SMALL_BYTES else None
    if by_ends and by_ends.is_sure:
        return by_ends.seconds
    chain = links(file)
    if by_ends and chain[-1].stop < size - 2 * PAGE_BYTES:  # damage ended it
        return by_ends.seconds
    found = [link.seconds for link in chain if link.seconds is not None]
    return sum(found) if found else None


class _ByEnds(NamedTuple):
    seconds: float
    is_sure: bool


def _ogg_by_ends(file: BinaryIO, size: int) -> _ByEnds | None:
    file.seek(0)
    first = links(io.BytesIO(file.read(_PLACE_BYTES // 4)))[0]
    clocks = list(first.clocks.items())[:1]
    file.seek(size - _PLACE_BYTES)
    tail = file.read(_PLACE_BYTES)
    for serial, clock in clocks:
        pages = [page for page in _pages_in(tail, size - len(tail)) if page.serial == serial]
        ends = [page for page in pages if page.position >= 0]
        if ends:
            begun = max(first.first.get(serial, 0), clock.skipped)
            sure = _is_one_stream(file, size, serial, pages)
            return _ByEnds(max(ends[-1].position - begun, 0) / clock.rate, sure)
    return None


def _is_one_stream(file: BinaryIO, size: int, serial: int, last: list[Page]) -> bool:
    """Tell whether the last pages of a file end the stream that begins it: joined files may have one serial number.

    Pages are numbered within their stream. So there are as many as the last says, if none came before; and those at
    some places say how long they are, and have numbers that grow.
    """
    found = []
    for part in range(_OGG_PLACES):
        at = size * part // _OGG_PLACES
        file.seek(at)
        found.append([page for page in _pages_in(file.read(_PLACE_BYTES), at) if page.serial == serial])
    found[0] = [page for page in found[0] if page.position != 0]  # headers have pages of their own, which are short
    found.append(last)
    numbers = [number for _, number in sorted({(page.at, page.number) for pages in found for page in pages})]
    count = sum(len(pages) - 1 for pages in found if pages)
    n_bytes = sum(pages[-1].at - pages[0].at for pages in found if pages)
    if not count or numbers != sorted(numbers):
        return False
    return size < _OGG_TOLERATED * n_bytes / count * (numbers[-1] + 1)


def _pages_in(data: bytes, offset: int) -> Iterator[Page]:
    at = data.find(b"OggS")
    while at >= 0:
        if page := page_at(data, at, offset):
            yield page
        at = data.find(b"OggS", at + 4)


# --- FLAC -----------------------------------------------------------------------------------------------------

_FLAC = b"fLaC\0\0\0\x22"
_FLAC_LAST = b"fLaC\x80\0\0\x22"


def _flac(file: BinaryIO, start: int, size: int) -> float | None:
    file.seek(start)
    rate, said, block = _flac_header(file.read(42))
    if not rate:
        return None
    played = _flac_played(file, size, block)
    if played in (None, said):
        return said / rate if said else None
    return (_flac_parts(file, start, size) + (played or 0)) / rate


def _flac_header(data: bytes) -> tuple[int, int, int]:
    """Return the sample rate, how many samples there are, and how many in a frame if these are equal."""
    if len(data) < 42:
        return 0, 0, 0
    known = int.from_bytes(data[18:26], "big")
    return known >> 44, known & (1 << 36) - 1, int.from_bytes(data[8:10], "big")


def _flac_parts(file: BinaryIO, start: int, size: int) -> int:
    """Return how many samples the parts of a joined file have, without the last."""
    found: list[int] = []
    at = start
    while at < min(size, _COUNTED_BYTES):
        file.seek(at)
        data = file.read(1 << 20)
        places = [place for marker in (_FLAC, _FLAC_LAST) for place in _all(data, marker)]
        found += [_flac_header(data[place : place + 42])[1] for place in sorted(places) if place + 42 <= len(data)]
        at += max(len(data) - 41, 1)
    return sum(found[:-1])


def _all(data: bytes, marker: bytes) -> Iterator[int]:
    at = data.find(marker)
    while at >= 0:
        yield at
        at = data.find(marker, at + 1)


def _flac_played(file: BinaryIO, size: int, block: int) -> int | None:
    """Return the number of the last sample by the header of the last frame; None if there is none near the end.

    In a thousandth of all files some bytes near the end look like a header, checksum included. So a frame counts if
    it begins where another ends, or is the first of all.
    """
    for places in (2, 8):  # a frame of many channels and of a high rate fills a place
        file.seek(max(size - places * _PLACE_BYTES, 0))
        tail = file.read(places * _PLACE_BYTES)
        ends: dict[int, int] = {}  # of what may be frames, by where they begin
        at = tail.rfind(b"\xff")
        while at >= 0:
            if (found := _flac_frame(tail[at : at + 16], block)) is not None:
                begins, end = found
                if begins == 0:
                    return ends.get(end, end)
                if end in ends:
                    return ends[end]
                ends.setdefault(begins, end)
            at = tail.rfind(b"\xff", 0, at)
        if size <= len(tail):
            break
    return None


def _flac_frame(head: bytes, block: int) -> tuple[int, int] | None:
    """Return the numbers of a frame's first sample and of that after its last, by its header; None: it is none."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] & 1:
        return None
    number, at = _long_number(head, 4)
    size = head[2] >> 4
    if size in (6, 7):
        length = int.from_bytes(head[at : at + size - 5], "big") + 1
        at += size - 5
    else:
        length = 192 if size == 1 else 576 << size - 2 if size < 6 else 256 << size - 8
    at += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if number is None or at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    begins = number if head[1] & 1 else number * block
    return begins, begins + length


def _long_number(data: bytes, at: int) -> tuple[int | None, int]:
    """Return a number that is coded as UTF-8 codes a letter, and where it ends."""
    first = data[at]
    more = 0 if first < 0x80 else 8 - (first ^ 0xFF).bit_length() - 1
    if more > 6 or 0x80 <= first < 0xC0 or any(byte & 0xC0 != 0x80 for byte in data[at + 1 : at + 1 + more]):
        return None, at
    number = first if not more else first & (1 << 6 - more) - 1
    for byte in data[at + 1 : at + 1 + more]:
        number = number << 6 | byte & 0x3F
    return number, at + 1 + more


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 0x80 else 0)) & 0xFF
    return value


# --- MPEG audio and AAC ---------------------------------------------------------------------------------------

_BIT_RATES = {  # kbit/s by version 1 or not, and layer
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_BIT_RATES[False, 3] = _BIT_RATES[False, 2]
_MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)


class Frame(NamedTuple):
    """A frame of MPEG audio or of AAC: its bytes, samples and sample rate, and what all of a stream share."""

    size: int
    samples: int
    rate: int
    kind: tuple[int, ...]


def frame_at(head: bytes) -> Frame | None:
    """Return the frame whose first bytes these are, if they are."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:  # AAC
        rate, size = head[2] >> 2 & 15, (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        if rate >= len(_AAC_RATES) or size < 7 or len(head) < 7:
            return None
        return Frame(size, 1024 * ((head[6] & 3) + 1), _AAC_RATES[rate], (4, _AAC_RATES[rate]))
    version, layer, speed, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or speed in (0, 15) or rate == 3:
        return None
    hertz, bits = _MPEG_RATES[version][rate], _BIT_RATES[version == 3, layer][speed] * 1000
    samples = 384 if layer == 1 else 1152 if layer == 2 or version == 3 else 576
    padding = head[2] >> 1 & 1
    size = (12 * bits // hertz + padding) * 4 if layer == 1 else samples // 8 * bits // hertz + padding
    return Frame(size, samples, hertz, (layer, hertz))


class _Window:
    """A file that is read in long pieces, and asked for short ones."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._start, self._data = file, 0, b""

    def read(self, at: int, size: int) -> bytes:
        if not self._start <= at <= at + size <= self._start + len(self._data):
            self._file.seek(at)
            self._start, self._data = at, self._file.read(max(size, _PLACE_BYTES))
        return self._data[at - self._start : at - self._start + size]


def _frames(window: _Window, at: int, stop: int) -> Iterator[tuple[int, Frame]]:
    """Yield the frames from a place on, passing over what is between them, such as tags of joined files."""
    lost = 0
    kind: tuple[int, ...] | None = None
    while at < stop and lost < _LOST_BYTES:
        head = window.read(at, 10)
        frame = frame_at(head)
        if frame and (frame.kind == kind or _is_followed(window, at, frame, stop)):
            yield at, frame
            at, lost, kind = at + frame.size, 0, frame.kind
        elif head[:3] == b"ID3" and len(head) == 10 and max(head[6:10]) < 0x80:
            at += 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
            lost += 10
        else:
            piece = window.read(at + 1, min(4_096, stop - at - 1))
            near = piece.find(b"\xff")
            step = 1 + (near if near >= 0 else max(len(piece), 1))
            at, lost, kind = at + step, lost + step, None


def _is_followed(window: _Window, at: int, frame: Frame, stop: int) -> bool:
    """Tell whether a frame is followed by one of its kind, or ends the file: two bytes alone occur by chance."""
    if at + frame.size >= stop:
        return at + frame.size <= stop + 4
    following = frame_at(window.read(at + frame.size, 10))
    return following is not None and following.kind == frame.kind


def _mpeg(file: BinaryIO, start: int, size: int) -> float | None:
    window, stop = _Window(file), size
    first = next(_frames(window, start, stop), None)
    if first is None:
        return None
    at, frame = first
    said = _said(window.read(at, min(frame.size, 64)))
    by_header = _mpeg_by_header(window, at, stop, said) if said else None
    if by_header:
        return by_header
    if size - at > _SMALL_BYTES and not said:
        by_rate = _mpeg_by_rate(window, at, stop)
        if by_rate:
            return by_rate
    return _counted(window, at, stop)


def _counted(window: _Window, begun: int, stop: int) -> float | None:
    """Return the length of all frames, and of the bytes beyond what is read; None if there are but a few."""
    seconds, end, sound = 0.0, begun, 0
    for count, (at, frame) in enumerate(_frames(window, begun, stop), start=1):
        if not _said(window.read(at, min(frame.size, 64))):
            seconds += frame.samples / frame.rate
        end = at + frame.size
        sound += frame.size
        if end - begun > _COUNTED_BYTES or count == _COUNTED_FRAMES:
            seconds *= (stop - begun) / (end - begun)
            break
    return seconds if sound * _FEWEST > end - begun else None


def _mpeg_by_header(window: _Window, at: int, stop: int, said: tuple[int, int]) -> float | None:
    """Return the length by the header of the first frame; None where the file contradicts it.

    It says how many frames and bytes there are. A file that is longer was joined; one that is shorter, but has
    frames of that mean size, was cut off, and its header tells the length of the whole.
    """
    (count, length), places = said, _places(window, at, stop)
    if (
        not count
        or length + 0.02 * length + 8_192 < stop - at
        or {frame.kind for frame in places} != {places[0].kind}
    ):
        return None
    mean = sum(frame.size for frame in places[1:]) / max(len(places) - 1, 1)
    if not mean / _TOLERATED < length / count < mean * _TOLERATED:
        return None
    return count * places[0].samples / places[0].rate


def _mpeg_by_rate(window: _Window, at: int, stop: int) -> float | None:
    """Return the length of a file that has one bit rate, as far as can be seen at its places."""
    places = _places(window, at, stop)
    sizes = [frame.size for frame in places]
    if {frame.kind for frame in places} != {places[0].kind} or max(sizes) - min(sizes) > 4:  # bytes of padding
        return None
    return (stop - at) * len(sizes) / sum(sizes) * places[0].samples / places[0].rate


def _places(window: _Window, at: int, stop: int) -> list[Frame]:
    """Return the frames at the beginning and in the middle of a file."""
    return [
        frame
        for place in (at, (at + stop) // 2)
        for _, frame in _frames(window, place, min(place + _PLACE_BYTES, stop))
    ]


def _said(head: bytes) -> tuple[int, int] | None:
    """Return how many frames and bytes there are by the header in a file's first frame, if it is one."""
    for name in (b"Xing", b"Info"):
        if (at := head.find(name, 4)) >= 0 and len(head) >= at + 16:
            flags, *values = struct.unpack_from(">III", head, at + 4)
            count = values.pop(0) if flags & 1 else 0
            return count, values[0] if flags & 2 else 0
    if (at := head.find(b"VBRI", 4)) >= 0 and len(head) >= at + 18:
        length, count = struct.unpack_from(">II", head, at + 10)
        return count, length
    return None


#: How the beginning of a file tells what it is, and what then tells its length.
_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int, int], float | None]], ...] = (
    (lambda head: head[:4] == b"OggS", _ogg),
    (lambda head: head[:4] == b"fLaC", _flac),
    (lambda head: head[:4] in RIFF and head[8:12] == b"WAVE", _wav),
    (lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"), _aiff),
    (lambda head: head[4:8] in MP4_ATOMS, _mp4),
    (lambda head: head[:4] == b".snd", _au),
    (lambda head: head[:4] == b"wvpk", _wavpack),
    (lambda head: head[:4] == b"TTA1", _tta),
    (lambda head: True, _mpeg),
)
