"""How numbers are written for people: those of one column alike, each metric as its chart writes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ropewalk.contracts.models import MetricFormat

DIGITS = 3  # that say something
MOST_DECIMALS = 4
GROUPED = 10_000  # from here on, thousands are set apart: years and small counts are not


def written(value: Any, form: MetricFormat | None) -> str:
    """A metric as people read it."""
    if value is None:
        return "none"
    return cell(value) if form is None else f"{value:{form.format}}{form.unit}"


def cell(value: Any) -> str:
    """A value that stands alone: nothing for what is missing, and the digits of a number that say something."""
    return texts([value])[0]


def texts(values: Sequence[Any]) -> list[str]:
    """The values of a column, its numbers with as many decimals as each other."""
    numbers = [value for value in values if is_number(value)]
    grouped = "," if any(abs(value) >= GROUPED for value in numbers) else ""
    decimals = _decimals([value for value in numbers if isinstance(value, float)])
    return [_text(value, grouped, decimals) for value in values]


def is_number(value: object) -> bool:
    """Whether a value is set as a number: to the right."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any, grouped: str, decimals: int) -> str:
    if value is None:
        return ""
    if not is_number(value):
        return str(value)
    if isinstance(value, int):
        return f"{value:{grouped}}"
    if value and abs(value) <= 0.5 * 10**-decimals:
        return f"{value:.2g}"  # it would be written as nothing
    return f"{value:{grouped}.{decimals}f}"


def _decimals(values: list[float]) -> int:
    """As many as three of four values need to show three digits."""
    if all(value == round(value) for value in values):
        return 0
    needed = sorted(_needed(value) for value in values if value)
    return needed[(len(needed) - 1) * 3 // 4]


def _needed(value: float) -> int:
    return min(MOST_DECIMALS, max(0, DIGITS - 1 - math.floor(math.log10(abs(value)))))
