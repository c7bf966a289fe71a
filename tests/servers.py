"""Real servers for the tests: an S3 server and a standalone Spark cluster.

Plain Python, so that benchmarks and the demo can use them too. Both listen on loopback only, take free ports,
write what they say to a log file in the folder they are given, and are stopped, with everything they started,
when their `with` block ends. Should the Python process itself be killed, the kernel stops them (see `start`).

    with S3Server(folder / "s3") as s3, SparkCluster(folder / "spark") as cluster:
        s3.create_bucket("music")
        cluster.submit("job.py", "s3a://music/", env=s3.environment(), packed=pack_environment())
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import boto3
import psutil
import pyspark
from botocore.client import Config

REPOSITORY = Path(__file__).resolve().parents[1]
VERSITYGW = REPOSITORY / ".tools" / "versitygw"
VERSITYGW_MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
SPARK_HOME = Path(pyspark.__path__[0])
LOOPBACK = "127.0.0.1"
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []

PathLike = str | os.PathLike[str]


class ServerDidNotStart(RuntimeError):
    """A server ended, or did not answer, within its start-up time; the message holds the end of its log."""


# --- processes ----------------------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing uses now; all are held open while they are chosen, so they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def start(
    command: Sequence[PathLike],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: PathLike | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` as the leader of its own process group, with stdout and stderr appended to `log`.

    Linux sends it SIGTERM when the thread that started it ends, even by SIGKILL: use the main thread.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [*DIE_WITH_PARENT, *(os.fspath(part) for part in command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[Any], grace: float = 5.0) -> None:
    """End `process` and all it started: SIGTERM, then SIGKILL for whatever is left after `grace` seconds.

    Descendants are looked up as well as the group, because Spark's Python daemons lead groups of their own.
    """
    family = _family(process.pid)
    _signal_group(process.pid, signal.SIGTERM)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace)
    _, alive = psutil.wait_procs(family, timeout=grace)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _family(pid: int) -> list[psutil.Process]:
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _wait_until(
    ready: Callable[[], bool], processes: Sequence[subprocess.Popen[Any]], log: Path, seconds: float
) -> None:
    """Poll `ready` until it is true; fail with the end of `log` when a process ends or time runs out."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended = [process.args for process in processes if process.poll() is not None]
        if ended:
            raise ServerDidNotStart(f"{ended[0]!r} ended while starting; {log} ends:\n{tail(log)}")
        if ready():
            return
        time.sleep(0.1)
    raise ServerDidNotStart(f"not ready after {seconds:.0f} s; {log} ends:\n{tail(log)}")


def tail(log: Path, characters: int = 4000) -> str:
    """Return the end of a log file, or an empty string where there is none."""
    return log.read_text(errors="replace")[-characters:] if log.exists() else ""


# --- S3 -----------------------------------------------------------------------------------------------------

_MOTO = """
import sys, threading
from moto.server import ThreadedMotoServer
ThreadedMotoServer(ip_address=sys.argv[1], port=int(sys.argv[2])).start()
threading.Event().wait()
"""


def find_versitygw() -> Path | None:
    """Return the versitygw binary in `.tools`, built there once (minutes) where Go is present; else None."""
    if VERSITYGW.exists():
        return VERSITYGW
    go = shutil.which("go")
    if go is None:
        return None
    VERSITYGW.parent.mkdir(exist_ok=True)
    with (VERSITYGW.parent / "versitygw.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process builds, the others wait here and find it built
        if not VERSITYGW.exists():
            built = subprocess.run(
                [go, "install", VERSITYGW_MODULE],
                env={**os.environ, "GOBIN": str(VERSITYGW.parent)},
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
            )
            if built.returncode != 0:
                print(f"go install {VERSITYGW_MODULE} failed, moto stands in:\n{built.stderr[-4000:]}")
                return None
    return VERSITYGW


class S3Server:
    """An S3 server over `folder`: versitygw, or moto where neither versitygw nor Go is present.

    `kind` says which ("versitygw" or "moto"). versitygw keeps objects as files under `folder`/objects, so a
    second server over the same folder finds them again; moto keeps them in memory.
    """

    region = "us-east-1"
    access_key = "specrec-test"
    secret_key = "specrec-test-secret"

    def __init__(self, folder: PathLike, start_timeout: float = 30.0) -> None:
        self.folder = Path(folder).resolve()
        self.log = self.folder / "s3.log"
        self.start_timeout = start_timeout
        self.kind = ""
        self.endpoint_url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        binary = find_versitygw()
        port = free_ports(1)[0]
        self.endpoint_url = f"http://{LOOPBACK}:{port}"
        if binary is not None:
            self.kind = "versitygw"
            objects = self.folder / "objects"
            objects.mkdir(parents=True, exist_ok=True)
            address = f"{LOOPBACK}:{port}"
            command: list[PathLike] = [binary, "--port", address, "--region", self.region, "posix", objects]
        else:
            self.kind = "moto"
            command = [sys.executable, "-c", _MOTO, LOOPBACK, str(port)]
        environment = {
            **os.environ,
            "ROOT_ACCESS_KEY": self.access_key,
            "ROOT_SECRET_KEY": self.secret_key,
        }
        self._process = start(command, self.log, env=environment)
        try:
            _wait_until(self._answers, [self._process], self.log, self.start_timeout)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _answers(self) -> bool:
        try:
            self.client(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1}).list_buckets()
        except Exception:  # whatever goes wrong here means "not yet"
            return False
        return True

    def kill(self) -> None:
        """Stop the server at once, as when it breaks down during a run; harmless once it has stopped."""
        if self._process is not None:
            stop(self._process, grace=1.0)
            self._process = None

    def environment(self) -> dict[str, str]:
        """Return the variables by which boto3, S3A and delta-rs in a subprocess find this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ALLOW_HTTP": "true",  # delta-rs refuses plain HTTP without it
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, **config: Any) -> Any:
        """Return a boto3 S3 client of this server, path style; `config` goes to botocore's Config."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(**{"s3": {"addressing_style": "path"}, **config}),
        )

    def create_bucket(self, name: str) -> str:
        """Create an empty bucket and return its name."""
        self.client().create_bucket(Bucket=name)
        return name

    def upload_folder(self, folder: PathLike, bucket: str, prefix: str = "") -> list[str]:
        """Upload every file below `folder` under `prefix`, and return the keys in order."""
        client = self.client()
        root = Path(folder)
        keys = []
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            key = "/".join(part for part in (prefix.strip("/"), path.relative_to(root).as_posix()) if part)
            client.upload_file(str(path), bucket, key)
            keys.append(key)
        return keys


# --- Spark --------------------------------------------------------------------------------------------------


class PackedEnvironment(NamedTuple):
    """What `deploy/pack.py` makes: the dependencies as an archive, and the package as a zip file."""

    archive: Path
    package: Path


def pack_environment(timeout: float = 600.0) -> PackedEnvironment:
    """Run `deploy/pack.py` (half a minute at most, or a second when nothing changed) and return what it made."""
    done = subprocess.run(
        [sys.executable, REPOSITORY / "deploy" / "pack.py"],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"deploy/pack.py failed:\n{done.stdout}\n{done.stderr}")
    build = REPOSITORY / "build"
    return PackedEnvironment(build / "specrec-env.tar.gz", build / "specrec.zip")


class Submission:
    """A running spark-submit, whose output goes to files (a pipe that nobody reads would block it)."""

    def __init__(
        self, command: Sequence[str], cwd: Path, stdout: Path, stderr: Path, env: Mapping[str, str]
    ) -> None:
        self.stdout = stdout
        self.stderr = stderr
        with stdout.open("wb") as out, stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [*DIE_WITH_PARENT, *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    def wait(self, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Wait for the end; after `timeout` seconds, stop it and raise TimeoutExpired with its output."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            error.stdout, error.stderr = self.stdout.read_bytes(), self.stderr.read_bytes()
            raise
        finally:
            stop(self.process)
        stdout, stderr = (path.read_text(errors="replace") for path in (self.stdout, self.stderr))
        return subprocess.CompletedProcess(self.process.args, code, stdout, stderr)

    def stop(self) -> None:
        """Stop the driver and what it started; harmless when it has ended."""
        stop(self.process)


def runs_python(executor: psutil.Process) -> bool:
    """Whether an executor has begun a task in Python (it keeps the Python daemon for later ones)."""
    for child in executor.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "pyspark.daemon" in child.cmdline():
                return True
    return False


class SparkCluster:
    """A Spark standalone master and its workers on loopback, from the pyspark wheel.

    Every worker has a folder of its own under `folder`, where its executors' logs also are. Executors run the
    driver's Python unless a packed environment is shipped to them (`packed`).
    """

    def __init__(
        self,
        folder: PathLike,
        workers: int = 2,
        cores: int = 1,
        memory: str = "2g",
        start_timeout: float = 60.0,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.log = self.folder / "cluster.log"
        self.worker_count = workers
        self.cores = cores
        self.memory = memory
        self.start_timeout = start_timeout
        self.master_url = ""
        self.web_url = ""
        self.master: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self._submitted: list[Submission] = []

    def __enter__(self) -> Self:
        port, web_port, *worker_ports = free_ports(2 + 2 * self.worker_count)
        self.master_url = f"spark://{LOOPBACK}:{port}"
        self.web_url = f"http://{LOOPBACK}:{web_port}"
        master = ["--host", LOOPBACK, "--port", str(port), "--webui-port", str(web_port)]
        try:
            self.master = self._start("master.Master", *master)
            _wait_until(lambda: self.state() is not None, [self.master], self.log, self.start_timeout)
            for number in range(self.worker_count):
                worker_port, worker_web_port = worker_ports[2 * number : 2 * number + 2]
                own = ["--port", str(worker_port), "--webui-port", str(worker_web_port)]
                own += ["--work-dir", str(self.work_folder(number))]
                size = ["--cores", str(self.cores), "--memory", self.memory]
                worker = self._start("worker.Worker", "--host", LOOPBACK, *own, *size, self.master_url)
                self.workers.append(worker)
            _wait_until(
                lambda: self.alive_workers() == self.worker_count,
                [self.master, *self.workers],
                self.log,
                self.start_timeout,
            )
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, daemon: str, *arguments: str) -> subprocess.Popen[bytes]:
        command: list[PathLike] = [
            SPARK_HOME / "bin" / "spark-class",
            f"org.apache.spark.deploy.{daemon}",
            *arguments,
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        return start(command, self.log, env=self.environment(), cwd=self.folder)

    def stop(self) -> None:
        """Stop the applications submitted here, the workers with their executors, and the master.

        The logs stay; what was shipped to executors (an environment is a gigabyte) and scratch files do not.
        """
        for submission in self._submitted:
            submission.stop()
        for process in [*self.workers, *([self.master] if self.master else [])]:
            stop(process)
        self._submitted, self.workers, self.master = [], [], None
        self._remove_shipped_files()
        shutil.rmtree(self.folder / "local", ignore_errors=True)

    def _remove_shipped_files(self) -> None:
        """Remove what ended executors were sent (an environment is a gigabyte), but not the logs."""
        in_use = set()
        for executor in self.executors():
            with contextlib.suppress(psutil.Error):
                in_use.add(Path(executor.cwd()))
        for folder in set(self.folder.glob("worker-*/app-*/*")) - in_use:
            for entry in folder.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                elif entry.name not in {"stdout", "stderr"}:
                    entry.unlink(missing_ok=True)

    def work_folder(self, number: int) -> Path:
        """Return one worker's folder; `<application>/<executor>/` in it holds stderr and shipped files."""
        return self.folder / f"worker-{number}"

    def state(self) -> dict[str, Any] | None:
        """Return what the master says of itself (workers, applications), or None where it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.web_url}/json/", timeout=2) as answer:
                state: dict[str, Any] = json.load(answer)
                return state
        except (OSError, ValueError):
            return None

    def alive_workers(self) -> int:
        """Return how many workers the master knows to be alive."""
        state = self.state() or {}
        return sum(worker["state"] == "ALIVE" for worker in state.get("workers", []))

    def executors(self) -> list[psutil.Process]:
        """Return the executors' JVMs that run now on any worker."""
        found = []
        for worker in self.workers:
            for process in _family(worker.pid)[1:]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    if any("CoarseGrainedExecutorBackend" in part for part in process.cmdline()):
                        found.append(process)
        return found

    def kill_executor(self, timeout: float = 60.0, busy: bool = False) -> int:
        """Kill one running executor with SIGKILL and return its pid.

        Waits for one to appear, or with `busy` for one that has begun a task in Python.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for executor in self.executors():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if not busy or runs_python(executor):
                        executor.kill()
                        return int(executor.pid)
            time.sleep(0.1)
        raise TimeoutError(f"no {'busy ' if busy else ''}executor within {timeout:.0f} s")

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of Spark's processes: this Python, this Spark, loopback, one thread each."""
        return {
            **os.environ,
            "SPARK_HOME": str(SPARK_HOME),
            "SPARK_LOCAL_IP": LOOPBACK,
            "SPARK_LOCAL_DIRS": str(self._folder("local")),
            "SPARK_DAEMON_MEMORY": "512m",
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": sys.executable,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "OMP_NUM_THREADS": "1",
            "NUMBA_CACHE_DIR": str(self._folder("numba")),
            **(extra or {}),
        }

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def command(
        self,
        script: PathLike,
        *arguments: str,
        conf: Mapping[str, str] | None = None,
        packages: Sequence[str] = (),
        jars: Sequence[PathLike] = (),
        py_files: Sequence[PathLike] = (),
        archives: Sequence[str] = (),
        packed: PackedEnvironment | None = None,
    ) -> list[str]:
        """Return the spark-submit command for `script`, in client mode; `conf` overrides the settings."""
        settings = {
            "spark.driver.host": LOOPBACK,
            "spark.driver.bindAddress": LOOPBACK,
            "spark.driver.memory": "1g",
            "spark.executor.memory": "1g",
            "spark.executor.cores": str(self.cores),
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "4",
            "spark.executorEnv.OMP_NUM_THREADS": "1",
            "spark.executorEnv.NUMBA_CACHE_DIR": str(self._folder("numba")),
        }
        if packed is not None:
            archives = [*archives, f"{packed.archive}#environment"]
            py_files = [*py_files, packed.package]
            settings["spark.pyspark.python"] = "./environment/bin/python"
            settings["spark.pyspark.driver.python"] = sys.executable
        settings.update(conf or {})
        command = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", self.master_url]
        for name, values in [
            ("--packages", packages),
            ("--jars", jars),
            ("--py-files", py_files),
            ("--archives", archives),
        ]:
            if values:
                command += [name, ",".join(os.fspath(value) for value in values)]
        for key, value in settings.items():
            command += ["--conf", f"{key}={value}"]
        return [*command, os.fspath(script), *arguments]

    def popen(
        self, script: PathLike, *arguments: str, env: Mapping[str, str] | None = None, **options: Any
    ) -> Submission:
        """Start spark-submit and return at once; `options` are those of `command`.

        Whatever still runs when the cluster stops, or the thread that called this ends, is stopped too.
        """
        self._remove_shipped_files()
        number = len(self._submitted)
        submission = Submission(
            self.command(script, *arguments, **options),
            self._folder("driver"),
            self.folder / f"submit-{number}.stdout",
            self.folder / f"submit-{number}.stderr",
            self.environment(env),
        )
        self._submitted.append(submission)
        return submission

    def submit(
        self,
        script: PathLike,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        timeout: float = 300.0,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run spark-submit to its end; after `timeout` seconds it is stopped and TimeoutExpired is raised."""
        return self.popen(script, *arguments, env=env, **options).wait(timeout)
