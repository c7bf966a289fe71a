"""Nights on small catalogues: what the integration tests run, and how their tables are compared."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from specrec.config import Config, load
from specrec.evaluate.truth import TruthChecker, Untrue, values_of
from specrec.pipeline.nightly import run_stages
from specrec.pipeline.stages import STAGES
from specrec.warehouse.reader import Reader

#: Columns that tell when and by which run, and so differ between runs that computed the same.
VOLATILE = ("run_id", "updated_at", "computed_at", "first_seen", "last_seen", "attempts", "created_at")

#: Columns that tell where and when a file was, and so differ between a disk and an object store.
PLACE = ("audio_uri", "audio_fingerprint", "row_hash")

#: What nights are short by; a command that reads their tables as their run did needs them too.
QUICK = (
    "audio.clip_seconds=3",
    "audio.offset_seconds=0.25",
    "embedding.pca_components=8",
    "recommend.excerpt_seconds=1",
    "log.level=error",
    "spark.shuffle_partitions=2",
)

#: How Spark runs small nights: to compile queries, to compile them well and to plan them anew costs more than it
#: saves on a few rows. The nights on a cluster run with what Spark sets itself.
LIGHT = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}

#: The same for a command, with its session's other sizes.
LIGHT_SPARK = (
    "spark.master=local[2]",
    "spark.shuffle_partitions=2",
    "spark.snapshot_partitions=1",
    f"spark.conf={json.dumps(LIGHT)}",
    f"spark.jars_dir={Path(__file__).parents[1] / '.jars'}",
)

#: The stages of nights that end with measured audio, and of those that end with lists but no copies and no map.
MEASURED: tuple[str, ...] = ("ingest", "extract")
LISTED: tuple[str, ...] = (*MEASURED, "fit", "embed", "neighbours", "recommend")

RESULTS = (
    "tracks",
    "audio_features",
    "mel_spectrograms",
    "quarantine",
    "embeddings",
    "neighbours",
    "duplicates",
    "recommendations",
    "agreement",
    "map",
)


@dataclass(frozen=True)
class Night:
    """A catalogue, a warehouse, and the settings that its nights run with."""

    catalogue: str
    warehouse: str
    settings: tuple[str, ...] = field(default_factory=tuple)

    def config(self, *settings: str) -> Config:
        places = (f"catalogue.path={self.catalogue}", f"warehouse={self.warehouse}")
        return load(None, (*places, *QUICK, *self.settings, *settings))

    def run(self, *settings: str, stages: Iterable[str] = STAGES, refit: bool = False) -> str:
        return run_stages(self.config(*settings), stages, refit)

    @property
    def reader(self) -> Reader:
        config = self.config()
        return Reader(config.warehouse, config.storage)

    def rows(self, table: str, without: Iterable[str] = VOLATILE) -> list[dict[str, Any]]:
        """A table's rows in the order of their content, without some columns."""
        dropped = set(without)
        rows = [
            {name: value for name, value in row.items() if name not in dropped} for row in self.reader.rows(table)
        ]
        return sorted(rows, key=lambda row: [str(row.get(name)) for name in _KEY])

    def stage(self, run_id: str, stage: str) -> dict[str, Any]:
        """What `runs` says of a stage of a run."""
        (row,) = [row for row in self.reader.rows("runs") if (row["run_id"], row["stage"]) == (run_id, stage)]
        return row

    def versions(self) -> dict[str, int]:
        """The Delta version of each result table: what was not written keeps it."""
        return {table: self.reader.table(table).version() for table in (*RESULTS, "artefacts")}


_KEY = ("space", "system", "track_id", "stage", "rank")


def copy_artefacts(source: Night, target: Night) -> None:
    """Let one warehouse begin with what was fitted in another."""
    shutil.copytree(Path(source.warehouse) / "artefacts", Path(target.warehouse) / "artefacts")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def untrue(night: Night) -> list[Untrue]:
    """Return the statements in a night's recommendations that its tables do not bear out."""
    embeddings = night.rows("embeddings")
    levels = [row for row in embeddings if row["space"] == "spectrogram"]
    tables = (night.rows("audio_features"), levels, night.rows("tracks"), embeddings, night.rows("track_listeners"))
    values = values_of(*(pd.DataFrame(rows, columns=None if rows else ["track_id", "liked"]) for rows in tables))
    both = {(row["track_id"], row["other_id"]): row["both"] for row in night.rows("also_liked")}
    # shares of tracks may be off by so much before sentences are told anew
    slack = night.config().fit.max_statistics_shift / 100
    return TruthChecker(values, values, slack, both).untrue(night.rows("recommendations"))
