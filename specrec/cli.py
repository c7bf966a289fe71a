"""The command line: run the job, and read what it made."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import specrec
from specrec.config import STAGES, Config, Stage, load
from specrec.errors import SpecrecError
from specrec.settings import System
from specrec.starting import importing

if TYPE_CHECKING:
    import pandas as pd

    from specrec.evaluate.metrics import Measurement
    from specrec.pipeline.evaluate import Evaluation
    from specrec.warehouse.reader import Reader

#: Titles of all tracks, by track_id.
Tracks = dict[str, dict[str, Any]]
Rows = list[dict[str, Any]]

_WIDE = 160

_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(),
    envvar="SPECREC_CONFIG",
    help="YAML configuration, as conf/local.yaml",
)
_SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="override any key of the configuration; repeatable",
)


class _Group(click.Group):
    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except SpecrecError as error:
            click.echo(f"specrec: {error}", err=True)
            sys.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(specrec.__version__)
def main() -> None:
    """Recommend music by how it sounds, and say why.

    \b
    Examples:
      specrec demo
      specrec nightly --config conf/local.yaml --set catalogue.path=~/Music --set warehouse=~/specrec
      specrec show TRACK_ID --config conf/local.yaml --set warehouse=~/specrec
    """  # noqa: D301


@main.command()
@_CONFIG
@_SET
@click.option("--refit", is_flag=True, help="fit scaler, PCA and statistics anew, and recompute what hangs on them")
@click.option(
    "--stage", "stages", multiple=True, type=click.Choice(STAGES), help="run this stage alone; repeatable, in order"
)
def nightly(config_path: str | None, overrides: tuple[str, ...], refit: bool, stages: tuple[str, ...]) -> None:
    """Run the whole job: what is new or changed is extracted, and every list is brought up to date.

    \b
    Examples:
      specrec nightly --config conf/local.yaml --set catalogue.path=tracks.csv --set catalogue.audio_root=clips
      specrec nightly --config conf/local.yaml --set catalogue.path=~/Music --set audio.clip_seconds=10
      specrec nightly --config conf/local.yaml --refit
      specrec nightly --config conf/local.yaml --stage neighbours --stage recommend
    """  # noqa: D301
    from specrec.pipeline.nightly import run_stages

    chosen: list[Stage] = [stage for stage in STAGES if not stages or stage in stages]
    run_stages(load(config_path, overrides, needs_catalogue="ingest" in chosen), chosen, refit)


@main.command()
@click.option("--folder", default="demo", show_default=True, type=click.Path(path_type=Path), help="where it goes")
@click.option("--clips", default=60, show_default=True, help="how many clips are rendered")
@click.option("--seconds", default=10.0, show_default=True, help="length of a clip")
@click.option("--config", "config_path", default="conf/demo.yaml", show_default=True, type=click.Path())
@_SET
def demo(folder: Path, clips: int, seconds: float, config_path: str, overrides: tuple[str, ...]) -> None:
    """Render a small catalogue in six styles, run the job on it, and show what comes out.

    \b
    Examples:
      specrec demo
      specrec demo --folder /tmp/demo --clips 120
    """  # noqa: D301
    from rich.progress import Progress

    from specrec.catalogue.demo import STYLES, render_catalogue
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
    run_stages(config)
    reader = _reader(config)
    tracks = _tracks(reader)
    for track_id in sorted(tracks)[:3]:
        title = f"{_title(track_id, tracks)}\nhybrid"
        _print_list(console, title, _list(reader, track_id, "hybrid")[:5], tracks)
    lists = reader.rows("recommendations", [("system", "=", "hybrid")], ["track_id", "recommended_track_id"])
    same = sum(_genre(row["track_id"], tracks) == _genre(row["recommended_track_id"], tracks) for row in lists)
    console.print(
        f"\n{same / max(len(lists), 1):.0%} of all recommendations are of the track's own style "
        f"(by chance {1 / len(STYLES):.0%})."
    )
    console.print(f"The tables lie in {config.warehouse}; see another track, by both systems, with")
    console.print(f"  specrec show {max(tracks)} --warehouse {config.warehouse}", style="bold")


@main.command()
@click.argument("track_id")
@click.option("--system", help="one system's list (hybrid, features, …) with the parts of its scores")
@click.option("--warehouse", help="where the tables lie, instead of --config")
@_CONFIG
@_SET
def show(
    track_id: str,
    system: str | None,
    warehouse: str | None,
    config_path: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Print a track's recommendations and why, side by side for the two systems.

    \b
    Examples:
      specrec show demo-0001 --config conf/demo.yaml
      specrec show demo-0001 --warehouse demo/warehouse --system hybrid
    """  # noqa: D301
    reader = _reader(_read_config(config_path, overrides, warehouse))
    _require_recommendations(reader, track_id)
    systems = [system] if system else ["features", "spectrogram"]
    lists = {name: _list(reader, track_id, name) for name in systems}
    if system and not lists[system]:
        listed = reader.rows("recommendations", [("track_id", "=", track_id)], ["system"])
        there = ", ".join(sorted({row["system"] for row in listed})) or "none"
        raise SpecrecError(f"{track_id} has no list of the system {system!r}; there are: {there}")
    shown = [row["recommended_track_id"] for rows in lists.values() for row in rows]
    tracks = _tracks(reader, [track_id, *shown])
    console = Console()
    if system:
        _print_list(console, f"{_title(track_id, tracks)}\n{system}", lists[system], tracks, parts=True)
    else:
        _print_side_by_side(console, track_id, lists, tracks)
        for row in reader.rows("agreement", [("track_id", "=", track_id)]):
            overlap = f"{row['in_both']} in both lists (Jaccard {row['jaccard']:.2f}, "
            console.print(f"{overlap}rank-biased overlap {row['rank_biased_overlap']:.2f})")


@main.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--system", default="hybrid", show_default=True, help="whose space is searched: hybrid, features, …")
@click.option("--top", type=click.IntRange(min=1), help="length of a list; default: recommend.top_n")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a file and line, for programs")
@click.option("--warehouse", help="where the tables lie, instead of --config")
@_CONFIG
@_SET
def query(  # noqa: PLR0917  click names them
    files: tuple[str, ...],
    system: System,
    top: int | None,
    as_json: bool,
    warehouse: str | None,
    config_path: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Print which tracks of the catalogue sound like audio files, and why; the files need not be in it.

    FILES are paths or s3:// URIs. No Spark is started. The exit status is 1 if a file could not be analysed.

    \b
    Examples:
      specrec query song.mp3 --config conf/local.yaml
      specrec query *.flac --config conf/demo.yaml --system features --top 5
      specrec query s3://bucket/song.mp3 --config conf/local.yaml --json
    """  # noqa: D301
    from specrec.audio.isolated import Analyst

    config = _read_config(config_path, overrides, warehouse)
    console, failed = Console(), False
    with Analyst(config.audio, config.extract) as analyst:  # its process starts while this one imports the rest
        with importing():
            from specrec.pipeline.query import query as search
            from specrec.query.catalogue import Answer

        for file, found in search(files, config, analyst, system, top or config.recommend.top_n):
            if not isinstance(found, Answer):
                failed = True
                click.echo(f"specrec: {found}", err=True)
            elif as_json:
                click.echo(_as_json(file, system, found.recommendations, found.tracks))
            else:
                title = f"{escape(file)}\n{system}"
                _print_list(console, title, found.recommendations, found.tracks, parts=True)
    if failed:
        sys.exit(1)


@main.command()
@click.option("--code", help="only this error code")
@click.option("--warehouse", help="where the tables lie, instead of --config")
@_CONFIG
@_SET
def quarantine(
    code: str | None, warehouse: str | None, config_path: str | None, overrides: tuple[str, ...]
) -> None:
    """Print what failed, and why.

    \b
    Examples:
      specrec quarantine --config conf/local.yaml
      specrec quarantine --warehouse demo/warehouse --code undecodable
    """  # noqa: D301
    reader = _reader(_read_config(config_path, overrides, warehouse))
    rows = reader.rows("quarantine", [("code", "=", code)] if code else None)
    if not rows:
        click.echo("Nothing is in quarantine.")
        return
    table = Table("track", "stage", "code", "what happened", "tries", "first seen", "last seen")
    for row in sorted(rows, key=lambda row: (row["stage"], row["code"], row["track_id"])):
        times = (f"{row[name]:%Y-%m-%d %H:%M}" for name in ("first_seen", "last_seen"))
        table.add_row(row["track_id"], row["stage"], row["code"], row["message"], str(row["attempts"]), *times)
    Console().print(table)
    click.echo(f"{len(rows)} in quarantine")


@main.command()
@click.option("--last", default=5, show_default=True, help="how many runs")
@click.option("--warehouse", help="where the tables lie, instead of --config")
@_CONFIG
@_SET
def runs(last: int, warehouse: str | None, config_path: str | None, overrides: tuple[str, ...]) -> None:
    """Print what each run did, stage by stage, the newest last.

    \b
    Examples:
      specrec runs --config conf/local.yaml
      specrec runs --warehouse demo/warehouse --last 1
    """  # noqa: D301
    rows = _reader(_read_config(config_path, overrides, warehouse)).rows("runs")
    table = Table("run", "stage", "status", "in", "out", "failed", "seconds", "details")
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
            table.add_row(*shown)
        table.add_section()
    Console().print(table)


@main.command()
@click.option("--by-genre", is_flag=True, help="also print what is measured genre by genre")
@click.option("--warehouse", help="where the tables lie, instead of --config")
@_CONFIG
@_SET
def evaluate(by_genre: bool, warehouse: str | None, config_path: str | None, overrides: tuple[str, ...]) -> None:
    """Measure what the lists of the last night are worth, beside trivial baselines; added to `evaluation`.

    \b
    Examples:
      specrec evaluate --warehouse demo/warehouse
      specrec evaluate --config conf/local.yaml --set evaluate.feedback=feedback.csv --by-genre
    """  # noqa: D301
    from specrec.pipeline.evaluate import evaluate as measure

    _print_evaluation(measure(_read_config(config_path, overrides, warehouse)), by_genre)


@main.command("map")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="draw it, to this file")
@click.option("--by", type=click.Choice(["umap", "pca", "tsne"]), default="umap", show_default=True)
@click.option("--warehouse", help="where the tables lie, instead of --config")
@_CONFIG
@_SET
def show_map(
    png: Path | None, by: str, warehouse: str | None, config_path: str | None, overrides: tuple[str, ...]
) -> None:
    """Print the clusters of the map, and draw it.

    \b
    Examples:
      specrec map --warehouse demo/warehouse
      specrec map --warehouse demo/warehouse --png map.png
    """  # noqa: D301
    from specrec.map.draw import MOST_POINTS, draw

    points, tracks = _map_points(_reader(_read_config(config_path, overrides, warehouse)), by, MOST_POINTS)
    clusters = points.groupby(["cluster", "cluster_name"]).size()
    table = Table("cluster", "name", "tracks")
    for (number, name), count in clusters.items():
        table.add_row(str(number), name, f"{count / len(points):.1%}")
    Console().print(table)
    space = points["space"].iloc[0]
    if png:
        shown = "" if len(points) == tracks else f", {len(points):,} of them shown"
        axes = {"umap": "UMAP", "tsne": "t-SNE", "pca": "principal component"}[by]
        draw(points, f"{tracks:,} tracks by the space {space}{shown}", png, (f"{axes} 1", f"{axes} 2"))
    click.echo(f"{tracks:,} tracks of the space {space}" + (f", drawn to {png}" if png else ""))


@main.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of the model")
@click.option("--resume", is_flag=True, help="continue a training that was stopped")
@click.option("--workers", default=1, show_default=True, help="processes that train, by Spark's TorchDistributor")
@click.option("--warehouse", help="where the tables lie, instead of --config")
@_CONFIG
@_SET
def train_encoder(
    out: Path,
    *,
    resume: bool,
    workers: int,
    warehouse: str | None,
    config_path: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Train an encoder on the spectrograms of the warehouse, and export it to ONNX.

    It needs PyTorch: pip install 'specrec[train]'. What the job then needs is the file model.onnx alone.

    \b
    Examples:
      specrec train-encoder --warehouse demo/warehouse --set audio.clip_seconds=10 --out encoder
      specrec train-encoder --config conf/local.yaml --out encoder --set encoder.epochs=200
      specrec train-encoder --config conf/local.yaml --out encoder --resume
    """  # noqa: D301
    from specrec.encoder.command import CARD, MODEL
    from specrec.encoder.command import train_encoder as train

    card = train(_read_config(config_path, overrides, warehouse), out, resume=resume, workers=workers)
    figures = ", ".join(f"{name} {value:.4g}" for name, value in card["metrics"]["held_out"].items())
    click.echo(f"{out / MODEL}: epoch {card['training']['kept_epoch']} of {card['training']['epochs']}; {figures}")
    click.echo(f"How it was made is in {out / CARD}.")


@main.command()
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


def _read_config(config_path: str | None, overrides: tuple[str, ...], warehouse: str | None) -> Config:
    if warehouse:
        overrides = (*overrides, f"warehouse={warehouse}")
    if config_path is None and not overrides:
        raise SpecrecError("say where the tables lie: --warehouse PATH, or --config FILE")
    return load(config_path, overrides, needs_catalogue=False)


def _reader(config: Config) -> Reader:
    from specrec.warehouse.reader import Reader

    return Reader(config.warehouse, config.storage)


def _tracks(reader: Reader, track_ids: Iterable[str] | None = None) -> Tracks:
    filters = None if track_ids is None else [("track_id", "in", sorted(set(track_ids)))]
    columns = ["track_id", "track_name", "artists", "track_genre", "has_audio"]
    return {row["track_id"]: row for row in reader.rows("tracks", filters, columns)}


def _require_recommendations(reader: Reader, track_id: str) -> None:
    """Raise, saying why, if a track has no recommendations."""
    import difflib

    found = _tracks(reader, [track_id])
    if not found:
        names = [row["track_id"] for row in reader.rows("tracks", columns=["track_id"])]
        close = difflib.get_close_matches(track_id, names, n=3)
        hint = f": did you mean {' or '.join(close)}?" if close else ""
        raise SpecrecError(f"there is no track {track_id!r} in the catalogue{hint}")
    for row in reader.rows("quarantine", [("track_id", "=", track_id)]):
        raise SpecrecError(
            f"{track_id} has no recommendations: it is in quarantine ({row['code']}: {row['message']})"
        )
    if not found[track_id]["has_audio"]:
        raise SpecrecError(f"{track_id} has no recommendations: the catalogue names no audio for it")


def _list(reader: Reader, track_id: str, system: str) -> Rows:
    rows = reader.rows("recommendations", [("system", "=", system), ("track_id", "=", track_id)])
    return sorted(rows, key=lambda row: row["rank"])


def _map_points(reader: Reader, by: str, most: int) -> tuple[pd.DataFrame, int]:
    """Return up to about `most` rows of the map with coordinates, read in passing, and how many rows there are."""
    import pandas as pd

    dataset = reader.table("map").to_pyarrow_dataset()
    columns = ["space", "track_id", f"{by}_x", f"{by}_y", "cluster", "cluster_name"]
    tracks = dataset.count_rows()
    step = -(-tracks // most) or 1
    batches = (batch.to_pandas().iloc[::step] for batch in dataset.to_batches(columns=columns))
    points = pd.concat([batch for batch in batches if len(batch)] or [pd.DataFrame(columns=columns)])
    points = points.rename(columns={f"{by}_x": "x", f"{by}_y": "y"}).dropna()
    if points.empty:
        raise SpecrecError(f"the map has no coordinates by {by}: run `specrec nightly`, or try --by pca")
    return points.sort_values("track_id", ignore_index=True), tracks


def _genre(track_id: str, tracks: Tracks) -> str | None:
    return tracks[track_id]["track_genre"] if track_id in tracks else None


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _title(track_id: str, tracks: Tracks) -> str:
    row = tracks.get(track_id, {})
    artists, genre = row.get("artists"), row.get("track_genre")
    parts = [escape(row.get("track_name") or track_id), f"by {escape(artists)}" if artists else ""]
    parts += [f"[dim]{escape(track_id)}[/dim]", f"[cyan]{escape(genre)}[/cyan]" if genre else ""]
    return " ".join(part for part in parts if part)


def _as_json(file: str, system: str, rows: Rows, tracks: Tracks) -> str:
    titles = ("track_name", "artists", "track_genre")
    told = [row | {name: tracks[row["recommended_track_id"]][name] for name in titles} for row in rows]
    return json.dumps({"file": file, "system": system, "recommendations": told}, ensure_ascii=False)


def _print_list(console: Console, title: str, rows: Rows, tracks: Tracks, *, parts: bool = False) -> None:
    table = Table(title=title, title_justify="left", show_lines=parts)
    for column in ("#", "recommended", "score", "why"):
        table.add_column(column, justify="right" if column in ("#", "score") else "left")
    for row in rows:
        why = escape(row["explanation"])
        if parts and row.get("track_seconds") is not None:  # a table of an earlier version lacks them
            why += f"\nlisten: {_clock(row['track_seconds'])} and {_clock(row['recommended_seconds'])}"
        for reason in row["reasons"] if parts else ():
            why += f"\n[dim]{reason['contribution']:+.3f} {reason['family']}: {escape(reason['statement'])}[/dim]"
        table.add_row(str(row["rank"]), _title(row["recommended_track_id"], tracks), f"{row['score']:.3f}", why)
    console.print(table)


def _print_evaluation(found: Evaluation, by_genre: bool) -> None:
    from specrec.evaluate.metrics import BASELINES, METRICS, TOGETHER

    console = Console()
    if not console.is_terminal:  # a file or a pipe has room
        console = Console(width=_WIDE)
    present = list(dict.fromkeys(of.system for of in found.measurements))
    systems = [system for system in present if system not in (TOGETHER, *BASELINES)]
    systems += [other for other in (TOGETHER, *BASELINES) if other in present]
    cells = {(of.metric, of.slice, of.system): _figure(of) for of in found.measurements}
    counts = {(of.metric, of.slice): of.n for of in reversed(found.measurements)}
    rows = list(dict.fromkeys((of.metric, of.slice) for of in found.measurements))
    table = Table(
        "metric", "n", *systems, title="with 95 % bootstrap intervals", title_justify="left", show_lines=True
    )
    for metric, of_slice in rows:
        if not of_slice:
            figures = [cells.get((metric, of_slice, system), "") for system in systems]
            words = f"[bold]{metric}[/bold]\n[dim]{escape(METRICS[metric])}[/dim]"
            table.add_row(words, str(counts[metric, of_slice]), *figures)
    console.print(table)
    if by_genre:
        of_genres = Table("metric", "genre", "n", *systems)
        for metric, of_slice in rows:
            if of_slice:
                figures = [cells.get((metric, of_slice, system), "") for system in systems]
                of_genres.add_row(metric, escape(of_slice), str(counts[metric, of_slice]), *figures)
        console.print(of_genres)
    for name, why in found.left_out.items():
        console.print(f"[bold]{name}[/bold] is left out: {escape(why)}", highlight=False)


def _figure(of: Measurement) -> str:
    figure = f"[bold]{of.value:.3g}[/bold]"
    if of.low is not None and of.high is not None:
        figure += f"\n[dim]{of.low:.3g} to {of.high:.3g}[/dim]"
    return figure


def _print_side_by_side(console: Console, track_id: str, lists: dict[str, Rows], tracks: Tracks) -> None:
    both = set.intersection(*({row["recommended_track_id"] for row in rows} for rows in lists.values()))

    def cell(row: Mapping[str, Any] | None) -> str:
        if row is None:
            return ""
        title = _title(row["recommended_track_id"], tracks)
        title = f"[bold]{title}[/bold]" if row["recommended_track_id"] in both else title
        return f"{title} {row['score']:.3f}\n{escape(row['explanation'])}"

    table = Table("#", *lists, title=_title(track_id, tracks), title_justify="left", show_lines=True)
    for rank, rows in enumerate(zip_longest(*lists.values()), start=1):
        table.add_row(str(rank), *map(cell, rows))
    console.print(table)
    if both:
        console.print(f"{len(both)} in both lists, in bold.")


if __name__ == "__main__":
    main()
