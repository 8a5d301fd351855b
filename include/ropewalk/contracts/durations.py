"""Lengths of time as people write them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*$")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(value: Any) -> Any:
    """A length of time from ``30s``, ``5m``, ``1.5h`` or a number of seconds."""
    match = DURATION.match(value) if isinstance(value, str) else None
    if match:
        return timedelta(seconds=float(match.group(1)) * UNITS[match.group(2)])
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return timedelta(seconds=value)
    raise ValueError("a length of time is written 30s, 5m, 2h or 1d")


Duration = Annotated[timedelta, BeforeValidator(duration)]


def length(value: Any) -> Any:
    """How far one value of a cursor lies from another: a length of time, or of numbers a number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if isinstance(value, str) and DURATION.match(value):
        return duration(value)
    raise ValueError("a length is written 2h or, of numbers, 100")


Length = Annotated[float | timedelta, BeforeValidator(length)]
