"""What a night brings up to date is what it would make anew: row for row, over random changes, killed in between.

``SPECREC_WALK_NIGHTS=30`` walks further than the suite does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from given import GivenTrack, write_given
from nights import Night, copy_artefacts, untrue

from specrec.warehouse.history import Mark
from specrec.warehouse.tables import Warehouse

STAGES = ("fit", "embed", "neighbours", "duplicates", "recommend", "map")
#: How near the nearest are is kept from night to night, and so depends on the nights before: it is not, here.
EXACT = (
    "recommend.max_hub_shift=0",
    "recommend.update_from=0",
    "neighbours.update_from=0",
    "neighbours.rebuild_share=1",
    "fit.max_statistics_shift=12",  # a few of sixty tracks move what is usual by more than they would a catalogue
    "audio.n_mels=32",
    "audio.sample_rate=22050",
)
NIGHTS = int(os.environ.get("SPECREC_WALK_NIGHTS", "2"))
TRACKS = 60


class Killed(BaseException):
    """Stands for a process that ends, which nothing catches."""


@contextmanager
def killed_at(commit: int, after: bool) -> Iterator[list[int]]:
    """Let the commit of a number end the process before it is made, or after."""
    count = [0]
    marked = Warehouse._marked

    @contextmanager
    def counted(self: Warehouse, mark: Mark | None = None, *settings: Any) -> Iterator[None]:
        count[0] += 1
        if count[0] == commit and not after:
            raise Killed
        with marked(self, mark, *settings):
            yield
        if count[0] == commit and after:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Warehouse, "_marked", counted)
        yield count


def changed(tracks: dict[str, GivenTrack], random: np.random.Generator, night: int) -> dict[str, GivenTrack]:
    """Return a catalogue after some changes of every kind that an operator's has."""
    tracks = dict(tracks)
    for number in range(int(random.integers(1, 4))):
        new = GivenTrack.of(1000 + 10 * night + number)
        tracks[new.track_id] = new
    for kind in random.choice(7, size=3, replace=False):
        one, other = (tracks[name] for name in random.choice(sorted(tracks), 2, replace=False))
        if kind == 0:
            del tracks[one.track_id]
        elif kind == 1:  # other audio
            tracks[one.track_id] = one.changed(sound=5000 + night)
        elif kind == 2:  # what sentences repeat
            tracks[one.track_id] = one.changed(energy=float(random.uniform()))
        elif kind == 3:  # who plays
            tracks[one.track_id] = one.changed(artist=other.artist)
        elif kind == 4:  # a copy of another file
            tracks[one.track_id] = one.changed(sound=other.sound)
        elif kind == 5:
            copies = [of for of in tracks.values() if of.artist == one.artist]
            tracks |= {of.track_id: of.changed(artist=f"renamed {night}") for of in copies}
        elif kind == 6:  # one recording, twice, under one title
            copy = one.changed(track_id=f"copy-{night}")
            tracks[copy.track_id] = copy
    return tracks


def test_incremental_equals_rebuilt_over_random_changes(tmp_path: Path) -> None:
    random = np.random.default_rng(22)
    night = Night("unused.csv", f"{tmp_path}/w", EXACT)
    rebuilt = Night("unused.csv", f"{tmp_path}/rebuilt", EXACT)
    tracks = {of.track_id: of for of in map(GivenTrack.of, range(TRACKS))}
    write_given(Path(night.warehouse), list(tracks.values()), night.config())
    night.run(stages=STAGES)
    settings: tuple[str, ...] = ()
    kept = 0
    for number in range(1, NIGHTS + 1):
        tracks = changed(tracks, random, number)
        if number % 3 == 0:
            settings = (f"recommend.max_per_artist={random.integers(1, 4)}",)
        write_given(Path(night.warehouse), list(tracks.values()), night.config())
        before = {(row["system"], row["track_id"], row["rank"]): row for row in night.rows("recommendations", ())}
        if number % 2 == 0:
            with killed_at(int(random.integers(1, 9)), bool(random.integers(2))), pytest.raises(Killed):
                night.run(*settings, stages=STAGES)
        run_id = night.run(*settings, stages=STAGES)

        shutil.rmtree(rebuilt.warehouse, ignore_errors=True)
        copy_artefacts(night, rebuilt)
        write_given(Path(rebuilt.warehouse), list(tracks.values()), rebuilt.config())
        rebuilt.run(*settings, stages=STAGES)
        for table in ("embeddings", "neighbours", "duplicates", "recommendations", "agreement", "map"):
            found, expected = night.rows(table), rebuilt.rows(table)
            # as text: a level that is unknown is NaN, which equals nothing
            differing = [pair for pair in zip(found, expected, strict=False) if repr(pair[0]) != repr(pair[1])]
            told = [
                {key: (a.get(key), b[key]) for key in b if repr(a.get(key)) != repr(b[key])} for a, b in differing
            ]
            assert not told, (number, table, len(told), differing[0][0].get("track_id"), told[:3])
            assert len(found) == len(expected), (number, table)
        assert not untrue(night)
        rows = night.rows("recommendations", ())
        kept += sum(row == before.get((row["system"], row["track_id"], row["rank"])) for row in rows)
        assert night.stage(run_id, "recommend")["status"] in ("done", "unchanged")
    assert kept  # what did not change was not written again
