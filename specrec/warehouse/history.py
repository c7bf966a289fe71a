"""Whose commits a table has: how ours are marked, and which of somebody else's changed what a table holds.

A night believes its tables: it compares hashes in their rows, or the state that a commit remembers of its input,
with what they would be now, and leaves alone what agrees. That holds only as long as nobody else writes. After a
``RESTORE`` by hand the newest state in the history is that of rows that are gone; after an ``UPDATE`` a row's hash
is that of what it held before.

So every commit of ours that writes rows carries a mark in its ``userMetadata``, where Delta keeps what a writer has
to say and shows it in ``DESCRIBE HISTORY``. A night looks at each table's newest commit, one small file of the log,
and goes back until it finds a mark. A newer commit without one is somebody else's. It matters if it changed data,
which is told by the files that it added and removed, and not by what it calls itself: ``OPTIMIZE`` and ``VACUUM``,
properties, constraints and added columns change none.
:meth:`specrec.warehouse.tables.Warehouse.undo_foreign_changes` says what becomes of it.

A commit that wrote parts of a table, whose input's states are remembered, carries the states of all parts: the
newest commit alone says what is known. Older releases marked no commit and remembered the states of the parts
that were written; these are gathered from as many commits as have them. A table without any mark is trusted as it
stands.

Nothing here needs Spark, or delta-rs: the files of a log are read as any others, and tried again as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from specrec.errors import StorageError, TrackError
from specrec.storage import Location, Store, join

#: How many commits are looked at, at most.
HISTORY = 200

#: The name of a file of a log that holds a commit.
_COMMIT = re.compile(r"\d{20}\.json")

#: A state, as older releases recorded it, is made of letters and numbers, between colons. So the names of Airflow's
#: runs, which hold times with their zone (+00:00), are none: some people write them there.
_FORMER_STATE = re.compile(r"(?:[A-Za-z0-9_.-]*(?::[A-Za-z0-9_.-]*)+)?")

#: What the mark of a commit says first: the release that wrote it.
_RELEASE, _STATES, _ID, _RUN = "specrec", "states", "id", "run"


@dataclass(frozen=True)
class Mark:
    """What a commit of ours says of itself.

    Attributes
    ----------
    states : dict of str
        By part of the table, the state of what it was made from.
    is_whole : bool
        Whether parts that are not among them have no state; commits of older releases speak of the parts that they
        wrote.
    id : str
        Tells the commit from all others.
    run : str
        The run that made it; empty in commits of older releases.
    """

    states: dict[str, str] = field(default_factory=dict)
    is_whole: bool = True
    id: str = ""
    run: str = ""

    def written(self, release: str) -> str:
        """Return the text that :func:`read_mark` reads.

        Examples
        --------
        >>> read_mark(Mark({"features": "24:1:2"}).written("1.0"))
        Mark(states={'features': '24:1:2'}, is_whole=True, id='', run='')
        """
        said = {_RELEASE: release, _STATES: self.states or None, _ID: self.id or None, _RUN: self.run or None}
        return json.dumps({name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True)
class Commit:
    """One commit of a table's log.

    Attributes
    ----------
    version : int
    operation : str
        What it calls itself, such as ``UPDATE``.
    changes_data : bool
        Whether it added or removed rows; not so if it moved them to other files.
    mark : Mark or None
        None: it is not ours, or of an older release.
    written_at : int
        When, in milliseconds since 1970, by the clock of who wrote it; 0: it does not say.
    """

    version: int
    operation: str
    changes_data: bool
    mark: Mark | None
    written_at: int = field(default=0, repr=False)


def read_mark(text: str | None, operation: str = "") -> Mark | None:
    """Return what a commit's ``userMetadata`` says if the commit is ours, whatever else people write there.

    Examples
    --------
    >>> read_mark('{"features": "24:1:2"}', "WRITE")  # of an older release
    Mark(states={'features': '24:1:2'}, is_whole=False, id='', run='')
    >>> read_mark("job 17"), read_mark('{"job": 17}', "WRITE"), read_mark("17"), read_mark(None)
    (None, None, None, None)
    >>> read_mark('{"run": "scheduled__2026-01-01T00:00:00+00:00"}', "WRITE")  # of Airflow
    """
    try:
        said = json.loads(text or "")
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    if _RELEASE in said:
        states, named, run = said.get(_STATES, {}), said.get(_ID, ""), said.get(_RUN, "")
        is_mark = _is_text(states) and isinstance(named, str) and isinstance(run, str)
        return Mark(states, id=named, run=run) if is_mark else None
    is_former = operation == "WRITE" and said and _is_text(said)
    return Mark(said, is_whole=False) if is_former and all(map(_FORMER_STATE.fullmatch, said.values())) else None


def _is_text(of: Any) -> bool:
    return isinstance(of, dict) and all(isinstance(value, str) for value in of.values())


def read_commit(version: int, content: bytes) -> Commit:
    r"""Return what a file of a log says.

    Raises
    ------
    ValueError
        If it is no such file, or a part of one.

    Examples
    --------
    >>> read_commit(7, b'{"commitInfo": {"operation": "DELETE"}}\n{"remove": {"dataChange": true}}')
    Commit(version=7, operation='DELETE', changes_data=True, mark=None)
    """
    actions = [json.loads(line) for line in content.splitlines() if line.strip()]
    if not actions or not all(isinstance(action, dict) for action in actions):
        raise ValueError("it holds no commit")
    info: dict[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    operation = str(info.get("operation", "a commit"))
    changes = any(
        action[kind].get("dataChange", True) for action in actions for kind in ("add", "remove") if kind in action
    )
    written_at = info.get("timestamp")
    when = written_at if isinstance(written_at, int) else 0
    return Commit(version, operation, changes, read_mark(info.get("userMetadata"), operation), when)


def log_file(table: Location, version: int) -> Location:
    """Return where a table's log keeps a commit.

    Examples
    --------
    >>> log_file("s3://bucket/w/tracks", 3)
    's3://bucket/w/tracks/_delta_log/00000000000000000003.json'
    """
    return join(table, "_delta_log", f"{version:020}.json")


def commits(
    store: Store, table: Location, newest: int | None = None, most: int | None = HISTORY
) -> Iterator[Commit]:
    """Yield a table's commits, the newest first, each read when it is asked for.

    They end where the log does: Delta deletes entries that are older than its retention and in a checkpoint.

    Parameters
    ----------
    newest : int or None
        The version to begin with; the newest that there is if None.
    most : int or None
        How many are looked at, at most; None: all that the log has.

    Raises
    ------
    StorageError
        If the log cannot be read.
    """
    if newest is None:
        names = (file.uri.rpartition("/")[2] for file in store.list(join(table, "_delta_log")))
        newest = max((int(name[:20]) for name in names if _COMMIT.fullmatch(name)), default=-1)
    for version in range(newest, -1 if most is None else max(newest - most, -1), -1):
        place = log_file(table, version)
        try:
            yield read_commit(version, store.read(place))
        except TrackError as error:
            if error.code == "not_found":
                return
            raise StorageError(f"cannot read {place}: {error.message}") from None
        except ValueError:
            raise StorageError(f"cannot read {place}: it is damaged") from None


def known_states(history: Iterable[Commit]) -> dict[str, str]:
    """Return the state that each part of a table was last made from, as far as that still holds.

    Parameters
    ----------
    history : iterable of Commit
        The newest first.

    Examples
    --------
    >>> former = Commit(1, "WRITE", True, Mark({"features": "a"}, is_whole=False))
    >>> later = Commit(2, "WRITE", True, Mark({"hybrid": "b"}, is_whole=False))
    >>> known_states([later, former])
    {'features': 'a', 'hybrid': 'b'}
    >>> known_states([Commit(3, "RESTORE", True, None), later, former])
    {}
    """
    found: dict[str, str] = {}
    for commit in history:
        if commit.mark is not None:
            found = commit.mark.states | found
            if commit.mark.is_whole:
                return found
        elif commit.changes_data:
            return found
    return found


def foreign_changes(history: Iterable[Commit]) -> tuple[list[Commit], Commit | None]:
    """Return somebody else's commits since our last that changed data, the newest first, and that last one of ours.

    Without a mark anywhere there is nothing to tell them by: none is returned.

    Examples
    --------
    >>> ours, theirs = Commit(3, "MERGE", True, Mark()), Commit(5, "UPDATE", True, None)
    >>> changed, last = foreign_changes([theirs, Commit(4, "OPTIMIZE", False, None), ours])
    >>> [commit.version for commit in changed], last.version
    ([5], 3)
    """
    changed: list[Commit] = []
    for commit in history:
        if commit.mark is not None:
            return changed, commit
        if commit.changes_data:
            changed.append(commit)
    return [], None


def version_after(history: Iterable[Commit], run: str, ended_at: int) -> int | None:
    """Return which version a table had after a run; None if the log does not reach back that far any more.

    That is the version of the newest commit of ours that this run or an earlier one made: names of runs sort by
    time, and one run at a time writes. Commits of older releases do not name their run, and are told by the clock.

    Parameters
    ----------
    history : iterable of Commit
        All that the log has, the newest first.
    run : str
        The run's name.
    ended_at : int
        When it ended, in milliseconds since 1970.

    Examples
    --------
    >>> made = [Commit(0, "CREATE TABLE", False, None), Commit(1, "WRITE", True, Mark(run="a"))]
    >>> made += [Commit(2, "OPTIMIZE", False, None), Commit(3, "WRITE", True, Mark(run="c"))]
    >>> [version_after(made[::-1], run, 0) for run in ("a", "b", "c")]
    [1, 1, 3]
    >>> version_after(made[:1:-1], "b", 0) is None
    True
    """
    oldest = None
    for commit in history:
        oldest = commit.version
        if commit.mark is None:
            continue
        if commit.mark.run <= run if commit.mark.run else commit.written_at <= ended_at:
            return commit.version
    return oldest if oldest == 0 else None  # nobody had written anything yet
