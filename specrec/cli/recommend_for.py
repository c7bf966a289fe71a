"""The command that prints what a person is recommended: ``specrec recommend-for``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from specrec.cli.options import config_option, read_config, say, set_option, warehouse_option
from specrec.cli.printing import print_list
from specrec.cli.tables import Rows, open_reader, tracks_of
from specrec.embedding.config import HYBRID
from specrec.errors import SpecrecError
from specrec.listeners.config import NOBODY
from specrec.terminal import console, words

if TYPE_CHECKING:
    from specrec.warehouse.reader import Reader

#: So many parts of each score are printed.
REASONS = 4


@click.command("recommend-for")
@click.argument("user_id")
@click.option("--system", default=HYBRID, show_default=True, help="the system whose list is printed")
@click.option("--parts", is_flag=True, help="print all parts of each score, and not only the greatest")
@click.option("--top", type=click.IntRange(min=1), help="print no more than so many tracks")
@warehouse_option
@config_option
@set_option
def recommend_for(  # noqa: PLR0917  click names them
    user_id: str,
    system: str,
    parts: bool,
    top: int | None,
    warehouse: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Print what a person is recommended, and why, with the greatest parts of each score.

    Who is not known gets the list of those of whom nothing is known, and that is said.

    \b
    Examples:
      specrec recommend-for listener-001 --config demo/demo.yaml
      specrec recommend-for listener-001 --warehouse demo/warehouse --system als --top 5
    """  # noqa: D301
    from specrec.events.identity import scheme, scheme_of, stored_ids
    from specrec.storage import join, open_store
    from specrec.warehouse.history import commits, known_states

    config = read_config(config_path, overrides, warehouse)
    reader = open_reader(config)
    files = commits(open_store(config.warehouse, config.storage), join(config.warehouse, "event_files"))
    stored_as = scheme_of(known_states(files)) or scheme(config.listeners.hash_users)
    stored = (stored_ids([user_id], stored_as) or [NOBODY])[0]
    rows = list_for(reader, stored, system)
    if rows[0]["user_id"] != stored:
        say(f"Nothing is known of {user_id} yet: this is what everybody gets of whom nothing is known.")
    print_person(console(), reader, user_id, rows[:top], most=None if parts else REASONS)


def list_for(reader: Reader, user_id: str, system: str) -> Rows:
    """Return a person's list by a system, best first; of who is not known, that of those of whom nothing is known.

    Raises
    ------
    SpecrecError
        If there are no such lists.
    """
    found = reader.rows("user_recommendations", [("user_id", "in", [user_id, NOBODY]), ("system", "=", system)])
    if not found:
        others = reader.rows("user_recommendations", [("user_id", "=", NOBODY)], ["system"])
        systems = {row["system"] for row in others}
        if not systems:
            raise SpecrecError(
                "there are no lists for people yet: run `specrec nightly --set listeners.events=…` with what "
                "people played, skipped and rated"
            )
        raise SpecrecError(f"there are no lists of the system {system!r}; there are: {', '.join(sorted(systems))}")
    own = [row for row in found if row["user_id"] == user_id]
    return sorted(own or found, key=lambda row: row["rank"])


def print_person(screen: Console, reader: Reader, user_id: str, rows: Rows, most: int | None = REASONS) -> None:
    """Print a person's list with the parts of each score: the `most` greatest, or all of them."""
    shown = [row | {"recommended_track_id": row["track_id"], "reasons": row["reasons"][:most]} for row in rows]
    title = words((user_id, "bold")).append_text(words("\n", rows[0]["system"]))
    print_list(screen, title, shown, tracks_of(reader, [row["track_id"] for row in rows]), parts=True)
