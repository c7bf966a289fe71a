"""specrec: recommends music by how it sounds, and says why.

For notebooks and programs, ``import specrec`` gives:

=====================  ===============================================================================
:func:`load_config`    load and check a configuration
:func:`run_stages`     run a night, or some of its stages (Spark)
:func:`read_table`     read a table as a pandas frame or an Arrow table
:func:`query_files`    find the tracks that sound like audio files
:func:`evaluate_lists` measure what the lists are worth (Spark)
:func:`train_encoder`  train an encoder of spectrograms
:data:`STAGES`         the names of the stages, in the order of a night
:class:`Config`        what :func:`load_config` returns
:class:`SpecrecError`  what all of them raise, with one line that says what happened and what to do
=====================  ===============================================================================

Nothing is imported before it is used, and Spark only by what runs in it. Events are logged through structlog, which
a program sets up as it likes; ``specrec.logs.configure(config.log)`` does it as the command line does.

Examples
--------
>>> import specrec
>>> config = specrec.load_config(None, ["warehouse=/music/warehouse"])
>>> config.warehouse
'/music/warehouse'
>>> list(specrec.STAGES)[:2]
['ingest', 'extract']

Notes
-----
The folders follow the data: ``catalogue`` (what there is) → ``audio`` (what it sounds like) → ``embedding`` (one
vector a track and space) → ``neighbours`` (who is near) → ``recommend`` (lists with reasons). ``pipeline`` is the
edge that reads and writes the tables of ``warehouse``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specrec.api import evaluate_lists, load_config, query_files, read_table, run_stages, train_encoder
    from specrec.config import Config
    from specrec.errors import SpecrecError
    from specrec.pipeline.stages import STAGES

__version__ = "0.1.0"

__all__ = [
    "STAGES",
    "Config",
    "SpecrecError",
    "evaluate_lists",
    "load_config",
    "query_files",
    "read_table",
    "run_stages",
    "train_encoder",
]

_PLACES = dict.fromkeys(__all__, "specrec.api") | {
    "Config": "specrec.config",
    "SpecrecError": "specrec.errors",
    "STAGES": "specrec.pipeline.stages",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    """Return the public names, whether they were imported yet or not."""
    return sorted({*globals(), *__all__})
