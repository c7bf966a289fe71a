"""A warehouse that the release before this one wrote: this one leaves it alone, and goes on from it."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from nights import RESULTS, Night
from servers import S3Server

from specrec.cli import main
from specrec.embedding.config import SYSTEMS
from specrec.pipeline.account import ACCOUNT
from specrec.pipeline.hashes import recommend_hash
from specrec.warehouse.schemas import TABLES

ARCHIVE = Path(__file__).parent / "data" / "upgrade.tar.xz"
RENEW = "if a version was raised on purpose, write the archive anew: see tests/integration/data/README.md"
BUCKET = "upgrade"  # the tables hold URIs

#: A night may be told to update lists even in a small catalogue, and where most of them change: lists of before
#: hold copies of tracks. This is not hashed.
UPDATE = ("neighbours.update_from=0", "neighbours.rebuild_share=1")


@dataclass(frozen=True)
class Upgrade:
    """The nights after an upgrade: with the same tracks, with one more, and with those again."""

    night: Night
    music: Path
    before: dict[str, int]
    old: dict[str, list[dict[str, Any]]]
    runs: tuple[str, str, str]
    versions: tuple[dict[str, int], ...]

    def stages(self, run: int) -> dict[str, dict[str, Any]]:
        return {row["stage"]: row for row in self.night.rows("runs", ()) if row["run_id"] == self.runs[run]}


@pytest.fixture(scope="module")
def upgrade(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Upgrade:
    folder = tmp_path_factory.mktemp("upgrade")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    music = folder / "music"
    s3.create_bucket(BUCKET)
    s3.upload_folder(music, BUCKET)
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    places = (f"storage.endpoint_url={s3.endpoint_url}", "storage.path_style=true")
    night = Night(f"s3://{BUCKET}/catalogue.csv", f"{folder}/warehouse", (*settings, *places))
    before, old = night.versions(), {table: night.rows(table, ()) for table in RESULTS}

    first = night.run()
    versions = [night.versions()]
    _, more = (music / "more.csv").read_text(encoding="utf-8").split("\n", 1)
    catalogue = (music / "catalogue.csv").read_text(encoding="utf-8") + more
    s3.client().put_object(Bucket=BUCKET, Key="catalogue.csv", Body=catalogue.encode())
    second = night.run(*UPDATE)
    versions.append(night.versions())
    third = night.run()
    versions.append(night.versions())
    return Upgrade(night, music, before, old, (first, second, third), tuple(versions))


def test_nothing_is_computed_anew(upgrade: Upgrade) -> None:
    stages = upgrade.stages(0)
    assert stages.pop(ACCOUNT)["status"] == "done"  # what older releases made is accounted for, once
    assert {name: row["status"] for name, row in stages.items()} == dict.fromkeys(stages, "unchanged"), RENEW
    assert len(stages) == 8
    # each table is told how long to keep files; lists get their change data feed with that, and what rows lack is
    # a commit more
    told = {table: version + 1 for table, version in upgrade.before.items()}
    more = {table: upgrade.before[table] + 2 for table in ("recommendations", "embeddings")}
    assert upgrade.versions[0] == told | more, RENEW


def test_of_a_new_track_only_that_is_computed_which_is_new(upgrade: Upgrade) -> None:
    stages = upgrade.stages(1)
    details = {name: row["details"] for name, row in stages.items()}
    assert details["ingest"]["added"] == details["extract"]["decoded"] == "1"
    assert stages["fit"]["status"] == "unchanged"
    assert {space: details["embed"][space] for space in SYSTEMS} == dict.fromkeys(SYSTEMS, "1")
    for space in SYSTEMS:
        assert details["neighbours"][f"{space}_search"].startswith("1 new, "), details["neighbours"]
    assert stages["map"]["rows_out"] == 1
    assert details["map"]["map"] == "version 1"
    artefacts = Counter(row["name"] for row in upgrade.night.rows("artefacts"))
    # what is usual in the catalogue is told anew, and so all lists are: their sentences speak of it
    assert artefacts == {"features_scaler": 1, "spectrogram_pca": 1, "map": 1, "catalogue_statistics": 2}


@pytest.mark.parametrize(
    ("table", "named_by"),
    [
        ("audio_features", "audio_hash"), ("mel_spectrograms", "audio_hash"), ("embeddings", "input_hash"),
        ("map", "input_hash"), ("quarantine", "audio_hash"),
    ],
)  # fmt: skip
def test_rows_of_before_stay_to_the_last_bit(upgrade: Upgrade, table: str, named_by: str) -> None:
    key = TABLES[table].key
    old = {tuple(row[name] for name in key): row for row in upgrade.old[table]}
    now = {tuple(row[name] for name in key): row for row in upgrade.night.rows(table, ())}
    assert old
    # a column that came since is null
    came = {name: None for row in now.values() for name in row}
    assert {of: row for of, row in now.items() if of in old} == {of: came | row for of, row in old.items()}
    new = [row for of, row in now.items() if of not in old]
    assert {row["track_id"] for row in new} <= {"song-13"}
    config = upgrade.night.config()
    if named_by == "audio_hash":
        assert {row[named_by] for row in old.values()} <= {*config.audio_hash.accepted}
        assert {row[named_by] for row in new} <= {config.audio_hash.current}
    else:
        assert {row[named_by] for row in new}.isdisjoint(row[named_by] for row in old.values())


def test_a_warehouse_of_old_and_new_rows_is_up_to_date(upgrade: Upgrade) -> None:
    stages = upgrade.stages(2)
    assert {name: row["status"] for name, row in stages.items()} == dict.fromkeys(stages, "unchanged")
    assert upgrade.versions[2] == upgrade.versions[1]
    lists = upgrade.night.rows("recommendations")
    assert {row["config_hash"] for row in lists if row["system"] == "hybrid"} == {
        recommend_hash(upgrade.night.config(), "hybrid").current
    }


@pytest.mark.parametrize("number", ["01", "13"])
def test_a_query_answers_from_it(upgrade: Upgrade, number: str) -> None:
    settings = [text for setting in upgrade.night.settings for text in ("--set", setting)]
    song = upgrade.music / "audio" / f"{number}.ogg"
    asked = ["query", str(song), "--json", "--top", "6", "--warehouse", upgrade.night.warehouse, *settings]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    found = [row["recommended_track_id"] for row in answer["recommendations"]]
    listed = [
        row["recommended_track_id"]
        for row in upgrade.night.rows("recommendations")
        if row["system"] == "hybrid" and row["track_id"] == f"song-{number}"
    ]
    assert found == [f"song-{number}", *listed]
