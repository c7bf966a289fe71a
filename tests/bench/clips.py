"""Clips to measure on, and the machine that it is done on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from specrec.demo import render_catalogue

MUSIC = Path(__file__).resolve().parents[3] / "shared" / "music"
FORMATS = (".mp3", ".ogg", ".flac", ".wav")


def find_clips(count: int, folder: Path) -> list[Path]:
    """Return all clips of the shared music, or `count` of 30 s rendered to a folder, in a fixed order."""
    clips = sorted(path for path in MUSIC.rglob("*") if path.suffix in FORMATS)
    if not clips:
        print(f"{MUSIC} is absent: rendering {count} clips")
        render_catalogue(folder, count, seconds=30.0)
        clips = sorted((folder / "audio").iterdir())
    # by collection and format, so that an even choice has its share of each
    return sorted(clips, key=lambda path: (path.parent.name, path.suffix, path.name))


def spread(clips: Sequence[Path], count: int) -> list[Path]:
    """Choose `count` at even distances, or all there are."""
    places = np.linspace(0, len(clips), min(count, len(clips)), endpoint=False).astype(int)
    return [clips[place] for place in places]


def cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
