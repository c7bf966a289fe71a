"""What is printed of names that strangers chose: all of it, and nothing that a terminal acts on."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import pytest
import structlog
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from specrec.cli import main
from specrec.cli.printing import as_json_line, print_evaluation, print_list, print_side_by_side, title_of
from specrec.config import LogConfig
from specrec.errors import SpecrecError
from specrec.evaluate.metrics import METRICS, Measurement
from specrec.logs import configure, get_logger
from specrec.pipeline.evaluate import Evaluation
from specrec.storage.config import StorageConfig
from specrec.terminal import as_json, console, plain, plain_lines, table, words
from specrec.warehouse.schemas import TABLES
from specrec.warehouse.tables import Warehouse

#: Names as people, and those who mean harm, give them.
NAMES = (
    "song [live] [flac].mp3", "b[/x] song", "[bold red]", "ends in \\", "\\[escaped]", ":heart: :cd:",
    "{dict} %s {0}", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m", "\x08\x08back", "tab\there",
    "two\nlines\r\nmore", "nul\x00", "\u202egnp.exe", "\u2066isolated\u2069", "line\u2028separator",
    "lone \udcff surrogate", "José Ñ", "日本語\u3000名", "👩\u200d🚀", "می\u200cخواهم", "  spaces  ",
)  # fmt: skip
HARMFUL = {"Cc", "Cs", "Zl", "Zp"}
TURNING = {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"}
names = st.one_of(st.sampled_from(NAMES), st.text(st.characters(codec=None), max_size=30))


def harmless(printed: str) -> bool:
    """Whether nothing is in a text that a terminal acts on, but line breaks and the colours that rich sets."""
    return not {char for char in printed if unicodedata.category(char) in HARMFUL and char != "\n"} and not (
        {
            char
            for char in printed
            if unicodedata.bidirectional(char) in {"RLO", "LRO", "RLE", "LRE", "RLI", "LRI", "FSI"}
        }
    )


def seen(text: str) -> str:
    """What of a text is there to see, without blanks, which a table may move."""
    return "".join(char for char in text if char.isprintable() and not char.isspace())


def on_screen(print_it: Any, width: int = 4_000) -> str:
    screen = Console(file=io.StringIO(), width=width, markup=False, emoji=False, color_system=None)
    print_it(screen)
    return screen.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@given(names)
@example("".join(NAMES))
def test_a_text_is_printed_whole_and_in_one_line(name: str) -> None:
    printed = plain(name)
    assert harmless(printed)
    assert "\n" not in printed
    printed.encode()
    rest = iter(printed)
    assert all(char in rest for char in name if char.isprintable())  # all of them, in their order
    if name.isprintable():
        assert printed == name
    assert plain_lines(name).count("\n") == name.count("\n")
    assert plain(printed) == printed


@given(names, names)
def test_json_says_exactly_what_it_is_given(name: str, key: str) -> None:
    for encoding in ("utf-8", "ascii", "latin-1"):
        line = as_json({key: [name]}, io.TextIOWrapper(io.BytesIO(), encoding))
        assert json.loads(line) == {key: [name]}
        assert harmless(line)
        assert "\n" not in line
        line.encode(encoding)


@given(name=names)
@example("".join(NAMES))
def test_lists_show_each_name_whole(name: str) -> None:
    tracks = {name: {"track_name": name, "artists": name, "track_genre": name}}
    row = {"rank": 1, "recommended_track_id": name, "score": 0.5, "explanation": name}
    row |= {"track_seconds": 1.0, "recommended_seconds": 2.0}
    row["reasons"] = [{"contribution": 0.1, "family": "timbre", "statement": name}]
    title = title_of(name, tracks)
    for printed, times in (
        (on_screen(lambda screen: print_list(screen, title, [row], tracks, parts=True)), 10),
        (on_screen(lambda screen: print_side_by_side(screen, name, {name: [row]}, tracks)), 10),
    ):
        assert harmless(printed)
        if len(seen(name)) == len(name) > 3:
            assert printed.count(name) >= times
    line = as_json_line(name, name, [row], tracks)
    assert json.loads(line)["recommendations"][0]["track_name"] == name


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_table_breaks_names_and_cuts_none(width: int) -> None:
    long = "a-name-without-any-blank-" * 10
    found = table("track", "what happened")
    found.add_row(words(long), words(long))
    printed = on_screen(lambda screen: screen.print(found), width)
    assert printed.count("-") >= 2 * long.count("-")
    assert "…" not in printed


@pytest.mark.parametrize("columns", ["0", "1", "none", ""])
def test_a_console_has_room_whatever_columns_says(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert console().width >= 40


def test_an_evaluation_shows_genres_and_models_whole(capsys: pytest.CaptureFixture[str]) -> None:
    metric = next(iter(METRICS))
    measured = [Measurement("[model]", metric, 0.5, 0.4, 0.6, 3, of) for of in ("", "[/genre] \x1b[31m")]
    print_evaluation(Evaluation("run", measured, {"[x]": "[/why]"}), by_genre=True)
    printed = capsys.readouterr().out
    assert harmless(printed)
    assert all(word in printed for word in ("[model]", "[/genre] \\x1b[31m", "[x] is left out: [/why]"))


def warehouse_of(folder: Path, name: str) -> Path:
    """Write the tables runs and quarantine, with a row each that says a name wherever one may stand."""
    now = datetime.now(UTC)
    run = {"run_id": "r", "stage": "fit", "status": "failed", "started_at": now, "config_hash": "h", "seconds": 1.0}
    row = {
        "track_id": name,
        "stage": "extract",
        "code": "undecodable",
        "message": name,
        "attempts": 1,
        "run_id": "r",
    }
    rows = {"runs": run | {"message": name}, "quarantine": row | {"first_seen": now, "last_seen": now}}
    for of, values in rows.items():
        deltalake.DeltaTable.create(folder / of, deltalake.Schema.from_json(TABLES[of].schema.json()))
        Warehouse(None, str(folder), StorageConfig()).append_few(of, [values])  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("command", ["runs", "quarantine"])
def test_the_commands_print_names_whole(tmp_path: Path, command: str) -> None:
    name = "".join(name for name in NAMES if "\udcff" not in name)  # a table holds Unicode alone
    warehouse = warehouse_of(tmp_path, name)
    result = CliRunner(env={"COLUMNS": "2000"}).invoke(main, [command, "--warehouse", str(warehouse)])
    assert result.exit_code == 0, result.output
    assert harmless(result.output)
    assert plain(name).replace(" ", "") in result.output.replace(" ", "")


@pytest.mark.parametrize(
    ("settings", "redirect", "status"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "", 0),
        ({"LC_ALL": "C"}, "", 0),
        ({"COLUMNS": "0"}, "", 0),
        ({}, ">&-", 0),
        ({}, "| head -c 1; exit ${PIPESTATUS[0]}", None),
        ({}, "> /dev/full", 2),
    ],
)
def test_a_command_prints_to_whatever_there_is(
    tmp_path: Path, settings: dict[str, str], redirect: str, status: int | None
) -> None:
    warehouse = warehouse_of(tmp_path, "José [live] 日本")
    command = f"{sys.executable} -m specrec.cli quarantine --warehouse '{warehouse}' {redirect}"
    done = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert status is None or done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert len(done.stderr.splitlines()) == (1 if status == 2 else 0), done.stderr
    if not redirect:
        assert "[live]" in done.stdout


@pytest.fixture
def own_logs() -> Iterator[None]:
    """Set up logs, and leave none behind."""
    yield
    structlog.reset_defaults()
    if logging.lastResort is not None:
        logging.getLogger().removeHandler(logging.lastResort)


@pytest.mark.usefixtures("own_logs")
def test_log_lines_are_harmless_and_json_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.TextIOWrapper(io.BytesIO(), "ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stderr", log)
    for form in ("console", "json"):
        configure(LogConfig(format=form))  # type: ignore[arg-type]
        for name in NAMES:
            log.seek(0)
            log.truncate()
            get_logger().error("failed", file=name, count=3)
            log.flush()
            printed = log.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
            assert harmless(printed)
            assert printed.count("\n") == 1
            if form == "json":
                assert (json.loads(printed)["file"], json.loads(printed)["count"]) == (name, 3)
            elif name.isascii() and name.isprintable():
                assert name in printed


@pytest.mark.parametrize("name", NAMES)
def test_an_error_is_one_harmless_line(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise SpecrecError(f"cannot read {name}")

    monkeypatch.setattr("specrec.cli.show.open_reader", fail)
    result = CliRunner().invoke(main, ["runs", "--warehouse", "w"])
    assert result.exit_code == 2
    assert result.stderr == f"specrec: cannot read {plain(name)}\n"
    assert harmless(CliRunner().invoke(main, ["runs", name]).output)


def test_an_interrupted_command_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("specrec.cli.show.open_reader", interrupted)
    result = CliRunner().invoke(main, ["runs", "--warehouse", "w"])
    assert result.exit_code == 130
    assert len(result.stderr.splitlines()) == 1


def test_a_fault_of_ours_is_one_line_and_its_trace_is_in_the_file_that_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise TypeError("no such thing as a secret")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr("specrec.cli.show.open_reader", fail)
    result = CliRunner().invoke(main, ["runs", "--warehouse", "w"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    details = Path(line.partition("(details: ")[2].removesuffix(")"))
    told = details.read_text(encoding="utf-8")
    details.unlink()
    assert "TypeError: no such thing as a ***" in told
    assert "Traceback" in told
    assert "secret" not in told
