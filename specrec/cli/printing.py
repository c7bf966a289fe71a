"""How lists, reasons and evaluations look in a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from specrec.cli.tables import Rows, Tracks

if TYPE_CHECKING:
    from specrec.evaluate.metrics import Measurement
    from specrec.pipeline.evaluate import Evaluation

_WIDE = 160


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def title_of(track_id: str, tracks: Tracks) -> str:
    """Return a track's title, artists, id and genre in rich's markup."""
    row = tracks.get(track_id, {})
    artists, genre = row.get("artists"), row.get("track_genre")
    parts = [escape(row.get("track_name") or track_id), f"by {escape(artists)}" if artists else ""]
    parts += [f"[dim]{escape(track_id)}[/dim]", f"[cyan]{escape(genre)}[/cyan]" if genre else ""]
    return " ".join(part for part in parts if part)


def as_json_line(file: str, system: str, rows: Rows, tracks: Tracks) -> str:
    """Return a file's list as one line of JSON."""
    titles = ("track_name", "artists", "track_genre")
    told = [row | {name: tracks[row["recommended_track_id"]][name] for name in titles} for row in rows]
    return json.dumps({"file": file, "system": system, "recommendations": told}, ensure_ascii=False)


def print_list(console: Console, title: str, rows: Rows, tracks: Tracks, *, parts: bool = False) -> None:
    """Print a list of tracks with the reasons, and with the parts of each score if asked to."""
    table = Table(title=title, title_justify="left", show_lines=parts)
    for column in ("#", "recommended", "score", "why"):
        table.add_column(column, justify="right" if column in ("#", "score") else "left")
    for row in rows:
        why = escape(row["explanation"])
        if parts and row.get("track_seconds") is not None:  # a table of an earlier version lacks them
            why += f"\nlisten: {_clock(row['track_seconds'])} and {_clock(row['recommended_seconds'])}"
        for reason in row["reasons"] if parts else ():
            why += f"\n[dim]{reason['contribution']:+.3f} {reason['family']}: {escape(reason['statement'])}[/dim]"
        table.add_row(str(row["rank"]), title_of(row["recommended_track_id"], tracks), f"{row['score']:.3f}", why)
    console.print(table)


def print_evaluation(found: Evaluation, by_genre: bool) -> None:
    """Print what an evaluation measured, a column a system, and why something was left out."""
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
            words = f"[bold]{metric}[/bold]\n[dim]{escape(METRICS[metric].words)}[/dim]"
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


def print_side_by_side(console: Console, track_id: str, lists: dict[str, Rows], tracks: Tracks) -> None:
    """Print a track's lists by several systems, a column each; what is in all of them is bold."""
    both = set.intersection(*({row["recommended_track_id"] for row in rows} for rows in lists.values()))

    def cell(row: Mapping[str, Any] | None) -> str:
        if row is None:
            return ""
        title = title_of(row["recommended_track_id"], tracks)
        title = f"[bold]{title}[/bold]" if row["recommended_track_id"] in both else title
        return f"{title} {row['score']:.3f}\n{escape(row['explanation'])}"

    table = Table("#", *lists, title=title_of(track_id, tracks), title_justify="left", show_lines=True)
    for rank, rows in enumerate(zip_longest(*lists.values()), start=1):
        table.add_row(str(rank), *map(cell, rows))
    console.print(table)
    if both:
        console.print(f"{len(both)} in both lists, in bold.")
