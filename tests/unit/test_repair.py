"""`specrec repair`: what is damaged is set aside, what can be read is kept, and what to do next is said."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from deltalake import DeltaTable

from specrec.cli import main
from specrec.cli.tables import map_points
from specrec.errors import SpecrecError, TrackError
from specrec.pipeline.run import as_specrec_error
from specrec.storage import Location, locate
from specrec.storage.config import StorageConfig
from specrec.storage.local import LocalStore
from specrec.warehouse.mending import Mender
from specrec.warehouse.reader import Reader
from specrec.warehouse.schemas import TABLES
from specrec.warehouse.tables import Warehouse

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RUN = {"stage": "fit", "status": "done", "started_at": NOW, "config_hash": "h"}
MADE = {
    "config_hash": "c",
    "payload": b"x",
    "fitted_tracks": 3,
    "reason": "first",
    "run_id": "r",
    "created_at": NOW,
}
LIST = {
    "system": "hybrid",
    "track_id": "a",
    "recommended_track_id": "b",
    "score": 1.0,
    "explanation": "",
    "reasons": [],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A warehouse: three runs, two artefacts, three rows of lists and one vector, each written by itself."""
    warehouse = Warehouse(None, str(tmp_path), StorageConfig())  # type: ignore[arg-type]
    warehouse.create_missing()
    for number in (1, 2, 3):
        warehouse.append_few("runs", [RUN | {"run_id": f"run {number}"}])
        warehouse.append_few("recommendations", [LIST | {"rank": number, "run_id": "r", "computed_at": NOW}])
    for name in ("map", "features_scaler"):
        warehouse.append_few("artefacts", [MADE | {"name": name, "version": 1}])
    vector = {"space": "features", "track_id": "a", "vector": [1.0], "input_hash": "h", "run_id": "r"}
    warehouse.append_few("embeddings", [vector | {"computed_at": NOW}])
    return tmp_path


def newest_data(root: Path, table: str) -> Path:
    """The file that was written last, with the row that was written last."""
    return max((root / table).rglob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)


def cut_log(root: Path, table: str) -> None:
    last = max((root / table / "_delta_log").glob("*.json"))
    last.write_bytes(last.read_bytes()[:100])


def lose_file(root: Path, table: str) -> None:
    newest_data(root, table).unlink()


def cut_file(root: Path, table: str) -> None:
    path = newest_data(root, table)
    path.write_bytes(path.read_bytes()[:-200])


def lose_log(root: Path, table: str) -> None:
    (root / table / "_delta_log" / f"{0:020}.json").unlink()


DAMAGES = [cut_log, lose_file, cut_file]


def specrec(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def repair(root: Path, table: str) -> str:
    result = specrec("repair", table, "--warehouse", str(root), "--set", "log.level=error")
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(root: Path, table: str) -> list[dict[str, Any]]:
    return Reader(str(root), StorageConfig()).rows(table)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("damage", [*DAMAGES, lose_log])
def test_what_a_night_makes_is_emptied_and_its_log_is_set_aside(
    root: Path, damage: Callable[[Path, str], None]
) -> None:
    damage(root, "recommendations")
    with pytest.raises(SpecrecError, match=f"`specrec repair recommendations --warehouse {root}`") as told:
        rows(root, "recommendations")
    assert "\n" not in str(told.value)
    before = contents(root / "recommendations" / "_delta_log")
    said = repair(root, "recommendations")
    assert "recommendations is empty now" in said
    assert "The stage recommend makes it anew: run `specrec nightly`" in said
    assert rows(root, "recommendations") == []
    (aside,) = (root / "recommendations").glob("_set_aside_*")
    assert contents(aside / "_delta_log") == before
    assert f"{aside}" in said
    assert [row["stage"] for row in rows(root, "runs")].count("repair") == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_records_everything_is_kept_that_can_be_read(root: Path, damage: Callable[[Path, str], None]) -> None:
    damage(root, "runs")
    said = repair(root, "runs")
    assert "set aside" in said
    found = [row["run_id"] for row in rows(root, "runs") if row["stage"] != "repair"]
    assert sorted(found) == ["run 1", "run 2"]
    assert len(rows(root, "recommendations")) == 3


def test_records_whose_log_is_lost_begin_anew(root: Path) -> None:
    lose_log(root, "runs")
    assert "its log cannot be read" in repair(root, "runs")
    assert [row["stage"] for row in rows(root, "runs")] == ["repair"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_with_a_lost_artefact_goes_what_was_made_with_it(root: Path, damage: Callable[[Path, str], None]) -> None:
    damage(root, "artefacts")
    said = repair(root, "artefacts")
    assert [row["name"] for row in rows(root, "artefacts")] == ["map"]
    for table in ("embeddings", "neighbours", "duplicates", "recommendations", "agreement", "map"):
        assert f"{table} is empty now" in said
        assert rows(root, table) == []


def test_an_artefact_that_somebody_changed_is_put_back(root: Path) -> None:
    before = rows(root, "artefacts")
    DeltaTable(root / "artefacts").update({"fitted_tracks": "99"}, predicate="name = 'map'")
    assert "UPDATE (version 3) undone" in repair(root, "artefacts")
    assert sorted(rows(root, "artefacts"), key=str) == sorted(before, key=str)
    assert len(rows(root, "embeddings")) == 1


@pytest.mark.parametrize("table", ["artefacts", "quarantine"])
def test_what_somebody_changed_and_cannot_be_put_back_begins_anew(root: Path, table: str) -> None:
    """The night that could not undo it said to repair it: so a repair must do."""
    warehouse = Warehouse(None, str(root), StorageConfig())  # type: ignore[arg-type]
    if table == "quarantine":
        seen = {"attempts": 1, "first_seen": NOW, "last_seen": NOW, "run_id": "r"}
        warehouse.append_few(table, [seen | {"track_id": "a", "stage": "extract", "code": "silent"}])
    changed = DeltaTable(root / table)
    changed.update({"run_id": "'mine'"})
    changed.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(SpecrecError, match=f"specrec repair {table}"):
        warehouse.undo_foreign_changes(["extract", "fit"])
    assert f"{table} is empty now" in repair(root, table)
    assert rows(root, table) == []
    assert len(rows(root, "embeddings")) == (table == "quarantine")
    assert warehouse.undo_foreign_changes(["extract", "fit"]) == []


class Killed(BaseException):
    """As by a signal: nothing catches it."""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_repair_that_is_killed_never_leaves_vectors_of_a_lost_artefact(
    root: Path, damage: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(root, "artefacts")

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Mender, "set_aside", killed)
        with pytest.raises(Killed):
            specrec("repair", "artefacts", "--warehouse", str(root))
    assert rows(root, "embeddings") == []
    said = repair(root, "artefacts")  # and it finds what it found before
    assert "damaged or lost" in said or "were cut" in said
    assert [row["name"] for row in rows(root, "artefacts")] == ["map"]


@pytest.mark.parametrize("when", [0, 1, 2, 3, 4, 5, "created", "written"])
def test_a_log_that_was_being_replaced_is_put_back_unless_somebody_wrote_since(root: Path, when: int | str) -> None:
    class Dying(LocalStore):
        left = when if isinstance(when, int) else 100

        def delete(self, uri: Location) -> None:
            if self.left == 0:
                raise Killed
            self.left -= 1
            super().delete(uri)

    place, log = locate(str(root / "runs")), root / "runs" / "_delta_log"
    DeltaTable(root / "runs").create_checkpoint()
    before, had = contents(log), rows(root, "runs")
    assert len(before) == 6
    try:
        Mender(Dying(), place, "tonight").set_log_aside()
    except Killed:
        with suppress(SpecrecError):  # what is left is never taken for what the table was at an earlier time
            assert rows(root, "runs") == had
    warehouse = Warehouse(None, str(root), StorageConfig())  # type: ignore[arg-type]
    if when in ("created", "written"):
        warehouse.create_missing(["runs"])
    if when == "written":
        warehouse.append_few("runs", [RUN | {"run_id": "of another night"}])
    later = Mender(LocalStore(), place, "later")
    assert later.put_logs_back() == (when != "written")
    if when == "written":
        assert [row["run_id"] for row in rows(root, "runs")] == ["of another night"]
    else:
        assert contents(log) == before
        assert rows(root, "runs") == had
    assert later.put_logs_back() == 0


def test_of_a_store_that_fails_nothing_is_damaged(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise TrackError("storage_error", "cannot be read: reset")

    monkeypatch.setattr(LocalStore, "open", lambda _, uri, size: Failing(bytes(size)))
    before = contents(root / "runs" / "_delta_log")
    result = specrec("repair", "runs", "--warehouse", str(root))
    assert result.exit_code == 2
    assert "cannot be read: reset" in result.stderr
    assert "Traceback" not in result.stderr
    assert before.items() <= contents(root / "runs" / "_delta_log").items()
    assert len(rows(root, "runs")) == 4  # and that it failed


@pytest.mark.parametrize("table", [name for name, table in TABLES.items() if not table.made_by] + ["artefacts"])
def test_a_record_that_is_whole_is_left_alone(root: Path, table: str) -> None:
    before = rows(root, table)
    assert f"Nothing is wrong with {table}." in repair(root, table)
    assert [row for row in rows(root, table) if row.get("stage") != "repair"] == before


def test_a_wrong_name_and_a_wrong_place_are_told_and_nothing_is_written(root: Path, tmp_path: Path) -> None:
    wrong = specrec("repair", "recomendations", "--warehouse", str(root))
    assert (wrong.exit_code, wrong.stderr) == (
        2, "specrec: there is no table 'recomendations': did you mean 'recommendations'?\n",
    )  # fmt: skip
    nowhere = specrec("repair", "runs", "--warehouse", f"{tmp_path}/nowhere")
    assert nowhere.exit_code == 2
    assert f"there is no table {tmp_path}/nowhere/runs" in nowhere.stderr
    assert not (tmp_path / "nowhere").exists()


def test_the_map_that_is_read_in_passing_tells_damage_in_one_line(tmp_path: Path) -> None:
    row = {"space": "hybrid", "track_id": "a", "pca_x": 0.0, "pca_y": 1.0, "cluster": 1, "cluster_name": "one"}
    deltalake.write_deltalake(tmp_path / "map", pa.Table.from_pylist([row]))
    reader = Reader(str(tmp_path), StorageConfig())
    points, count = map_points(reader, "pca", 10)
    assert (points[["x", "y"]].to_numpy().tolist(), count) == ([[0.0, 1.0]], 1)
    cut_file(tmp_path, "map")
    with pytest.raises(SpecrecError, match="`specrec repair map") as told:
        map_points(reader, "pca", 10)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("error", [ConnectionRefusedError(), ConnectionResetError(), BrokenPipeError()], ids=repr)
def test_a_pipe_that_is_broken_is_not_java_that_ended(error: OSError) -> None:
    told = as_specrec_error(error)
    assert ("Java process ended" in str(told)) == (not isinstance(error, BrokenPipeError))


def test_altered_bytes_of_a_page_with_a_checksum_are_told(tmp_path: Path) -> None:
    schema = pa.schema(deltalake.Schema.from_json(TABLES["mel_spectrograms"].schema.json()).to_arrow())
    mel = bytes(range(256)) * 40
    row = {"track_id": "a", "mel": mel, "run_id": "r", "computed_at": NOW}
    deltalake.write_deltalake(tmp_path / "mel_spectrograms", pa.Table.from_pylist([row], schema))
    (path,) = (tmp_path / "mel_spectrograms").glob("*.parquet")
    rows_there = pq.read_table(path)
    pq.write_table(rows_there, path, compression="none", use_dictionary=False, write_page_checksum=True)
    content = path.read_bytes()
    assert content.count(mel) == 1
    log = tmp_path / "mel_spectrograms" / "_delta_log" / f"{0:020}.json"
    (size,) = re.findall(r'"size":(\d+)', log.read_text())
    log.write_text(log.read_text().replace(f'"size":{size}', f'"size":{len(content)}'))
    assert rows(tmp_path, "mel_spectrograms")[0]["mel"] == mel
    path.write_bytes(content.replace(mel, mel[:-1] + b"!"))
    with pytest.raises(SpecrecError, match="repair mel_spectrograms"):
        rows(tmp_path, "mel_spectrograms")
