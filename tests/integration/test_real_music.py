"""A third of the real music in ../shared, through the whole job: two nights on disk, and a rebuild on S3."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from nights import PLACE, RESULTS, VOLATILE, Night, read_csv, untrue, write_csv
from servers import S3Server

MUSIC = Path(__file__).parents[3] / "shared" / "music"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(not MUSIC.exists(), reason="needs music of the shared data"),
]


def test_real_music_from_disk_and_s3_and_after_a_change(tmp_path: Path, s3: S3Server) -> None:
    rows = []
    for part in ("emotify", "games"):
        (tmp_path / "music" / part).mkdir(parents=True)
        for row in read_csv(MUSIC / part / "tracks.csv"):
            os.symlink(MUSIC / part / row["audio"], tmp_path / "music" / part / row["audio"])
            rows.append(row | {"audio": f"{part}/{row['audio']}"})
    random.Random(0).shuffle(rows)
    rows = rows[::3]  # of every genre and format
    held_back, rows = rows[:5], rows[5:]
    catalogue = write_csv(tmp_path / "music" / "tracks.csv", rows)
    night = Night(
        str(catalogue), f"{tmp_path}/warehouse", ("audio.clip_seconds=15", "storage.follow_links_out=true")
    )
    night.run()
    assert night.rows("quarantine") == []
    assert untrue(night) == []
    for system, count in Counter(row["system"] for row in night.rows("recommendations")).items():
        said = Counter(row["explanation"] for row in night.rows("recommendations") if row["system"] == system)
        assert max(said.values()) <= 0.03 * count, said.most_common(1)

    removed, changed, kept = rows[:4], rows[4:7], rows[4:]
    for row in changed:
        path = tmp_path / "music" / row["audio"]
        path.unlink()
        shutil.copy(MUSIC / removed[0]["audio"], path)
    write_csv(catalogue, [*kept, *held_back])
    second = night.run()
    extract = night.stage(second, "extract")["details"]
    assert (extract["decoded"], extract["removed"]) == ("8", "4")  # what did not change is not decoded again

    # all of it anew, from and to an object store, comes to what the changes came to on the disk
    bucket = s3.create_bucket("real-music")
    s3.upload_folder(tmp_path / "music", bucket, "music")
    s3.upload_folder(Path(night.warehouse) / "artefacts", bucket, "warehouse/artefacts")
    rebuilt = Night(
        f"s3://{bucket}/music/tracks.csv",
        f"s3://{bucket}/warehouse",
        (*night.settings, f"storage.endpoint_url={s3.endpoint_url}", "storage.path_style=true"),
    )
    rebuilt.run()
    for table in RESULTS:
        without = (*VOLATILE, *PLACE)
        assert night.rows(table, without) == rebuilt.rows(table, without), table
