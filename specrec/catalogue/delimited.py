"""Catalogues as delimited text (CSV, TSV): how a file is written is found out, and its rows are read. No Spark.

People's files come from spreadsheets, from pandas and from scripts that were stopped half-way. A reader that makes
the best of whatever it meets loses rows without a word: one quote too many swallows all rows up to the next. So a
file is either read whole, or refused in one line that says where it goes wrong. Two quotes too many, in one column,
make a row that has as many cells as it should: what gives them away is that the lines of its text are rows.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from specrec.catalogue.columns import plain_name
from specrec.catalogue.tags import AUDIO_ENDINGS
from specrec.errors import CatalogueError, first_line
from specrec.storage import Location

#: Delimiters that are told apart by the header.
DELIMITERS = (",", ";", "\t", "|")

#: What a file of another encoding begins with; the longer ones first, as UTF-32 begins as UTF-16 does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GZIP = b"\x1f\x8b"
_NOT_TEXT = {
    b"PK\x03\x04": "a ZIP file or an Excel workbook: save the sheet as CSV UTF-8, or unpack it",
    b"PAR1": "a Parquet file: set catalogue.format=parquet",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save the sheet as CSV UTF-8",
    b"BZh": "compressed by bzip2: unpack it, or compress it with gzip",
    b"\xfd7zXZ": "compressed by xz: unpack it, or compress it with gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it, or compress it with gzip",
}
_BUFFER_BYTES = 4 << 20
#: Longer than any text of a catalogue, and short enough that a quote which swallows all that follows is noticed.
_MOST_CHARACTERS = 4 << 20
_ROWS = 10_000
#: What names of files end with.
_ENDING = re.compile(r"\.(\w{1,5})[\s\"]*\Z")


@dataclass(frozen=True)
class Dialect:
    """How a file of rows is written.

    Attributes
    ----------
    encoding : str
        As Python names it.
    delimiter : str
        What stands between two columns, one character.
    header : tuple of str
        The names of the columns, as they stand in the file.
    lines_before : int
        Lines up to the header, and with it.
    """

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    lines_before: int = 1


def find_dialect(
    file: BinaryIO, path: Location, encoding: str | None = None, delimiter: str | None = None
) -> Dialect:
    r"""Find out how a file is written, from its beginning and its header.

    Parameters
    ----------
    file : binary file
        The file, at its beginning; compressed by gzip or not.
    path : Location
        What it is called in messages.
    encoding : str or None
        Its encoding, if that is known; None: what its byte order mark says, else UTF-8.
    delimiter : str or None
        Its delimiter, if that is known; None: the one of :data:`DELIMITERS` that its header has most of.

    Raises
    ------
    CatalogueError
        If it is empty, no text, or no header can be made out.

    Examples
    --------
    >>> find_dialect(io.BytesIO(b"track_id;audio\r\n1;a.mp3\r\n"), Location("/music/tracks.csv"))
    Dialect(encoding='utf-8', delimiter=';', header=('track_id', 'audio'), lines_before=1)
    """
    with _text(file, path, encoding) as (lines, found):
        try:
            first = _first_line(lines)
            if first is not None and first.lower().startswith("sep="):  # a line that Excel writes for itself
                delimiter, first = delimiter or first[4:5].strip("\r\n") or None, _first_line(lines)
            if first is None:
                raise CatalogueError(f"{path} is empty: it must begin with the names of its columns")
            chosen = delimiter or _delimiter_of(first)
            # a name in quotes may go on in the next line
            reader = csv.reader(_chain(first, lines), delimiter=chosen, strict=True)
            header = next(reader)
        except UnicodeDecodeError as error:
            raise _other_encoding(path, found, error, lines) from None
        except csv.Error as error:
            raise CatalogueError(f"{path} has no readable header: {first_line(error)}") from None
    return Dialect(found, chosen, tuple(header), lines.count)


def read_rows(file: BinaryIO, path: Location, dialect: Dialect) -> Iterator[list[list[str | None]]]:
    r"""Yield the rows below the header, some thousand at a time; a cell without text is None.

    Parameters
    ----------
    file : binary file
        The file, at its beginning.
    path : Location
        What it is called in messages.
    dialect : Dialect
        As :func:`find_dialect` returns it.

    Raises
    ------
    CatalogueError
        At the end, if a row has not as many cells as the header, or swallowed others by quotes that are none, or if
        the file was cut short within its last cell; at once where quotes do not match, or bytes are not of the
        encoding. It says in which line.

    Examples
    --------
    >>> text = b'track_id,track_name,audio\n1,"Now, then",a.mp3\n2,,b.mp3\n'
    >>> dialect = find_dialect(io.BytesIO(text), Location("/music/tracks.csv"))
    >>> next(read_rows(io.BytesIO(text), Location("/music/tracks.csv"), dialect))
    [['1', 'Now, then', 'a.mp3'], ['2', None, 'b.mp3']]
    """
    rows: list[list[str | None]] = []
    wrong = _Wrong(path, dialect)
    before = csv.field_size_limit(_MOST_CHARACTERS)
    with _text(file, path, dialect.encoding) as (lines, encoding):
        for _ in range(dialect.lines_before):
            next(lines)
        reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
        lines.taken.clear()
        started = lines.count + 1
        try:
            for row in reader:
                # a line without anything is none
                if any(cell.strip() for cell in row) and wrong.is_whole(row, started, lines.taken):
                    rows.append([cell or None for cell in row])
                lines.taken.clear()
                started = lines.count + 1
                if len(rows) == _ROWS:
                    yield rows
                    rows = []
        except UnicodeDecodeError as error:
            raise _other_encoding(path, encoding, error, lines) from None
        except csv.Error as error:
            raise CatalogueError(
                f"{path} has a quote too many or too few in the row that begins in line {started}, "
                f"or was cut short there ({first_line(error)}): nothing of it was read. Correct it: a quote within "
                "a text is written twice"
            ) from None
        finally:
            csv.field_size_limit(before)
    wrong.tell()
    if rows:
        yield rows


class _Wrong:
    """What is wrong with the rows of a file, counted as they are read.

    Parameters
    ----------
    path : Location
        What the file is called in messages.
    dialect : Dialect
        How it is written.
    """

    def __init__(self, path: Location, dialect: Dialect) -> None:
        self._path, self._dialect = path, dialect
        names = [plain_name(name) for name in dialect.header]
        self._audio = names.index("audio") if "audio" in names else None
        self._lacking, self._first_lacking = 0, 0
        self._swallowed, self._first_swallowing = 0, 0
        # whether all rows but the last end with the name of an audio file, whether that does, and ends its line
        self._named = self._audio == len(names) - 1
        self._last_is_named = self._last_is_ended = True

    def is_whole(self, row: Sequence[str], started: int, lines: Sequence[str]) -> bool:
        """Tell whether a row, which begins in a line and was read of so many, has all of its cells."""
        width = len(self._dialect.header)
        if len(row) != width:
            self._lacking, self._first_lacking = self._lacking + 1, self._first_lacking or started
            return False
        if len(lines) > 1 and (more := _swallowed(lines, self._dialect.delimiter, width, self._audio)):
            self._swallowed, self._first_swallowing = self._swallowed + more, self._first_swallowing or started
        self._named = self._named and self._last_is_named
        self._last_is_named = not self._named or _is_name_of_audio(row[-1])
        self._last_is_ended = started == self._dialect.lines_before + 1 or lines[-1].endswith(("\n", "\r"))
        return True

    def tell(self) -> None:
        """Raise CatalogueError if anything was wrong."""
        if self._lacking:
            raise CatalogueError(
                f"{self._lacking} rows of {self._path} have not the {len(self._dialect.header)} cells of its "
                f"header, the first in line {self._first_lacking}: nothing of it was read. Was it cut short, or is a "
                f"text with a {_called(self._dialect.delimiter)} not in quotes?"
            )
        if self._swallowed:
            raise CatalogueError(
                f"{self._path} has quotes too many: {self._swallowed} rows of it stand within a text of another "
                f"row, the first in the row that begins in line {self._first_swallowing}: nothing of it was read. "
                "Correct it: a quote within a text is written twice"
            )
        if not self._last_is_named and not self._last_is_ended:
            raise CatalogueError(
                f"{self._path} was cut short: its last line does not end, nor does the name of the file in it, as "
                "those before it do: nothing of it was read"
            )


class _Lines:
    """The lines of a text, counted as they are read; without what some programs write before the first."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.count = 0
        #: The lines since the last time that this was emptied.
        self.taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self.count += 1
        line = line.lstrip("\ufeff") if self.count == 1 else line
        self.taken.append(line)
        return line


@contextmanager
def _text(file: BinaryIO, path: Location, encoding: str | None) -> Iterator[tuple[_Lines, str]]:
    """Yield the lines of a file, unpacked where it is packed, and its encoding. The file stays open."""
    beginning = file.read(8)
    file.seek(0)
    for mark, what in _NOT_TEXT.items():
        if beginning.startswith(mark):
            raise CatalogueError(f"{path} is {what}")
    buffered = io.BufferedReader(cast(io.RawIOBase, file), _BUFFER_BYTES)
    source = buffered
    if beginning.startswith(_GZIP):
        source = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=buffered)), _BUFFER_BYTES)
    unpacked = _Unpacked(source, path)
    beginning = unpacked.peek(4)
    # what a byte order mark says is sure
    encoding = next((name for mark, name in _MARKS if beginning.startswith(mark)), encoding or "utf-8")
    if encoding == "utf-8" and b"\x00" in beginning:
        raise CatalogueError(
            f"{path} looks like UTF-16 without its byte order mark: save it as CSV UTF-8, or set "
            f"catalogue.encoding={'utf-16-le' if beginning[0] else 'utf-16-be'}"
        )
    try:
        text = io.TextIOWrapper(cast(BinaryIO, unpacked), encoding=encoding, newline="")
    except LookupError:  # hex and its like are encodings, too, but not of texts
        raise CatalogueError(f"catalogue.encoding={encoding}: there is no such encoding; try cp1252") from None
    try:
        yield _Lines(text), encoding
    finally:
        text.detach()
        buffered.detach()


class _Unpacked(io.BufferedIOBase):
    """A file whose packing may be damaged, or cut short."""

    def __init__(self, source: Any, path: Location) -> None:
        self._source, self._path = source, path

    def readable(self) -> bool:
        return True

    def peek(self, size: int = 0) -> bytes:
        return self._told(self._source.peek, size)

    def read1(self, size: int = -1) -> bytes:
        return self._told(self._source.read1, size)

    def _told(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CatalogueError(
                f"{self._path} is packed by gzip, and damaged or cut short: {first_line(error)}"
            ) from None


def _swallowed(lines: Sequence[str], delimiter: str, width: int, audio: int | None) -> int:
    """Return how many rows a row over several lines swallowed, as a text between two stray quotes.

    A text may well go on in another line. That it looks like a row by chance, cell for cell, happens: so most
    lines must, and where the row's own audio file has an ending, those of the others must have one, too.

    Parameters
    ----------
    lines : sequence of str
        Of one row.
    audio : int or None
        Which column names the audio.

    Examples
    --------
    >>> _swallowed(['1,"Abba,a.mp3', "2,Can,b.mp3", '3,Blur",c.mp3'], ",", 3, 2)
    2
    >>> _swallowed(['1,"Hello, you', 'and you, too",c.mp3'], ",", 3, 2)
    0
    """
    cells = [line.rstrip("\r\n").split(delimiter) for line in lines if line.strip()]
    has_ending = audio is not None and len(cells[-1]) == width and bool(_ENDING.search(cells[-1][audio]))

    def is_row(of: Sequence[str]) -> bool:
        if len(of) != width or width < 2 or (audio is not None and not of[audio].strip()):
            return False
        return not has_ending or bool(_ENDING.search(of[cast(int, audio)]))

    whole = sum(map(is_row, cells))
    if not is_row(cells[0]) or (len(cells) < 3 and not has_ending):
        return 0
    return whole - 1 if whole * 2 > len(cells) else 0


def _is_name_of_audio(cell: str) -> bool:
    found = _ENDING.search(cell)
    return found is not None and found[1].lower() in AUDIO_ENDINGS


def _first_line(lines: _Lines) -> str | None:
    """Return the first line that says anything."""
    for line in lines:
        if line.strip():
            return line
    return None


def _chain(first: str, lines: _Lines) -> Iterator[str]:
    yield first
    yield from lines


def _delimiter_of(header: str) -> str:
    """Return the delimiter that a header has most of, outside of quotes; a comma if it has none."""
    outside = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=lambda delimiter: (outside.count(delimiter), -DELIMITERS.index(delimiter)))


def _called(delimiter: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}.get(delimiter, repr(delimiter))


def _other_encoding(path: Location, encoding: str, error: UnicodeDecodeError, lines: _Lines) -> CatalogueError:
    """Return what to do about bytes that are not of the encoding."""
    line = lines.count + error.object.count(b"\n", 0, error.start) + 1
    return CatalogueError(
        f"{path} is not {encoding.upper()}: line {line} has the byte "
        f"0x{error.object[error.start]:02x}. Save it as CSV UTF-8, or say what it is: catalogue.encoding=cp1252 if "
        "a spreadsheet on Windows wrote it"
    )
