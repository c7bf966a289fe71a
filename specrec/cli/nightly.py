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
@click.option(
    "--tracks",
    metavar="FILE",
    help="ingest and extract only these tracks: a CSV with a column track_id, or one track_id a line",
)
def nightly(
    config_path: Path | None, overrides: tuple[str, ...], refit: bool, stages: tuple[str, ...], tracks: str | None
) -> None:
    """Run the whole job: what is new or changed is extracted, and every list is brought up to date.

    With --tracks, of the catalogue and its audio only the tracks of FILE are looked at: new, changed and removed
    ones among them are taken over, and all others stay as they are, whatever happened to them since. The stages
    after extract follow what changed, as on any night. A track_id that neither the catalogue nor the tables have is
    refused.

    \b
    Examples:
      specrec nightly --config conf/local.yaml --set catalogue.path=tracks.csv --set catalogue.audio_root=clips
      specrec nightly --config conf/local.yaml --set catalogue.path=~/Music --set audio.clip_seconds=10
      specrec nightly --config conf/local.yaml --refit
      specrec nightly --config conf/local.yaml --stage neighbours --stage recommend
      specrec nightly --config conf/local.yaml --tracks album.txt
    """  # noqa: D301
    from specrec.pipeline.nightly import run_stages
    from specrec.storage import locate

    chosen = in_order(stages or None)
    config = logged(load(config_path, overrides, needs_catalogue="ingest" in chosen))
    run_stages(config, chosen, refit, None if tracks is None else locate(tracks))
