"""The Spark session, and the jars that it needs beside Spark's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from specrec.audio.isolated import KEEP_FREED_MEMORY, ONE_THREAD
from specrec.config import Config, SparkConfig
from specrec.details import CREDENTIALS, keep
from specrec.errors import SpecrecError
from specrec.java import hush, java_options, require_java, settle, start_java, telling_lines
from specrec.storage import SCHEMES, spark_settings

_SPARK_MINOR = ".".join(version("pyspark").split(".")[:2])

#: Maven coordinates of what Spark needs for Delta and for every kind of storage.
PACKAGES = (
    f"io.delta:delta-spark_{_SPARK_MINOR}_2.13:{version('delta-spark')}",
    *(package for scheme in SCHEMES for package in scheme.packages),
)

#: The file that tells, beside the jars, which packages they were fetched for; it is written last.
_FETCHED = "packages.txt"

#: What is not fetched: the AWS SDK's bundle, and what the packages ask for but Spark ships in other versions.
EXCLUDED = (
    "software.amazon.awssdk:bundle",
    "com.fasterxml.jackson.core:jackson-annotations",
    "com.fasterxml.jackson.core:jackson-core",
    "com.fasterxml.jackson.core:jackson-databind",
    "com.github.luben:zstd-jni",
    "com.google.code.findbugs:jsr305",
    "commons-codec:commons-codec",
    "io.netty:netty-buffer",
    "io.netty:netty-codec",
    "io.netty:netty-codec-http",
    "io.netty:netty-codec-http2",
    "io.netty:netty-common",
    "io.netty:netty-handler",
    "io.netty:netty-resolver",
    "io.netty:netty-transport",
    "io.netty:netty-transport-classes-epoll",
    "io.netty:netty-transport-native-unix-common",
    "org.apache.hadoop:hadoop-client-api",
    "org.apache.hadoop:hadoop-client-runtime",
    "org.apache.httpcomponents:httpclient",
    "org.apache.httpcomponents:httpcore",
    "org.apache.logging.log4j:log4j-api",
    "org.apache.logging.log4j:log4j-core",
    "org.apache.logging.log4j:log4j-slf4j2-impl",
    "org.apache.parquet:parquet-column",
    "org.apache.parquet:parquet-hadoop",
    "org.roaringbitmap:RoaringBitmap",
    "org.slf4j:slf4j-api",
    "org.xerial.snappy:snappy-java",
)

#: glibc gives each thread an arena of its own. The JVM has many threads, and a third of its memory would lie in
#: their arenas, freed but not returned to the system.
FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}

#: A batch job may pause to collect garbage. For the same update this collector takes a tenth less time, and a sixth
#: less memory, than G1.
COLLECTOR = "-XX:+UseParallelGC"
_TELLING_JAVA = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")

#: Executors read names of files as UTF-8 whatever their machine says, Java and Python alike.
UTF8_NAMES = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}


def get_spark(config: Config) -> SparkSession:
    """Return the session of this process, made from the configuration if there is none yet.

    What ``spark-submit`` was told wins over the configuration.

    Raises
    ------
    SpecrecError
        If there is no Java 17 or newer, or it cannot name the places on disk that the configuration names.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    settings = session_settings(config)
    builder = SparkSession.builder.appName("specrec")
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if submitted:  # its own settings come first
        SparkContext._ensure_initialized()  # SparkConf sees what spark-submit was told only once the JVM is there
        told = SparkConf()
        settings = {key: value for key, value in settings.items() if not told.contains(key)}
        settings.pop("spark.master", None)
    else:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
        for name, value in FEW_ARENAS.items():
            os.environ.setdefault(name, value)
        settings["spark.master"] = config.spark.master or settings.get("spark.master", "local[*]")
        local_mode = settings["spark.master"].startswith("local")
        settings |= _jars(config.spark, local_mode)
        if local_mode:
            settings = _scratch() | settings
        if SparkContext._gateway is None:  # a notebook may have stopped a session, but not Java
            start_java(settings)
    settle(SparkContext._jvm, config)
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    if submitted:
        hush(SparkContext._jvm)
    return spark


def session_settings(config: Config) -> dict[str, str]:
    """Return the spark.* settings that a session of specrec runs with."""
    own = config.spark.conf
    own_java = own.get("spark.driver.extraJavaOptions", "")
    told = [
        own_java,
        own.get("spark.driver.defaultJavaOptions", ""),
        *(os.environ.get(of, "") for of in _TELLING_JAVA),
    ]
    collector = "" if re.search(r"-XX:\+Use\w*GC\b", " ".join(told)) else COLLECTOR  # Java starts with one only
    log4j = Path(str(files("specrec"))).resolve() / "log4j2.properties"  # as a URI: its path may hold a space
    java = (f"-Dlog4j2.configurationFile={log4j.as_uri()}", collector, *java_options(), own_java)
    environment = ONE_THREAD | KEEP_FREED_MEMORY | FEW_ARENAS | UTF8_NAMES
    environment |= {name: os.environ[name] for name in CREDENTIALS if name in os.environ}
    return {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(config.spark.shuffle_partitions),
        "spark.databricks.delta.snapshotPartitions": str(config.spark.snapshot_partitions),
        # to send the ids of half a million tracks to every executor costs less than to shuffle their vectors
        "spark.sql.autoBroadcastJoinThreshold": str(64 << 20),
        # a union that would keep its parts' partitions fails where they have been made fewer: "Can't zip RDDs"
        "spark.sql.unionOutputPartitioning": "false",
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # else each expression asks Java half a dozen times, only to name its line where it fails
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        # by default a batch has ten thousand rows: of spectrograms, these are 1.6 GB
        "spark.sql.execution.arrow.maxBytesPerBatch": str(32 << 20),
        # by default 4,096 rows are read into one array: with fewer, embedding takes a tenth less time
        "spark.sql.parquet.columnarReaderBatchSize": "256",
        "spark.sql.warehouse.dir": str(Path(tempfile.gettempdir()) / "specrec-spark-warehouse"),
        "spark.redaction.regex": "(?i)secret|password|token|credential|access[._]?key|hash[._]?key",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": config.spark.driver_memory,
        **{f"spark.executorEnv.{name}": value for name, value in environment.items()},
        **spark_settings(config.storage),
        **own,
        "spark.driver.extraJavaOptions": " ".join(filter(None, java)),
    }


def fetch_jars(folder: Path) -> list[Path]:
    """Have Spark's own resolver fetch the jars into a folder, so that sessions start without asking Maven.

    Raises
    ------
    SpecrecError
        If they cannot be fetched; the resolver's own words are in the message.
    """
    require_java()
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    ivy = folder / "ivy"
    script = folder / "resolve.py"
    script.write_text("")
    import pyspark  # noqa: PLC0415

    home = Path(pyspark.__path__[0])
    command = [str(home / "bin" / "spark-submit"), "--packages", ",".join(PACKAGES)]
    command += ["--exclude-packages", ",".join(EXCLUDED), "--conf", f"spark.jars.ivy={ivy}", str(script)]
    environment = os.environ | {"SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    script.unlink()
    if done.returncode != 0:
        problems = [line.strip() for line in done.stderr.splitlines() if "unresolved" in line or "UNRES" in line]
        why = "; ".join(problems or telling_lines(done.stderr)[:1] or ["no reason given"])
        raise SpecrecError(f"Spark's jars could not be fetched: {why}{keep(done.stderr)}")
    for older in folder.glob("*.jar"):  # two versions of one jar on a class path are one too many
        older.unlink()
    for jar in (ivy / "jars").glob("*.jar"):
        shutil.move(jar, folder / jar.name)
    shutil.rmtree(ivy)
    (folder / _FETCHED).write_text(_coordinates(), encoding="utf-8")
    return sorted(folder.glob("*.jar"))


def find_jars(config: SparkConfig) -> list[Path]:
    """Return the jars that :func:`fetch_jars` fetched; none if it did not, or did for another specrec."""
    fetched = Path(config.jars_dir) / _FETCHED
    if not fetched.exists() or fetched.read_text(encoding="utf-8") != _coordinates():
        return []
    return sorted(fetched.parent.glob("*.jar"))


def _coordinates() -> str:
    return "".join(f"{package}\n" for package in PACKAGES)


def _scratch() -> dict[str, str]:
    """Return the settings by which Spark and Hadoop keep scratch files where this machine keeps temporary files."""
    folder = tempfile.gettempdir()
    return {"spark.local.dir": folder, "spark.hadoop.hadoop.tmp.dir": f"{folder}/specrec-hadoop-{os.getuid()}"}


def _jars(config: SparkConfig, local_mode: bool) -> dict[str, str]:
    jars = [str(jar.resolve()) for jar in find_jars(config)]
    if jars and not local_mode:
        return {"spark.jars": ",".join(jars)}
    if jars:
        # the driver is all there is: a class path costs nothing, whereas spark.jars copies every jar at every start
        return {"spark.driver.extraClassPath": os.pathsep.join(jars)}
    return {"spark.jars.packages": ",".join(PACKAGES), "spark.jars.excludes": ",".join(EXCLUDED)}
