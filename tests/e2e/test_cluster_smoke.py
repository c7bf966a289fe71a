"""spark-submit on a standalone cluster runs Python from the shipped environment and leaves no process."""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import psutil
from servers import PackedEnvironment, SparkCluster, runs_python

REPORT = """
import json, sys
from pyspark.sql import SparkSession

def report(batches):
    import os, sys, time
    from importlib.metadata import version
    import librosa, numpy, pandas, specrec
    from pyspark import TaskContext

    for _ in batches:
        pass
    mel = librosa.feature.melspectrogram(y=numpy.ones(22050, dtype="float32"), sr=22050)
    time.sleep(3)  # so that one executor cannot take both partitions
    yield pandas.DataFrame([{
        "cwd": os.getcwd(), "prefix": sys.prefix, "librosa": version("librosa"), "numpy": version("numpy"),
        "specrec": version("specrec"), "specrec_file": specrec.__file__, "bands": mel.shape[0],
        "omp": os.environ["OMP_NUM_THREADS"], "numba": os.environ["NUMBA_CACHE_DIR"],
    }])

spark = SparkSession.builder.config("spark.scheduler.minRegisteredResourcesRatio", "1.0").getOrCreate()
spark.sparkContext.setLogLevel("WARN")
schema = "cwd string, prefix string, librosa string, numpy string, specrec string, specrec_file string, "
schema += "bands int, omp string, numba string"
rows = spark.range(0, 2, 1, numPartitions=2).mapInPandas(report, schema).collect()
print(json.dumps({"driver": sys.prefix, "executors": [row.asDict() for row in rows]}))
spark.stop()
"""

SLOW = """
import time
from pyspark.sql import SparkSession

def slowly(batches):
    time.sleep(8)
    yield from batches

spark = SparkSession.builder.getOrCreate()
print("rows:", spark.range(0, 2, 1, numPartitions=2).mapInPandas(slowly, "id long").count())
spark.stop()
"""


def test_two_executors_run_librosa_from_the_shipped_environment(
    cluster: SparkCluster, packed_environment: PackedEnvironment, tmp_path: Path
) -> None:
    script = tmp_path / "report.py"
    script.write_text(REPORT)

    done = cluster.submit(script, packed=packed_environment)

    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert report["driver"] == sys.prefix
    executors = report["executors"]
    assert len({executor["cwd"] for executor in executors}) == 2, "both partitions ran on one executor"
    for executor in executors:
        assert Path(executor["prefix"]) == Path(executor["cwd"], "environment"), executor
        assert executor["specrec_file"].endswith("specrec.zip/specrec/__init__.py"), executor
        assert executor["librosa"] == version("librosa")
        assert executor["numpy"] == version("numpy")
        assert executor["bands"] == 128
        assert executor["omp"] == "1"
        Path(executor["numba"], "probe").touch()


def test_a_job_survives_the_loss_of_an_executor(cluster: SparkCluster, tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    running = cluster.popen(script)

    killed = cluster.kill_executor(busy=True)
    done = running.wait(timeout=120)

    assert not psutil.pid_exists(killed)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "rows: 2" in done.stdout
    assert "Lost task" in done.stderr


def test_nothing_outlives_the_cluster(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW.replace("sleep(8)", "sleep(600)"))
    with SparkCluster(tmp_path / "spark", workers=1) as cluster:
        submitted = cluster.popen(script)
        deadline = time.monotonic() + 90
        while not any(runs_python(executor) for executor in cluster.executors()):
            assert time.monotonic() < deadline, submitted.stderr.read_text()[-4000:]
            time.sleep(0.1)
        servers = [submitted.process, cluster.master, *cluster.workers]
        started = [psutil.Process(server.pid) for server in servers]
        started += [child for server in started for child in server.children(recursive=True)]
        assert len(started) >= 6  # and the driver's Python, the executor, its Python daemon

    assert [process for process in started if process.is_running()] == []
    assert not (tmp_path / "spark" / "local").exists()
