"""The commands that need nothing: ``specrec demo``, and ``specrec jars``, which fetches what Spark needs."""

from __future__ import annotations

import os
from pathlib import Path

import click
import yaml
from rich.console import Console

from specrec.cli.options import logged, set_option
from specrec.cli.printing import print_list, title_of
from specrec.cli.tables import genre_of, list_of, open_reader, tracks_of
from specrec.config import Config, load
from specrec.embedding.config import HYBRID


@click.command()
@click.option(
    "--folder",
    default="demo",
    show_default=True,
    type=click.Path(path_type=Path),
    callback=lambda _context, _option, folder: folder.expanduser(),
    help="folder that all of it is written to",
)
@click.option(
    "--clips", default=60, show_default=True, type=click.IntRange(min=4), help="how many clips are rendered"
)
@click.option(
    "--seconds",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=1, max=600),
    help="length of each clip in seconds",
)
@click.option("--config", "config_path", type=click.Path(), help="other settings than the demo's own")
@set_option
def demo(folder: Path, clips: int, seconds: float, config_path: str | None, overrides: tuple[str, ...]) -> None:
    """Render a small catalogue in six styles, run the job on it, and show what comes out.

    It needs nothing but Java: without a folder .jars it fetches Spark's jars first. The folder then holds the
    catalogue, the warehouse, and the settings of both, demo.yaml, for other commands.

    \b
    Examples:
      specrec demo
      specrec demo --folder /tmp/demo --clips 120
    """  # noqa: D301
    from importlib.resources import as_file, files

    from specrec.pipeline.nightly import run_stages
    from specrec.session import fetch_jars, find_jars

    console = Console(stderr=True)
    catalogue = folder / "catalogue.csv"
    places = (f"catalogue.path={catalogue}", f"warehouse={folder / 'warehouse'}")
    with as_file(files("specrec.demo") / "demo.yaml") as own:
        config = load(config_path or own, (*places, *overrides))
    if not find_jars(config.spark):
        console.print(f"Fetching the jars that Spark needs for Delta and S3 into {config.spark.jars_dir}, once …")
        fetch_jars(Path(config.spark.jars_dir))
    if catalogue.exists():
        console.print(f"{folder} has a catalogue already: its clips are used.")
    else:
        _render(folder, clips, seconds, console)
    run_stages(logged(config))
    save_settings(config, folder / "demo.yaml")
    _show(config)
    click.echo(f"\nThe tables lie in {config.warehouse}.")
    click.echo("See another track, by both systems, or look for what sounds like a file:")
    click.echo(f"  specrec show demo-0004 --config {folder / 'demo.yaml'}")
    click.echo(f"  specrec query {folder / 'audio' / 'demo-0003.mp3'} --config {folder / 'demo.yaml'}")


def save_settings(config: Config, path: Path) -> None:
    """Write the settings that a configuration was given, and not the defaults, as a configuration file."""
    settings = yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True), sort_keys=False)
    path.write_text(f"# What `specrec demo` ran with.\n{settings}", encoding="utf-8")


def _render(folder: Path, clips: int, seconds: float, console: Console) -> None:
    from rich.progress import Progress

    from specrec.demo import render_catalogue

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("rendering", total=clips)
        render_catalogue(
            folder,
            clips,
            seconds,
            progress=lambda done, _: bar.update(task, completed=done),
            processes=os.cpu_count() or 1,
        )


def _show(config: Config) -> None:
    """Print some lists, and how many of all recommendations are of the track's own style."""
    from specrec.demo import STYLES

    console, reader = Console(), open_reader(config)
    tracks = tracks_of(reader)
    for track_id in sorted(tracks)[:3]:
        title = f"{title_of(track_id, tracks)}\nhybrid"
        print_list(console, title, list_of(reader, track_id, HYBRID)[:5], tracks)
    lists = reader.rows("recommendations", [("system", "=", HYBRID)], ["track_id", "recommended_track_id"])
    same = sum(genre_of(row["track_id"], tracks) == genre_of(row["recommended_track_id"], tracks) for row in lists)
    console.print(
        f"\n{same / max(len(lists), 1):.0%} of all recommendations are of the track's own style "
        f"(by chance {1 / len(STYLES):.0%})."
    )


@click.command()
@click.option(
    "--to",
    "folder",
    default=".jars",
    show_default=True,
    type=click.Path(path_type=Path),
    help="folder that the jars are written to, in place of those of an earlier version",
)
def jars(folder: Path) -> None:
    """Fetch the jars that Spark needs for Delta and S3, once.

    \b
    Example:
      specrec jars --to .jars
    """  # noqa: D301
    from specrec.session import fetch_jars

    found = fetch_jars(folder)
    click.echo(f"{len(found)} jars, {sum(jar.stat().st_size for jar in found) / 1e6:.0f} MB, in {folder}")
