"""The clips' files, which are the same, byte for byte, whenever they are written."""

from __future__ import annotations

import zlib
from pathlib import Path

import soundfile

from specrec.demo.clips import DemoClip

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def write_audio(path: Path, clip: DemoClip) -> None:
    """Write a clip in the format that its path ends with, 16 bits where the format has bits.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from specrec.demo.clips import render_clip
    >>> with TemporaryDirectory() as folder:
    ...     write_audio(Path(folder, "clip.wav"), render_clip(0, seconds=1.0))
    ...     Path(folder, "clip.wav").stat().st_size
    88244
    """
    with soundfile.SoundFile(path, "w", clip.sample_rate, channels=1) as file:
        # A second at a time: libsndfile's Vorbis encoder overflows the stack on minutes at once.
        for start in range(0, len(clip.samples), clip.sample_rate):
            file.write(clip.samples[start : start + clip.sample_rate])
    if path.suffix == ".ogg":
        path.write_bytes(_numbered_ogg(path.read_bytes()))


def _numbered_ogg(data: bytes, serial: int = 1) -> bytes:
    """Give an Ogg stream a fixed serial number: libsndfile draws one at random for every file."""
    pages, at = bytearray(), 0
    while at < len(data):
        # 27 bytes (serial at 14, checksum at 22, segment count at 26), the segments' lengths, the segments.
        end = at + 27 + data[at + 26]
        end += sum(data[at + 27 : end])
        page = bytearray(data[at:end])
        page[14:18] = serial.to_bytes(4, "little")
        page[22:26] = bytes(4)
        # Ogg's checksum is zlib's polynomial with the bits in the other order, and no inversion.
        checksum = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
        page[22:26] = checksum.to_bytes(4, "big").translate(_REVERSED_BITS)
        pages += page
        at = end
    return bytes(pages)
