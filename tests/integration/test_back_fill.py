"""Nights of some tracks only, and tables that are brought back to what they were after a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from nights import MEASURED, RESULTS, Night, read_csv, write_csv

from specrec.cli import main
from specrec.errors import SpecrecError
from specrec.pipeline.nightly import run_stages
from specrec.pipeline.rollback import rollback
from specrec.storage import locate


def results(night: Night) -> dict[str, list[dict[str, Any]]]:
    return {name: night.rows(name) for name in (*RESULTS, "artefacts")}


def test_after_a_roll_back_to_before_a_refit_the_next_night_gives_what_that_run_gave(second_night: Night) -> None:
    night, before = second_night, results(second_night)
    (first,) = {row["run_id"] for row in night.reader.rows("runs")}
    write_csv(Path(night.catalogue), read_csv(Path(night.catalogue))[:-1])
    run = night.run(refit=True)
    refitted = results(night)
    assert all(refitted[name] != before[name] for name in ("tracks", "embeddings", "recommendations", "artefacts"))

    shown = CliRunner().invoke(main, ["changes", "--since", first, "--warehouse", night.warehouse])
    assert shown.exit_code == 0, shown.output
    assert "hybrid" in shown.stdout
    told = CliRunner().invoke(main, ["rollback", "--to", first, "--warehouse", night.warehouse])
    assert told.exit_code == 0, told.output
    assert "recommendations is as it was after the run" in told.stdout
    assert results(night) == before
    assert {row["run_id"] for row in night.reader.rows("runs") if row["stage"] == "ingest"} == {first, run}

    rows = [*read_csv(Path(night.catalogue))]
    gone = {row["track_id"] for row in before["tracks"]} - {row["track_id"] for row in rows}
    assert len(gone) == 1
    # with the catalogue of then, nothing is to be done
    audio = next(row["audio"] for row in before["tracks"] if row["track_id"] in gone)
    _restore_row(night, next(iter(gone)), audio)
    again = night.run()
    assert results(night) == before
    statuses = {row["stage"]: row["status"] for row in night.reader.rows("runs") if row["run_id"] == again}
    assert {statuses[name] for name in ("extract", "fit", "embed", "neighbours", "recommend", "map")} == {
        "unchanged"
    }


def _restore_row(night: Night, track_id: str, audio: str) -> None:
    """Put a row back into the catalogue, as it was."""
    folder = Path(night.settings[0].partition("=")[2])
    (row,) = [row for row in read_csv(folder / "catalogue.csv") if row["track_id"] == track_id]
    assert row["audio"] == audio
    write_csv(Path(night.catalogue), [*read_csv(Path(night.catalogue)), row])


def test_a_night_of_some_tracks_leaves_all_others_as_they_are(second_night: Night, tmp_path: Path) -> None:
    night = second_night
    config = night.config()
    rows = read_csv(Path(night.catalogue))
    changed, other, gone = (row["track_id"] for row in rows[:3])
    old = {row["track_id"]: row for row in night.rows("tracks")}
    features = {row["track_id"]: row for row in night.rows("audio_features", ())}
    rows[0]["track_name"] = rows[1]["track_name"] = "another"
    rows[0]["audio"] = rows[5]["audio"]
    write_csv(Path(night.catalogue), rows[:2] + rows[3:])
    (tmp_path / "only.txt").write_text(f"{changed}\r\n  {gone}\n\n", encoding="utf-8")
    write_csv(tmp_path / "unknown.csv", [{"track_id": changed}, {"track_id": "no such track"}])

    with pytest.raises(SpecrecError, match="neither the catalogue nor the tables have 'no such track'"):
        run_stages(config, MEASURED, tracks=locate(str(tmp_path / "unknown.csv")))
    assert {row["track_id"]: row for row in night.rows("tracks")} == old
    with pytest.raises(SpecrecError, match="there is no file"):
        run_stages(config, MEASURED, tracks=locate(str(tmp_path / "nowhere.txt")))
    with pytest.raises(SpecrecError, match="other settings of audio"):
        run_stages(night.config("audio.n_mfcc=13"), ["extract"], tracks=locate(str(tmp_path / "only.txt")))

    run = run_stages(config, MEASURED, tracks=locate(str(tmp_path / "only.txt")))
    now = {row["track_id"]: row for row in night.rows("tracks")}
    assert now.keys() == old.keys() - {gone}
    assert now[changed]["track_name"] == "another"
    assert now[other] == old[other]
    assert {of for of in now if now[of] != old[of]} == {changed}
    measured = {row["track_id"]: row for row in night.rows("audio_features", ())}
    assert measured.keys() == features.keys() - {gone}
    assert {of for of in measured if measured[of] != features[of]} == {changed}
    assert measured[changed]["run_id"] == run
    # the night after that takes over the rest
    night.run(stages=MEASURED)
    assert {row["track_id"]: row for row in night.rows("tracks")}[other]["track_name"] == "another"


def test_a_run_that_is_not_known_is_told(first_night: Night) -> None:
    with pytest.raises(SpecrecError, match="there is no run 'yesterday'"):
        rollback(first_night.config(), "yesterday")
