"""Structured logs on stderr: one line an event, JSON where nobody watches."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import structlog

from specrec.config import LogConfig
from specrec.terminal import as_json, plain, plain_lines


def configure(config: LogConfig) -> None:
    """Set up structlog for this process: for a program to do at its start, and never for a library."""
    console = config.format == "console" or (config.format == "auto" and sys.stderr.isatty())
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    rendered: list[Any] = [_plain, structlog.dev.ConsoleRenderer(colors=colours)] if console else [_as_json]
    # what libraries log is printed as Python does it, but for py4j's traces: whoever called tells what failed
    if logging.lastResort is not None and not logging.getLogger().handlers:
        logging.lastResort.addFilter(_not_py4js)
        logging.getLogger().addHandler(logging.lastResort)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *rendered,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, config.level.upper())),
        # stderr as it is when something is told: a test, or a notebook, puts another in its place
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _not_py4js(record: logging.LogRecord) -> bool:
    return f"{os.sep}py4j{os.sep}" not in record.pathname


def _plain(_: Any, __: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Make what an event says harmless for a terminal: it may hold names."""
    return {plain(name): of if isinstance(of, int | float) else plain_lines(of) for name, of in event.items()}


def _as_json(_: Any, __: str, event: Mapping[str, Any]) -> str:
    return as_json(dict(event), sys.stderr)


def get_logger() -> Any:
    """Return the logger that every module shares."""
    return structlog.get_logger()
