"""A table's files are written anew with some rows changed: they hold what a dictionary of rows would."""

from __future__ import annotations

import json
import random
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
    File,
    Rewriting,
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
    return values | {"rank": rank, "score": score, "reasons": reasons, "computed_at": None}


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


def how_to(folder: Path, files: list[File], identity: tuple[str, ...], **others: Any) -> Rewriting:
    settings: dict[str, Any] = {"has_feed": True, "group_rows": 7, "file_bytes": 1 << 20} | others
    return Rewriting(
        table=Location(str(folder)),
        storage=StorageConfig(),
        files=tuple(files),
        part="system",
        schema=SCHEMA,
        identity=identity,
        moved=("rank", "computed_at"),
        order=("track_id", "rank"),
        **settings,
    )


def change(how: Rewriting, changes: list[dict[str, Any]], batches: int = 3) -> dict[int, list[dict[str, Any]]]:
    """Apply changes as Spark would have tasks do it; return the actions that came of it, by file."""
    cut = [changes[number::batches] for number in range(batches)]
    sent = locating(how.files, how.part, how.order[0])(
        iter([pa.RecordBatch.from_pylist(of, CHANGES) for of in cut])
    )
    located = pa.Table.from_batches(
        list(sent), CHANGES.append(pa.field(TARGET, pa.int32())).append(pa.field(IS_HOME, pa.bool_()))
    )
    actions: dict[int, list[dict[str, Any]]] = {}
    for target in range(len(how.files)):
        mine = located.filter(pa.compute.equal(located[TARGET], target))
        for done in rewriting(how)(iter(mine.to_batches())):
            for of in done.to_pylist():
                actions[of["target"]] = [json.loads(action) for action in of["actions"]]
    return actions


def rows_of(
    folder: Path, how: Rewriting, actions: dict[int, list[dict[str, Any]]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows that the table has after these actions, and what its feed says."""
    paths = [(file.path, file.part) for number, file in enumerate(how.files) if number not in actions and file.path]
    feed: list[tuple[str, str]] = []
    for action in (one for of in actions.values() for one in of):
        about = action.get("add") or action["cdc"]
        (paths if "add" in action else feed).append((unquote(about["path"]), about["partitionValues"]["system"]))
    read = [
        [
            of | {"system": part}
            for path, part in some
            for of in pq.read_table(folder / path, partitioning=None).to_pylist()
        ]
        for some in (paths, feed)
    ]
    return read[0], read[1]


def key_of(of: dict[str, Any]) -> Key:
    return of["system"], of["track_id"], of["recommended"]


@pytest.mark.parametrize(("files", "group"), [(1, 5), (3, 4), (2, 100)])
def test_files_hold_what_a_dictionary_of_rows_would(tmp_path: Path, files: int, group: int) -> None:
    chance = random.Random(files)
    table = {
        (system, f"t{track:03}", f"r{rank}"): row((system, f"t{track:03}", f"r{rank}"), rank, track / 10)
        for system in ("features", "hybrid")
        for track in range(0, 60, 2)
        for rank in range(4)
    }
    of_files = [
        file
        for system in ("features", "hybrid")
        for file in write_part(
            tmp_path, system, [of for key, of in table.items() if key[0] == system], files, group
        )
    ]
    how = how_to(tmp_path, of_files, ("track_id", "recommended"))
    changes, before = [], dict(table)
    for key in chance.sample(sorted(table), 40):
        kind = chance.choice((NEW, MOVED, GONE))
        changed = row(key, 9, 0.5) | {"change": kind}
        changes.append(changed)
        if kind == GONE:
            del table[key]
        elif kind == MOVED:
            table[key] = table[key] | {"rank": 9, "computed_at": None}
        else:
            table[key] = row(key, 9, 0.5)
    for number in (*range(1, 40, 6), 99):  # tracks that nobody knows yet, before, between and after the others
        key = ("hybrid", f"t{number:03}" if number != 1 else "a", "n")
        table[key] = row(key, 3, 0.25)
        changes.append(table[key] | {"change": NEW})
    changes.append(row(("hybrid", "t004", "not there"), 1, 0.0) | {"change": GONE})
    changes.append(row(("hybrid", "t004", "nor there"), 1, 0.0) | {"change": MOVED})
    chance.shuffle(changes)
    actions = change(how, changes)
    found, feed = rows_of(tmp_path, how, actions)
    assert {key_of(of): of for of in found} == table
    assert len(found) == len(table)
    replayed = dict(before)
    for of in sorted(feed, key=lambda of: of[FEED] in {"insert", "update_postimage"}):
        values = {name: value for name, value in of.items() if name != FEED}
        if of[FEED] in {"insert", "update_postimage"}:
            replayed[key_of(of)] = values
        else:
            assert replayed.pop(key_of(of)) == values == before[key_of(of)]
    assert replayed == table
    for number, done in actions.items():
        for about in (action["add"] for action in done if "add" in action):
            file = pq.ParquetFile(tmp_path / unquote(about["path"]))
            tracks = file.read()["track_id"].to_pylist()
            assert tracks == sorted(tracks)
            assert (
                max(file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)) <= 7
            )
            told = json.loads(about["stats"])
            assert (told["numRecords"], about["size"]) == (
                len(tracks),
                (tmp_path / unquote(about["path"])).stat().st_size,
            )
            assert (told["minValues"]["track_id"], told["maxValues"]["track_id"]) == (tracks[0], tracks[-1])
            assert about["partitionValues"] == {"system": how.files[number].part}


def test_a_file_in_which_no_row_changes_is_left_alone(tmp_path: Path) -> None:
    rows = [row(("hybrid", f"t{track:02}", "r"), 1, 0.5) for track in range(30)]
    how = how_to(tmp_path, write_part(tmp_path, "hybrid", rows, 3, 10), ("track_id", "recommended"))
    gone = row(("hybrid", "t15", "r"), 1, 0.0) | {"change": GONE}
    nothing = row(("hybrid", "t25", "other"), 1, 0.0) | {"change": GONE}
    assert set(change(how, [gone, nothing], 1)) == {1}
    assert not change(how, [nothing], 1)


def test_a_list_takes_the_place_of_another_whatever_their_lengths(tmp_path: Path) -> None:
    rows = [row(("hybrid", f"t{track:02}", f"r{rank}"), rank, 0.5) for track in range(9) for rank in range(4)]
    how = how_to(tmp_path, write_part(tmp_path, "hybrid", rows, 2, 5), ("track_id",), has_feed=False)
    new = [row(("hybrid", track, f"n{rank}"), rank, 0.1) for track in ("t02", "t09") for rank in range(6)]
    gone = row(("hybrid", "t05", ""), 0, 0.0) | {"recommended": None, "change": GONE}
    found, feed = rows_of(tmp_path, how, change(how, [*(of | {"change": NEW} for of in new), gone]))
    stays = [of for of in rows if of["track_id"] not in {"t02", "t05"}]
    assert sorted(map(key_of, found)) == sorted(map(key_of, [*stays, *new]))
    assert not feed


def test_a_part_without_a_file_gets_one_and_a_large_one_is_cut(tmp_path: Path) -> None:
    files = [File("", 0, "a part/of=its own", None, None)]
    how = how_to(tmp_path, files, ("track_id",), file_bytes=1)
    new = [row(("a part/of=its own", f"t{track:02}", "r"), 1, 0.5) | {"change": NEW} for track in range(20)]
    (actions,) = change(how, new).values()
    assert {tuple(action) for action in actions} == {("add",), ("cdc",)}
    found, feed = rows_of(tmp_path, how, {0: actions})
    assert len(found) == len(feed) == 20
    rows = [row(("hybrid", f"t{track:02}", "r"), 1, 0.5) for track in range(30)]
    how = how_to(tmp_path, write_part(tmp_path, "hybrid", rows, 1, 10), ("track_id",), file_bytes=1)
    (actions,) = change(how, [row(("hybrid", "t15", "r"), 1, 0.0) | {"change": GONE}]).values()
    assert sum("add" in action for action in actions) == 3  # one of each row group: each is large enough
    assert len(rows_of(tmp_path, how, {0: actions})[0]) == 29


@given(st.lists(st.text(max_size=40), min_size=1, max_size=20))
def test_what_is_told_of_texts_bounds_them(texts: list[str]) -> None:
    statistics = _Statistics()
    statistics.see(pa.table({"text": pa.array(texts)}))
    told = statistics.told()
    low, high = told["minValues"]["text"], told["maxValues"]["text"]
    assert all(low.encode() <= text.encode() <= high.encode() for text in texts)
    assert max(len(low), len(high)) <= 33
