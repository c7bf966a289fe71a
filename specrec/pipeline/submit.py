"""What the scripts in jobs/ have in common: their command line, and how they fail."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from specrec.config import Stage, load
from specrec.errors import SpecrecError
from specrec.pipeline.nightly import run_stages


def submit(name: str, stages: Sequence[Stage]) -> None:
    """Run stages as a spark-submit script: parse the command line, run, exit with 0 or, on an error, with 2."""

    @click.command(
        name=name,
        help=f"Run {', '.join(stages)}. Example: spark-submit jobs/{name} --config conf/cluster.yaml",
    )
    @click.option("--config", "config_path", required=True, type=click.Path(), help="YAML configuration")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="override any configuration key")
    @click.option("--refit", is_flag=True, help="fit scaler, PCA and statistics anew")
    def command(config_path: str, overrides: tuple[str, ...], refit: bool) -> None:
        try:
            run_stages(load(config_path, overrides), stages, refit)
        except SpecrecError as error:
            click.echo(f"specrec: {error}", err=True)
            sys.exit(2)

    command()
