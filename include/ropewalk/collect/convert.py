"""Texts and values to the declared types, column by column; what does not convert is told row by row.

A whole column converts in one call. Where that fails the column is halved until the bad rows stand alone:
good data pays nothing for it, and no row is looked at in Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.contracts.errors import ConfigError, nearest

UTC = pa.timestamp("us", "UTC")
TYPES: dict[str, pa.DataType] = {
    "string": pa.string(), "text": pa.string(),
    "integer": pa.int64(), "int": pa.int64(), "bigint": pa.int64(), "smallint": pa.int16(),
    "float": pa.float64(), "double": pa.float64(), "number": pa.float64(),
    "boolean": pa.bool_(), "bool": pa.bool_(),
    "date": pa.date32(), "time": pa.time64("us"),
    "timestamp": UTC, "datetime": UTC,
    "binary": pa.binary(),
}  # fmt: skip
DECIMAL = re.compile(r"^decimal\((\d+)\s*(?:,\s*(\d+))?\)$")
NO_NUMBER = r"^(\+|[-+]?0[0-9])"
"""Texts that could be read as a number and are none: a postcode, a telephone's number."""
INEXACT = r"^[-+]?([0-9]{16,}$|[0.]*[1-9](\.?[0-9]){17})"
"""Numbers of more digits than a float holds."""

Convert = Callable[[pa.Array], pa.Array]


@dataclass(frozen=True)
class Bad:
    """The rows of a batch of which one column does not convert."""

    column: str
    type: str
    rows: pa.Array  # positions in the batch


def type_of(name: str) -> pa.DataType:
    """The Arrow type that a name in a workflow file means; a ``timestamp`` is an instant, in microseconds."""
    found = TYPES.get(name.strip().lower())
    decimal = DECIMAL.match(name.strip().lower())
    if decimal:
        return pa.decimal128(int(decimal.group(1)), int(decimal.group(2) or 0))
    if found is None:
        raise ConfigError(
            f"there is no type {name!r}", code="unknown_type", hint=nearest(name, TYPES)
        )
    return found


def convert(
    batch: pa.RecordBatch, types: Mapping[str, pa.DataType], guessed: Container[str] = ()
) -> tuple[pa.RecordBatch, list[Bad]]:
    """The batch with its columns in the given types, null where a value does not convert; and where that was.

    Columns whose type was ``guessed`` take only texts that a number of the type stands for without loss.
    """
    arrays, bad = [], []
    for name in types:
        array, rows = to_type(batch.column(name), types[name], guessed=name in guessed)
        arrays.append(array)
        if len(rows):
            bad.append(Bad(name, str(types[name]), rows))
    schema = pa.schema(list(types.items()))
    return pa.RecordBatch.from_arrays(arrays, schema=schema), bad


def to_type(
    array: pa.Array, kind: pa.DataType, *, guessed: bool = False
) -> tuple[pa.Array, pa.Array]:
    """An array in another type, and the positions of the values that have none in it."""
    if array.type == kind:
        return array, pa.array([], pa.int64())
    text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    if text and not pa.types.is_string(kind):
        array = pc.utf8_trim_whitespace(array)
    parts: list[pa.Array] = []
    bad: list[int] = []
    ways = _ways(array.type, kind)
    if guessed and text and _is_number(kind):
        ways = [_guarded(way, kind) for way in ways]
    _halve(array, ways, kind, 0, parts, bad)
    whole = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
    return whole, pa.array(bad, pa.int64())


def infer(texts: pa.Array) -> pa.DataType:
    """The type of a column of texts, by all of a first block: the first type in which every value has a value."""
    values = texts.drop_null()
    if len(values) == 0:
        return pa.string()
    for kind in (pa.int64(), pa.float64(), pa.bool_()):
        if (
            kind == pa.bool_()
            and not pc.all(pc.match_substring_regex(values, "(?i)^(true|false)$")).as_py()
        ):
            continue
        ways = _ways(pa.string(), kind)
        if _is_number(kind):
            ways = [_guarded(way, kind) for way in ways]
        if any(_tried(way, values) is not None for way in ways):
            return kind
    return infer_moment(values) or pa.string()


def infer_moment(texts: pa.Array) -> pa.DataType | None:
    """The type of a column of texts that are all dates, or all instants; None where they are neither."""
    values = texts.drop_null()
    for kind in (pa.date32(), UTC):
        if any(_tried(way, values) is not None for way in _ways(pa.string(), kind)):
            return kind
    return None


def nulled(texts: pa.Array, nulls: Sequence[str]) -> pa.Array:
    """Texts with null where they are one of those that mean nothing."""
    if list(nulls) == [""]:
        empty = pc.equal(pc.binary_length(texts), 0)
    else:
        empty = pc.is_in(texts, value_set=pa.array(list(nulls), texts.type))
    return pc.if_else(empty, pa.scalar(None, texts.type), texts)


def _halve(
    array: pa.Array,
    ways: Sequence[Convert],
    kind: pa.DataType,
    start: int,
    parts: list[pa.Array],
    bad: list[int],
) -> None:
    """Convert an array, or its halves where it does not convert as a whole."""
    for way in ways:
        found = _tried(way, array)
        if found is not None:
            parts.append(found)
            return
    if len(array) == 1:
        parts.append(pa.nulls(1, kind))
        bad.append(start)
        return
    middle = len(array) // 2
    _halve(array.slice(0, middle), ways, kind, start, parts, bad)
    _halve(array.slice(middle), ways, kind, start + middle, parts, bad)


def _tried(way: Convert, array: pa.Array) -> pa.Array | None:
    try:
        return way(array)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return None


def _ways(source: pa.DataType, kind: pa.DataType) -> list[Convert]:
    """How a type can become another: an instant without a zone is one in UTC."""
    text = pa.types.is_string(source) or pa.types.is_large_string(source)
    if pa.types.is_timestamp(kind) and (
        text or (pa.types.is_timestamp(source) and source.tz is None)
    ):
        return [
            lambda array: pc.cast(array, kind),
            lambda array: pc.assume_timezone(pc.cast(array, pa.timestamp("us")), "UTC"),
        ]
    if text and pa.types.is_integer(kind):
        return [lambda array: pc.cast(_without(array, "[xX]"), kind)]  # Arrow takes 0x1F as well
    if text and pa.types.is_floating(kind):
        return [lambda array: _finite(array, pc.cast(array, kind))]
    if text and pa.types.is_time(kind):
        return [lambda array: pc.cast(pc.cast(_on_a_day(array), pa.timestamp("us")), kind)]
    return [lambda array: pc.cast(array, kind)]


def _without(texts: pa.Array, pattern: str) -> pa.Array:
    """The texts; ArrowInvalid where one has the pattern in it."""
    if pc.any(pc.match_substring_regex(texts, pattern)).as_py():
        raise pa.ArrowInvalid(f"a text has {pattern}")
    return texts


def _finite(texts: pa.Array, floats: pa.Array) -> pa.Array:
    """The floats; ArrowInvalid where a number became infinite that is not written so."""
    if not pc.all(pc.is_finite(floats)).as_py():
        _without(texts.filter(pc.is_inf(floats)), "[0-9]")
    return floats


def _on_a_day(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(pa.scalar("1970-01-01T", texts.type), texts, "")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _guarded(way: Convert, kind: pa.DataType) -> Convert:
    """A way that refuses texts which a number would change: zeros in front, digits that a float lacks."""
    pattern = f"{NO_NUMBER}|{INEXACT}" if pa.types.is_floating(kind) else NO_NUMBER
    return lambda array: way(_without(array, pattern))


def rows_of(bad: Sequence[Bad], rows: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows have a column that does not convert."""
    found = np.zeros(rows, bool)
    for one in bad:
        found[one.rows.to_numpy()] = True
    return found
