"""What notebooks and programs call; ``import specrec`` gives all of it, and says how it is used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from specrec.config import Config, load
from specrec.errors import SpecrecError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from specrec.pipeline.evaluate import Evaluation
    from specrec.settings import System

#: Conditions that all hold, such as ``("system", "=", "hybrid")`` or ``("track_id", "in", ["a", "b"])``.
Conditions = Sequence[tuple[str, str, Any]]


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Load and check a configuration.

    Parameters
    ----------
    path : str, Path or None
        A YAML file, such as ``conf/local.yaml``; None to start from the defaults.
    overrides : iterable of str
        What ``--set`` is on the command line, such as ``"warehouse=~/specrec"``.

    Returns
    -------
    Config
        It never changes; ``catalogue.path`` is empty if nothing said it, which is enough to read tables.

    Raises
    ------
    ConfigError
        In one line: an unreadable file, an unknown key, with the nearest valid one, or a bad value.

    Examples
    --------
    >>> load_config(None, ["warehouse=/music/warehouse", "recommend.top_n=5"]).recommend.top_n
    5
    """
    return load(path, overrides, needs_catalogue=False)


def run_stages(config: Config, stages: Iterable[str] | None = None, *, refit: bool = False) -> str:
    """Run a night, or some of its stages, with Spark.

    Parameters
    ----------
    config : Config
    stages : iterable of str, or None
        Names of stages; they run in the order of a night. None: all of them.
    refit : bool
        Whether to fit scaler and PCA anew, and compute what depends on them.

    Returns
    -------
    str
        The run's id: rows of the table ``runs`` say what it did.

    Raises
    ------
    SpecrecError
        In one line: what happened and what to do.
    """
    from specrec.pipeline.nightly import run_stages as run  # noqa: PLC0415

    return run(config, stages, refit)


def evaluate_lists(config: Config) -> Evaluation:
    """Measure what the lists of the last night are worth, with Spark, and add it to the table ``evaluation``.

    Parameters
    ----------
    config : Config
        That the night ran with.

    Returns
    -------
    Evaluation
        The measurements, and why anything was left out.

    Raises
    ------
    SpecrecError
        If there are no lists, or they were made with other settings.
    """
    from specrec.pipeline.evaluate import evaluate  # noqa: PLC0415

    return evaluate(config)


@overload
def read_table(
    config: Config,
    name: str,
    columns: Sequence[str] | None = None,
    where: Conditions = (),
    *,
    as_arrow: Literal[False] = False,
) -> pd.DataFrame: ...


@overload
def read_table(
    config: Config,
    name: str,
    columns: Sequence[str] | None = None,
    where: Conditions = (),
    *,
    as_arrow: Literal[True],
) -> pa.Table: ...


def read_table(
    config: Config,
    name: str,
    columns: Sequence[str] | None = None,
    where: Conditions = (),
    *,
    as_arrow: bool = False,
) -> pd.DataFrame | pa.Table:
    """Read a table of the warehouse into memory, without Spark.

    Parameters
    ----------
    config : Config
        It says where the warehouse is, and how it is reached.
    name : str
        Such as ``recommendations``; :mod:`specrec.warehouse.schemas` describes all of them.
    columns : sequence of str or None
        All if None.
    where : sequence of tuple
        Conditions that all hold, such as ``("system", "=", "hybrid")``. Parts of a table that cannot hold such rows
        are not read.
    as_arrow : bool
        Whether to return an Arrow table in place of a pandas frame.

    Returns
    -------
    pandas.DataFrame or pyarrow.Table

    Raises
    ------
    SpecrecError
        If there is no such table, or it lacks a column.
    """
    from specrec.warehouse.reader import Reader  # noqa: PLC0415

    reader = Reader(config.warehouse, config.storage)
    found = reader.arrow(name, list(where) or None, None if columns is None else list(columns))
    return found if as_arrow else found.to_pandas(maps_as_pydicts="lossy")


def query_files(
    config: Config, files: str | Iterable[str], *, system: System = "hybrid", top: int | None = None
) -> pd.DataFrame:
    """Find the tracks of the catalogue that sound like audio files, without Spark.

    Parameters
    ----------
    config : Config
        That the night ran with.
    files : str or iterable of str
        Paths or URIs; the files need not be in the catalogue.
    system : str
        Whose space is searched.
    top : int or None
        Length of a list, at most; None: ``recommend.top_n``.

    Returns
    -------
    pandas.DataFrame
        ``file``, then the columns of the table ``recommendations`` from ``rank`` on, a row a recommended track.

    Raises
    ------
    SpecrecError
        If a file cannot be analysed, or the tables were made with other settings.
    """
    import pandas as pd  # noqa: PLC0415

    from specrec.audio.isolated import Analyst  # noqa: PLC0415
    from specrec.pipeline.query import query  # noqa: PLC0415
    from specrec.query.catalogue import Answer  # noqa: PLC0415

    named = [files] if isinstance(files, str) else list(files)
    rows: list[dict[str, Any]] = []
    with Analyst(config.audio, config.extract) as analyst:
        for file, found in query(named, config, analyst, system, top or config.recommend.top_n):
            if not isinstance(found, Answer):
                raise SpecrecError(str(found)) from found
            rows += [{"file": file} | row for row in found.recommendations]
    return pd.DataFrame(rows)


def train_encoder(config: Config, out: str | Path, *, resume: bool = False, workers: int = 1) -> dict[str, Any]:
    """Train an encoder on the warehouse's spectrograms, and export it to ONNX.

    Parameters
    ----------
    config : Config
    out : str or Path
        Folder of the model and its card, on disk.
    resume : bool
        Whether to continue a training that was stopped.
    workers : int
        Processes that train; more than one are started by Spark.

    Returns
    -------
    dict
        The model's card.

    Raises
    ------
    SpecrecError
        If PyTorch is not installed, another run holds the warehouse, or it holds too little.
    """
    from specrec.pipeline.train_encoder import train_encoder as train  # noqa: PLC0415

    return train(config, out, resume=resume, workers=workers)
