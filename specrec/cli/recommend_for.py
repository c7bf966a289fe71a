"""The command that prints what a person is recommended: ``specrec recommend-for``."""

from __future__ import annotations

from pathlib import Path

import click

from specrec.cli.options import config_option, read_config, say, set_option, warehouse_option
from specrec.cli.printing import print_list
from specrec.cli.tables import open_reader, tracks_of
from specrec.embedding.config import HYBRID
from specrec.errors import SpecrecError
from specrec.listeners.config import NOBODY
from specrec.terminal import console, words

#: So many parts of each score are printed.
_REASONS = 4


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
    from specrec.events.identity import scheme, stored_ids

    config = read_config(config_path, overrides, warehouse)
    reader = open_reader(config)
    stored = (stored_ids([user_id], scheme(config.listeners.hash_users)) or [NOBODY])[0]
    found = reader.rows("user_recommendations", [("user_id", "in", [stored, NOBODY]), ("system", "=", system)])
    if not found:
        others = reader.rows("user_recommendations", [("user_id", "=", NOBODY)], ["system"])
        systems = {row["system"] for row in others}
        if not systems:
            raise SpecrecError(
                "there are no lists for people yet: run `specrec nightly --set listeners.events=…` with what "
                "people played, skipped and rated"
            )
        raise SpecrecError(f"there are no lists of the system {system!r}; there are: {', '.join(sorted(systems))}")
    own = [row for row in found if row["user_id"] == stored]
    if not own:
        say(f"Nothing is known of {user_id} yet: this is what everybody gets of whom nothing is known.")
    rows = sorted(own or found, key=lambda row: row["rank"])[:top]
    most = None if parts else _REASONS
    shown = [row | {"recommended_track_id": row["track_id"], "reasons": row["reasons"][:most]} for row in rows]
    tracks = tracks_of(reader, [row["track_id"] for row in rows])
    title = words((user_id, "bold")).append_text(words("\n", system))
    print_list(console(), title, shown, tracks, parts=True)
