"""What the scripts in jobs/ have in common: their command line, and how they fail."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from specrec.config import Stage, load
from specrec.encoder.command import train_encoder
from specrec.errors import SpecrecError
from specrec.pipeline.evaluate import evaluate
from specrec.pipeline.nightly import run_stages
from specrec.pipeline.query_many import query_many
from specrec.settings import System


def submit(name: str, stages: Sequence[Stage]) -> None:
    """Run stages as a spark-submit script: parse the command line, run, exit with 0 or, on an error, with 2."""

    @_command(name, f"Run {', '.join(stages)}.")
    @click.option("--refit", is_flag=True, help="fit scaler, PCA and statistics anew")
    def command(config_path: str, overrides: tuple[str, ...], refit: bool) -> None:
        with _told():
            run_stages(load(config_path, overrides), stages, refit)

    command()


def submit_evaluation(name: str) -> None:
    """Likewise evaluate what the last night wrote."""

    @_command(name, "Measure the lists of the last night.")
    def command(config_path: str, overrides: tuple[str, ...]) -> None:
        with _told():
            evaluate(load(config_path, overrides, needs_catalogue=False))

    command()


def submit_training(name: str) -> None:
    """Likewise train the encoder, in as many processes as there are workers."""

    @_command(name, "Train the encoder on the table of spectrograms.")
    @click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of the model")
    @click.option("--workers", default=1, show_default=True, help="processes that train, by TorchDistributor")
    @click.option("--resume", is_flag=True, help="continue a training that was stopped")
    def command(config_path: str, overrides: tuple[str, ...], out: Path, workers: int, resume: bool) -> None:
        with _told():
            train_encoder(load(config_path, overrides, needs_catalogue=False), out, resume=resume, workers=workers)


def submit_query(name: str) -> None:
    """Likewise look for the tracks that sound like many files; exit with 1 where some could not be analysed."""

    @_command(name, "Find the catalogue's tracks that sound like many files.")
    @click.option(
        "--from", "source", required=True, help="folder of audio, or a CSV or Parquet with a column audio"
    )
    @click.option("--to", required=True, help="where the Delta tables `lists` and `failed` are written")
    @click.option("--system", default="hybrid", help="whose space is searched")
    @click.option("--top", type=click.IntRange(min=1), help="length of a list; default: recommend.top_n")
    def command(
        config_path: str, overrides: tuple[str, ...], *, source: str, to: str, system: System, top: int | None
    ) -> None:
        with _told():
            config = load(config_path, overrides, needs_catalogue=False)
            counts = query_many(config, source, to, system, top or config.recommend.top_n)
        if counts.failed:
            click.echo(f"specrec: {counts.failed} of {counts.files} files have no list: see {to}/failed", err=True)
            sys.exit(1)

    command()


def _command(name: str, words: str) -> Callable[[Callable[..., None]], click.Command]:
    def decorate(function: Callable[..., None]) -> click.Command:
        for option in (
            click.option(
                "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="override any configuration key"
            ),
            click.option("--config", "config_path", required=True, type=click.Path(), help="YAML configuration"),
        ):
            function = option(function)
        example = f"Example: spark-submit jobs/{name} --config conf/cluster.yaml"
        return click.command(name=name, help=f"{words} {example}")(function)

    return decorate


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except SpecrecError as error:
        click.echo(f"specrec: {error}", err=True)
        sys.exit(2)
