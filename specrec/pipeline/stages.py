"""The stages of a night, in their order.

A new stage is its module, one line here, its script in ``jobs/`` and the table that it writes. The
order of a night and ``specrec nightly --stage`` follow. Importing this module imports no stage, and no Spark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING

from specrec.errors import SpecrecError
from specrec.settings import nearest_name

if TYPE_CHECKING:
    from specrec.pipeline.run import Run

#: The name of each stage, and the function that runs it, in the order of a night.
_FUNCTIONS = {
    "ingest": "specrec.pipeline.ingest:ingest",
    "extract": "specrec.pipeline.extract:extract",
    "listen": "specrec.pipeline.listen:listen",
    "factors": "specrec.pipeline.factors:fit_factors",
    "fit": "specrec.pipeline.fit:fit",
    "embed": "specrec.pipeline.embed:embed",
    "neighbours": "specrec.pipeline.neighbours:find_neighbours",
    "duplicates": "specrec.pipeline.duplicates:find_duplicates",
    "recommend": "specrec.pipeline.recommend:recommend",
    "map": "specrec.pipeline.map:make_map",
    "people": "specrec.pipeline.people:recommend_to_people",
}

#: The names of the stages, in the order of a night.
STAGES = tuple(_FUNCTIONS)

#: The stages that do not run where ``listeners.events`` is not set.
OF_LISTENERS = ("listen", "factors", "people")


def in_order(names: Iterable[str] | None) -> list[str]:
    """Return stages in the order of a night.

    Parameters
    ----------
    names : iterable of str, or None
        None: all stages.

    Raises
    ------
    SpecrecError
        If there is no such stage.

    Examples
    --------
    >>> in_order(["recommend", "neighbours"])
    ['neighbours', 'recommend']
    """
    if isinstance(names, str):
        names = [names]
    chosen = list(STAGES if names is None else names)
    for name in chosen:
        if name not in STAGES:
            raise SpecrecError(f"there is no stage {name!r}{nearest_name(name, STAGES)}")
    return [name for name in STAGES if name in chosen]


def find_stage(name: str) -> Callable[[Run], None]:
    """Import a stage, and return the function that runs it."""
    module, _, function = _FUNCTIONS[name].partition(":")
    found: Callable[[Run], None] = getattr(import_module(module), function)
    return found
