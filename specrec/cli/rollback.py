"""The command that brings the tables back to what they were: ``specrec rollback``."""

from __future__ import annotations

from pathlib import Path

import click

from specrec.cli.options import config_option, logged, read_config, say, set_option, warehouse_option


@click.command()
@click.option("--to", "to", required=True, metavar="RUN", help="the run that the tables are brought back to")
@warehouse_option
@config_option
@set_option
def rollback(to: str, warehouse: str | None, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Bring all that nights make back to what it was after a run.

    Each table is restored in one commit, which followers see as any other; tracks, quarantine and artefacts go back
    with the lists, the tables runs and evaluation do not. The next night makes of the catalogue as it is then what
    it would have made after that run. Tables reach back as far as files are kept (maintain.keep_days): if one does
    not, nothing is changed.

    \b
    Examples:
      specrec runs --warehouse demo/warehouse
      specrec rollback --to 20260102T030405Z-0a1b2c --warehouse demo/warehouse
    """  # noqa: D301
    from specrec.pipeline.rollback import rollback as bring_back

    for line in bring_back(logged(read_config(config_path, overrides, warehouse)), to):
        say(line)
