"""One case of bad input: the bytes of its files, the step's options, and what must come of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Bytes = bytes | Callable[[], bytes]


@dataclass(frozen=True)
class Case:
    """Exactly one of ``rows`` and ``error`` is said; ``aside`` are line, column and reason of refused rows.

    ``error`` and the reasons are regular expressions. Files that are functions are made when they are needed.
    """

    name: str
    files: Mapping[str, Bytes]
    rows: list[tuple[Any, ...]] | None = None
    aside: list[tuple[int | None, str | None, str]] = field(default_factory=list)
    error: str | None = None
    ends: str | None = None  # the code of an end that is not the reader's own doing
    dropped: Mapping[str, int] = field(default_factory=dict)
    types: Mapping[str, str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    retryable: bool = False


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, NaN and the sign of zero among them."""
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other) or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and bool(one == other)


def csv(text: str | bytes, **more: Any) -> dict[str, Any]:
    """A case's one CSV file."""
    return {"files": {"a.csv": text if isinstance(text, bytes) else text.encode()}, **more}


def jsonl(text: str | bytes, **more: Any) -> dict[str, Any]:
    """A case's one file of JSON lines."""
    return {"files": {"a.jsonl": text if isinstance(text, bytes) else text.encode()}, **more}
