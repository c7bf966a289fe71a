"""What the pages of an Ogg file say: which streams it plays one after the other, and how long they are.

A stream that was recorded or joined is a chain: several Ogg files in one. A header tells of the first alone.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple, cast

#: A page is no longer than this.
PAGE_BYTES = 65_307

_HEAD_BYTES = 512  # a page's header, and enough of its content to tell the codec
_BEGINS = 2  # flag of a stream's first page


class Clock(NamedTuple):
    """How an Ogg stream counts time: by samples.

    Attributes
    ----------
    rate : int
        Samples a second.
    skipped : int
        How many of the first samples are not played.
    most : int
        How many samples a packet holds at most.
    """

    rate: int
    skipped: int
    most: int


@dataclass(slots=True)
class Link:
    """A part of a chained Ogg file, which is a whole Ogg file itself.

    Attributes
    ----------
    start, stop : int
        Where it begins and ends in the file, in bytes.
    """

    start: int
    stop: int
    clocks: dict[int, Clock] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """Length of its sound; None if it has no sound, or none of a codec that is known here."""
        for serial, clock in self.clocks.items():
            begun = max(self.first.get(serial, 0), clock.skipped)
            return max(self.last.get(serial, 0) - begun, 0) / clock.rate
        return None


class Page(NamedTuple):
    """A page: where it lies, and its first bytes."""

    at: int
    head: bytes

    @property
    def begins(self) -> bool:
        """Whether a stream begins with it."""
        return bool(self.head[5] & _BEGINS)

    @property
    def position(self) -> int:
        """Samples of the stream up to its end; -1 if no packet ends in it."""
        return int(struct.unpack_from("<q", self.head, 6)[0])

    @property
    def serial(self) -> int:
        """The number of its stream."""
        return int(struct.unpack_from("<I", self.head, 14)[0])

    @property
    def number(self) -> int:
        """How many pages of its stream come before it."""
        return int(struct.unpack_from("<I", self.head, 18)[0])

    @property
    def lengths(self) -> bytes:
        """Lengths of the segments; a packet ends with each that is below 255."""
        return self.head[27 : 27 + self.head[26]]

    @property
    def content(self) -> bytes:
        """The first bytes of what it holds."""
        return self.head[27 + self.head[26] :]

    @property
    def stop(self) -> int:
        """Where it ends."""
        return self.at + 27 + self.head[26] + sum(self.lengths)


def links(file: BinaryIO) -> list[Link]:
    """Return the parts of an Ogg file: one, if it is no chain, and none, if it is no Ogg file.

    Every page's header is read, and none of the sound.
    """
    chain: list[Link] = []
    headers = False  # whether all pages of the last link were the first of their streams
    for page in _pages(file):
        if page.begins:
            if not headers:
                chain.append(Link(page.at, page.stop))
            headers = True
            if clock := clock_of(page.content):
                chain[-1].clocks[page.serial] = clock
        elif chain:
            headers = False
            _count(chain[-1], page)
        if chain:
            chain[-1].stop = page.stop
    return chain


def _count(link: Link, page: Page) -> None:
    clock, position = link.clocks.get(page.serial), page.position
    if clock is None or position <= 0:
        return
    if page.serial not in link.first:
        packets = sum(length < 255 for length in page.lengths)
        # a recording of a broadcast begins with the position that the broadcast had
        link.first[page.serial] = position if position > clock.skipped + packets * clock.most else 0
    link.last[page.serial] = position


def _pages(file: BinaryIO) -> Iterator[Page]:
    at = 0
    while True:
        file.seek(at)
        page = page_at(file.read(_HEAD_BYTES), 0, at)
        if page:
            yield page
            at = page.stop
        elif at == 0 or (found := _search(file, at)) is None:
            return
        else:
            at = found


def page_at(data: bytes, place: int, offset: int = 0) -> Page | None:
    """Return the page that begins at a place of data that lie `offset` bytes into a file, if one does."""
    head = data[place : place + _HEAD_BYTES]
    if len(head) < 27 or head[:4] != b"OggS" or len(head) < 27 + head[26]:
        return None
    return Page(offset + place, head)


def _search(file: BinaryIO, at: int) -> int | None:
    """Return where the next page begins after damage, if it is not further on than a page is long."""
    file.seek(at + 1)
    found = file.read(PAGE_BYTES).find(b"OggS")
    return at + 1 + found if found >= 0 else None


def clock_of(packet: bytes) -> Clock | None:
    """Return how a stream counts time by its first packet; None of other codecs, and of damaged headers.

    Examples
    --------
    >>> clock_of(b"OpusHead" + bytes([1, 2, 0x38, 1]))
    Clock(rate=48000, skipped=312, most=5760)
    """
    rate, skipped, most = 0, 0, 65_535
    try:
        if packet.startswith(b"\x01vorbis"):
            rate, most = struct.unpack_from("<i", packet, 12)[0], 4_096
        elif packet.startswith(b"OpusHead"):
            rate, skipped, most = 48_000, struct.unpack_from("<H", packet, 10)[0], 5_760
        elif packet.startswith(b"Speex   "):
            rate = struct.unpack_from("<i", packet, 36)[0]
        elif packet.startswith(b"\x7fFLAC"):
            rate = int.from_bytes(packet[27:30], "big") >> 4
    except struct.error:
        return None
    return Clock(rate, skipped, most) if rate > 0 else None


class Part(io.RawIOBase):
    """A part of a file, as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, stop: int) -> None:
        self._file, self._start, self._size, self._at = file, start, stop - start, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See :meth:`io.IOBase.seek`."""
        self._at = max(offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence], 0)
        return self._at

    def tell(self) -> int:
        """See :meth:`io.IOBase.tell`."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """See :meth:`io.RawIOBase.readinto`."""
        self._file.seek(self._start + self._at)
        data = self._file.read(max(min(len(buffer), self._size - self._at), 0))
        memoryview(buffer)[: len(data)] = data
        self._at += len(data)
        return len(data)


def part_of(file: BinaryIO, link: Link) -> BinaryIO:
    """Return a link of a chained file, as a file of its own."""
    return cast(BinaryIO, Part(file, link.start, link.stop))
