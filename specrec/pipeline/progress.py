"""What a person at a terminal sees of a run: a line a stage, and a bar for Spark's tasks while one works."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

from py4j.protocol import Py4JError
from pyspark import SparkContext
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from specrec.terminal import console, words


class Progress:
    """Context manager that shows progress on a terminal, and nothing elsewhere.

    Spark's status tracker is polled from a thread, once there is a session.
    """

    def __init__(self, shown: bool | None = None) -> None:
        self._context: SparkContext | None = None
        self._console = console(stderr=True)
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._bar = Bar(
            TextColumn("{task.description:<12}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("tasks"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, visible=False)
        self._stop = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        if self._shown:
            self._bar.start()
            self._poller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._stop.set()
            self._poller.join()
            self._bar.stop()

    def watch(self, context: SparkContext) -> None:
        """Show from now on how many tasks of Spark's running jobs are done."""
        self._context = context

    def stage(self, name: str) -> None:
        """Say which stage begins."""
        self._bar.reset(self._task, description=name, total=None, visible=True)

    def done(self, name: str, status: str, rows: int | None, seconds: float) -> None:
        """Say that a stage ended well."""
        if self._shown:
            what = "nothing changed" if status == "unchanged" else f"{rows or 0:,} rows"
            line = words(("✓", "green"), f" {name:<12} {what:<18} {seconds:5.1f} s")
            self._console.print(line, highlight=False)

    def _poll(self) -> None:
        while not self._stop.wait(0.5):
            if self._context is None:
                continue
            done = total = 0
            try:
                tracker = self._context.statusTracker()
                for stage_id in tracker.getActiveStageIds():
                    info = tracker.getStageInfo(stage_id)
                    if info is not None:
                        done += info.numCompletedTasks
                        total += info.numTasks
            except (Py4JError, OSError):  # Java has ended: the run tells why
                return
            if total:
                self._bar.update(self._task, completed=done, total=total)
