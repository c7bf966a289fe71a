"""Training by a group of processes that Spark starts: the encoder's only door to Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from specrec.config import Config
from specrec.encoder.make import NEEDED, make_model
from specrec.errors import SpecrecError
from specrec.warehouse.reader import Reader


def make_in_group(
    spark: SparkSession,
    config: Config,
    versions: Mapping[str, int],
    out: Path,
    *,
    resume: bool,
    workers: int,
) -> dict[str, Any]:
    """Train an encoder as :func:`specrec.encoder.make.make_model` does, in as many processes as there are workers.

    Parameters
    ----------
    spark : SparkSession
        In its local mode, the processes run on the driver's machine.
    config : Config
    versions : mapping of str to int
        The Delta version of each table that all processes read.
    out : Path
        A folder that all of them reach.
    resume : bool
    workers : int

    Returns
    -------
    dict
        The model card.

    Raises
    ------
    SpecrecError
        If the executors of a cluster lack what training needs.
    """
    import torch  # noqa: PLC0415
    from pyspark.ml.torch.distributor import TorchDistributor  # noqa: PLC0415

    local = (spark.sparkContext.master or "").startswith("local")
    if not local:
        check_executors(spark, (*NEEDED, "deltalake"))
    gpu = torch.cuda.is_available() if local else "spark.task.resource.gpu.amount" in config.spark.conf
    distributor = TorchDistributor(num_processes=workers, local_mode=local, use_gpu=gpu)
    return distributor.run(_make_in_process, config.model_dump_json(), dict(versions), str(out), resume) or {}


def check_executors(spark: SparkSession, needed: Sequence[str]) -> None:
    """Raise a SpecrecError in one line if executors lack modules; the environment that nights need is smaller.

    Parameters
    ----------
    spark : SparkSession
    needed : sequence of str
        Names of modules.
    """

    def missing(name: str) -> bool:
        return find_spec(name) is None

    lacking = spark.sparkContext.parallelize(needed, 1).filter(missing).collect()
    if lacking:
        raise SpecrecError(
            f"the executors lack {', '.join(lacking)}, which training needs: ship them what "
            "`deploy/pack.py --train` packs"
        )


def _make_in_process(config_json: str, versions: dict[str, int], out: str, resume: bool) -> dict[str, Any]:
    """Run in each process of the group; that of rank 0 returns the card."""
    import torch  # noqa: PLC0415
    from torch import distributed as dist  # noqa: PLC0415

    config = Config.model_validate_json(config_json)
    reader = Reader(config.warehouse, config.storage, versions)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        return make_model(config, reader, Path(out), resume=resume)
    finally:
        dist.destroy_process_group()
