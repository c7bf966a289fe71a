"""What the commands share: their options, the configuration that these amount to, and how a command fails."""

from __future__ import annotations

import sys
from typing import Any

import click

from specrec.config import Config, load
from specrec.errors import SpecrecError

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(),
    envvar="SPECREC_CONFIG",
    help="YAML configuration, such as conf/local.yaml",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="override any key of the configuration; repeatable",
)
warehouse_option = click.option("--warehouse", help="where the tables lie, instead of --config")


class Group(click.Group):
    """A group whose commands tell their errors in one line, and exit with 2."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(context)
        except SpecrecError as error:
            click.echo(f"specrec: {error}", err=True)
            sys.exit(2)


def read_config(config_path: str | None, overrides: tuple[str, ...], warehouse: str | None) -> Config:
    """Load the configuration of a command that reads a warehouse, and needs no catalogue."""
    if warehouse:
        overrides = (*overrides, f"warehouse={warehouse}")
    if config_path is None and not overrides:
        raise SpecrecError("say where the tables lie: --warehouse PATH, or --config FILE")
    return load(config_path, overrides, needs_catalogue=False)


def logged(config: Config) -> Config:
    """Set up the logs as a configuration says, for a command that runs stages, and return it."""
    from specrec.logs import configure

    configure(config.log)
    return config
