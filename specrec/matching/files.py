"""Catalogues and decisions as files: read whole or refused in one line, and written whole or not at all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from specrec.catalogue.columns import plain_name, unique_names
from specrec.catalogue.delimited import find_dialect, read_rows
from specrec.errors import CatalogueError, SpecrecError, first_line
from specrec.matching.decisions import DECISIONS
from specrec.matching.records import COLUMNS, REQUIRED
from specrec.storage import Location

_PARQUET = b"PAR1"
_DECISION_COLUMNS = ("left_id", "right_id", "decision")


def parse_columns(text: str) -> dict[str, str]:
    """Return which column of a file is which of ours, as people write it.

    Parameters
    ----------
    text : str
        Pairs of our name and the file's, with commas in between.

    Raises
    ------
    SpecrecError
        If it is written otherwise, or names a column that there is not.

    Examples
    --------
    >>> parse_columns("track_id=a_id, track_name=title")
    {'track_id': 'a_id', 'track_name': 'title'}
    """
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        ours, equals, theirs = (part.strip() for part in pair.partition("="))
        if not equals or not theirs:
            raise SpecrecError(
                f"columns are written as OURS=THEIRS,OURS=THEIRS, such as track_id=id, and not {pair!r}"
            )
        if ours not in COLUMNS:
            raise SpecrecError(f"there is no column {ours!r} to match by; there are: {', '.join(COLUMNS)}")
        if ours in found:
            raise SpecrecError(f"the column {ours!r} is named twice: {found[ours]!r} and {theirs!r}")
        found[ours] = theirs
    return found


def read_catalogue(path: Path, columns: Mapping[str, str], encoding: str | None = None) -> pa.Table:
    """Read a catalogue that is to be matched.

    Parameters
    ----------
    path : Path
        A CSV, compressed by gzip or not, or a Parquet file.
    columns : mapping
        The file's column for each of ours; what is not in it has our name, if the file has such a column.
    encoding : str or None
        Of a CSV that does not say it.

    Returns
    -------
    pyarrow.Table
        Columns of strings, as :func:`specrec.matching.records.read_records` takes them.

    Raises
    ------
    SpecrecError
        If it cannot be read, lacks a column, has no rows, or if ids are missing or not unique.
    """
    table = read_table(path, columns, encoding)
    for name in REQUIRED:
        if name not in table.column_names:
            raise CatalogueError(
                f"{path} has no column {name} ({COLUMNS[name]}): say which it is, as {name}=…; it has: "
                f"{', '.join(read_table(path, {}, encoding, only=None).column_names)}"
            )
    ids = table["track_id"].to_pylist()
    if not ids:
        raise CatalogueError(f"{path} has no rows")
    if missing := sum(not name for name in ids):
        raise CatalogueError(
            f"{missing} rows of {path} have no {columns.get('track_id', 'track_id')}: each needs one"
        )
    name, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise CatalogueError(f"{path} has {times} rows of the id {name!r}: ids must be unique")
    return table


def read_table(
    path: Path, columns: Mapping[str, str], encoding: str | None = None, only: Iterable[str] | None = tuple(COLUMNS)
) -> pa.Table:
    r"""Read some columns of a CSV or Parquet file as strings, under our names.

    Parameters
    ----------
    path : Path
    columns : mapping
        The file's column for each of ours.
    encoding : str or None
        Of a CSV that does not say it.
    only : iterable of str or None
        Which further columns are read, where the file has them; None: all.

    Raises
    ------
    SpecrecError
        If it cannot be read, or lacks a column that was named.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "songs.csv")
    ...     _ = path.write_text("id,Title\n1,River\n")
    ...     read_table(path, {"track_id": "id", "track_name": "title"}).to_pylist()
    [{'track_id': '1', 'track_name': 'River'}]
    """
    try:
        table = _read(path, encoding)
    except CatalogueError as error:  # its advice is of a night's configuration
        raise CatalogueError(str(error).replace("set catalogue.encoding=", "add --encoding ").replace(
            "catalogue.encoding=", "--encoding ")) from None  # fmt: skip
    except OSError as error:
        raise CatalogueError(f"{path}: {error.strerror or first_line(error)}") from None
    except pa.ArrowInvalid as error:
        raise CatalogueError(f"{path} is a damaged Parquet file: {first_line(error)}") from None
    by_name = {plain_name(name): name for name in table.column_names}
    wanted = dict.fromkeys(table.column_names if only is None else only)
    sources = {name: by_name[plain_name(name)] for name in wanted if plain_name(name) in by_name}
    for ours, theirs in columns.items():
        if plain_name(theirs) not in by_name:
            raise CatalogueError(f"{path} has no column {theirs!r}; it has: {', '.join(table.column_names)}")
        sources[ours] = by_name[plain_name(theirs)]
    return pa.table({ours: _as_text(table[theirs], path, theirs) for ours, theirs in sources.items()})


def read_decisions(path: Path) -> dict[tuple[str, str], str]:
    """Read what a person decided.

    Parameters
    ----------
    path : Path
        A CSV or Parquet file with the columns `left_id`, `right_id` and `decision` (match, review, none);
        others are ignored, so that a corrected file of matches will do.

    Raises
    ------
    SpecrecError
        If it cannot be read, lacks a column, or says two things of one pair.
    """
    table = read_table(path, {name: name for name in _DECISION_COLUMNS}, only=())
    found: dict[tuple[str, str], str] = {}
    for row, (left, right, said) in enumerate(
        zip(*(table[name].to_pylist() for name in _DECISION_COLUMNS), strict=True)
    ):
        decision = (said or "").strip().lower()
        if not left or not right or decision not in DECISIONS:
            raise SpecrecError(
                f"{path}, row {row + 1}: a decision needs a left_id, a right_id and one of {', '.join(DECISIONS)}, "
                f"and not {left or ''!r}, {right or ''!r}, {said or ''!r}"
            )
        if found.setdefault((left, right), decision) != decision:
            raise SpecrecError(f"{path}, row {row + 1}: the pair {left!r}, {right!r} was decided otherwise before")
    return found  # fmt: skip


def write_table(table: pa.Table, path: Path) -> None:
    r"""Write a table as CSV, or as Parquet if the name ends so; who reads meanwhile sees the old file or the new.

    Parameters
    ----------
    table : pyarrow.Table
    path : Path

    Raises
    ------
    SpecrecError
        If it cannot be written; then what was there is still there.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_table(pa.table({"left_id": ["1"], "gap": [None]}), Path(folder, "m.csv"))
    ...     sorted(os.listdir(folder)), Path(folder, "m.csv").read_text()
    (['m.csv'], '"left_id","gap"\n"1",\n')
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "is a folder")
        if path.suffix.lower() == ".parquet":
            pa.parquet.write_table(table, new)
        else:
            pa.csv.write_csv(table, new)
        os.replace(new, path)
    except OSError as error:
        raise SpecrecError(f"{path} cannot be written: {error.strerror or first_line(error)}") from None
    finally:
        new.unlink(missing_ok=True)


def _read(path: Path, encoding: str | None) -> pa.Table:
    """Read a file with all its columns, those of a CSV as strings."""
    with path.open("rb") as file:
        if file.read(len(_PARQUET)) == _PARQUET:
            return pa.parquet.read_table(path, memory_map=False)
        file.seek(0)
        where = Location(str(path))
        dialect = find_dialect(file, where, encoding)
        file.seek(0)
        rows = [row for some in read_rows(file, where, dialect) for row in some]
    names = unique_names(dialect.header)
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pa.table({name: pa.array(values, pa.string()) for name, values in zip(names, columns, strict=True)})


def _as_text(column: pa.ChunkedArray, path: Path, name: str) -> pa.ChunkedArray:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):  # artists, as a list of names
        texts = ["; ".join(map(str, filter(None, value))) if value else None for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise CatalogueError(f"the column {name} of {path} holds {column.type}, and no text") from None
