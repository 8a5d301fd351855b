"""Arrow to PostgreSQL's binary COPY format, column by column in numpy: no row is looked at in Python.

A row is ``int16 fields`` and per field ``int32 length, bytes`` (PostgreSQL manual, COPY, "Binary Format").
The length of every field is known before a byte is written, so each column is scattered to its places in
one call. Texts are copied in words of eight bytes; what a word writes too much is overwritten by the
columns after it, and the last column is always the load's number, which is not a text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.contracts.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
TRAILER = struct.pack("!h", -1)
BATCH = 16_384
EPOCH_DAYS = 10_957  # from 1970 to 2000, where PostgreSQL's time begins
EPOCH_MICROS = EPOCH_DAYS * 86_400_000_000
# What PostgreSQL's types hold, counted from 1970 (datatype/timestamp.h): 24 November 4714 BC and on.
MICROS = (-210_866_803_200_000_000, 9_223_371_331_200_000_000)
DATES = (-2_440_588, 2_145_031_949)
A_DAY = (0, 86_400_000_001)
WORD = 8


def encoded(
    reader: pa.RecordBatchReader, load: int, partition: str
) -> Iterator[bytes | memoryview]:
    """The rows with the columns ``_ropewalk_partition`` and ``_ropewalk_load`` after theirs, as COPY wants them."""
    yield HEADER
    for batch in reader:
        for start in range(0, batch.num_rows, BATCH):
            yield _block(batch.slice(start, BATCH), load, partition.encode())
    yield TRAILER


def _block(batch: pa.RecordBatch, load: int, partition: bytes) -> memoryview:
    """The rows of a batch."""
    rows = batch.num_rows
    fields = [
        _field(column, name) for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    fields += [_constant(partition, rows), _Fixed(np.full(rows, load, ">i8"), None)]
    sizes = sum((field.sizes + 4 for field in fields), np.full(rows, 2, np.int64))
    ends = np.cumsum(sizes)
    out = np.empty(int(ends[-1]) + WORD, np.uint8)
    at = ends - sizes
    _view(out, ">i2")[at] = len(fields)
    at += 2
    for field in fields:
        _view(out, ">i4")[at] = field.lengths
        field.put(out, at + 4)
        at += 4 + field.sizes
    return out[: int(ends[-1])].data


class _Field:
    """One column of a block: ``sizes`` are the bytes of each value, ``lengths`` the same with -1 for null."""

    sizes: Ints
    lengths: Ints

    def put(self, out: NDArray[np.uint8], at: Ints) -> None:
        """Write each value at its place."""
        raise NotImplementedError


class _Fixed(_Field):
    """Values of one width, in network order."""

    def __init__(self, values: NDArray[Any], null: NDArray[np.bool_] | None) -> None:
        self.values, self.null = values, null
        width = values.dtype.itemsize
        self.sizes = np.full(len(values), width, np.int64)
        self.lengths = self.sizes
        if null is not None:
            self.sizes = np.where(null, 0, width)
            self.lengths = np.where(null, -1, width)

    def put(self, out: NDArray[np.uint8], at: Ints) -> None:
        """Write each value at its place."""
        view = _view(out, self.values.dtype)
        if self.null is None:
            view[at] = self.values
        else:
            view[at[~self.null]] = self.values[~self.null]


class _Text(_Field):
    """Values of any length."""

    def __init__(
        self, data: NDArray[np.uint8], starts: Ints, sizes: Ints, null: NDArray[np.bool_] | None
    ) -> None:
        self.data, self.starts = data, starts
        self.sizes = sizes if null is None else np.where(null, 0, sizes)
        self.lengths = self.sizes if null is None else np.where(null, -1, sizes)

    def put(self, out: NDArray[np.uint8], at: Ints) -> None:
        """Copy each text in words."""
        words = (self.sizes + WORD - 1) // WORD
        total = int(words.sum())
        if total == 0:
            return
        within = np.arange(total) - np.repeat(np.cumsum(words) - words, words)
        source = np.repeat(self.starts, words) + WORD * within
        target = np.repeat(at, words) + WORD * within
        _view(out, np.uint64)[target] = _view(self.data, np.uint64)[source]


def _field(array: pa.Array, name: str) -> _Field:
    """A column as fields; DataError for a value that PostgreSQL cannot hold."""
    kind = array.type
    null = np.asarray(array.is_null()) if array.null_count else None
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _text(array, name, null)
    if pa.types.is_null(kind):
        rows = len(array)
        return _Text(
            np.zeros(WORD, np.uint8),
            np.zeros(rows, np.int64),
            np.zeros(rows, np.int64),
            np.ones(rows, bool),
        )
    return _Fixed(_numbers(array, name), null)


def _numbers(array: pa.Array, name: str) -> NDArray[Any]:
    for fits, convert in NUMBERS:
        if fits(array.type):
            return _told(convert, array, name)
    raise DataError(
        f"column {name!r} has the type {array.type}, which has no binary form here", field=name
    )


def _told(convert: Callable[[pa.Array], NDArray[Any]], array: pa.Array, name: str) -> NDArray[Any]:
    try:
        return convert(array)
    except pa.ArrowInvalid as error:
        finer = "would lose data" in str(error)
        raise DataError(
            f"column {name!r}: {str(error).splitlines()[0]}",
            code="out_of_range",
            field=name,
            hint="PostgreSQL keeps microseconds: cut them in a process step, date_trunc('microseconds', …)"
            if finer
            else None,
        ) from None


def _integers(dtype: str) -> Callable[[pa.Array], NDArray[Any]]:
    return lambda array: np.asarray(array.fill_null(0)).astype(dtype)


def _shifted(
    array: pa.Array, target: pa.DataType, by: int, dtype: str, within: tuple[int, int]
) -> NDArray[Any]:
    """Moments counted from 2000 instead of 1970; ArrowInvalid for one that PostgreSQL's time does not reach.

    Without a bound the farthest would wrap around, or mean ``infinity``.
    """
    counts = np.asarray(pc.cast(array, target).fill_null(by))
    if len(counts) and not (within[0] <= counts.min() and counts.max() < within[1]):
        raise pa.ArrowInvalid(
            "a moment lies outside of 4713 BC to 294276 AD, where PostgreSQL's time is"
        )
    shifted: NDArray[Any] = (counts - counts.dtype.type(by)).astype(dtype)
    return shifted


NUMBERS: list[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], NDArray[Any]]]] = [
    (
        pa.types.is_boolean,
        lambda array: np.asarray(pc.cast(array, pa.uint8()).fill_null(0)).astype("u1"),
    ),
    (lambda kind: kind in (pa.int8(), pa.uint8(), pa.int16()), _integers(">i2")),
    (lambda kind: kind in (pa.uint16(), pa.int32()), _integers(">i4")),
    (lambda kind: kind in (pa.uint32(), pa.int64()), _integers(">i8")),
    (
        lambda kind: kind in (pa.float16(), pa.float32()),
        lambda array: np.asarray(array.fill_null(0)).astype(">f4"),
    ),
    (pa.types.is_float64, lambda array: np.asarray(array.fill_null(0.0)).astype(">f8")),
    (
        pa.types.is_date,
        lambda array: _shifted(pc.cast(array, pa.date32()), pa.int32(), EPOCH_DAYS, ">i4", DATES),
    ),
    (
        pa.types.is_timestamp,
        lambda array: _shifted(
            pc.cast(array, pa.timestamp("us", array.type.tz)),
            pa.int64(),
            EPOCH_MICROS,
            ">i8",
            MICROS,
        ),
    ),
    (
        pa.types.is_time,
        lambda array: _shifted(pc.cast(array, pa.time64("us")), pa.int64(), 0, ">i8", A_DAY),
    ),
]


def _text(array: pa.Array, name: str, null: NDArray[np.bool_] | None) -> _Text:
    buffers = array.buffers()
    offsets = np.frombuffer(buffers[1], np.int32)[
        array.offset : array.offset + len(array) + 1
    ].astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.empty(last - first + WORD, np.uint8)
    if last > first:
        data[:-WORD] = np.frombuffer(buffers[2], np.uint8)[first:last]
    data[-WORD:] = 1
    if pa.types.is_string(array.type) and not data.all():
        raise DataError(
            f"column {name!r} has a text with a zero byte, which PostgreSQL cannot hold",
            code="zero_byte",
            field=name,
        )
    return _Text(data, offsets[:-1] - first, np.diff(offsets), null)


def _constant(value: bytes, rows: int) -> _Text:
    """A column of one text."""
    data = np.frombuffer(value + b"\0" * WORD, np.uint8)
    return _Text(data, np.zeros(rows, np.int64), np.full(rows, len(value), np.int64), None)


def _view(data: NDArray[np.uint8], dtype: Any) -> NDArray[Any]:
    """The bytes as numbers that begin at any byte."""
    kind = np.dtype(dtype)
    return np.ndarray((len(data) - kind.itemsize + 1,), kind, data, 0, (1,))
