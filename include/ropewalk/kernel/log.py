"""The log of a stage's processes: one JSON object per line on standard output, without the secrets that they know."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from ropewalk.kernel.hide import hidden_in, hider
from ropewalk.kernel.settings import Settings

Event = MutableMapping[str, Any]


def log_as_json(settings: Settings | None = None) -> None:
    """Have all that is logged written so; what libraries say goes the same way."""
    told: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    hides = [_without_secrets(settings)] if settings else []
    written: list[Any] = [
        structlog.processors.format_exc_info,
        *hides,
        structlog.processors.JSONRenderer(),
    ]
    structlog.configure(processors=[*told, *written], logger_factory=structlog.PrintLoggerFactory())
    form = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*told, _of_a_library],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *written],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(form)
    level = os.environ.get("ROPEWALK_LOG_LEVEL", "WARNING")
    logging.basicConfig(handlers=[handler], level=level, force=True)


def _of_a_library(_: object, __: str, event: Event) -> Event:
    """What a library says is a text of its own, and no event of ours."""
    return {**event, "event": "library", "logger": event["_record"].name, "text": event["event"]}


def _without_secrets(settings: Settings) -> Any:
    hide = hider(settings)
    return lambda _, __, event: hidden_in(event, hide)
