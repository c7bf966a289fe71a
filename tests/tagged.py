"""Audio files with tags in them, for tests: the tags are written byte by byte, as each format has them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping

import av
import numpy as np
import soundfile as sf

SECONDS = 1.5
RATE = 48_000

#: An attribute's ID3 frame from version 2.3 on, in 2.2, its Vorbis comment, and its chunk in RIFF.
NAMES = {
    "artists": ("TPE1", "TP1", "ARTIST", "IART"),
    "album_name": ("TALB", "TAL", "ALBUM", "IPRD"),
    "track_name": ("TIT2", "TT2", "TITLE", "INAM"),
    "track_genre": ("TCON", "TCO", "GENRE", "IGNR"),
}

#: How an ID3 text begins that is in an encoding, and Python's name of it.
LATIN_1, UTF_16, UTF_8 = (b"\x00", "latin-1"), (b"\x01", "utf-16"), (b"\x03", "utf-8")

Tags = Mapping[str, str]


def sound(container: str, **tags: str) -> bytes:
    """Return noise in a container that libsndfile writes, with tags by its names (``artist``, …, ``comment``)."""
    out = io.BytesIO()
    with sf.SoundFile(out, "w", RATE, 1, format=container) as file:
        for name, text in tags.items():
            setattr(file, name, text)
        file.write(np.random.default_rng(0).normal(0, 0.1, int(RATE * SECONDS)))
    return out.getvalue()


def by_ffmpeg(container: str, codec: str, tags: Tags, seconds: float = SECONDS, **options: str) -> bytes:
    """Return noise in a container of FFmpeg's, with tags by its names (``artist``, ``title``, …)."""
    out = io.BytesIO()
    with av.open(out, "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=RATE, layout="mono")
        stream.bit_rate = 96_000
        file.metadata.update(tags)
        noise = np.random.default_rng(0).normal(0, 0.1, (1, int(RATE * seconds))).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return out.getvalue()


def id3v1(artist: str, album: str, title: str, genre: int, encoding: str = "latin-1") -> bytes:
    """Return an ID3v1 tag, which ends an MP3 file."""
    texts = (struct.pack("30s", text.encode(encoding)) for text in (title, artist, album))
    return b"TAG" + b"".join(texts) + bytes(4 + 30) + bytes([genre])


def id3v2(
    frames: Iterable[tuple[str, str]],
    version: int = 4,
    encoding: tuple[bytes, str] = UTF_8,
    unsynchronised: bool = False,
    extended: bool = False,
) -> bytes:
    """Return an ID3v2 tag with these text frames, which begins an MP3 file."""
    body = b""
    for name, text in frames:
        content = encoding[0] + text.encode(encoding[1])
        flags = b"\0\0"
        if unsynchronised and version == 4:
            length = _synchsafe(len(content))
            content, flags = length + content.replace(b"\xff", b"\xff\x00"), b"\x00\x03"
        size = _synchsafe(len(content)) if version == 4 else len(content).to_bytes(3 if version == 2 else 4, "big")
        body += name.encode() + size + (flags if version > 2 else b"") + content
    if extended:
        body = (b"\0\0\0\x06" + bytes(6) if version == 3 else b"\0\0\0\x06\x01\0") + body
    if unsynchronised and version < 4:
        body = body.replace(b"\xff", b"\xff\x00")
    return b"ID3" + bytes([version, 0, unsynchronised << 7 | extended << 6]) + _synchsafe(len(body)) + body


def chunk(container: bytes, name: bytes, content: bytes) -> bytes:
    """Return a WAV or AIFF file with a chunk added at its end."""
    order = "<" if container.startswith(b"RIFF") else ">"
    whole = container + name + struct.pack(order + "I", len(content)) + content + bytes(len(content) % 2)
    return whole[:4] + struct.pack(order + "I", len(whole) - 8) + whole[8:]


def ape(texts: Iterable[tuple[str, str]], header: bool = True, version: int = 2_000) -> bytes:
    """Return an APE tag, which ends a file."""
    items, count = b"", 0
    for name, text in texts:
        data = text.encode()
        items += struct.pack("<II", len(data), 0) + name.encode() + b"\0" + data
        count += 1
    place = struct.pack("<III", version, len(items) + 32, count)
    begin = b"APETAGEX" + place + struct.pack("<I", 0xA0000000) + bytes(8)
    return (begin if header else b"") + items + b"APETAGEX" + place + struct.pack("<I", header << 31) + bytes(8)


def riff_info(wav: bytes, texts: Iterable[tuple[str, str]], encoding: str = "utf-8") -> bytes:
    """Return a WAV file with a list of texts."""
    entries = b"INFO"
    for name, text in texts:
        data = text.encode(encoding) + b"\0"
        entries += name.encode() + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return chunk(wav, b"LIST", entries)


def vorbis_comments(flac: bytes, comments: Iterable[tuple[str, str]]) -> bytes:
    """Return a FLAC file with these comments in place of its own."""
    data = struct.pack("<I", 0)
    entries = [f"{name}={text}".encode() for name, text in comments]
    data += struct.pack("<I", len(entries)) + b"".join(struct.pack("<I", len(entry)) + entry for entry in entries)
    blocks, at, last = [], 4, False
    while not last:
        kind, size = flac[at], int.from_bytes(flac[at + 1 : at + 4], "big")
        last = bool(kind & 0x80)
        if kind & 0x7F != 4:
            blocks.append((kind & 0x7F, flac[at + 4 : at + 4 + size]))
        at += 4 + size
    blocks.append((4, data))
    parts = [
        bytes([kind | (index == len(blocks) - 1) << 7]) + len(content).to_bytes(3, "big") + content
        for index, (kind, content) in enumerate(blocks)
    ]
    return b"fLaC" + b"".join(parts) + flac[at:]


def rename_comment(ogg: bytes, old: str, new: str) -> bytes:
    """Return an Ogg file whose comment has another name, no longer than its own: encoders write no name twice."""
    before = f"{old}=".encode()
    after = f"{new}=".encode().ljust(len(before))  # spaces before the text
    assert len(after) == len(before)
    assert ogg.count(before) == 1
    data = bytearray(ogg.replace(before, after))
    at = data.find(b"OggS")
    while at >= 0:
        end = at + 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
        data[at + 22 : at + 26] = bytes(4)
        data[at + 22 : at + 26] = struct.pack("<I", _ogg_checksum(data[at:end]))
        at = data.find(b"OggS", end)
    return bytes(data)


def _ogg_checksum(page: bytes) -> int:
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


def _synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))
