"""Damaged and odd files among good ones: each ends as it should, and none ends the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nights import LISTED, MEASURED, Night, read_csv, write_csv

from specrec.embedding.config import SYSTEMS

BAD_AUDIO = Path(__file__).parents[3] / "shared" / "bad-audio"

CODES = {
    "zero-bytes.mp3": "empty",
    "text-named.mp3": "undecodable",
    "silence.flac": "silent",
    "constant-offset.flac": "silent",
    "not-a-number.wav": "not_finite",
    "infinite.wav": "not_finite",
    "two-tenths-of-a-second.wav": "too_short",
    "one-sample.wav": "too_short",
    "video-without-sound.mp4": "no_audio_stream",
    "not-on-the-store.mp3": "not_found",
}


@pytest.mark.skipif(not BAD_AUDIO.exists(), reason="needs bad-audio of the shared data")
def test_every_bad_file_ends_as_expected_and_the_good_are_recommended(rendered: Path, tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    (music / "good").symlink_to(rendered / "audio")
    (music / "bad").symlink_to(BAD_AUDIO)
    expected = {row["audio"]: row["expected"] for row in read_csv(BAD_AUDIO / "expected.csv")}
    rows = [{"track_id": f"bad {name}", "audio": f"bad/{name}"} for name in expected]
    good = sorted(path.name for path in (rendered / "audio").iterdir())
    rows += [{"track_id": name, "audio": f"good/{name}"} for name in good]
    catalogue = write_csv(music / "tracks.csv", rows)
    night = Night(
        str(catalogue), f"{tmp_path}/warehouse", ("extract.max_failed_share=0.5", "audio.clip_seconds=30")
    )

    run_id = night.run(stages=LISTED)

    quarantined = {row["track_id"]: row for row in night.rows("quarantine")}
    done = {row["track_id"] for row in night.rows("audio_features")}
    for name, outcome in expected.items():
        track_id = f"bad {name}"
        assert (track_id in quarantined) != (track_id in done), name
        if outcome in ("ok", "quarantine"):
            assert (track_id in done) == (outcome == "ok"), (name, quarantined.get(track_id))
    assert {name: quarantined[f"bad {name}"]["code"] for name in CODES} == CODES
    assert not [row for row in quarantined.values() if row["code"] == "failed"]
    assert all(row["message"] for row in quarantined.values())
    assert set(good) <= done
    recommended = {(row["system"], row["track_id"]) for row in night.rows("recommendations")}
    assert recommended == {(system, track_id) for system in SYSTEMS for track_id in done}
    assert not recommended & {(system, track_id) for system in SYSTEMS for track_id in quarantined}
    assert night.stage(run_id, "extract")["rows_failed"] == len(quarantined)

    again = night.run(stages=MEASURED)  # none of them is tried again
    assert night.stage(again, "extract")["details"]["decoded"] == "0"
    assert {row["attempts"] for row in night.rows("quarantine", without=())} == {1}


def test_decoders_that_abort_hang_or_eat_memory_cost_their_own_file(rendered: Path, tmp_path: Path) -> None:
    shutil.copytree(rendered / "audio", tmp_path / "music")
    good = len(list((tmp_path / "music").iterdir()))
    for word in ("ABORT", "SEGFAULT", "SLEEP", "EAT"):
        (tmp_path / "music" / f"{word}.mp3").write_text(word)
    command = [sys.executable, "-m", "specrec.cli", "nightly"]
    for setting in (
        f"catalogue.path={tmp_path}/music",
        f"warehouse={tmp_path}/warehouse",
        "extract.time_limit_seconds=5",
        "spark.master=local[2]",
        f"spark.jars_dir={Path(__file__).parents[2] / '.jars'}",
    ):
        command += ["--set", setting]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "planted")}

    job = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert job.returncode == 0, job.stderr[-2000:]
    night = Night(f"{tmp_path}/music", f"{tmp_path}/warehouse")
    assert {Path(row["audio_uri"]).stem: row["code"] for row in night.rows("quarantine")} == {
        "ABORT": "crashed_decoder",
        "SEGFAULT": "crashed_decoder",
        "SLEEP": "timed_out",
        "EAT": "out_of_memory",
    }
    assert len(night.rows("audio_features")) == good
    assert len({row["track_id"] for row in night.rows("recommendations")}) == good
