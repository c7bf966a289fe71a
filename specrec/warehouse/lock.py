"""One run at a time holds the warehouse.

Delta on object storage is safe for one writing driver only, and two nightly runs on one warehouse would undo
each other's work anywhere. The lock is a small file, created atomically, that its holder touches while it lives;
a holder that was killed on this host, or fell silent for long, loses it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from specrec.errors import StorageError, TrackError, WarehouseLockedError
from specrec.logs import get_logger
from specrec.storage import Location, join, open_store
from specrec.storage.config import StorageConfig

LOCK_NAME = "_specrec_lock.json"
_FIELDS = ("run_id", "host", "machine", "pid", "process_started", "since", "beat")
_BEAT_SECONDS = 20.0
_SILENT_SECONDS = 180.0


class WarehouseLock:
    """Context manager that holds a warehouse.

    Raises
    ------
    WarehouseLockedError
        On entering, if another run holds it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, WarehouseLock(folder, StorageConfig(), "tonight"):
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['_specrec_lock.json']
    """

    def __init__(self, warehouse: Location, storage: StorageConfig, run_id: str) -> None:
        self._uri = join(warehouse, LOCK_NAME)
        self._store = open_store(warehouse, storage)
        self._mine = {
            "run_id": run_id,
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "process_started": _process_start(os.getpid()),
            "since": _now().isoformat(timespec="seconds"),
        }
        self._held = b""
        self._lost = False
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._keep_alive, name="warehouse-lock", daemon=True)

    def __enter__(self) -> WarehouseLock:
        mine = self._content()
        if not self._store.create(self._uri, mine):
            self._take_over(mine)
        self._held = mine
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._beat.join()
        try:
            if self._read() == self._held:
                self._store.delete(self._uri)
        except Exception as failure:  # what the run did, or why it failed, matters more
            get_logger().warning("lock_not_removed", uri=self._uri, error=str(failure))

    def check(self) -> None:
        """Raise WarehouseLockedError if another run took the lock, as it may after minutes without a beat."""
        if self._lost:
            raise WarehouseLockedError(
                f"another run took {self._uri} while this one could not reach it: this one stops"
            )

    def _take_over(self, mine: bytes) -> None:
        found = self._read()
        if found == mine:  # created after all: only the answer was lost, and the request sent again
            return
        if found is not None:
            holder = _parse(found)
            if holder is not None and _alive(holder):
                raise WarehouseLockedError(
                    f"the warehouse is held by run {holder['run_id']} (host {holder['host']}, process "
                    f"{holder['pid']}, since {holder['since']}): wait for it, or delete {self._uri} "
                    "if that run is surely dead"
                )
            dead = holder["run_id"] if holder else "unknown"
            if self._replace(found, mine):
                get_logger().warning("lock_taken_over", dead_run=dead)
                return
        raise WarehouseLockedError(f"another run took or left {self._uri} just now: try again")

    def _replace(self, old: bytes, new: bytes) -> bool:
        return self._store.replace(self._uri, old, new) or self._read() == new

    def _content(self) -> bytes:
        return json.dumps(self._mine | {"beat": _now().isoformat()}).encode()

    def _read(self) -> bytes | None:
        try:
            return self._store.read(self._uri)
        except TrackError as error:
            if error.code == "not_found":
                return None
            raise StorageError(f"cannot read {self._uri}: {error.message}") from None

    def _keep_alive(self) -> None:
        while not self._stop.wait(_BEAT_SECONDS):
            beat = self._content()
            try:
                if self._replace(self._held, beat):
                    self._held = beat
                else:
                    self._lost = True
                    get_logger().error("lock_lost", uri=self._uri)
                    return
            except Exception as error:  # a missed beat is no reason to end a run
                get_logger().warning("lock_beat_missed", error=str(error))


def _parse(content: bytes) -> dict[str, Any] | None:
    """Return what a lock file says; None if it is damaged, and so nobody's."""
    try:
        holder: dict[str, Any] = json.loads(content)
        holder = {name: holder[name] for name in _FIELDS}
        holder["beat"] = datetime.fromisoformat(holder["beat"])
        holder["pid"] = int(holder["pid"])
        _now() - holder["beat"]  # refuses a time without a zone
    except (ValueError, KeyError, TypeError):
        return None
    return holder


def _alive(holder: dict[str, Any]) -> bool:
    if holder["machine"] == _machine():
        started = _process_start(holder["pid"])
        return started is not None and started == holder["process_started"]
    silent: float = (_now() - holder["beat"]).total_seconds()
    return silent < _SILENT_SECONDS


def _machine() -> str:
    """Return a name of what process numbers belong to: host names are not unique, least of all in containers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"


def _process_start(pid: int) -> str | None:
    """Return what tells a process from a later one with the same number; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return None
    try:  # no /proc, as on macOS: that there is such a process has to do
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"


def _now() -> datetime:
    return datetime.now(UTC)
