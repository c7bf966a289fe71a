"""What a session is told, without starting one."""

from __future__ import annotations

import re
import shlex
import tempfile
from pathlib import Path

import pytest

from specrec.config import load
from specrec.java import java_options, places_on_disk
from specrec.session import EXCLUDED, PACKAGES, session_settings

ROOT = Path(__file__).parents[2]


def settings(*overrides: str) -> dict[str, str]:
    return session_settings(load(None, ["warehouse=w", "catalogue.path=c.csv", *overrides]))


def test_spark_submit_fetches_the_jars_that_the_job_was_tried_with() -> None:
    lines = (ROOT / "conf" / "spark-defaults.conf").read_text().splitlines()
    submitted = dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))
    assert submitted["spark.jars.packages"] == ",".join(PACKAGES)
    assert submitted["spark.jars.excludes"] == ",".join(EXCLUDED)


def test_own_settings_win_and_java_options_are_added() -> None:
    own = "spark.conf={spark.sql.shuffle.partitions: '7', spark.driver.extraJavaOptions: '-Xss4m'}"
    found = settings(own)
    assert found["spark.sql.shuffle.partitions"] == "7"
    assert found["spark.driver.extraJavaOptions"].startswith("-Dlog4j2.configurationFile=")
    assert found["spark.driver.extraJavaOptions"].endswith(" -Xss4m")


@pytest.mark.parametrize("own", ["", "-Xss4m", "-XX:+UseG1GC", "-Xss4m -XX:+UseZGC"])
def test_java_is_told_of_one_collector(own: str) -> None:
    options = settings(f"spark.conf={{spark.driver.extraJavaOptions: '{own}'}}")["spark.driver.extraJavaOptions"]
    assert len(re.findall(r"-XX:\+Use\w+GC", options)) == 1
    assert own in options


@pytest.mark.parametrize("name", ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"])
def test_a_collector_of_the_environment_stays_the_only_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "-Xss4m -XX:+UseSerialGC")
    assert "GC" not in settings()["spark.driver.extraJavaOptions"]
    monkeypatch.delenv(name)
    own = settings("spark.conf={spark.driver.defaultJavaOptions: '-XX:+UseG1GC'}")
    assert "GC" not in own["spark.driver.extraJavaOptions"]


def test_credentials_of_the_environment_reach_executors_and_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    found = settings()
    secrets = {name for name, value in found.items() if value in ("an id", "a secret")}
    assert secrets == {"spark.executorEnv.AWS_ACCESS_KEY_ID", "spark.executorEnv.AWS_SECRET_ACCESS_KEY"}
    assert all(re.search(found["spark.redaction.regex"], name) for name in secrets)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "spark.executorEnv.AWS_ACCESS_KEY_ID" not in settings()


@pytest.mark.parametrize(
    ("endpoint", "secure"), [("http://127.0.0.1:9000", "false"), ("https://s3.example", "true")]
)
def test_an_endpoint_is_spoken_to_as_its_scheme_says(endpoint: str, secure: str) -> None:
    found = settings(f"storage.endpoint_url={endpoint}", "storage.path_style=true")
    assert found["spark.hadoop.fs.s3a.endpoint"] == endpoint
    assert found["spark.hadoop.fs.s3a.connection.ssl.enabled"] == secure
    assert found["spark.hadoop.fs.s3a.path.style.access"] == "true"


def test_executors_take_names_of_files_for_utf8_unless_told_otherwise() -> None:
    assert settings()["spark.executorEnv.LC_ALL"] == "C.UTF-8"
    assert settings()["spark.executorEnv.PYTHONUTF8"] == "1"
    assert (
        settings("spark.conf={spark.executorEnv.LC_ALL: 'en_GB.UTF-8'}")["spark.executorEnv.LC_ALL"]
        == "en_GB.UTF-8"
    )


def test_java_keeps_temporary_files_where_python_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a folder"))
    options = shlex.split(settings()["spark.driver.extraJavaOptions"])
    assert f"-Djava.io.tmpdir={tmp_path}/a folder" in options
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    assert not any("tmpdir" in option for option in java_options())


def test_a_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any("user.name" in option for option in java_options())
    monkeypatch.setattr("os.getuid", lambda: 54_321_987)  # no system has so many users
    monkeypatch.delenv("HADOOP_USER_NAME", raising=False)
    assert "-Duser.name=uid-54321987" in java_options()
    monkeypatch.setenv("HADOOP_USER_NAME", "nightly")
    assert "-Duser.name=nightly" in java_options()


def test_the_places_on_disk_are_known() -> None:
    config = load(None, ["warehouse=/josé/w", "catalogue.path=s3://b/é.csv", "catalogue.audio_root=/m"])
    assert {"/josé/w", "/m"} <= set(places_on_disk(config))
    assert not any(place.startswith("s3") for place in places_on_disk(config))
