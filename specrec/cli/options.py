"""What the commands share: their options, the configuration that these amount to, and how a command fails."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from specrec.config import Config, load
from specrec.details import keep
from specrec.errors import SpecrecError, first_line
from specrec.storage import path_on_disk
from specrec.terminal import discard_stdout, plain, plain_lines, prepare_streams

#: What a shell expects of a command that Ctrl-C ended: 128, and the number of the signal.
_INTERRUPTED = 130


class DiskPath(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no argument there
    """A path on disk, also written as ``file:///…``; what names another place is refused before all else."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path that an argument names."""
        try:
            return value if isinstance(value, Path) else path_on_disk(value)
        except SpecrecError as error:
            raise SpecrecError(f"{param.opts[0]}: {error}" if param else str(error)) from None


config_option = click.option(
    "--config",
    "config_path",
    type=DiskPath(),
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
    """A group whose commands tell their errors in one line, and exit with 2, or 130 if they were interrupted."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Run the command line."""
        prepare_streams()
        return super().main(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            if "PYSPARK_GATEWAY_PORT" in os.environ:  # by spark-submit: what is typed goes through Java first
                from specrec.java import require_readable

                require_readable(sys.argv[1:])
            return super().invoke(ctx)
        except SpecrecError as error:
            _end(str(error), error.exit_status)
        except click.ClickException as error:
            error.message = plain_lines(error.message)  # type: ignore[misc]
            raise
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):  # click ends as it should
            raise
        except KeyboardInterrupt:
            _end("interrupted: what was done until then is kept, and the next run goes on from there", _INTERRUPTED)
        except OSError as error:
            discard_stdout()
            where = f"{error.filename}: " if error.filename else ""
            advice = ": set TMPDIR" if "temporary directory" in str(error) else ""
            _end(f"{where}{error.strerror or first_line(error)}{advice}{keep(traceback.format_exc())}")
        except Exception as error:
            said = f"an unexpected error, {type(error).__name__}: {first_line(error)}"
            _end(f"{said}{keep(traceback.format_exc())}", 1)


def _end(message: str, status: int = 2) -> NoReturn:
    tell(message)
    sys.exit(status)


def say(message: object) -> None:
    """Print a line that may hold names."""
    click.echo(plain(message))


def tell(message: object) -> None:
    """Tell in one line on standard error what went wrong."""
    click.echo(f"specrec: {plain(message)}", err=True)


def read_config(config_path: Path | None, overrides: tuple[str, ...], warehouse: str | None) -> Config:
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
