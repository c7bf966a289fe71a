"""Rollback: all that nights make is brought back to what it was after a run.

The artefacts go back as well: the newest version of a configuration is in use, so that with those of later runs the
next night would make everything anew. They go back last. If the rollback is killed in between, vectors of before
stand beside the artefacts of today, and the next night makes them anew; the other way round, a version of an
artefact might be given twice while vectors of the first one are still there.

The records stay: which runs there were, what was measured of them, and who was forgotten, of whom nothing comes
back. What is in quarantine goes back with the tracks that it speaks of.
"""

from __future__ import annotations

from specrec.config import Config
from specrec.errors import SpecrecError
from specrec.logs import get_logger
from specrec.pipeline.account import ACCOUNT
from specrec.pipeline.forget import PERSONAL, drop_forgotten
from specrec.pipeline.run import RECORDS, Run, open_run
from specrec.storage import join
from specrec.warehouse.reader import Reader
from specrec.warehouse.runs import ended_at, failed_stages

#: What happened, and cannot be made not to have happened.
_RECORDS = (*RECORDS, "evaluation", "forgotten")


def rollback(config: Config, to: str) -> list[str]:
    """Bring all result tables back to what they were after a run, each in one commit.

    Nothing is written unless all of them can be brought back. What was done is returned in words.

    Parameters
    ----------
    config : Config
        Of the warehouse.
    to : str
        The run's id.

    Raises
    ------
    SpecrecError
        In one line: there is no such run, it failed, or a table does not reach back to it.
    """
    reader = Reader(config.warehouse, config.storage)
    ended = ended_at(reader, to)
    if failed := set(failed_stages(reader, to)) - {ACCOUNT}:  # an account that fails tells of tables that are whole
        raise SpecrecError(
            f"the run {to} failed in {', '.join(sorted(failed))}, and left some tables as they were before it: "
            "choose one that did not fail (`specrec runs` prints them)"
        )
    with open_run(config, shown=False) as run:
        there = run.warehouse.check()
        versions = _versions(run, list(there), to, ended)
        with run.stage("rollback") as report:
            report.details["to"] = to
            for name, version in versions.items():
                run.lock.check()
                run.warehouse.restore(name, version)
                report.details[name] = f"as at version {version}"
                get_logger().info("table_rolled_back", table=name, version=version)
            run.warehouse.create_missing(list(there))  # what was declared since
            drop_forgotten(run, [name for name in there if name in PERSONAL])
            if not versions:
                report.unchanged()
    if not versions:
        return [f"All tables are as they were after the run {to}: nothing was to be done."]
    return [f"{name} is as it was after the run {to} (version {version})." for name, version in versions.items()]


def _versions(run: Run, names: list[str], to: str, ended: int) -> dict[str, int]:
    """Return the version that each table is to be brought back to, where its rows changed since."""
    warehouse = run.warehouse
    order = sorted((name for name in names if name not in _RECORDS), key=lambda name: name == "artefacts")
    versions = {}
    for name in order:
        place = join(run.config.warehouse, name)
        version = warehouse.version_after(name, to, ended)
        if version is None:
            raise SpecrecError(
                f"the log of {place} does not reach back to the run {to} any more: nothing was changed"
            )
        if warehouse.is_as_at(name, version):
            continue
        if lost := warehouse.lost_files(name, version):
            raise SpecrecError(
                f"{lost} files that {place} had after the run {to} were deleted since, as by VACUUM: nothing was "
                "changed"
            )
        versions[name] = version
    return versions
