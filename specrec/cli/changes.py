"""The command that tells what changed in the lists: ``specrec changes``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from specrec.cli.options import config_option, read_config, say, set_option, warehouse_option
from specrec.cli.tables import open_reader


@click.command()
@click.option("--since", required=True, metavar="RUN", help="the run after which a follower has the table")
@click.option("--rows", is_flag=True, help="print the rows themselves, as JSON lines")
@warehouse_option
@config_option
@set_option
def changes(
    since: str, rows: bool, warehouse: str | None, config_path: Path | None, overrides: tuple[str, ...]
) -> None:
    """Print what changed in `recommendations` since a run: what a follower of the table must do.

    Lists that were added, changed or removed, and rows to put and to delete, system by system. With --rows each row
    is a JSON object with `do`, which is put or delete, in the order in which it is to be done. Where the
    table's change feed does not reach back to that run, this is said, and the table is to be copied anew.

    \b
    Examples:
      specrec changes --since 20260102T030405Z-0a1b2c --warehouse demo/warehouse
      specrec changes --since 20260102T030405Z-0a1b2c --warehouse demo/warehouse --rows > changes.jsonl
    """  # noqa: D301
    from specrec.pipeline.changes import changes_since, rows_since
    from specrec.terminal import as_json, console, table, words

    config = read_config(config_path, overrides, warehouse)
    reader = open_reader(config)
    if rows:
        for row in rows_since(config, reader, since):
            click.echo(as_json(row, sys.stdout))
        return
    counts = changes_since(config, reader, since)
    if not counts:
        say(f"No list changed since the run {since}.")
        return
    found = table("system", "lists added", "changed", "removed", "rows to put", "to delete")
    for system, of in counts.items():
        figures = (of.added, of.changed, of.removed, of.put, of.deleted)
        found.add_row(*map(words, (system, *map(str, figures))))
    console().print(found)
