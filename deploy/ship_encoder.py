"""Train anew the encoder that the package carries, specrec/embedding/encoder.onnx, and write its card beside it.

    make encoder

It is trained on clips that the project renders itself, and on no label. The first clips of that catalogue are left
out: they are what `specrec demo` renders, and what is said of the encoder there should be of what it has not heard.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

from specrec.config import load
from specrec.demo import render_catalogue
from specrec.embedding.models import ENCODER
from specrec.encoder.make import MODEL
from specrec.logs import configure
from specrec.pipeline.nightly import run_stages
from specrec.pipeline.train_encoder import train_encoder

REPOSITORY = Path(__file__).resolve().parents[1]
BUILD = Path("build") / "encoder"
CLIPS, LEFT_OUT, SECONDS = 5_000, 500, 10.0
SETTINGS = (
    f"catalogue.path={BUILD / 'catalogue.csv'}",
    f"warehouse={BUILD / 'warehouse'}",
    "encoder.label_column=null",
    "encoder.epochs=16",
    "encoder.threads=1",  # sums are in one order, whatever the number of cores
)


def render() -> None:
    """Render the clips, and write the catalogue of those to train on."""
    render_catalogue(BUILD / "all", CLIPS, SECONDS, processes=os.cpu_count() or 1)
    with (BUILD / "all" / "catalogue.csv").open(newline="", encoding="utf-8") as source:
        header, *rows = csv.reader(source)
    audio = header.index("audio")
    with (BUILD / "catalogue.csv").open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([*row[:audio], f"all/{row[audio]}", *row[audio + 1 :]] for row in rows[LEFT_OUT:])


def ship(model: Path, card: dict[str, Any]) -> None:
    """Put a model and its card into the package."""
    shipped = Path(str(ENCODER))
    shutil.copy(model, shipped)
    card["model"]["file"] = shipped.name
    card["data"]["warehouse"] = str(BUILD / "warehouse")  # and not where this repository happens to lie
    shipped.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Render, analyse, train, and put the model and its card into the package."""
    os.chdir(REPOSITORY)
    shutil.rmtree(BUILD, ignore_errors=True)
    render()
    config = load("conf/local.yaml", SETTINGS)
    configure(config.log)
    run_stages(config, ("ingest", "extract"))
    card = train_encoder(config, BUILD / "model")
    ship(BUILD / "model" / MODEL, card)


if __name__ == "__main__":
    main()
