"""The job from and to object storage: the same results as from disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from nights import MEASURED, PLACE, RESULTS, VOLATILE, Night
from servers import S3Server

from specrec.errors import StorageError


def settings(s3: S3Server) -> tuple[str, ...]:
    return (f"storage.endpoint_url={s3.endpoint_url}", "storage.path_style=true")


def payloads(night: Night) -> dict[tuple[str, int], bytes]:
    return {(row["name"], row["version"]): row["payload"] for row in night.rows("artefacts")}


def test_neither_the_store_nor_how_the_work_is_cut_changes_a_result(
    first_night: Night, rendered: Path, s3: S3Server
) -> None:
    bucket = s3.create_bucket("nightly")
    s3.upload_folder(rendered, bucket, "music")
    night = Night(f"s3://{bucket}/music/catalogue.csv", f"s3://{bucket}/warehouse", settings(s3))
    # blocks, partitions and portions
    night.run(
        "neighbours.block_rows=5", "extract.commit_every=13", "extract.files_per_task=2", "extract.batch_rows=3"
    )
    for table in RESULTS:
        without = (*VOLATILE, *PLACE)
        assert night.rows(table, without) == first_night.rows(table, without), table
    assert payloads(night) == payloads(first_night)
    again = night.run(stages=MEASURED)
    assert night.stage(again, "extract")["details"]["decoded"] == "0"
    assert "_specrec_lock.json" not in str(s3.client().list_objects_v2(Bucket=bucket, Prefix="warehouse/_"))


def test_a_replaced_object_is_decoded_again(rendered: Path, s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.create_bucket("replaced")
    clips = sorted((rendered / "audio").iterdir())[:3]
    (tmp_path / "music").mkdir()
    for clip in clips:
        shutil.copy(clip, tmp_path / "music")
    s3.upload_folder(tmp_path / "music", bucket, "music")
    night = Night(f"s3://{bucket}/music", f"{tmp_path}/warehouse", (*settings(s3), "catalogue.format=folder"))
    night.run(stages=MEASURED)
    assert {row["track_id"] for row in night.rows("tracks")} == {clip.name for clip in clips}
    before = {row["track_id"]: row["content_hash"] for row in night.rows("audio_features")}

    s3.client().put_object(Bucket=bucket, Key=f"music/{clips[0].name}", Body=clips[1].read_bytes())
    run_id = night.run(stages=MEASURED)

    assert night.stage(run_id, "extract")["details"]["decoded"] == "1"
    after = {row["track_id"]: row["content_hash"] for row in night.rows("audio_features")}
    assert after == before | {clips[0].name: before[clips[1].name]}


def test_an_unreachable_store_is_one_clear_line(tmp_path: Path) -> None:
    night = Night(
        "s3://bucket/tracks.csv",
        f"{tmp_path}/warehouse",
        ("storage.endpoint_url=http://127.0.0.1:9", "storage.path_style=true", "storage.max_attempts=1"),
    )
    with pytest.raises(StorageError, match=r"cannot reach s3://bucket.* at http://127.0.0.1:9: ") as refused:
        night.run()
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "warehouse").exists()
