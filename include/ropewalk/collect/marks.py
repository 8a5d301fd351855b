"""Values of a cursor: as a report keeps them, as a column has them, and one so much before another.

JSON has neither times nor decimals, and a float has 15 digits: both are kept as texts, which lose nothing. What a
text stands for its column's type tells.
"""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ropewalk.contracts.errors import ConfigError

if TYPE_CHECKING:
    from ropewalk.contracts.durations import Length
    from ropewalk.contracts.models import Scalar

DAY = dt.timedelta(days=1)
WIDE = Context(prec=100)  # Python's own rounds to 28 digits, a column has up to 38


def kept(value: Any) -> Any:
    """A column's value as a report keeps it."""
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return value.isoformat() if hasattr(value, "isoformat") else value


def number(value: Any) -> Any:
    """A decimal that was kept as a text, or by an earlier version as a float; anything else as it is."""
    if isinstance(value, str | float):
        try:
            return Decimal(value if isinstance(value, str) else repr(value))
        except InvalidOperation:
            return value
    return value


def comparable(value: Any, kind: pa.DataType) -> pa.Scalar:
    """A value as a column has it; a number that lies between two of its values as the lower one.

    So the values above it, and those up to it, stay the same.
    """
    if pa.types.is_decimal(kind):
        step = Decimal(1).scaleb(-kind.scale)
        return pa.scalar(Decimal(number(value)).quantize(step, ROUND_FLOOR, WIDE), kind)
    if pa.types.is_integer(kind):
        return pa.scalar(int(number(value).__floor__()), kind)
    if pa.types.is_floating(kind):
        return pa.scalar(float(value)).cast(kind)
    if isinstance(value, str) and pa.types.is_temporal(kind):
        value = as_moment(value)
    return pa.scalar(value).cast(kind)


def is_less(value: Any, mark: Scalar) -> bool:
    """Whether a column's value lies before one that was kept."""
    if isinstance(value, int | float | Decimal):
        return bool(value < number(mark))
    return bool(kept(value) < mark)


def mark_before(mark: Scalar, overlap: Length) -> Any:
    """What lies so much before a value that was kept, to be kept too; ConfigError as of `less`."""
    number_is_meant = isinstance(mark, str) and isinstance(overlap, float)
    return kept(less(number(mark) if number_is_meant else mark, overlap))


def less(value: Any, overlap: Length) -> Any:
    """A cursor's value so much before another, in its own form; ConfigError where there is no such difference."""
    if value is None:
        return value
    moment = as_moment(value) if isinstance(value, str) else value
    if isinstance(moment, dt.date) and not isinstance(moment, dt.datetime):
        check_days(moment, overlap)
    try:
        if isinstance(value, str):
            found = (moment - overlap).isoformat()
            if value[10:11] == " ":  # as SQLite has times: a T would lie after all of its day
                found = found.replace("T", " ")
            return f"{found.removesuffix('+00:00')}Z" if value.endswith("Z") else found
        if isinstance(value, Decimal) and isinstance(overlap, float):
            return WIDE.subtract(value, Decimal(str(overlap)))
        if isinstance(value, int) and isinstance(overlap, float) and overlap.is_integer():
            return value - int(overlap)  # a float has not all digits of a large one
        return value - overlap
    except TypeError:
        raise _no_difference(
            value, overlap, "2h goes with times, overlap: 100 with numbers"
        ) from None


def check_days(day: Any, overlap: Length) -> None:
    """ConfigError where a length has a part of a day: taken from a day it leaves the day as it is."""
    if isinstance(overlap, dt.timedelta) and overlap % DAY:
        raise _no_difference(str(day), overlap, "1d goes with days")


def _no_difference(value: Any, overlap: Length, goes: str) -> ConfigError:
    return ConfigError(
        f"the cursor's values are such as {value!r}, from which {overlap} cannot be taken",
        code="overlap",
        hint=f"overlap: {goes}",
    )


def as_moment(text: str) -> Any:
    """A watermark that was kept as an ISO text as the day or instant that it is; another text as it is."""
    try:
        return (
            dt.date.fromisoformat(text)
            if len(text) == len("2013-01-01")
            else dt.datetime.fromisoformat(text)
        )
    except ValueError:
        return text
