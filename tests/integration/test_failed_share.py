"""Which failures fail a night: those that it finds, and never those that an earlier night told."""

from __future__ import annotations

import shutil
from pathlib import Path

import deltalake
import pytest
from nights import MEASURED, Night, read_csv, write_csv

from specrec.errors import ExtractionError

TRACKS = 8  # one that fails is within extract.max_failed_share=0.2, two are not


def test_a_night_fails_by_what_it_finds_and_the_next_one_heals(rendered: Path, tmp_path: Path) -> None:
    music, hidden = tmp_path / "music", tmp_path / "hidden"
    (music / "audio").mkdir(parents=True)
    rows = read_csv(rendered / "catalogue.csv")[:TRACKS]
    for row in rows:
        shutil.copy(rendered / row["audio"], music / row["audio"])
    files = [music / row["audio"] for row in rows]
    night = Night(str(write_csv(music / "catalogue.csv", rows)), f"{tmp_path}/warehouse")

    def failing() -> int:
        return len(night.rows("quarantine"))

    def spoil(*spoilt: Path) -> None:
        for file in spoilt:
            file.write_bytes(b"<html>not found</html>" + bytes(file.name, "utf-8"))

    # a listing that misses files fails; when it is whole again, what is not yet tried again does not count
    shutil.copytree(music / "audio", hidden)
    for file in files[:3]:
        file.unlink()
    with pytest.raises(ExtractionError, match=r"^3 of 8 audio files failed \(3 not_found\)"):
        night.run(stages=MEASURED)
    for file in files[:3]:
        shutil.copy(hidden / file.name, file)
    night.run(stages=MEASURED)
    assert (failing(), len(night.rows("audio_features"))) == (0, TRACKS)

    # too many broken files fail the night that finds them, one in each portion, and no other
    spoil(files[0], files[1])
    with pytest.raises(ExtractionError, match=r"^2 of 8 audio files failed \(2 undecodable\)"):
        night.run("extract.commit_every=1", stages=MEASURED)
    run_id = night.run(stages=MEASURED)
    assert night.stage(run_id, "extract")["status"] == "unchanged"
    assert failing() == 2

    # one more is within the share; but of a run that died before it could tell, it counts in the next
    spoil(files[2])
    run_id = night.run(stages=MEASURED)
    assert night.stage(run_id, "extract")["details"]["failed_share"] == "0.125"
    deltalake.DeltaTable(f"{night.warehouse}/runs").delete(f"run_id = '{run_id}'")
    spoil(files[3])
    with pytest.raises(ExtractionError, match=r"^2 of 8 audio files failed \(2 undecodable\)"):
        night.run(stages=MEASURED)

    # also where it died after its last commit, and nothing is left to try
    spoil(files[4], files[5])
    run_id = night.run("extract.max_failed_share=1", stages=MEASURED)
    deltalake.DeltaTable(f"{night.warehouse}/runs").delete(f"run_id = '{run_id}'")
    with pytest.raises(ExtractionError, match=r"^2 of 8 audio files failed \(2 undecodable\)"):
        night.run(stages=MEASURED)
    night.run(stages=MEASURED)
    assert failing() == 6
