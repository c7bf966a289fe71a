"""Damaged and odd files among good ones: each ends as it should, and none ends the run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from nights import LISTED, MEASURED, Night, read_csv, write_csv
from pyspark.sql import SparkSession

from specrec.embedding.config import SYSTEMS

PLANTED = Path(__file__).parents[1] / "planted"
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
    good = sorted(path.name for path in (rendered / "audio").iterdir())[:6]
    rows += [{"track_id": name, "audio": f"good/{name}"} for name in good]
    catalogue = write_csv(music / "tracks.csv", rows)
    settings = (
        "storage.follow_links_out=true",
        "extract.max_failed_share=0.5",
        "audio.clip_seconds=30",
        "audio.offset_seconds=0",
    )
    night = Night(str(catalogue), f"{tmp_path}/warehouse", settings)

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


def test_decoders_that_abort_hang_or_eat_memory_cost_their_own_file(
    spark: SparkSession, rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "music").mkdir()
    good = sorted((rendered / "audio").iterdir())[:10]
    for clip in good:
        shutil.copy(clip, tmp_path / "music")
    for word in ("ABORT", "SEGFAULT", "SLEEP", "EAT"):
        (tmp_path / "music" / f"{word}.mp3").write_text(word)
    # what the session's Python workers are started with: others than those that there are already
    monkeypatch.setitem(spark.sparkContext.environment, "PYTHONPATH", str(PLANTED))
    # long enough to eat the memory on a busy machine
    settings = ("extract.time_limit_seconds=8", "extract.memory_limit_mb=400", "extract.max_failed_share=0.5")
    night = Night(f"{tmp_path}/music", f"{tmp_path}/warehouse", settings)

    night.run(stages=LISTED)

    assert {Path(row["audio_uri"]).stem: row["code"] for row in night.rows("quarantine")} == {
        "ABORT": "crashed_decoder",
        "SEGFAULT": "crashed_decoder",
        "SLEEP": "timed_out",
        "EAT": "out_of_memory",
    }
    assert {row["track_id"] for row in night.rows("audio_features")} == {clip.name for clip in good}
    assert {row["track_id"] for row in night.rows("recommendations")} == {clip.name for clip in good}
