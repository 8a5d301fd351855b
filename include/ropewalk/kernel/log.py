"""The log of a stage's processes: one JSON object per line on standard output."""

from __future__ import annotations

import logging
import os
import sys

import structlog


def log_as_json() -> None:
    """Have all that is logged written so; what uvicorn says goes the same way."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(),
    )
    logging.basicConfig(
        stream=sys.stdout,
        level=os.environ.get("ROPEWALK_LOG_LEVEL", "WARNING"),
        format='{"event": "library", "logger": "%(name)s", "level": "%(levelname)s", "text": "%(message)s"}',
    )
