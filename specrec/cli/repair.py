"""The command that mends a damaged table: ``specrec repair``."""

from __future__ import annotations

from pathlib import Path

import click

from specrec.cli.options import config_option, logged, read_config, say, set_option, warehouse_option


@click.command()
@click.argument("table")
@warehouse_option
@config_option
@set_option
def repair(table: str, warehouse: str | None, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Mend a table that is damaged, or that was changed so that nights refuse it.

    TABLE is the table's name. What a night makes (tracks, audio_features, mel_spectrograms, embeddings, neighbours,
    duplicates, recommendations, agreement, map) is emptied, and the next night makes it anew; that of
    audio_features or mel_spectrograms decodes all audio again. Of quarantine, runs, evaluation and artefacts all
    rows are kept that can be read; if an artefact is lost, what was made with it is emptied, too. Nothing is
    deleted: what was there is set aside in the table's folder.

    \b
    Examples:
      specrec repair recommendations --config conf/local.yaml
      specrec repair runs --warehouse demo/warehouse
    """  # noqa: D301
    from specrec.pipeline.repair import repair as mend

    for line in mend(logged(read_config(config_path, overrides, warehouse)), table):
        say(line)
