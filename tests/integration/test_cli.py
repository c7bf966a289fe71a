"""The command line as its user types it: what it prints, and how it fails."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from deltalake import write_deltalake
from nights import QUICK, Night, write_csv

from specrec.cli import main
from specrec.errors import CatalogueError
from specrec.pipeline.account import ACCOUNT
from specrec.pipeline.stages import OF_LISTENERS, STAGES
from specrec.warehouse.lock import WarehouseLock


def specrec(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments)


def test_show_prints_both_systems_side_by_side(first_night: Night) -> None:
    result = specrec("show", "demo-0001", "--warehouse", first_night.warehouse)
    assert result.exit_code == 0, result.output
    assert "features" in result.output
    assert "spectrogram" in result.output
    assert re.search(r"\d+ in both lists \(Jaccard \d\.\d\d, rank-biased overlap \d\.\d\d\)", result.output)
    assert (
        result.output.count("Sounds alike")
        + result.output.count("The nearest that")
        + result.output.count("closest in overall")
        >= 12
    )


def test_show_prints_the_parts_of_one_systems_scores(first_night: Night) -> None:
    result = specrec("show", "demo-0001", "--system", "hybrid", "--warehouse", first_night.warehouse)
    assert result.exit_code == 0, result.output
    assert all(family in result.output for family in ("timbre:", "rhythm:", "bass:"))
    assert len(re.findall(r"listen: 0:0[0-2] and 0:0[0-2]", result.output)) == 10


def test_show_suggests_a_track_where_there_is_none(first_night: Night) -> None:
    result = specrec("show", "demo-001", "--warehouse", first_night.warehouse)
    assert result.exit_code == 2
    assert "there is no track 'demo-001' in the catalogue: did you mean demo-00" in result.output


def test_runs_and_quarantine_print_their_tables(first_night: Night) -> None:
    runs = specrec("runs", "--warehouse", first_night.warehouse)
    assert runs.exit_code == 0, runs.output
    assert all(
        stage in runs.output
        for stage in ("ingest", "extract", "fit", "embed", "neighbours", "duplicates", "recommend", "map")
    )
    quarantine = specrec("quarantine", "--warehouse", first_night.warehouse)
    assert (quarantine.exit_code, quarantine.output) == (0, "Nothing is in quarantine.\n")


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = specrec(command, "--help")
    assert result.exit_code == 0
    assert f"specrec {command}" in result.output.split("Example", 1)[1]


def refused(tmp_path: Path, *arguments: str) -> str:
    """Run a night that must fail; return its one line, having checked that nothing was written."""
    result = specrec("nightly", "--set", f"warehouse={tmp_path}/warehouse", "--set", "log.level=error", *arguments)
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert not list((tmp_path / "warehouse").glob("*/_delta_log"))
    return lines[0]


def test_a_bad_configuration_is_one_line(tmp_path: Path) -> None:
    line = refused(tmp_path, "--set", "catalogue.path=x", "--set", "audio.clip_secs=3")
    assert line == "specrec: unknown configuration key 'audio.clip_secs': did you mean 'audio.clip_seconds'?"
    assert not (tmp_path / "warehouse").exists()


def test_a_missing_catalogue_is_one_line(tmp_path: Path) -> None:
    line = refused(tmp_path, "--set", f"catalogue.path={tmp_path}/none.csv")
    assert line == f"specrec: there is no catalogue {tmp_path}/none.csv: set catalogue.path"
    assert not (tmp_path / "warehouse").exists()


def test_a_missing_column_is_one_line(tmp_path: Path) -> None:
    catalogue = write_csv(tmp_path / "tracks.csv", [{"track_id": "a", "title": "b"}])
    line = refused(tmp_path, "--set", f"catalogue.path={catalogue}")
    assert line == "specrec: the catalogue lacks the column 'audio'; it has track_id, title"


def test_an_empty_catalogue_is_one_line(second_night: Night) -> None:
    before = second_night.versions()
    Path(second_night.catalogue).write_text("track_id,audio\n")
    with pytest.raises(CatalogueError, match=r"^the catalogue .* holds no track$"):
        second_night.run()
    assert second_night.versions() == before


def test_a_held_warehouse_is_one_line(first_night: Night, tmp_path: Path) -> None:
    night = Night(first_night.catalogue, f"{tmp_path}/warehouse")
    with WarehouseLock(night.warehouse, night.config().storage, "the-other-run"):
        line = refused(tmp_path, "--set", f"catalogue.path={first_night.catalogue}")
    assert line.startswith("specrec: the warehouse is held by run the-other-run (host ")
    assert not list((tmp_path / "warehouse").glob("*/_delta_log"))


README = Path(__file__).parents[2] / "README.md"
NOTEBOOK = README.parent / "docs" / "api.md"


def test_the_code_of_the_notebook_page_runs(second_night: Night, rendered: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", NOTEBOOK.read_text(encoding="utf-8"), re.DOTALL)
    places = (f"warehouse={second_night.warehouse}", f"catalogue.path={second_night.catalogue}")
    settings = ", ".join(repr(of) for of in (*places, *QUICK, *second_night.settings))
    code = "\n".join(blocks)
    for as_written, here in (
        ('"demo/demo.yaml"', f"None, [{settings}]"),
        ("demo/audio/demo-0003.mp3", f"{rendered}/audio/demo-0003.mp3"),
    ):
        assert as_written in code
        code = code.replace(as_written, here)

    found: dict[str, Any] = {}
    exec(code, found)

    assert set(found["runs"]["stage"]) - {ACCOUNT} == {*STAGES} - {
        *OF_LISTENERS
    }  # nothing changed: no new tracks to count
    assert set(found["runs"]["status"]) <= {"done", "unchanged"}
    assert sorted(found["lists"]["rank"]) == list(range(1, 11))
    assert found["found"]["recommended_track_id"].iloc[0] == "demo-0003"
    assert len(found["found"]) == 5


def test_the_readmes_python_reads_the_tables(first_night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    service, spectrogram = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert "delta_scan('demo/warehouse/recommendations')" in service  # DuckDB fetches that extension from the net

    found: dict[str, Any] = {}
    exec(spectrogram.replace("demo/warehouse", first_night.warehouse), found)

    track_id = found["row"]["track_id"]
    uri = next(row["audio_uri"] for row in first_night.rows("tracks") if row["track_id"] == track_id)
    samples, rate = librosa.load(uri, sr=22_050, offset=0.25, duration=3.0)
    samples -= samples.mean()  # a constant offset is no part of the sound
    expected = librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate), ref=np.max)
    np.testing.assert_allclose(found["db"], expected, atol=0.2)


def test_show_prints_a_list_that_there_is_and_says_why_there_is_none(second_night: Night) -> None:
    table = second_night.reader.table("quarantine")
    now = datetime.now(UTC)
    row = {"track_id": "demo-0001", "stage": "embed/own", "code": "timed_out", "message": "took too long"}
    row |= {"audio_uri": "x", "attempts": 1, "first_seen": now, "last_seen": now}
    schema = pa.schema(table.schema().to_arrow())
    row = {field.name: row.get(field.name, "x" if field.type == pa.string() else None) for field in schema}
    write_deltalake(table, pa.Table.from_pylist([row], schema), mode="append")
    shown = specrec("show", "demo-0001", "--warehouse", second_night.warehouse)
    assert shown.exit_code == 0, shown.output  # of one space alone it was left out

    second_night.reader.table("recommendations").delete()
    for track_id, why in (
        ("demo-0001", "has no recommendations: it is in quarantine (timed_out: took too long)"),
        ("demo-0002", "has no recommendations yet: run `specrec nightly`"),
    ):
        result = specrec("show", track_id, "--warehouse", second_night.warehouse)
        assert result.exit_code == 2
        assert result.stderr == f"specrec: {track_id} {why}\n"
