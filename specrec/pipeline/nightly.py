"""The nightly run: all stages in order, in one session, under the warehouse's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from specrec.config import STAGES, Config, Stage
from specrec.logs import configure, get_logger
from specrec.pipeline.embed import embed
from specrec.pipeline.extract import extract
from specrec.pipeline.fit import fit
from specrec.pipeline.ingest import check_catalogue, check_sources, ingest
from specrec.pipeline.neighbours import find_neighbours
from specrec.pipeline.progress import Progress
from specrec.pipeline.recommend import recommend
from specrec.pipeline.run import Run, new_run_id, told_in_one_line
from specrec.session import get_spark
from specrec.warehouse.lock import WarehouseLock
from specrec.warehouse.tables import Warehouse

_RUN: dict[Stage, Callable[[Run], None]] = {
    "ingest": ingest,
    "extract": extract,
    "fit": fit,
    "embed": embed,
    "neighbours": find_neighbours,
    "recommend": recommend,
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
    run_id = new_run_id()
    with WarehouseLock(config.warehouse, config.storage, run_id) as lock, told_in_one_line():
        spark = get_spark(config)
        if "ingest" in stages:
            check_catalogue(spark, config)
        warehouse = Warehouse(spark, config.warehouse, config.storage)
        with Progress(spark.sparkContext) as progress:
            run = Run(config, warehouse, run_id, lock, progress)
            warehouse.create_missing()
            for name in stages:
                if name == "fit":
                    fit(run, requested=refit)
                else:
                    _RUN[name](run)
    get_logger().info("run_done", run_id=run_id)
    return run_id
