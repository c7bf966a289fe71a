"""The command line: run the job, and read what it made.

A module for each group of commands. They import what they run only when they run it: no command waits for Spark,
PyTorch or librosa that does not use them. The scripts in ``jobs/`` call these same commands.
"""

from __future__ import annotations

import click

import specrec
from specrec.cli import (
    changes,
    demo,
    evaluate,
    forget,
    maintain,
    match,
    nightly,
    query,
    recommend_for,
    repair,
    rollback,
    show,
    train,
)
from specrec.cli.options import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(specrec.__version__)
def main() -> None:
    """Recommend music by how it sounds, and say why.

    \b
    Examples:
      specrec demo
      specrec nightly --config conf/local.yaml --set catalogue.path=~/Music --set warehouse=~/specrec
      specrec show TRACK_ID --config conf/local.yaml --set warehouse=~/specrec
    """  # noqa: D301


for _command in (
    demo.demo,
    demo.jars,
    nightly.nightly,
    show.show,
    recommend_for.recommend_for,
    show.runs,
    show.quarantine,
    show.show_map,
    query.query,
    query.query_many,
    match.match,
    evaluate.evaluate,
    changes.changes,
    forget.forget,
    maintain.maintain,
    rollback.rollback,
    repair.repair,
    train.train_encoder,
):
    main.add_command(_command)
