"""The command that runs the job: ``specrec nightly``."""

from __future__ import annotations

from pathlib import Path

import click

from specrec.cli.options import config_option, logged, set_option
from specrec.config import load
from specrec.pipeline.stages import STAGES, in_order


@click.command()
@config_option
@set_option
@click.option("--refit", is_flag=True, help="fit scaler and PCA anew, and recompute all that depends on them")
@click.option(
    "--stage",
    "stages",
    multiple=True,
    type=click.Choice(list(STAGES)),
    help="run this stage alone; repeatable: stages run in the order of a night",
)
def nightly(config_path: Path | None, overrides: tuple[str, ...], refit: bool, stages: tuple[str, ...]) -> None:
    """Run the whole job: what is new or changed is extracted, and every list is brought up to date.

    \b
    Examples:
      specrec nightly --config conf/local.yaml --set catalogue.path=tracks.csv --set catalogue.audio_root=clips
      specrec nightly --config conf/local.yaml --set catalogue.path=~/Music --set audio.clip_seconds=10
      specrec nightly --config conf/local.yaml --refit
      specrec nightly --config conf/local.yaml --stage neighbours --stage recommend
    """  # noqa: D301
    from specrec.pipeline.nightly import run_stages

    chosen = in_order(stages or None)
    run_stages(logged(load(config_path, overrides, needs_catalogue="ingest" in chosen)), chosen, refit)
