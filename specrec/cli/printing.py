"""How lists, reasons and evaluations look in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from specrec.cli.tables import Rows, Tracks
from specrec.terminal import as_json, console, plain, table, words

if TYPE_CHECKING:
    from specrec.evaluate.metrics import Measurement
    from specrec.pipeline.evaluate import Evaluation

_WIDE = 160


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def title_of(track_id: str, tracks: Tracks) -> Text:
    """Return a track's title, artists, id and genre."""
    row = tracks.get(track_id, {})
    artists, genre = row.get("artists"), row.get("track_genre")
    parts = [words(row.get("track_name") or track_id), words(f"by {artists}") if artists else words()]
    parts += [words((track_id, "dim")), words((genre, "cyan")) if genre else words()]
    return words(" ").join(part for part in parts if part)


def as_json_line(file: str, system: str, rows: Rows, tracks: Tracks) -> str:
    """Return a file's list as one line of JSON, as standard output can hold it."""
    titles = ("track_name", "artists", "track_genre")
    told = [row | {name: tracks[row["recommended_track_id"]][name] for name in titles} for row in rows]
    return as_json({"file": file, "system": system, "recommendations": told}, sys.stdout)


def print_list(screen: Console, title: Text, rows: Rows, tracks: Tracks, *, parts: bool = False) -> None:
    """Print a list of tracks with the reasons, and with the parts of each score if asked to."""
    found = table("#", "recommended", "score", "why", title=title, lines=parts)
    for column in (0, 2):
        found.columns[column].justify = "right"
    for row in rows:
        why = words(row["explanation"])
        if parts and row.get("track_seconds") is not None:  # a table of an earlier version lacks them
            why.append(f"\nlisten: {_clock(row['track_seconds'])} and {_clock(row['recommended_seconds'])}")
        for reason in row["reasons"] if parts else ():
            said = f"{reason['contribution']:+.3f} {reason['family']}: {reason['statement']}"
            why.append_text(words("\n", (said, "dim")))
        if parts and row.get("explanation_id"):
            why.append_text(words("\n", (f"explanation {row['explanation_id']}", "dim")))
        found.add_row(str(row["rank"]), title_of(row["recommended_track_id"], tracks), f"{row['score']:.3f}", why)
    screen.print(found)


def print_evaluation(found: Evaluation, by_genre: bool) -> None:
    """Print what an evaluation measured, a column a system, and why something was left out.

    What is of lists for people has a table of its own: their systems are others, some of the same names.
    """
    from specrec.evaluate.metrics import OF_PEOPLE

    screen = console()
    if not screen.is_terminal:  # a file or a pipe has room
        screen.width = _WIDE
    of_people = [of for of in found.measurements if of.metric.startswith(OF_PEOPLE)]
    of_tracks = [of for of in found.measurements if not of.metric.startswith(OF_PEOPLE)]
    _print_measurements(screen, of_tracks, by_genre)
    if of_people:
        _print_of_people(screen, of_people)
    for name, why in found.left_out.items():
        screen.print(words((name, "bold"), f" is left out: {why}"), highlight=False)


def _print_measurements(screen: Console, measurements: Sequence[Measurement], by_genre: bool) -> None:
    from specrec.evaluate.metrics import BASELINES, METRICS, TOGETHER

    present = list(dict.fromkeys(of.system for of in measurements))
    systems = [system for system in present if system not in (TOGETHER, *BASELINES)]
    systems += [other for other in (TOGETHER, *BASELINES) if other in present]
    cells = {(of.metric, of.slice, of.system): _figure(of) for of in measurements}
    counts = {(of.metric, of.slice): of.n for of in reversed(measurements)}
    rows = list(dict.fromkeys((of.metric, of.slice) for of in measurements))
    whole = table("metric", "n", *systems, title=words("with 95 % bootstrap intervals"), lines=True)
    for metric, of_slice in rows:
        if not of_slice:
            figures = [cells.get((metric, of_slice, system), words()) for system in systems]
            said = words((metric, "bold"), "\n", (METRICS[metric].words, "dim"))
            whole.add_row(said, str(counts[metric, of_slice]), *figures)
    screen.print(whole)
    if by_genre:
        of_genres = table("metric", "of", "n", *systems)
        for metric, of_slice in rows:
            if of_slice:
                figures = [cells.get((metric, of_slice, system), words()) for system in systems]
                of_genres.add_row(words(metric), words(of_slice), str(counts[metric, of_slice]), *figures)
        screen.print(of_genres)


def _print_of_people(screen: Console, measurements: Sequence[Measurement]) -> None:
    from specrec.evaluate.metrics import METRICS

    systems = list(dict.fromkeys(of.system for of in measurements))
    printed = table("people", "of", "n", *systems, title=words("lists for people"))
    for metric in dict.fromkeys(of.metric for of in measurements):
        said = words((metric, "bold"), "\n", (METRICS[metric].words.removeprefix("people: "), "dim"))
        of_metric = [of for of in measurements if of.metric == metric]
        for of_slice in dict.fromkeys(of.slice for of in of_metric):
            figures = {of.system: of for of in of_metric if of.slice == of_slice}
            cells = [_figure(figures[system]) if system in figures else words() for system in systems]
            counts = max(of.n for of in figures.values())
            printed.add_row(said, words(of_slice), str(counts), *cells)
            said = words()
    screen.print(printed)


def _figure(of: Measurement) -> Text:
    figure = words((f"{of.value:.3g}", "bold"))
    if of.low is not None and of.high is not None:
        figure.append_text(words("\n", (f"{of.low:.3g} to {of.high:.3g}", "dim")))
    return figure


def print_side_by_side(screen: Console, track_id: str, lists: dict[str, Rows], tracks: Tracks) -> None:
    """Print a track's lists by several systems, a column each; what is in all of them is bold."""
    both = set.intersection(*({row["recommended_track_id"] for row in rows} for rows in lists.values()))

    def cell(row: Mapping[str, Any] | None) -> Text:
        if row is None:
            return words()
        title = title_of(row["recommended_track_id"], tracks)
        if row["recommended_track_id"] in both:
            title.stylize("bold")
        return title.append(f" {row['score']:.3f}\n{plain(row['explanation'])}")

    found = table("#", *lists, title=title_of(track_id, tracks), lines=True)
    for rank, rows in enumerate(zip_longest(*lists.values()), start=1):
        found.add_row(str(rank), *map(cell, rows))
    screen.print(found)
    if both:
        screen.print(f"{len(both)} in both lists, in bold.")
