"""Structured logs on stderr: one line an event, JSON where nobody watches."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from specrec.config import LogConfig


def configure(config: LogConfig) -> None:
    """Set up structlog for this process: for a program to do at its start, and never for a library."""
    console = config.format == "console" or (config.format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, config.level.upper())),
        # stderr as it is when something is told: a test, or a notebook, puts another in its place
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger() -> Any:
    """Return the logger that every module shares."""
    return structlog.get_logger()
