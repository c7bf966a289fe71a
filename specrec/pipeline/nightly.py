"""The nightly run: all stages in order, in one session, under the warehouse's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from specrec.config import STAGES, Config, Stage
from specrec.logs import configure
from specrec.pipeline.duplicates import find_duplicates
from specrec.pipeline.embed import embed
from specrec.pipeline.extract import extract
from specrec.pipeline.fit import fit
from specrec.pipeline.ingest import check_catalogue, check_sources, ingest
from specrec.pipeline.map import make_map
from specrec.pipeline.neighbours import find_neighbours
from specrec.pipeline.recommend import recommend
from specrec.pipeline.run import Run, open_run

_RUN: dict[Stage, Callable[[Run], None]] = {
    "ingest": ingest,
    "extract": extract,
    "fit": fit,
    "embed": embed,
    "neighbours": find_neighbours,
    "duplicates": find_duplicates,
    "recommend": recommend,
    "map": make_map,
}


def run_stages(config: Config, stages: Sequence[Stage] = STAGES, refit: bool = False) -> str:
    """Run stages on the configured warehouse and return the run's id.

    Whatever can be checked is checked before the first table is touched: what ends there has written nothing.

    Parameters
    ----------
    config : the configuration.
    stages : names of :data:`~specrec.config.STAGES`, in the order to run them.
    refit : fit the artefacts anew.

    Raises
    ------
    SpecrecError
        In one line: what happened and what to do.
    """
    configure(config.log)
    if "ingest" in stages:
        check_sources(config)
    with open_run(config) as run:
        if "ingest" in stages:
            check_catalogue(run.warehouse.spark, config)
        run.warehouse.create_missing()
        for name in stages:
            if name == "fit":
                fit(run, requested=refit)
            else:
                _RUN[name](run)
    return run.run_id
