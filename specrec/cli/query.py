"""The commands that look for what sounds like audio files: ``query`` for a few, ``query-many`` with Spark."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from specrec.cli.options import config_option, logged, read_config, set_option, tell, warehouse_option
from specrec.cli.printing import as_json_line, print_list
from specrec.settings import System
from specrec.starting import importing
from specrec.terminal import console, words


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--system", default="hybrid", show_default=True, help="whose space is searched: hybrid, features, …")
@click.option("--top", type=click.IntRange(min=1), help="length of a list; default: recommend.top_n")
@click.option("--json", "as_json", is_flag=True, help="print a line of JSON for each file, for programs")
@warehouse_option
@config_option
@set_option
def query(  # noqa: PLR0917  click names them
    files: tuple[str, ...],
    system: System,
    top: int | None,
    as_json: bool,
    warehouse: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Print which tracks of the catalogue sound like audio files, and why; the files need not be in it.

    FILES are paths or s3:// URIs. No Spark is started. The exit status is 1 if a file could not be analysed.

    \b
    Examples:
      specrec query song.mp3 --config conf/local.yaml
      specrec query *.flac --config demo/demo.yaml --system features --top 5
      specrec query s3://bucket/song.mp3 --config conf/local.yaml --json
    """  # noqa: D301
    from specrec.audio.isolated import Analyst

    config = read_config(config_path, overrides, warehouse)
    screen, failed = console(), False
    with Analyst(config.audio, config.extract) as analyst:  # its process starts while this one imports the rest
        with importing():
            from specrec.pipeline.query import query as search
            from specrec.query.catalogue import Answer

        for file, found in search(files, config, analyst, system, top or config.recommend.top_n):
            if not isinstance(found, Answer):
                failed = True
                tell(found)
            elif as_json:
                click.echo(as_json_line(file, system, found.recommendations, found.tracks))
            else:
                title = words(file, "\n", system)
                print_list(screen, title, found.recommendations, found.tracks, parts=True)
    if failed:
        sys.exit(1)


@click.command("query-many")
@click.option("--from", "source", required=True, help="folder of audio, or a CSV or Parquet with a column audio")
@click.option("--to", required=True, help="where the Delta tables `lists` and `failed` are written")
@click.option("--system", default="hybrid", show_default=True, help="whose space is searched: hybrid, features, …")
@click.option("--top", type=click.IntRange(min=1), help="length of a list; default: recommend.top_n")
@warehouse_option
@config_option
@set_option
def query_many(
    *,
    source: str,
    to: str,
    system: System,
    top: int | None,
    warehouse: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Find, with Spark, which tracks of the catalogue sound like many audio files, and write two tables.

    The exit status is 1 if a file could not be analysed.

    \b
    Examples:
      specrec query-many --config conf/local.yaml --from songs.csv --to found
      spark-submit jobs/query.py --config conf/cluster.yaml --from s3://bucket/songs --to s3://bucket/found
    """  # noqa: D301
    from specrec.pipeline.query_many import query_many as search

    config = logged(read_config(config_path, overrides, warehouse))
    counts = search(config, source, to, system, top or config.recommend.top_n)
    if counts.failed:
        tell(f"{counts.failed} of {counts.files} files have no list: see {to}/failed")
        sys.exit(1)
