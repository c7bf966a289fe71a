"""What is printed: names that strangers chose are shown whole, and do nothing to the terminal.

A name may hold anything: brackets, which rich takes for its markup, colons, which it takes for emoji, the escape
codes of terminals, line breaks, marks that turn the direction of writing. Whatever specrec prints for people goes
through :func:`plain`, and into tables as :func:`words`; what it prints for programs goes through :func:`as_json`.
"""

from __future__ import annotations

import io
import json
import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: Characters of these categories of Unicode are not printed as they are: control characters; formats, which are not
#: seen, and of which some turn the direction of writing; lone surrogates; separators of lines and paragraphs.
_UNPRINTED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: Formats all the same, and harmless: Persian, Hindi and many emoji are written with them.
_JOINERS = "\u200c\u200d"
_NARROWEST, _USUAL = 40, 80  # columns


def plain(text: object) -> str:
    r"""Return what can be printed in one line: what no terminal should act on is written as Python writes it.

    Parameters
    ----------
    text : object
        Text, or what is to be printed as ``str`` gives it.

    Returns
    -------
    str
        Without control characters, line breaks, lone surrogates and marks of direction; all else is as it was.

    Examples
    --------
    >>> print(plain("a\x1b[31m red\nname"))
    a\x1b[31m red\nname
    >>> plain("[live] Café :heart:")
    '[live] Café :heart:'
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(char if _is_printed(char) else char.encode("unicode_escape").decode() for char in text)


def plain_lines(text: object) -> str:
    """Do what :func:`plain` does, but keep line breaks, for text of several lines of our own."""
    return "\n".join(map(plain, str(text).split("\n")))


def _is_printed(char: str) -> bool:
    return unicodedata.category(char) not in _UNPRINTED or char in _JOINERS


def as_json(value: Any, stream: TextIO | None = None) -> str:
    r"""Return a value as one line of JSON that says exactly what it is, and does nothing to a terminal.

    Parameters
    ----------
    value : object
        Plain JSON; anything else in it is written as text.
    stream : text file or None
        Where it will be printed: what its encoding lacks is escaped, as JSON escapes it. None: UTF-8.

    Examples
    --------
    >>> print(as_json({"name": "Café\x9b31m"}))
    {"name": "Café\u009b31m"}
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    line = json.dumps(value, ensure_ascii=False, default=str)
    if not line.isprintable():
        line = "".join(char if _is_printed(char) else json.dumps(char)[1:-1] for char in line)
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value, default=str)
    return line


def words(*parts: str | tuple[str, str]) -> Text:
    r"""Return text for a table or a console: each part is printed as it stands, in a style if it has one.

    Parameters
    ----------
    parts : str or tuple of str
        A text, or a text and its style, such as ``("demo-0001", "dim")``. A line break between our own words is a
        part of its own, ``"\n"``.
    """
    from rich.text import Text  # noqa: PLC0415

    found = Text()
    for part in parts:
        text, style = (part, "") if isinstance(part, str) else part
        found.append(text if text == "\n" else plain(text), style)
    return found


def table(*columns: str, title: Text | None = None, lines: bool = False) -> Table:
    """Return a table whose cells, made by :func:`words`, are printed whole, however narrow the terminal is."""
    from rich.table import Table  # noqa: PLC0415

    found = Table(title=title, title_justify="left", show_lines=lines)
    for column in columns:
        found.add_column(words(column), overflow="fold")
    return found


def console(*, stderr: bool = False) -> Console:
    """Return a console that takes no text for markup, and is wide enough for a table, whatever COLUMNS says."""
    from rich.console import Console  # noqa: PLC0415

    found = Console(stderr=stderr, markup=False, emoji=False)
    if found.width < _NARROWEST:
        found.width = _USUAL
    return found


def prepare_streams() -> None:
    """Let this process print any character: what an encoding lacks is escaped, and what is closed takes everything.

    Python has no ``sys.stdout`` if the process was started without one.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it is for good
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_stdout() -> None:
    """Let what is still to be printed be lost: standard output cannot be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):  # it has no descriptor, as in a notebook
        pass
    finally:
        os.close(nowhere)
