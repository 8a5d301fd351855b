"""Texts and values to the declared types, column by column; what does not convert is told row by row.

A whole column converts in one call. Where that fails the column is halved until the bad rows stand alone:
good data pays nothing for it, and no row is looked at in Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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
LEADING_ZERO = r"^[-+]?0[0-9]"

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
    batch: pa.RecordBatch, types: Mapping[str, pa.DataType]
) -> tuple[pa.RecordBatch, list[Bad]]:
    """The batch with its columns in the given types, null where a value does not convert; and where that was."""
    arrays, bad = [], []
    for name in types:
        array, rows = to_type(batch.column(name), types[name])
        arrays.append(array)
        if len(rows):
            bad.append(Bad(name, str(types[name]), rows))
    schema = pa.schema(list(types.items()))
    return pa.RecordBatch.from_arrays(arrays, schema=schema), bad


def to_type(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, pa.Array]:
    """An array in another type, and the positions of the values that have none in it."""
    if array.type == kind:
        return array, pa.array([], pa.int64())
    text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    if text and not pa.types.is_string(kind):
        array = pc.utf8_trim_whitespace(array)
    parts: list[pa.Array] = []
    bad: list[int] = []
    _halve(array, _ways(array.type, kind), kind, 0, parts, bad)
    whole = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
    return whole, pa.array(bad, pa.int64())


def infer(texts: pa.Array) -> pa.DataType:
    """The type of a column of texts, by all of a first block: the first type in which every value has a value."""
    values = texts.drop_null()
    if len(values) == 0:
        return pa.string()
    padded = pc.any(pc.match_substring_regex(values, LEADING_ZERO)).as_py()
    for kind in (pa.int64(), pa.float64(), pa.bool_(), pa.date32(), UTC):
        if padded and kind in (pa.int64(), pa.float64()):
            continue  # a postcode, a number of a flight: zeros in front are part of it
        if (
            kind == pa.bool_()
            and not pc.all(pc.match_substring_regex(values, "(?i)^(true|false)$")).as_py()
        ):
            continue
        if any(_tried(way, values) is not None for way in _ways(pa.string(), kind)):
            return kind
    return pa.string()


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
    if pa.types.is_string(kind) and not text and not pa.types.is_binary(source):
        return [lambda array: pc.cast(array, kind)]
    return [lambda array: pc.cast(array, kind)]


def rows_of(bad: Sequence[Bad], rows: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows have a column that does not convert."""
    found = np.zeros(rows, bool)
    for one in bad:
        found[one.rows.to_numpy()] = True
    return found
