"""The command that forgets people: ``specrec forget``."""

from __future__ import annotations

from pathlib import Path

import click

from specrec.cli.options import config_option, logged, read_config, say, set_option, warehouse_option


@click.command()
@click.argument("users", nargs=-1, metavar="[USER]...")
@click.option("--file", "file", metavar="FILE", help="forget the people of this file, too: one user_id a line")
@warehouse_option
@config_option
@set_option
def forget(
    users: tuple[str, ...],
    file: str | None,
    warehouse: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Delete all that the tables say of people, and refuse their events from now on.

    USER is a user_id as the events name it; where people are stored as hashes, the key must be in the environment.
    What is kept is a hash of the id, by which later nights know whose events to leave out, also of files that are
    still there.

    Older versions of the tables have these rows until `specrec maintain` deletes what was replaced longer ago than
    maintain.keep_days: an hour after the command, if both that and maintain.follower_days are 0.01. The logs of the
    tables may name a person, as the first or last of a file, until Delta's own retention of 30 days is over.

    \b
    Examples:
      specrec forget ann --config conf/local.yaml
      specrec forget --file left.txt --warehouse demo/warehouse
      specrec maintain --config conf/local.yaml --set maintain.follower_days=0.01 --set maintain.keep_days=0.01
    """  # noqa: D301
    from specrec.pipeline.forget import forget as forget_people
    from specrec.pipeline.forget import read_user_ids
    from specrec.storage import locate

    config = logged(read_config(config_path, overrides, warehouse))
    named = list(users) + (read_user_ids(locate(file), config.storage) if file else [])
    for name, count in forget_people(config, named).items():
        say(f"{name}: {count} rows deleted.")
