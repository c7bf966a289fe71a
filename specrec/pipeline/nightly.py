"""The nightly run: all stages in order, in one session, under the warehouse's lock."""

from __future__ import annotations

from collections.abc import Iterable

from specrec.config import Config
from specrec.errors import SpecrecError
from specrec.pipeline.account import account
from specrec.pipeline.chosen import check_there
from specrec.pipeline.ingest import check_catalogue, check_sources
from specrec.pipeline.listen import check_events
from specrec.pipeline.maintain import tidy
from specrec.pipeline.run import open_run
from specrec.pipeline.stages import OF_LISTENERS, STAGES, find_stage, in_order
from specrec.storage import Location


def run_stages(
    config: Config, stages: Iterable[str] | None = None, refit: bool = False, tracks: Location | None = None
) -> str:
    """Run stages on the configured warehouse and return the run's id.

    Whatever can be checked is checked before the first table is touched: what ends there has written nothing.

    Parameters
    ----------
    config : Config
    stages : iterable of str, or None
        Names of :data:`~specrec.pipeline.stages.STAGES`; they run in the order of a night. None: all of them.
    refit : bool
        Whether to fit scaler and PCA anew, and compute what depends on them.
    tracks : Location or None
        A file that names the only tracks that are ingested and extracted; see
        :func:`~specrec.pipeline.chosen.chosen_tracks`.

    Returns
    -------
    str
        The run's id.

    Raises
    ------
    SpecrecError
        In one line: what happened and what to do.
    UnaccountedError
        If all stages ran, and a track has no list and nothing says why.
    """
    chosen = in_order(stages)
    if refit and "fit" not in chosen:
        raise SpecrecError("to fit anew, the stage fit must run: leave --stage out, or add --stage fit")
    if tracks is not None:
        if refit or not {"ingest", "extract"} & set(chosen):
            raise SpecrecError("--tracks chooses what ingest and extract do: leave --refit and other --stage out")
        check_there(tracks, config.storage)
    left_out = OF_LISTENERS if config.listeners.events is None else ()
    runs = [find_stage(name) for name in chosen if name not in left_out]
    if "ingest" in chosen:
        check_sources(config)
    if "listen" in chosen:
        check_events(config)
    with open_run(config, refit=refit, tracks=tracks) as run:
        there = run.warehouse.check()
        if "ingest" in chosen:
            check_catalogue(run.warehouse.spark, config)
        run.warehouse.create_missing(there=there)
        run.undo_foreign_changes(chosen)
        for stage in runs:
            stage(run)
        if chosen == list(STAGES) and tracks is None:  # of some tracks only, the others may still be due
            account(run)
        tidy(run)
    return run.run_id
