"""The commands that print what the tables hold: ``show``, ``runs``, ``quarantine`` and ``map``."""

from __future__ import annotations

from pathlib import Path

import click

from specrec.cli.options import DiskPath, config_option, read_config, say, set_option, warehouse_option
from specrec.cli.printing import print_list, print_side_by_side, title_of
from specrec.cli.tables import liked_with, list_of, map_points, open_reader, tracks_of, why_no_list
from specrec.embedding.config import BUILT_IN, LISTENERS
from specrec.errors import SpecrecError
from specrec.terminal import console, table, words


@click.command()
@click.argument("track_id")
@click.option(
    "--system",
    help="print the list of one system (hybrid, features, …) with the parts of its scores; listeners: what the "
    "same people like",
)
@warehouse_option
@config_option
@set_option
def show(
    track_id: str,
    system: str | None,
    warehouse: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Print a track's recommendations and why, side by side for the two systems.

    \b
    Examples:
      specrec show demo-0001 --config demo/demo.yaml
      specrec show demo-0001 --warehouse demo/warehouse --system hybrid
      specrec show demo-0001 --warehouse demo/warehouse --system listeners
    """  # noqa: D301
    reader = open_reader(read_config(config_path, overrides, warehouse))
    systems = [system] if system else list(BUILT_IN)
    lists = {name: list_of(reader, track_id, name) for name in systems}
    if system == LISTENERS and not lists[system]:  # embedding.listeners may be off
        lists[system] = liked_with(reader, track_id)
    if system == LISTENERS and not lists[system]:
        raise SpecrecError(f"nothing is known of what people like who like {track_id}, or too few do")
    if not any(lists.values()):
        listed = reader.rows("recommendations", [("track_id", "=", track_id)], ["system"])
        there = ", ".join(sorted({row["system"] for row in listed}))
        if not there:
            raise SpecrecError(why_no_list(reader, track_id))
        raise SpecrecError(f"{track_id} has no list of the system {system!r}; there are: {there}")
    shown = [row["recommended_track_id"] for rows in lists.values() for row in rows]
    tracks = tracks_of(reader, [track_id, *shown])
    screen = console()
    if system:
        title = title_of(track_id, tracks).append_text(words("\n", system))
        print_list(screen, title, lists[system], tracks, parts=True)
    else:
        print_side_by_side(screen, track_id, lists, tracks)
        for row in reader.rows("agreement", [("track_id", "=", track_id)]):
            overlap = f"{row['in_both']} in both lists (Jaccard {row['jaccard']:.2f}, "
            screen.print(f"{overlap}rank-biased overlap {row['rank_biased_overlap']:.2f})")


@click.command()
@click.option("--last", default=5, show_default=True, type=click.IntRange(min=1), help="how many runs are printed")
@warehouse_option
@config_option
@set_option
def runs(last: int, warehouse: str | None, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Print what each run did, stage by stage, the newest last.

    \b
    Examples:
      specrec runs --config conf/local.yaml
      specrec runs --warehouse demo/warehouse --last 1
    """  # noqa: D301
    rows = open_reader(read_config(config_path, overrides, warehouse)).rows("runs")
    found = table("run", "stage", "status", "in", "out", "failed", "seconds", "details")
    for run_id in sorted({row["run_id"] for row in rows})[-last:]:
        of_run = sorted((row for row in rows if row["run_id"] == run_id), key=lambda row: row["started_at"])
        for i, row in enumerate(of_run):
            counts = [
                "" if row[name] is None else str(row[name]) for name in ("rows_in", "rows_out", "rows_failed")
            ]
            details = row["message"] or ", ".join(f"{key} {value}" for key, value in row["details"].items())
            shown = [
                run_id if i == 0 else "",
                row["stage"],
                row["status"],
                *counts,
                f"{row['seconds']:.1f}",
                details,
            ]
            found.add_row(*map(words, shown))
        found.add_section()
    console().print(found)


@click.command()
@click.option("--code", help="print only what failed with this code")
@warehouse_option
@config_option
@set_option
def quarantine(
    code: str | None, warehouse: str | None, config_path: Path | None, overrides: tuple[str, ...]
) -> None:
    """Print what failed, and why.

    \b
    Examples:
      specrec quarantine --config conf/local.yaml
      specrec quarantine --warehouse demo/warehouse --code undecodable
    """  # noqa: D301
    reader = open_reader(read_config(config_path, overrides, warehouse))
    rows = reader.rows("quarantine", [("code", "=", code)] if code else None)
    if not rows:
        click.echo("Nothing is in quarantine.")
        return
    found = table("track", "stage", "code", "what happened", "tries", "first seen", "last seen")
    for row in sorted(rows, key=lambda row: (row["stage"], row["code"], row["track_id"])):
        times = (f"{row[name]:%Y-%m-%d %H:%M}" for name in ("first_seen", "last_seen"))
        cells = (row["track_id"], row["stage"], row["code"], row["message"], str(row["attempts"]), *times)
        found.add_row(*map(words, cells))
    console().print(found)
    click.echo(f"{len(rows)} in quarantine")


@click.command("map")
@click.option("--png", type=DiskPath(), help="draw the map to this file")
@click.option(
    "--by",
    type=click.Choice(["umap", "pca", "tsne"]),
    default="umap",
    show_default=True,
    help="the method whose coordinates are drawn",
)
@warehouse_option
@config_option
@set_option
def show_map(
    png: Path | None, by: str, warehouse: str | None, config_path: Path | None, overrides: tuple[str, ...]
) -> None:
    """Print the clusters of the map, and draw it.

    \b
    Examples:
      specrec map --warehouse demo/warehouse
      specrec map --warehouse demo/warehouse --png map.png
    """  # noqa: D301
    from specrec.map.draw import MOST_POINTS, draw

    points, tracks = map_points(open_reader(read_config(config_path, overrides, warehouse)), by, MOST_POINTS)
    clusters = points.groupby(["cluster", "cluster_name"]).size()
    found = table("cluster", "name", "tracks")
    for (number, name), count in clusters.items():
        found.add_row(str(number), words(name), f"{count / len(points):.1%}")
    console().print(found)
    space = points["space"].iloc[0]
    if png:
        shown = "" if len(points) == tracks else f", {len(points):,} of them shown"
        axes = {"umap": "UMAP", "tsne": "t-SNE", "pca": "principal component"}[by]
        draw(points, f"{tracks:,} tracks by the space {space}{shown}", png, (f"{axes} 1", f"{axes} 2"))
    say(f"{tracks:,} tracks of the space {space}" + (f", drawn to {png}" if png else ""))
