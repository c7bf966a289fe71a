"""Starting Java for Spark on whatever machine this is: without a locale, a host name, or a name of the user.

Where ``spark-submit`` started Java, it is there already: what it lacks can only be told.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.java_gateway import launch_gateway

from specrec.config import Config
from specrec.details import CREDENTIALS, details_file, keep
from specrec.errors import SpecrecError

#: Locales in which Java reads names of files as UTF-8; the first is on most systems.
_UTF8_LOCALES = ("C.UTF-8", "en_US.UTF-8")
_UTF8 = frozenset({"utf-8", "utf8"})

#: Those of Spark's loggers that tell at length of a task that failed, or a job for its sake. The error that ends
#: the run says it, and keeps their words.
_TELL_OF_TASKS = (
    "org.apache.spark.executor.Executor",
    "org.apache.spark.scheduler.TaskSetManager",
    "org.apache.spark.sql.execution.datasources.FileFormatWriter",
    "org.apache.spark.sql.delta.files.DeltaFileFormatWriter",
    "org.apache.spark.util.Utils",
)


def require_java() -> dict[str, str]:
    """Return what Java says of itself and of this machine, by the names of Java's own properties.

    Raises
    ------
    SpecrecError
        If there is no Java 17 or newer.
    """
    java = str(Path(os.environ["JAVA_HOME"]) / "bin" / "java") if os.environ.get("JAVA_HOME") else "java"
    advice = "install a JDK (Debian/Ubuntu: apt install openjdk-17-jre-headless; macOS: brew install openjdk@17)"
    try:
        found = _properties(java, os.environ)
    except (OSError, subprocess.CalledProcessError):
        raise SpecrecError(f"Spark needs Java 17 or newer, and `{java}` does not run: {advice}") from None
    version = found.get("java.version", "")
    major = version.split(".")[0]
    if major.isdigit() and int(major) < 17:
        raise SpecrecError(f"Spark needs Java 17 or newer, and `{java}` is {version}: {advice}")
    return found | {"java": java}


def start_java(settings: Mapping[str, str]) -> None:
    """Start Java as Spark's driver, with settings; what it prints goes to the file of details.

    Raises
    ------
    SpecrecError
        If there is no Java 17 or newer, or it ends at once.
    """
    found = require_java()
    os.environ |= utf8_environment(found)
    if settings["spark.master"].startswith("local"):
        # else Spark asks what address this machine's own name has, which in containers may be none
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    try:
        printed: Any = details_file().open("ab")
    except OSError as error:
        raise SpecrecError(f"no temporary file can be written ({error.strerror or error}): set TMPDIR") from None
    # what begins Java stands in the list of processes, for all to see; the session sets these later
    shown = [(key, value) for key, value in settings.items() if not key.endswith(CREDENTIALS)]
    conf = SparkConf(loadDefaults=False).setAll(shown)
    with printed:
        begun = printed.tell()
        try:
            gateway: Any = launch_gateway(conf, {"stdout": printed, "stderr": printed})  # type: ignore[no-untyped-call]
        except PySparkRuntimeError as error:
            said = details_file().read_text(encoding="utf-8", errors="replace")[begun:]
            why = "".join(f": {line}" for line in telling_lines(said)[:1])
            raise SpecrecError(f"Java did not start for Spark{why}{keep(str(error))}") from None
    SparkContext._ensure_initialized(gateway=gateway)


def telling_lines(said: str) -> list[str]:
    """Return the lines of what Java printed that say what went wrong, the first of it first."""
    lines = (line.strip()[:500] for line in said.splitlines())
    return [line for line in lines if re.search(r"(?i)error|exception|invalid", line)]


def utf8_environment(found: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which Java reads names of files as UTF-8; none if it does, or no locale is found.

    Parameters
    ----------
    found : mapping of str to str
        What :func:`require_java` returned. Java itself is asked: it goes by LC_ALL, LC_CTYPE and LANG, and by which
        locales this machine has.
    """
    if _is_utf8(found.get("sun.jnu.encoding", "")):
        return {}
    for name in _UTF8_LOCALES:
        with suppress(OSError, subprocess.CalledProcessError):
            if _is_utf8(_properties(found["java"], os.environ | {"LC_ALL": name}).get("sun.jnu.encoding", "")):
                return {"LC_ALL": name}
    return {}


def java_options() -> list[str]:
    """Return the options that Java needs on this machine.

    It takes the folder for temporary files from nowhere, and the user from the system's list of users alone.
    """
    options = {"java.io.tmpdir": tempfile.gettempdir()} if tempfile.gettempdir() != "/tmp" else {}  # noqa: S108
    if not has_user_name():
        options |= {"user.name": _user_name(), "user.home": tempfile.gettempdir()}
    return [f'"-D{name}={value}"' if " " in value else f"-D{name}={value}" for name, value in options.items()]


def has_user_name() -> bool:
    """Return whether the system has a name for the user of this process; in a container it may have none."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


def settle(jvm: Any, config: Config) -> None:
    """Make a Java that runs fit for Spark, before there is a session: its user, and its names of files.

    Parameters
    ----------
    jvm : py4j's view of Java
    config : Config
        Whose places on disk Java must be able to name.

    Raises
    ------
    SpecrecError
        If it cannot name them.
    """
    if not has_user_name():  # Hadoop looks for the user in the system's list, and fails: so it is told
        users = jvm.org.apache.hadoop.security.UserGroupInformation
        users.setLoginUser(users.createRemoteUser(_user_name()))
    java, python = _encoding_of(jvm), sys.getfilesystemencoding()
    unnamed = next((place for place in places_on_disk(config) if not place.isascii()), None)
    for who, encoding, advice in (("Java", java, "LC_ALL=C.UTF-8"), ("Python", python, "PYTHONUTF8=1")):
        if unnamed is not None and not _is_utf8(encoding):
            raise SpecrecError(
                f"{who} cannot name {unnamed}, since it takes the names of files for {encoding}: "
                f"set the environment's {advice}, and start again"
            )


def require_readable(arguments: Sequence[str]) -> None:
    """Refuse what was typed after ``spark-submit`` if Java, which passes it on, may have lost letters of it.

    Raises
    ------
    SpecrecError
        If a question mark stands in it, which is what Java makes of letters that its encoding lacks.
    """
    doubtful = next((argument for argument in arguments if "?" in argument or "\ufffd" in argument), None)
    if doubtful is None:
        return
    SparkContext._ensure_initialized()
    encoding = _encoding_of(SparkContext._jvm)
    if not _is_utf8(encoding):
        raise SpecrecError(
            f"spark-submit's Java reads what is typed as {encoding}, and lost letters of {doubtful}: set the "
            "environment's LC_ALL=C.UTF-8, and start again"
        )


def hush(jvm: Any) -> None:
    """Let Java print no traces of failed tasks, where ``spark-submit`` started it and all that it says is seen."""
    log4j = jvm.org.apache.logging.log4j
    with suppress(Py4JError, TypeError):  # another library of logs
        for logger in _TELL_OF_TASKS:
            log4j.core.config.Configurator.setLevel(logger, log4j.Level.OFF)


def places_on_disk(config: Config) -> Iterator[str]:
    """Yield the settings that are paths on disk."""

    def leaves(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            for of in value.values():
                yield from leaves(of)
        else:
            yield value

    return (value for value in leaves(config.model_dump()) if isinstance(value, str) and value.startswith("/"))


def _properties(java: str, environment: Mapping[str, str]) -> dict[str, str]:
    command = [java, "-XshowSettings:properties", "-version"]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, encoding="utf-8", errors="replace", check=True, env=dict(environment)
    )
    return dict(re.findall(r"^\s+([\w.]+) = (.*?)\s*$", done.stderr, re.MULTILINE))


def _encoding_of(jvm: Any) -> str:
    return str(jvm.java.lang.System.getProperty("sun.jnu.encoding"))


def _user_name() -> str:
    return os.environ.get("HADOOP_USER_NAME") or f"uid-{os.getuid()}"


def _is_utf8(encoding: str) -> bool:
    return encoding.lower() in _UTF8
