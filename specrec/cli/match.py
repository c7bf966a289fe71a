"""The command that matches two catalogues: ``specrec match``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from specrec.cli.options import DiskPath, say, tell
from specrec.errors import SpecrecError
from specrec.terminal import console, table, words

if TYPE_CHECKING:
    import pyarrow as pa

    from specrec.matching.blocking import Counted
    from specrec.matching.match import Candidate

#: So many candidates of a record are explained.
EXPLAINED = 5


@click.command()
@click.option("--left", required=True, type=DiskPath(), help="CSV or Parquet of one catalogue")
@click.option("--right", required=True, type=DiskPath(), help="CSV or Parquet of the other")
@click.option("--left-columns", default="", metavar="OURS=THEIRS,…", help="which of its columns is which of ours")
@click.option("--right-columns", default="", metavar="OURS=THEIRS,…", help="the same for the other")
@click.option("--out", type=DiskPath(), help="CSV or Parquet that is written: a row for each left record")
@click.option(
    "--decisions", type=DiskPath(), help="what a person decided: left_id, right_id, decision; it always wins"
)
@click.option("--explain", metavar="LEFT_ID", help="print the candidates of one left record, and why")
@click.option("--encoding", help="of CSVs that do not say it, such as cp1252")
@click.option("--match-at", type=float, help="bits of evidence from which on a pair is a match")
@click.option("--review-at", type=float, help="bits from which on a pair is for a person to decide")
@click.option("--gap", type=float, help="bits by which a match must be ahead of the next best")
def match(
    *,
    left: Path,
    right: Path,
    left_columns: str,
    right_columns: str,
    out: Path | None,
    decisions: Path | None,
    explain: str | None,
    encoding: str | None,
    match_at: float | None,
    review_at: float | None,
    gap: float | None,
) -> None:
    """Find which records of two catalogues name the same recording, and say why.

    Columns of ours are track_id, artists, track_name, and, if the file has them, album_name, duration_ms, year and
    isrc. A pair is a match, none, or for review; what is for review is never merged.

    \b
    Examples:
      specrec match --left a.csv --right b.csv --left-columns track_id=id,track_name=title --out m.csv
      specrec match --left a.csv --right b.csv --decisions decided.csv --out m.csv
      specrec match --left a.csv --right b.csv --explain 4711
    """  # noqa: D301
    from specrec.matching.comparisons import Thresholds
    from specrec.matching.files import parse_columns, read_catalogue, read_decisions, write_table
    from specrec.matching.match import explained, rows_of
    from specrec.matching.match import match as match_records
    from specrec.matching.records import read_records

    if out is None and explain is None:
        raise SpecrecError("say where the matches go: --out FILE, or which record is explained: --explain LEFT_ID")
    if out is not None and any(out.resolve() == path.resolve() for path in (left, right, decisions) if path):
        raise SpecrecError(f"--out {out} is a file that is read: give it another name")
    if out is not None and not out.parent.is_dir():
        raise SpecrecError(f"--out {out}: there is no folder {out.parent}")
    usual = Thresholds()
    thresholds = Thresholds(
        *(usual_at if at is None else at
          for usual_at, at in ((usual.match, match_at), (usual.review, review_at), (usual.gap, gap)))
    )  # fmt: skip
    if thresholds.review > thresholds.match:
        raise SpecrecError(f"--review-at {thresholds.review:g} is above --match-at {thresholds.match:g}")
    tables = [
        read_catalogue(path, parse_columns(columns), encoding)
        for path, columns in ((left, left_columns), (right, right_columns))
    ]
    manual = read_decisions(decisions) if decisions else {}
    known = [{*found["track_id"].to_pylist()} for found in tables]
    if gone := sum(pair[0] not in known[0] or pair[1] not in known[1] for pair in manual):
        tell(f"{gone} of the {len(manual)} decisions in {decisions} are of records that are not there")
    if explain is not None and explain not in known[0]:
        raise SpecrecError(f"{left} has no record {explain!r}")
    matching = match_records(
        read_records(tables[0]),
        read_records(tables[1]),
        manual,
        thresholds=thresholds,
        tell=say_counted if out else None,
    )
    if explain is not None:
        print_explained(console(), explain, explained(matching, explain), *map(names_of, tables))
    if out is not None:
        found = rows_of(matching)
        write_table(found, out)
        counts = {name: found["decision"].to_pylist().count(name) for name in ("match", "review", "none")}
        say(", ".join(f"{count} {name}" for name, count in counts.items()) + f": written to {out}")


def names_of(catalogue: pa.Table) -> dict[str, str]:
    """Return the artists and title of each record, as the catalogue writes them, by its id."""
    ids, artists, titles = (catalogue[name].to_pylist() for name in ("track_id", "artists", "track_name"))
    return {
        each: f"{credit or ''}: {title or ''}" for each, credit, title in zip(ids, artists, titles, strict=True)
    }


def say_counted(counted: tuple[Counted, ...]) -> None:
    """Say what the blocks come to, before their pairs are compared."""
    for kind in counted:
        left_out = f"; {kind.too_large} too large, of {kind.pairs_left_out} pairs" if kind.too_large else ""
        say(f"blocks by {kind.kind}: {kind.blocks}, of {kind.pairs} pairs{left_out}")


def print_explained(
    screen: Console,
    left_id: str,
    candidates: list[Candidate],
    left_names: dict[str, str],
    right_names: dict[str, str],
) -> None:
    """Print the best candidates of a record, each with what every comparison found and counts."""
    screen.print(words((left_id, "bold"), f"  {left_names[left_id]}"))
    if not candidates:
        screen.print("Nothing is like it.")
    for candidate in candidates[:EXPLAINED]:
        gap = "" if candidate.gap is None else f", {candidate.gap:+g} to the next best"
        screen.print()
        screen.print(words((candidate.right_id, "bold"), f"  {right_names[candidate.right_id]}"))
        screen.print(words(f"{candidate.decision}: {candidate.why}; {candidate.score:g} bits{gap}"))
        shown = table("comparison", "found", "bits", "because")
        for part in candidate.parts:
            if part.weight:
                shown.add_row(*map(words, (part.comparison, part.level, f"{part.weight:+g}", part.why)))
        screen.print(shown)
