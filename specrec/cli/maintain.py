"""The command that keeps the tables fast to read: ``specrec maintain``."""

from __future__ import annotations

from pathlib import Path

import click

from specrec.cli.options import config_option, logged, read_config, say, set_option, warehouse_option


@click.command()
@warehouse_option
@config_option
@set_option
def maintain(warehouse: str | None, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Put the tables' files in order, and delete what they no longer need.

    A night does the first by itself where it is due. What was replaced is kept for maintain.keep_days, for readers
    of older versions and for `specrec rollback`; no less than maintain.follower_days.

    \b
    Examples:
      specrec maintain --config conf/local.yaml
      specrec maintain --warehouse demo/warehouse --set maintain.keep_days=30
    """  # noqa: D301
    from specrec.pipeline.maintain import maintain as put_in_order

    for line in put_in_order(logged(read_config(config_path, overrides, warehouse))):
        say(line)
