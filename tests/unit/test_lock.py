import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from specrec.errors import StorageError, WarehouseLockedError
from specrec.storage.config import StorageConfig
from specrec.warehouse.lock import LOCK_NAME, WarehouseLock

STORAGE = StorageConfig()

_HOLDER = """
import socket, sys, time
from specrec.storage.config import StorageConfig
from specrec.warehouse import lock
from specrec.warehouse.lock import WarehouseLock
if len(sys.argv) > 3:  # another machine, whatever it calls itself
    socket.gethostname = lambda: sys.argv[3]
    lock._machine = lambda: "another boot"
with WarehouseLock(sys.argv[1], StorageConfig(), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """Another process that holds a warehouse until it is told to leave, or killed."""

    def __init__(self, warehouse, run_id="other", *host):
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(warehouse), run_id, *host],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "held\n"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def leave(self):
        self.process.communicate("")
        assert self.process.returncode == 0


@pytest.fixture
def hold():
    holders = []

    def start(*arguments):
        holders.append(Holder(*arguments))
        return holders[-1]

    yield start
    for holder in holders:
        if holder.process.poll() is None:
            holder.kill()
        holder.process.stdin.close()
        holder.process.stdout.close()


def _lock(warehouse, run_id="mine"):
    return WarehouseLock(str(warehouse), STORAGE, run_id)


def _age(file: Path, by: timedelta) -> None:
    """Move every time in a lock file back, as if its holder had written it so long ago."""
    holder = json.loads(file.read_text())
    for key, value in holder.items():
        try:
            holder[key] = (datetime.fromisoformat(value) - by).isoformat()
        except (TypeError, ValueError):
            continue
    file.write_text(json.dumps(holder))


def test_the_lock_lies_in_the_warehouse_while_it_is_held(tmp_path):
    warehouse = tmp_path / "not" / "there" / "yet"
    with _lock(warehouse):
        assert (warehouse / LOCK_NAME).exists()
    assert not (warehouse / LOCK_NAME).exists()


def test_it_is_left_after_an_error_too_and_can_be_taken_again(tmp_path):
    with pytest.raises(ZeroDivisionError), _lock(tmp_path):
        raise ZeroDivisionError
    assert not (tmp_path / LOCK_NAME).exists()
    with _lock(tmp_path):
        pass


def test_a_second_holder_is_refused_and_told_of_the_first(tmp_path, hold):
    holder = hold(tmp_path, "run-2026-11-03")
    before = json.loads((tmp_path / LOCK_NAME).read_text())
    with pytest.raises(WarehouseLockedError) as refused, _lock(tmp_path):
        pass
    message = str(refused.value)
    assert "run-2026-11-03" in message
    assert socket.gethostname() in message
    assert str(holder.process.pid) in message
    assert str(tmp_path / LOCK_NAME) in message
    assert "\n" not in message
    assert json.loads((tmp_path / LOCK_NAME).read_text())["run_id"] == before["run_id"]  # still the first one's
    holder.leave()
    with _lock(tmp_path):
        pass


def test_one_process_cannot_hold_a_warehouse_twice(tmp_path):
    with _lock(tmp_path, "first"):
        with pytest.raises(WarehouseLockedError, match="first"), _lock(tmp_path, "second"):
            pass
        assert (tmp_path / LOCK_NAME).exists()


def test_two_warehouses_have_two_locks(tmp_path):
    with _lock(tmp_path / "a"), _lock(tmp_path / "b"):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, hold):
    hold(tmp_path).kill()
    assert (tmp_path / LOCK_NAME).exists()
    with _lock(tmp_path, "heir"):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["run_id"] == "heir"
        with pytest.raises(WarehouseLockedError, match="heir"), _lock(tmp_path):
            pass
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_live_holder_on_this_host_is_honoured_however_long_it_is_silent(tmp_path, hold):
    hold(tmp_path)
    _age(tmp_path / LOCK_NAME, timedelta(days=1))
    with pytest.raises(WarehouseLockedError), _lock(tmp_path):
        pass


def test_a_reused_process_number_does_not_keep_a_dead_lock(tmp_path, hold):
    hold(tmp_path).kill()
    file = tmp_path / LOCK_NAME
    holder = json.loads(file.read_text())
    file.write_text(json.dumps(holder | {"pid": os.getpid()}))  # the number is ours now
    with _lock(tmp_path):
        pass


def test_another_hosts_lock_is_honoured_until_it_is_silent_for_long(tmp_path, hold):
    hold(tmp_path, "far-run", "far-host").kill()  # whether it lives cannot be seen from here
    with pytest.raises(WarehouseLockedError, match=r"far-run.*far-host"), _lock(tmp_path):
        pass
    _age(tmp_path / LOCK_NAME, timedelta(seconds=60))
    with pytest.raises(WarehouseLockedError, match="far-host"), _lock(tmp_path):
        pass
    _age(tmp_path / LOCK_NAME, timedelta(hours=1))
    with _lock(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"run_id": 3}', b"\xff\xfe"])
def test_a_damaged_lock_file_is_taken_over(tmp_path, content):
    (tmp_path / LOCK_NAME).write_bytes(content)
    with _lock(tmp_path):
        pass
    assert not (tmp_path / LOCK_NAME).exists()


def test_who_lost_the_lock_does_not_remove_the_others(tmp_path):
    with _lock(tmp_path):
        (tmp_path / LOCK_NAME).write_text('{"run_id": "somebody else"}')
    assert "somebody else" in (tmp_path / LOCK_NAME).read_text()


def test_of_many_that_find_a_dead_lock_no_two_hold_it_at_once(tmp_path, hold):
    hold(tmp_path).kill()
    alone = "import os; os.mkdir(sys.argv[1] + '/in'); time.sleep(0.3); os.rmdir(sys.argv[1] + '/in')"
    script = _HOLDER.replace("sys.stdin.read()", alone)
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), f"r{i}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(4)
    ]
    errors = [run.communicate()[1] for run in runs]
    held = [run for run in runs if run.returncode == 0]
    refused = [error for error in errors if "WarehouseLockedError" in error]
    assert held
    assert len(held) + len(refused) == len(runs), errors
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_warehouse_that_cannot_be_written_ends_the_run_in_one_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError) as refused, _lock(tmp_path / "file"):
        pass
    assert "\n" not in str(refused.value)


def test_a_machine_of_the_same_name_is_another_machine(tmp_path, hold):
    hold(tmp_path, "far-run", socket.gethostname())
    with pytest.raises(WarehouseLockedError, match="far-run"), _lock(tmp_path):
        pytest.fail("two runs hold the warehouse")


def test_a_run_that_lost_its_lock_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("specrec.warehouse.lock._BEAT_SECONDS", 0.05)
    with _lock(tmp_path) as lock:
        lock.check()
        (tmp_path / LOCK_NAME).write_text("{}")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.05)
            try:
                lock.check()
            except WarehouseLockedError:
                break
        else:
            pytest.fail("it was not told")
    assert (tmp_path / LOCK_NAME).read_text() == "{}"  # the other's lock is left alone
