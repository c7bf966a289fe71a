"""The command that trains an encoder: ``specrec train-encoder``."""

from __future__ import annotations

from pathlib import Path

import click

from specrec.cli.options import DiskPath, config_option, logged, read_config, say, set_option, warehouse_option


@click.command()
@click.option(
    "--out",
    required=True,
    type=DiskPath(),
    help="folder that the model and its card are written to",
)
@click.option("--resume", is_flag=True, help="continue a training that was stopped")
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="how many processes train; more than one are started by Spark",
)
@warehouse_option
@config_option
@set_option
def train_encoder(
    out: Path,
    *,
    resume: bool,
    workers: int,
    warehouse: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train an encoder on the spectrograms of the warehouse, and export it to ONNX.

    It needs PyTorch: pip install 'specrec[train]'. What the job then needs is the file model.onnx alone. It holds
    the warehouse while it trains: a night that begins meanwhile says so and stops.

    \b
    Examples:
      specrec train-encoder --warehouse demo/warehouse --set audio.clip_seconds=10 --out encoder
      specrec train-encoder --config conf/local.yaml --out encoder --set encoder.epochs=200
      specrec train-encoder --config conf/local.yaml --out encoder --resume
    """  # noqa: D301
    from specrec.encoder.make import CARD, MODEL
    from specrec.pipeline.train_encoder import train_encoder as train

    card = train(logged(read_config(config_path, overrides, warehouse)), out, resume=resume, workers=workers)
    figures = ", ".join(f"{name} {value:.4g}" for name, value in card["metrics"]["held_out"].items())
    say(f"{out / MODEL}: epoch {card['training']['kept_epoch']} of {card['training']['epochs']}; {figures}")
    say(f"How it was made is in {out / CARD}.")
