"""One run: its name, its clock, what it records of each stage, and how its errors are told."""

from __future__ import annotations

import platform
import re
import secrets
import time
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from py4j.protocol import Py4JError, Py4JNetworkError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

import specrec
from specrec import errors
from specrec.config import Config
from specrec.details import keep
from specrec.errors import SpecrecError, innermost
from specrec.logs import get_logger
from specrec.pipeline.hashes import results_hash
from specrec.pipeline.progress import Progress
from specrec.pipeline.run_metrics import RUN_METRICS
from specrec.session import get_spark
from specrec.storage import Location, join, uri_for_delta_rs
from specrec.warehouse.artefacts import ArtefactStore, NewArtefact, pack
from specrec.warehouse.lock import WarehouseLock
from specrec.warehouse.reader import Reader
from specrec.warehouse.schemas import TABLES
from specrec.warehouse.tables import Warehouse

#: What Spark throws; Java that has ended is a connection that is refused or reset. A pipe that is broken is another
#: matter: who read what we print has enough of it.
_GONE = (ConnectionRefusedError, ConnectionResetError, ConnectionAbortedError)
_SPARKS = (PySparkException, Py4JError, *_GONE)

#: The tables that say what a run did.
RECORDS = ("runs", "run_metrics")

_VERSIONS = ("pyspark", "delta-spark", "librosa", "numpy", "soundfile", "av", "scikit-learn", "umap-learn")


@dataclass
class StageReport:
    """What a stage says of itself in the table ``runs``.

    Attributes
    ----------
    status : str
        ``done``, ``unchanged`` or ``failed``.
    rows_in, rows_out, rows_failed : int or None
        How many rows it had to deal with, wrote, and sent to quarantine; None: it does not count them.
    details : dict
        What else it has to say to people, by name.
    numbers : dict of float
        What it counted or measured, by metric and part: see :mod:`specrec.pipeline.run_metrics`.
    """

    status: str = "done"
    rows_in: int | None = None
    rows_out: int | None = None
    rows_failed: int | None = None
    details: dict[str, Any] = field(default_factory=dict)
    numbers: dict[tuple[str, str], float] = field(default_factory=dict)

    def record(self, metric: str, value: float, part: str = "") -> None:
        """Record a number for ``run_metrics``, in place of the one that the stage gave before.

        Parameters
        ----------
        metric : str
            A name in :data:`~specrec.pipeline.run_metrics.RUN_METRICS`.
        part : str
            What it is of, such as a space; empty: the stage as a whole.

        Raises
        ------
        ValueError
            If the metric is not declared.
        """
        if metric not in RUN_METRICS:
            raise ValueError(f"the metric {metric!r} is not declared: name it in specrec.pipeline.run_metrics")
        self.numbers[metric, part] = float(value)

    def count(self, metric: str, value: float, part: str = "", *, told: str | None = None) -> None:
        """Record a number, and say it in ``details``: under its part, if it has one, after what is said of that.

        Parameters
        ----------
        metric, part : str
            As :meth:`record` takes them.
        told : str or None
            How it is said; None: in the metric's own words.

        Examples
        --------
        >>> report = StageReport()
        >>> report.count("rows", 240, "hybrid")
        >>> report.count("lists_not_full", 3, "hybrid")
        >>> report.count("groups", 4)
        >>> report.details
        {'hybrid': '240 rows, 3 lists not full', 'groups': '4'}
        """
        self.record(metric, value, part)
        words = RUN_METRICS[metric].words.format(value=value, part=part) if told is None else told
        said = self.details.get(part) if part else None
        self.details[part or metric] = f"{said}, {words}" if said else words

    def count_each(self, metric: str, values: Mapping[str, float]) -> None:
        """Record a number of each part, and say all of them in ``details`` under the metric.

        Examples
        --------
        >>> report = StageReport()
        >>> report.count_each("unread_values", {"explicit": 3, "year": 2})
        >>> report.details
        {'unread_values': '3 explicit, 2 year'}
        """
        for part, value in values.items():
            self.record(metric, value, part)
        if values:
            words = RUN_METRICS[metric].words
            self.details[metric] = ", ".join(words.format(value=of, part=part) for part, of in values.items())

    def parts(self, written: Collection[str], counts: dict[str, int], of: Sequence[str]) -> None:
        """Say which parts of a table were written, and how many rows each has."""
        for part in of:
            if part in written:
                self.count("rows", counts.get(part, 0), part)
            else:
                self.details[part] = "unchanged"
        self.rows_out = sum(counts.get(part, 0) for part in written)
        if not written:
            self.unchanged()

    def unchanged(self) -> None:
        """Say that there was nothing to do."""
        self.status = "unchanged"
        self.rows_out = self.rows_out or 0


class Run:
    """A run of one or more stages on a warehouse.

    Parameters
    ----------
    config : Config
        The configuration.
    warehouse : Warehouse
        The tables.
    lock : WarehouseLock
        The one that the run holds.
    progress : Progress
        Shows a person how far it is.
    refit : bool
        Whether scaler and PCA are to be fitted anew.
    tracks : Location or None
        A file that names the tracks that the run is about; None: it is about all.
    """

    def __init__(
        self,
        config: Config,
        warehouse: Warehouse,
        run_id: str,
        lock: WarehouseLock,
        progress: Progress,
        *,
        refit: bool = False,
        tracks: Location | None = None,
    ) -> None:
        self.tracks = tracks
        self.config = config
        self.warehouse = warehouse
        self.lock = lock
        self.run_id = run_id
        self.progress = progress
        self.refit = refit
        self.artefacts = ArtefactStore(Reader(config.warehouse, config.storage))

    def stamp(self) -> dict[str, Column]:
        """Return the columns that tell which run wrote a row, and when, as literals."""
        return {"run_id": F.lit(self.run_id), "computed_at": F.lit(datetime.now(UTC))}

    def analysed(self, table: str) -> DataFrame:
        """Return what was extracted with this configuration; other rows are on their way out.

        Parameters
        ----------
        table : str
            ``audio_features`` or ``mel_spectrograms``.
        """
        return self.warehouse.read(table).where(F.col("audio_hash").isin(*self.config.audio_hash.accepted))

    def undo_foreign_changes(self, stages: Collection[str]) -> None:
        """Put back the tables of these stages that somebody else changed; tell it in the log and in ``runs``.

        Each is told as soon as it is done: if the next cannot be put back, the run ends, and says so there.
        """
        found = self.warehouse.foreign_changes(stages)
        if not found:
            return
        with self.stage("undo") as report:
            for change in found:
                self.warehouse.undo(change)
                report.details[change.table] = str(change)
                get_logger().warning("foreign_change_undone", table=change.table, what=str(change))

    def publish(self, fitted: Sequence[NewArtefact]) -> dict[str, int]:
        """Write the next versions of artefacts, and return these versions by name."""
        rows = [
            {
                "name": new.of.name,
                "version": self.artefacts.last_version(new.of.name) + 1,
                "config_hash": str(new.of.settings),
                "payload": pack(new.arrays),
                "fitted_tracks": new.fitted_tracks,
                "fitted_on": new.fitted_on,
                "reason": new.reason,
                "versions": versions(),
                "run_id": self.run_id,
                "created_at": datetime.now(UTC),
            }
            for new in fitted
        ]
        self.warehouse.append_few("artefacts", rows)
        self.artefacts.forget()
        return {str(row["name"]): int(str(row["version"])) for row in rows}

    @contextmanager
    def stage(self, name: str) -> Iterator[StageReport]:
        """Time a stage and record in ``runs`` what it did, also if it fails.

        Raises
        ------
        SpecrecError
            Also where the stage raised it on an executor.
        """
        self.lock.check()
        report = StageReport()
        log = get_logger().bind(run_id=self.run_id, stage=name)
        log.info("stage_started")
        started, clock = datetime.now(UTC), time.monotonic()
        self.progress.stage(name)
        try:
            yield report
        except BaseException as error:
            report.status = "failed"
            told = as_specrec_error(error, self.config.warehouse)
            seconds = time.monotonic() - clock
            log.error("stage_failed", seconds=round(seconds, 1), error=str(told or repr(error)))
            try:
                self._record(name, report, started, seconds, str(told or repr(error))[:2000])
            except Exception as failure:  # the first error is the one that matters
                log.warning("stage_not_recorded", error=str(failure).strip().split("\n", 1)[0])
            if told is not None and told is not error:
                raise told from error
            raise
        seconds = time.monotonic() - clock
        self._record(name, report, started, seconds, None)
        self.progress.done(name, report.status, report.rows_out, seconds)
        log.info(
            "stage_done",
            status=report.status,
            seconds=round(seconds, 1),
            rows_in=report.rows_in,
            rows_out=report.rows_out,
            rows_failed=report.rows_failed,
            details=report.details,  # named apart: a model may be called `status`
        )

    def _record(
        self, stage: str, report: StageReport, started: datetime, seconds: float, message: str | None
    ) -> None:
        report.details |= self.warehouse.take_notes()
        row = {
            "run_id": self.run_id,
            "stage": stage,
            "status": report.status,
            "rows_in": report.rows_in,
            "rows_out": report.rows_out,
            "rows_failed": report.rows_failed,
            "seconds": seconds,
            "started_at": started,
            "details": {key: str(value) for key, value in report.details.items()},
            "message": message,
            "config_hash": results_hash(self.config),
            "versions": versions(),
        }
        self.warehouse.append_few("runs", [row])
        report.record("seconds", seconds)
        for name in ("rows_in", "rows_out", "rows_failed"):
            if (count := getattr(report, name)) is not None:
                report.record(name, count)
        of_run = {"run_id": self.run_id, "stage": stage, "recorded_at": datetime.now(UTC)}
        numbers = [
            of_run | {"metric": metric, "part": part, "value": value}
            for (metric, part), value in sorted(report.numbers.items())
        ]
        self.warehouse.append_few("run_metrics", numbers)


@contextmanager
def open_run(
    config: Config, *, refit: bool = False, shown: bool | None = None, tracks: Location | None = None
) -> Iterator[Run]:
    """Yield a run that holds the warehouse's lock; Spark's errors are told in one line.

    The Spark session starts when the warehouse is first asked for it, so that what needs none starts no JVM.

    Parameters
    ----------
    config : Config
    refit : bool
        Whether scaler and PCA are to be fitted anew.
    shown : bool or None
        Whether a person sees how far the run is; None: on a terminal.
    tracks : Location or None
        A file that names the tracks that the run is about; None: it is about all.

    Raises
    ------
    SpecrecError
        If another run holds the warehouse, or Spark fails.
    """
    run_id = new_run_id()
    uri_for_delta_rs(config.warehouse)  # raises before the lock is written
    lock = WarehouseLock(config.warehouse, config.storage, run_id)
    with lock, told_in_one_line(config.warehouse), Progress(shown) as progress:

        def start_spark() -> SparkSession:
            spark = get_spark(config)
            progress.watch(spark.sparkContext)
            return spark

        warehouse = Warehouse(start_spark, config.warehouse, config.storage, run_id, config.maintain)
        yield Run(config, warehouse, run_id, lock, progress, refit=refit, tracks=tracks)
    get_logger().info("run_done", run_id=run_id)


def new_run_id() -> str:
    """Return a name that sorts by time and is not given twice."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def versions() -> dict[str, str]:
    """Return the versions of what computes results."""
    return {"specrec": specrec.__version__, "python": platform.python_version()} | {
        name: version(name) for name in _VERSIONS
    }


#: What Spark says where a file of a table is lost, was altered, or is none.
_UNREADABLE = re.compile(
    r"FAILED_READ_FILE|FileNotFound|FILE_NOT_EXIST|could not verify|ParquetDecoding|is not a Parquet file|"
    r"DELTA_(?:TRUNCATED|MISSING|FILE|VERSIONS_NOT|LOG)"
)


def as_specrec_error(error: BaseException, warehouse: Location | None = None) -> SpecrecError | None:
    """Return the SpecrecError that an exception is or amounts to; None for what is a fault of ours.

    An executor's SpecrecError arrives as the last line of a traceback; anything else that Spark or Java throws (a
    disk that is full, a store that refuses) is told by its first line, with what to do if it is of a table's file.
    """
    if isinstance(error, SpecrecError):
        return error
    if isinstance(error, (Py4JNetworkError, *_GONE)):
        return SpecrecError("Spark's Java process ended: perhaps the machine has too little memory for it")
    if isinstance(error, _SPARKS):
        text = str(error)
        told = re.findall(r"^\s*specrec\.errors\.(\w+): (.+)$", text, re.MULTILINE)
        if told:
            kind, message = told[-1]
            found = getattr(errors, kind, SpecrecError)
            return found(message) if issubclass(found, SpecrecError) else SpecrecError(message)
        said = innermost(error)
        if warehouse is not None and (damaged := _damaged_table(text, warehouse)):
            return SpecrecError(
                f"the table {join(warehouse, damaged)} cannot be read: {said}. If it is damaged: `specrec repair "
                f"{damaged} --warehouse {warehouse}`"
            )
        return SpecrecError(f"Spark failed: {said}")
    return None


def _damaged_table(text: str, warehouse: Location) -> str | None:
    """Return the table whose file could not be read, if Spark's error is about one.

    Examples
    --------
    >>> said = "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:///w/map/part-1.parquet. "
    >>> _damaged_table(said, Location("/w"))
    'map'
    """
    if not _UNREADABLE.search(text):
        return None
    below = warehouse.partition("://")[2] or warehouse
    for name in TABLES:
        if f"{below}/{name}/" in text or f"{quote(below)}/{name}/" in text:
            return name
    return None


@contextmanager
def told_in_one_line(warehouse: Location | None = None) -> Iterator[None]:
    """Raise what Spark throws as a SpecrecError; its own words, and the trace, go to the file that it names.

    Parameters
    ----------
    warehouse : Location or None
        Where the tables lie whose damage is to be told with a way out.
    """
    try:
        yield
    except Exception as error:
        told = as_specrec_error(error, warehouse)
        if told is None or not _is_sparks(error):
            raise
        get_logger().debug("spark_failed", error=str(error.__cause__ or error))
        raise type(told)(f"{told}{keep(traceback.format_exc())}") from error


def _is_sparks(error: BaseException) -> bool:
    """Return whether an error is Spark's, or was made of one of Spark's."""
    return isinstance(error, _SPARKS) or (isinstance(error, SpecrecError) and isinstance(error.__cause__, _SPARKS))
