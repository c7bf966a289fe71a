"""A table's files are written anew with some rows changed: they hold what a dictionary of rows would."""

from __future__ import annotations

import json
import random
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specrec.storage import Location
from specrec.storage.config import StorageConfig
from specrec.warehouse.rewriting import (
    FEED,
    IS_HOME,
    TARGET,
    Changing,
    File,
    _Statistics,
    file_of,
    locating,
    rewriting,
)
from specrec.warehouse.schemas import GONE, MOVED, NEW

SCHEMA = pa.schema(
    {
        "system": pa.string(),
        "track_id": pa.string(),
        "recommended": pa.string(),
        "rank": pa.int32(),
        "score": pa.float64(),
        "reasons": pa.list_(pa.struct({"family": pa.string(), "value": pa.float64()})),
        "computed_at": pa.timestamp("us", "UTC"),
    }
)
OF_FILE = pa.schema([field for field in SCHEMA if field.name != "system"])
CHANGES = SCHEMA.append(pa.field("change", pa.string()))
Key = tuple[str, str, str]


def row(key: Key, rank: int, score: float) -> dict[str, Any]:
    values = dict(zip(("system", "track_id", "recommended"), key, strict=True))
    reasons = [{"family": "rhythm", "value": score}] if rank % 2 else None
    computed_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=rank)
    return values | {"rank": rank, "score": score, "reasons": reasons, "computed_at": computed_at}


def write_part(folder: Path, part: str, rows: list[dict[str, Any]], files: int, group: int) -> list[File]:
    """Write rows of a part, sorted and cut into files, as Delta lays them."""
    (folder / f"system={part}").mkdir(parents=True, exist_ok=True)
    rows = sorted(rows, key=lambda of: (of["track_id"], of["rank"]))
    found = []
    for number in range(files):
        mine = rows[number * len(rows) // files : (number + 1) * len(rows) // files]
        path = f"system={part}/{number}.parquet"
        pq.write_table(pa.Table.from_pylist(mine, OF_FILE), folder / path, row_group_size=group)
        tracks = [of["track_id"] for of in mine]
        told = {"minValues": {"track_id": min(tracks)}, "maxValues": {"track_id": max(tracks)}} if tracks else {}
        size = (folder / path).stat().st_size
        found.append(file_of(path, size, part, json.dumps(told) if told else None, "track_id"))
    return found


def how_to(folder: Path, identity: tuple[str, ...], **others: Any) -> Changing:
    settings: dict[str, Any] = {"group_rows": 7, "file_bytes": 1 << 20, "is_list": False} | others
    return Changing(
        table=Location(str(folder)),
        storage=StorageConfig(),
        part="system",
        schema=SCHEMA,
        identity=identity,
        moved=("rank", "computed_at"),
        order=("track_id", "rank"),
        **settings,
    )


def change(
    how: Changing, files: list[File], changes: list[dict[str, Any]], *, batches: int = 3, has_feed: bool = True
) -> dict[int, list[dict[str, Any]]]:
    """Apply changes as Spark would have tasks do it; return the actions that came of it, by file."""
    cut = [pa.RecordBatch.from_pylist(changes[number::batches], CHANGES) for number in range(batches)]
    sent = CHANGES.append(pa.field(TARGET, pa.int32())).append(pa.field(IS_HOME, pa.bool_()))
    located = pa.Table.from_batches(list(locating(how, files)(iter(cut))), sent)
    actions: dict[int, list[dict[str, Any]]] = {}
    for target in range(len(files)):
        mine = located.filter(pa.compute.equal(located[TARGET], target))
        for done in rewriting(how, files, has_feed=has_feed)(iter(mine.to_batches())):
            for of in done.to_pylist():
                actions[of["target"]] = [json.loads(action) for action in of["actions"]]
    return actions


Row = dict[str, Any]


def rows_of(folder: Path, files: list[File], actions: dict[int, list[Row]]) -> tuple[list[Row], list[Row]]:
    """Return the rows that the table has after these actions, and what its feed says."""
    paths = [(file.path, file.part) for number, file in enumerate(files) if number not in actions and file.path]
    feed: list[tuple[str, str]] = []
    for action in (one for of in actions.values() for one in of):
        about = action.get("add") or action["cdc"]
        (paths if "add" in action else feed).append((about["path"], about["partitionValues"]["system"]))
    read = [
        [
            of | {"system": part}
            for path, part in some
            for of in pq.read_table(folder / unquote(path), partitioning=None).to_pylist()
        ]
        for some in (paths, feed)
    ]
    return read[0], read[1]


def key_of(of: Row) -> Key:
    return of["system"], of["track_id"], of["recommended"]


def followed(before: dict[Key, Row], feed: list[Row]) -> dict[Key, Row]:
    """What a follower of the feed holds who held these rows; what it is told to forget must be just these."""
    rows = dict(before)
    for of in sorted(feed, key=lambda of: of[FEED] in {"insert", "update_postimage"}):
        values = {name: value for name, value in of.items() if name != FEED}
        if of[FEED] in {"insert", "update_postimage"}:
            rows[key_of(of)] = values
        else:
            assert rows.pop(key_of(of)) == values == before[key_of(of)]
    return rows


@pytest.mark.parametrize(("files", "group"), [(1, 5), (3, 4), (2, 100)])
def test_files_hold_what_a_dictionary_of_rows_would(tmp_path: Path, files: int, group: int) -> None:
    chance = random.Random(files)
    table = {
        (system, f"t{track:03}", f"r{rank}"): row((system, f"t{track:03}", f"r{rank}"), rank, track / 10)
        for system in ("features", "hybrid")
        for track in range(0, 60, 2)
        for rank in range(4)
    }
    standing = [
        file
        for system in ("features", "hybrid")
        for file in write_part(
            tmp_path, system, [of for key, of in table.items() if key[0] == system], files, group
        )
    ]
    how = how_to(tmp_path, ("track_id", "recommended"))
    changes, before = [], dict(table)
    for key in chance.sample(sorted(table), 40):
        kind = chance.choice((NEW, MOVED, GONE))
        changed = row(key, 9, 0.5)
        changes.append(changed | {"change": kind})
        if kind == GONE:
            del table[key]
        elif kind == MOVED:
            table[key] = table[key] | {name: changed[name] for name in how.moved}
        else:
            table[key] = changed
    for number in (*range(1, 40, 6), 99):  # tracks that nobody knows yet, before, between and after the others
        key = ("hybrid", f"t{number:03}" if number != 1 else "a", "n")
        table[key] = row(key, 3, 0.25)
        changes.append(table[key] | {"change": NEW})
    changes.append(row(("hybrid", "t004", "not there"), 1, 0.0) | {"change": GONE})
    changes.append(row(("hybrid", "t004", "nor there"), 1, 0.0) | {"change": MOVED})
    chance.shuffle(changes)
    actions = change(how, standing, changes)
    found, feed = rows_of(tmp_path, standing, actions)
    assert {key_of(of): of for of in found} == table
    assert len(found) == len(table)
    assert followed(before, feed) == table
    for number, done in actions.items():
        for about in (action["add"] for action in done if "add" in action):
            path = tmp_path / about["path"]
            file = pq.ParquetFile(path)
            tracks = file.read()["track_id"].to_pylist()
            assert tracks == sorted(tracks)
            groups = range(file.metadata.num_row_groups)
            assert max(file.metadata.row_group(group).num_rows for group in groups) <= 7
            told = json.loads(about["stats"])
            assert (told["numRecords"], about["size"]) == (len(tracks), path.stat().st_size)
            assert (told["minValues"]["track_id"], told["maxValues"]["track_id"]) == (tracks[0], tracks[-1])
            latest = max(of["computed_at"] for of in file.read().to_pylist())
            assert datetime.fromisoformat(told["maxValues"]["computed_at"]) >= latest
            assert about["partitionValues"] == {"system": standing[number].part}
            assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRGRP or not _others_may_read(tmp_path)


def _others_may_read(folder: Path) -> bool:
    (folder / "any").write_bytes(b"")
    return bool(stat.S_IMODE((folder / "any").stat().st_mode) & stat.S_IRGRP)


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_file_in_which_no_row_changes_is_left_alone(tmp_path: Path) -> None:
    rows = [row(("hybrid", f"t{track:02}", "r"), 1, 0.5) for track in range(30)]
    files = write_part(tmp_path, "hybrid", rows, 3, 10)
    how = how_to(tmp_path, ("track_id", "recommended"), file_bytes=1)
    before = files_in(tmp_path)
    nothing = row(("hybrid", "t25", "other"), 1, 0.0) | {"change": GONE}
    assert not change(how, files, [nothing], batches=1)
    assert files_in(tmp_path) == before
    gone = row(("hybrid", "t15", "r"), 1, 0.0) | {"change": GONE}
    assert set(change(how, files, [gone, nothing], batches=1)) == {1}


def test_a_file_of_which_every_row_is_gone_goes(tmp_path: Path) -> None:
    rows = [row(("hybrid", f"t{track}", "r"), 1, 0.5) for track in range(4)]
    files = write_part(tmp_path, "hybrid", rows, 2, 10)
    how = how_to(tmp_path, ("track_id", "recommended"))
    gone = [of | {"change": GONE} for of in rows[:2]]
    actions = change(how, files, gone, has_feed=False)
    assert actions == {0: []}
    assert [of["track_id"] for of in rows_of(tmp_path, files, actions)[0]] == ["t2", "t3"]


def test_a_list_takes_the_place_of_another_whatever_their_lengths(tmp_path: Path) -> None:
    rows = [row(("hybrid", f"t{track:02}", f"r{rank}"), rank, 0.5) for track in range(9) for rank in range(4)]
    files = write_part(tmp_path, "hybrid", rows, 10, 5)  # lists lie across the borders of files
    how = how_to(tmp_path, ("track_id",), is_list=True)
    new = [row(("hybrid", track, f"n{rank}"), rank, 0.1) for track in ("t02", "t09") for rank in range(6)]
    gone = row(("hybrid", "t05", ""), 0, 0.0) | {"recommended": None, "change": GONE}
    actions = change(how, files, [*(of | {"change": NEW} for of in new), gone], has_feed=False)
    found, feed = rows_of(tmp_path, files, actions)
    stays = [of for of in rows if of["track_id"] not in {"t02", "t05"}]
    assert sorted(map(key_of, found)) == sorted(map(key_of, [*stays, *new]))
    assert not feed


def test_a_part_without_a_file_gets_one_whose_name_the_log_can_say(tmp_path: Path) -> None:
    part = "a part/of=its own"
    files = [File("", 0, part, None, None)]
    new = [row((part, f"t{track:02}", "r"), 1, 0.5) | {"change": NEW} for track in range(20)]
    (actions,) = change(how_to(tmp_path, ("track_id",)), files, new).values()
    assert {tuple(action) for action in actions} == {("add",), ("cdc",)}
    found, feed = rows_of(tmp_path, files, {0: actions})
    assert len(found) == len(feed) == 20
    folders = {action["add"]["path"].split("/")[0] for action in actions if "add" in action}
    assert folders == {"system=a%2520part%252Fof%3Dits%2520own".replace("%3D", "%253D")}


def test_files_are_spelled_as_the_log_has_them(tmp_path: Path) -> None:
    """Other writers compare the names of files: another spelling of one name is another file to them."""
    rows = [row(("hybrid", f"t{track:02}", "r"), 1, 0.5) for track in range(4)]
    files = write_part(tmp_path, "hybrid", rows, 1, 10)
    (actions,) = change(how_to(tmp_path, ("track_id",)), files, [rows[0] | {"change": GONE}]).values()
    assert {action["add"]["path"].rpartition("/")[0] for action in actions if "add" in action} == {"system=hybrid"}
    assert {action["cdc"]["path"].rpartition("/")[0] for action in actions if "cdc" in action} == {
        "_change_data/system=hybrid"
    }


def test_what_grows_far_beyond_its_size_is_cut(tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = [row(("hybrid", f"t{track:04}", f"{chance.random()}"), 1, chance.random()) for track in range(2_000)]
    files = write_part(tmp_path, "hybrid", rows, 1, 2_000)  # one row group
    how = how_to(tmp_path, ("track_id",), group_rows=100, file_bytes=files[0].size // 4)
    actions = change(how, files, [rows[7] | {"change": GONE}])
    sizes = [action["add"]["size"] for action in actions[0] if "add" in action]
    assert 3 <= len(sizes) <= 6
    assert len(rows_of(tmp_path, files, actions)[0]) == 1_999


def test_altered_bytes_are_not_written_anew(tmp_path: Path) -> None:
    rows = [row(("hybrid", f"t{track:02}", "r"), 1, 0.5) for track in range(30)]
    files = write_part(tmp_path, "hybrid", rows, 1, 30)
    how = how_to(tmp_path, ("track_id",))
    (actions,) = change(how, files, [rows[0] | {"change": GONE}]).values()
    about = next(action["add"] for action in actions if "add" in action)
    path = tmp_path / about["path"]
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    begin = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(path.read_bytes())
    data[begin + column.total_compressed_size - 1] ^= 0xFF  # the last byte of its last page
    path.write_bytes(data)
    standing = [file_of(about["path"], about["size"], "hybrid", about["stats"], "track_id")]
    with pytest.raises(OSError, match="CRC"):
        change(how, standing, [rows[5] | {"change": GONE}])


@given(st.lists(st.text(st.sampled_from("ab\U0010ffff\U0010fffe"), min_size=30, max_size=36), min_size=1))
def test_what_is_told_of_texts_bounds_them(texts: list[str]) -> None:
    statistics = _Statistics()
    statistics.see(pa.table({"text": pa.array(texts)}))
    told = statistics.told()
    if "text" not in told["minValues"]:  # no short text is beyond them
        assert any(text[32:33] == "\U0010ffff" for text in texts)
        return
    low, high = told["minValues"]["text"], told["maxValues"]["text"]
    assert all(low.encode() <= text.encode() <= high.encode() for text in texts)
    assert max(len(low), len(high)) <= 33


def test_nothing_is_told_of_numbers_that_have_no_order() -> None:
    statistics = _Statistics()
    statistics.see(
        pa.table({"score": [0.5, float("nan")], "far": [float("inf"), 1.0], "none": pa.nulls(2, "int32")})
    )
    statistics.see(pa.table({"score": [9.0], "far": [2.0], "none": pa.nulls(1, "int32")}))
    told = statistics.told()
    assert told["minValues"] == told["maxValues"] == {}
    assert told["nullCount"] == {"score": 0, "far": 0, "none": 3}
