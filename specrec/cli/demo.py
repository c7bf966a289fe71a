"""The commands that need nothing: ``specrec demo``, and ``specrec jars``, which fetches what Spark needs."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console

from specrec.cli.lookups import genre_of, list_of, open_reader, tracks_of
from specrec.cli.options import logged, set_option
from specrec.cli.printing import print_list, title_of
from specrec.config import load


@click.command()
@click.option("--folder", default="demo", show_default=True, type=click.Path(path_type=Path), help="where it goes")
@click.option("--clips", default=60, show_default=True, help="how many clips are rendered")
@click.option("--seconds", default=10.0, show_default=True, help="length of a clip")
@click.option("--config", "config_path", default="conf/demo.yaml", show_default=True, type=click.Path())
@set_option
def demo(folder: Path, clips: int, seconds: float, config_path: str, overrides: tuple[str, ...]) -> None:
    """Render a small catalogue in six styles, run the job on it, and show what comes out.

    \b
    Examples:
      specrec demo
      specrec demo --folder /tmp/demo --clips 120
    """  # noqa: D301
    from rich.progress import Progress

    from specrec.demo import STYLES, render_catalogue
    from specrec.pipeline.nightly import run_stages

    console = Console()
    catalogue = folder / "catalogue.csv"
    if not catalogue.exists():
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("rendering", total=clips)
            render_catalogue(
                folder,
                clips,
                seconds,
                progress=lambda done, _: bar.update(task, completed=done),
                processes=os.cpu_count() or 1,
            )
    places = (f"catalogue.path={catalogue}", f"warehouse={folder / 'warehouse'}")
    config = load(config_path, (*places, *overrides))
    run_stages(logged(config))
    reader = open_reader(config)
    tracks = tracks_of(reader)
    for track_id in sorted(tracks)[:3]:
        title = f"{title_of(track_id, tracks)}\nhybrid"
        print_list(console, title, list_of(reader, track_id, "hybrid")[:5], tracks)
    lists = reader.rows("recommendations", [("system", "=", "hybrid")], ["track_id", "recommended_track_id"])
    same = sum(genre_of(row["track_id"], tracks) == genre_of(row["recommended_track_id"], tracks) for row in lists)
    console.print(
        f"\n{same / max(len(lists), 1):.0%} of all recommendations are of the track's own style "
        f"(by chance {1 / len(STYLES):.0%})."
    )
    console.print(f"The tables lie in {config.warehouse}; see another track, by both systems, with")
    console.print(f"  specrec show {max(tracks)} --warehouse {config.warehouse}", style="bold")


@click.command()
@click.option("--to", "folder", default=".jars", show_default=True, type=click.Path(path_type=Path))
def jars(folder: Path) -> None:
    """Fetch the jars that Spark needs for Delta and S3, once.

    \b
    Example:
      specrec jars --to .jars
    """  # noqa: D301
    from specrec.session import fetch_jars

    found = fetch_jars(folder)
    click.echo(f"{len(found)} jars, {sum(jar.stat().st_size for jar in found) / 1e6:.0f} MB, in {folder}")
