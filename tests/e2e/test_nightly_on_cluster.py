"""A whole night by spark-submit, from and to S3, on a cluster that loses an executor during extraction."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from servers import REPOSITORY, PackedEnvironment, S3Server, SparkCluster, Submission, tail

from specrec.demo import render_catalogue
from specrec.embedding.config import SYSTEMS
from specrec.embedding.models import ENCODER
from specrec.pipeline.account import ACCOUNT
from specrec.pipeline.stages import OF_LISTENERS, STAGES
from specrec.session import EXCLUDED, PACKAGES
from specrec.storage import locate
from specrec.storage.config import StorageConfig
from specrec.warehouse.lock import LOCK_NAME
from specrec.warehouse.reader import Reader
from specrec.warehouse.schemas import TABLES

CLIPS = 24
TOP_N = 10

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="looks into the executors' processes by /proc"
)


def test_a_night_survives_the_loss_of_an_executor_and_tells_no_secret(
    cluster: SparkCluster,
    packed_environment: PackedEnvironment,
    s3: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    render_catalogue(tmp_path, clips=CLIPS, seconds=4.0)
    bucket = s3.create_bucket("night")
    s3.upload_folder(tmp_path, bucket, "music")
    warehouse = f"s3a://{bucket}/warehouse"
    conf, jars = shipped_settings()

    night = cluster.popen(
        REPOSITORY / "jobs" / "nightly.py",
        *configuration(
            f"catalogue.path=s3://{bucket}/music/catalogue.csv",
            f"catalogue.audio_root=s3://{bucket}/music",
            f"warehouse={warehouse}",
            f"storage.endpoint_url={s3.endpoint_url}",
            "storage.path_style=true",
            "audio.clip_seconds=4",
            "extract.commit_every=12",
            "extract.files_per_task=1",
            "neighbours.block_rows=8",
            "embedding.models={encoder: {path: shipped}}",
            "embedding.hybrid_weights={features: 0.5, encoder: 0.5}",
            "spark.snapshot_partitions=2",
        ),
        env=s3.environment(),
        packed=packed_environment,
        conf=conf,
        jars=jars,
    )
    kill_while_it_analyses(cluster, night)
    done = night.wait(timeout=600)

    assert done.returncode == 0, told(night)
    assert "Lost executor" in done.stderr
    for name, value in s3.environment().items():  # only now: the cluster's daemons never had them
        monkeypatch.setenv(name, value)
    reader = Reader(locate(warehouse), StorageConfig(endpoint_url=s3.endpoint_url, path_style=True))
    runs = {row["stage"]: row for row in reader.rows("runs")}
    expected = [stage for stage in (*STAGES, ACCOUNT) if stage not in OF_LISTENERS]
    assert {stage: row["status"] for stage, row in runs.items()} == dict.fromkeys(expected, "done")
    assert runs["extract"]["details"]["decoded"] == str(CLIPS)
    assert_lists_are_whole(reader)
    assert "Contents" not in s3.client().list_objects_v2(Bucket=bucket, Prefix=f"warehouse/{LOCK_NAME}")

    secret = s3.secret_key
    assert secret not in done.stdout + done.stderr
    logs = [*cluster.folder.glob("worker-*/app-*/*/std*"), cluster.log]
    assert sum(log.name == "stderr" and log.stat().st_size > 0 for log in logs) >= 3  # one died, one replaced it
    assert [log for log in logs if secret in log.read_text(errors="replace")] == []
    assert [name for name in TABLES if secret in repr(reader.rows(name))] == []
    assert delta_log_files_with(secret, s3, bucket) == []


def configuration(*overrides: str) -> list[str]:
    """The cluster's configuration and what this test sets otherwise, as jobs/nightly.py takes it."""
    sets = [part for override in overrides for part in ("--set", override)]
    return ["--config", str(REPOSITORY / "conf" / "cluster.yaml"), *sets]


def shipped_settings() -> tuple[dict[str, str], list[Path]]:
    """The settings of conf/spark-defaults.conf but the sizes, and the jars: those fetched here, else Maven's."""
    lines = (REPOSITORY / "conf" / "spark-defaults.conf").read_text().splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.startswith("spark.")]
    sizes = ("spark.jars", "spark.executor.cores", "spark.executor.memory")
    conf = {key: value for key, value in pairs if not key.startswith(sizes)}
    quick = "-XX:TieredStopAtLevel=1"  # compiling well costs more than it saves in so short a night
    conf |= {"spark.driver.extraJavaOptions": quick, "spark.executor.extraJavaOptions": quick}
    jars = sorted((REPOSITORY / ".jars").glob("*.jar"))
    if not jars:
        conf |= {"spark.jars.packages": ",".join(PACKAGES), "spark.jars.excludes": ",".join(EXCLUDED)}
    return conf, jars


def kill_while_it_analyses(cluster: SparkCluster, night: Submission, timeout: float = 300.0) -> None:
    """SIGKILL the first executor seen with a Python worker that is inside its first task of extraction.

    Only extraction loads llvmlite, which takes a worker seconds; most files are not even begun by then.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        assert night.process.poll() is None, f"it ended before extraction:\n{told(night)}"
        for executor in cluster.executors():
            if analyses(executor):
                executor.kill()
                return
        time.sleep(0.1)
    raise TimeoutError(f"no executor analysed anything within {timeout:.0f} s:\n{told(night)}")


def told(night: Submission) -> str:
    """The ends of its logs; spark-submit passes all that Python says to its own stdout."""
    return tail(night.stderr) + tail(night.stdout)


def analyses(executor: psutil.Process) -> bool:
    try:
        workers = executor.children(recursive=True)
        return any("llvmlite" in Path(f"/proc/{worker.pid}/maps").read_text() for worker in workers)
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return False


def assert_lists_are_whole(reader: Reader) -> None:
    tracks = {row["track_id"] for row in reader.rows("tracks", columns=["track_id"])}
    assert len(tracks) == CLIPS
    assert reader.rows("quarantine") == []
    recommendations = reader.rows("recommendations")
    ranks = Counter((row["system"], row["track_id"], row["rank"]) for row in recommendations)
    assert ranks == Counter(
        (system, track, rank)
        for system in (*SYSTEMS, "encoder")
        for track in tracks
        for rank in range(1, TOP_N + 1)
    )
    embedded = reader.rows("embeddings", [("space", "=", "encoder")], ["track_id", "model_hash"])
    assert {row["track_id"]: row["model_hash"] for row in embedded} == dict.fromkeys(
        tracks, hashlib.sha256(ENCODER.read_bytes()).hexdigest()
    )
    pairs = {(row["system"], row["track_id"], row["recommended_track_id"]) for row in recommendations}
    assert len(pairs) == len(recommendations), "a track is recommended twice in one list"
    for row in recommendations:
        assert row["recommended_track_id"] in tracks - {row["track_id"]}
        assert row["explanation"]
        assert row["reasons"]


def delta_log_files_with(text: str, s3: S3Server, bucket: str) -> list[str]:
    """The commits of all tables that hold a text: what Delta notes beside the rows."""
    client = s3.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="warehouse/")
    keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
    commits = [key for key in keys if "/_delta_log/" in key and key.endswith(".json")]
    assert commits
    return [key for key in commits if text.encode() in client.get_object(Bucket=bucket, Key=key)["Body"].read()]
