"""How much memory the processes below this one take, sampled while something runs."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress

import psutil


class Watch(threading.Thread):
    """Samples a group of processes four times a second, from ``with`` to the end of its block.

    Here a group is each process by itself, by its name; :class:`Workers` groups otherwise.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._peaks: dict[str, int] = {}
        self._done = threading.Event()

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while not self._done.wait(0.25):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    name, taken = process.name(), sum(one.memory_info().rss for one in self.group(process))
                    self._peaks[name] = max(self._peaks.get(name, 0), taken)

    def group(self, process: psutil.Process) -> Iterable[psutil.Process]:
        """Return the processes whose memory counts together with this one's."""
        return (process,)

    @property
    def peak_mib(self) -> float:
        """Resident memory of the largest group at its largest, MiB."""
        return max(self._peaks.values(), default=0) / (1 << 20)


class Workers(Watch):
    """Samples Spark's Python workers, each with the process that decodes for it."""

    def group(self, process: psutil.Process) -> Iterable[psutil.Process]:
        # Spark's Python daemon is the JVM's child, and forks the workers
        is_worker = "pyspark.daemon" in process.cmdline() and process.parent().name() != "java"
        return (process, *process.children(recursive=True)) if is_worker else ()
