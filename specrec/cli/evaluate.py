"""The command that measures the lists: ``specrec evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from specrec.cli.options import config_option, logged, read_config, set_option, warehouse_option
from specrec.cli.printing import print_evaluation


@click.command()
@click.option("--by-genre", is_flag=True, help="also print what is measured genre by genre")
@warehouse_option
@config_option
@set_option
def evaluate(by_genre: bool, warehouse: str | None, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Measure what the lists of the last night are worth, beside trivial baselines; added to `evaluation`.

    \b
    Examples:
      specrec evaluate --warehouse demo/warehouse
      specrec evaluate --config conf/local.yaml --set evaluate.feedback=feedback.csv --by-genre
    """  # noqa: D301
    from specrec.pipeline.evaluate import evaluate as measure

    print_evaluation(measure(logged(read_config(config_path, overrides, warehouse))), by_genre)
