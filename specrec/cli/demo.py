"""The commands that need nothing: ``specrec demo``, and ``specrec jars``, which fetches what Spark needs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click
import yaml

from specrec.cli.options import DiskPath, logged, say, set_option
from specrec.cli.printing import print_list, title_of
from specrec.cli.recommend_for import list_for, print_person
from specrec.cli.tables import genre_of, list_of, open_reader, tracks_of
from specrec.config import Config, load
from specrec.embedding.config import HYBRID
from specrec.terminal import console, plain

#: Whose list the demo shows.
_PERSON = "listener-001"


@click.command()
@click.option(
    "--folder",
    default="demo",
    show_default=True,
    type=DiskPath(),
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
@click.option("--config", "config_path", type=DiskPath(), help="other settings than the demo's own")
@set_option
def demo(folder: Path, clips: int, seconds: float, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Render a small catalogue in six styles and people who listen to it, run the job, and show what comes out.

    It needs nothing but Java: without a folder .jars it fetches Spark's jars first. The folder then holds the
    catalogue, what the invented people did, the warehouse, and the settings of all, demo.yaml, for other commands.

    \b
    Examples:
      specrec demo
      specrec demo --folder /tmp/demo --clips 120
    """  # noqa: D301
    from importlib.resources import as_file, files

    from specrec.demo.listeners import render_listeners
    from specrec.pipeline.nightly import run_stages
    from specrec.session import fetch_jars, find_jars

    catalogue = folder / "catalogue.csv"
    events = folder / "events"
    places = (f"catalogue.path={catalogue}", f"warehouse={folder / 'warehouse'}", f"listeners.events={events}")
    with as_file(files("specrec.demo") / "demo.yaml") as own:
        config = load(config_path or own, (*places, *overrides))
    if not find_jars(config.spark):
        click.echo(
            f"Fetching the jars that Spark needs for Delta and S3 into {plain(config.spark.jars_dir)}, once …",
            err=True,
        )
        fetch_jars(Path(config.spark.jars_dir))
    if catalogue.exists():
        click.echo(f"{plain(str(folder))} has a catalogue already: its clips are used.", err=True)
    else:
        _render(folder, clips, seconds)
    if not events.exists():
        render_listeners(catalogue, events)
    run_stages(logged(config))
    save_settings(config, folder / "demo.yaml")
    _show(config)
    settings, song = (shlex.quote(str(folder / of)) for of in ("demo.yaml", "audio/demo-0003.mp3"))
    click.echo()
    say(f"The tables lie in {config.warehouse}.")
    say("See another track, by both systems, or look for what sounds like a file:")
    say(f"  specrec show demo-0004 --config {settings}")
    say(f"  specrec query {song} --config {settings}")
    say("Or what another of the invented people is recommended, and why:")
    say(f"  specrec recommend-for listener-002 --config {settings}")


def save_settings(config: Config, path: Path) -> None:
    """Write the settings that a configuration was given, and not the defaults, as a configuration file."""
    settings = yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True), sort_keys=False)
    path.write_text(f"# What `specrec demo` ran with.\n{settings}", encoding="utf-8")


def _render(folder: Path, clips: int, seconds: float) -> None:
    from rich.progress import Progress

    from specrec.demo import render_catalogue

    with Progress(console=console(stderr=True), transient=True) as bar:
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

    screen, reader = console(), open_reader(config)
    tracks = tracks_of(reader)
    for track_id in sorted(tracks)[:3]:
        title = title_of(track_id, tracks).append(f"\n{HYBRID}")
        print_list(screen, title, list_of(reader, track_id, HYBRID)[:5], tracks)
    lists = reader.rows("recommendations", [("system", "=", HYBRID)], ["track_id", "recommended_track_id"])
    same = sum(genre_of(row["track_id"], tracks) == genre_of(row["recommended_track_id"], tracks) for row in lists)
    screen.print(
        f"\n{same / max(len(lists), 1):.0%} of all recommendations are of the track's own style "
        f"(by chance {1 / len(STYLES):.0%})."
    )
    screen.print("\nOne of the people who play, skip and rate these tracks, all invented, is recommended:")
    print_person(screen, reader, _PERSON, list_for(reader, _PERSON, HYBRID)[:3])


@click.command()
@click.option(
    "--to",
    "folder",
    default=".jars",
    show_default=True,
    type=DiskPath(),
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
    say(f"{len(found)} jars, {sum(jar.stat().st_size for jar in found) / 1e6:.0f} MB, in {folder}")
