"""A digest of a table's content that depends on neither the order of rows nor the size of batches.

Each row is hashed to 64 bits, column by column in numpy; the fingerprint digests the schema, the number
of rows and two sums of the row hashes modulo 2**64 (a multiset hash, after Clarke et al., 2003, with
addition as the combiner). It tells changed content from unchanged; it is no defence against forgery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import blake3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]

Sums = tuple[int, int, int]
ODD = np.uint64(0x9E3779B97F4A7C15)
MIX = np.uint64(0xBF58476D1CE4E5B9)
FINAL = np.uint64(0x94D049BB133111EB)
NULL = np.uint64(0x6A09E667F3BCC909)
NAN = np.uint64(0x7FF8000000000000)
SHIFT = np.uint64(32)
WORD = 8  # bytes
LARGE = 2.0**63  # more than any integer
WIDE = pa.decimal256(76, 38)  # in which every decimal of 128 bits is itself


class Fingerprint:
    """Takes in batches and gives the fingerprint of all rows seen: 32 hexadecimal digits."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self.rows = 0
        self._sum = 0
        self._square = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Take in the rows of a batch."""
        self.add(sums(batch))

    def add(self, part: Sums) -> None:
        """Take in the sums of a batch."""
        rows, total, square = part
        self.rows += rows
        self._sum = (self._sum + total) % 2**64
        self._square = (self._square + square) % 2**64

    def hexdigest(self) -> str:
        """The fingerprint of what has been taken in."""
        columns = ",".join(f"{field.name!r}:{_type_name(field.type)}" for field in self._schema)
        text = f"{columns};{self.rows};{self._sum};{self._square}"
        return str(blake3.blake3(text.encode()).hexdigest()[:32])


def fingerprint(table: pa.Table) -> str:
    """The fingerprint of a table."""
    digest = Fingerprint(table.schema)
    for batch in table.to_batches():
        digest.update(batch)
    return digest.hexdigest()


def sums(batch: pa.RecordBatch) -> Sums:
    """Rows, sum and sum of products of a batch's row hashes; it can run beside other work."""
    if batch.num_rows == 0:
        return 0, 0, 0
    with np.errstate(over="ignore"):
        rows = row_hashes(batch)
        square = (rows * (rows | np.uint64(1))).sum(dtype=np.uint64)
        return batch.num_rows, int(rows.sum(dtype=np.uint64)), int(square)


def row_hashes(batch: pa.RecordBatch, of: Callable[[pa.Array], Hashes] | None = None) -> Hashes:
    """One 64-bit hash a row; ``of`` gives a column's where it is not the fingerprint's own way."""
    rows = np.zeros(batch.num_rows, np.uint64)
    for index, column in enumerate(batch.columns):
        rows = (rows ^ (of or _array)(column)) * (ODD + np.uint64(2 * index))
        rows ^= rows >> SHIFT
    rows *= FINAL
    hashes: Hashes = rows ^ (rows >> np.uint64(29))
    return hashes


def by_value(array: pa.Array) -> Hashes:
    """A column's hashes, those of whole numbers the same in a column of integers, of floats or of decimals."""
    if pa.types.is_floating(array.type):
        values = np.asarray(array.cast(pa.float64()).fill_null(np.nan))
        whole = (values == np.floor(values)) & (np.abs(values) < LARGE)
        hashes = _array(array)
        hashes[whole] = _mix(values[whole].astype(np.int64).view(np.uint64))
        return hashes
    if pa.types.is_decimal(array.type):
        wide = array.cast(WIDE)
        low, high = (pa.scalar(int(one), WIDE) for one in (-LARGE, LARGE))
        within = pc.and_(pc.greater_equal(wide, low), pc.less(wide, high))
        found = pc.fill_null(pc.and_(within, pc.equal(wide, pc.floor(wide))), False)
        hashes = _array(wide)
        hashes[np.asarray(found)] = _array(wide.filter(found).cast(pa.int64()))
        return hashes
    return _array(array)


def _mix(values: Hashes) -> Hashes:
    mixed = (values + ODD) * MIX
    mixed ^= mixed >> SHIFT
    return mixed


def _array(array: pa.Array) -> Hashes:
    kind = array.type
    if isinstance(kind, pa.DictionaryType):
        array = array.dictionary_decode()
        kind = array.type
    hashes = _values(array, kind)
    if array.null_count:
        hashes[np.asarray(array.is_null())] = NULL
    return hashes


def _values(array: pa.Array, kind: pa.DataType) -> Hashes:  # noqa: PLR0911 - one line per family of types
    if pa.types.is_null(kind):
        return np.full(len(array), NULL, np.uint64)
    if pa.types.is_boolean(kind):
        return _mix(np.asarray(array.cast(pa.uint8()).fill_null(0)).astype(np.uint64))
    if pa.types.is_floating(kind):
        return _floats(array)
    if _is_text(kind):
        return _text(array)
    if pa.types.is_struct(kind):
        fields = [array.field(index) for index in range(kind.num_fields)]
        return _mix(
            row_hashes(
                pa.RecordBatch.from_arrays(fields, names=[str(i) for i in range(len(fields))])
            )
        )
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _lists(array)
    return _fixed(array, kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_large_binary(kind)
    )


def _floats(array: pa.Array) -> Hashes:
    values = np.asarray(array.cast(pa.float64()).fill_null(0.0)) + 0.0  # -0.0 equals 0.0
    bits = values.view(np.uint64).copy()
    bits[np.isnan(values)] = NAN
    return _mix(bits)


def _fixed(array: pa.Array, kind: pa.DataType) -> Hashes:
    """Integers, times and decimals by their bytes: narrower integers hash as their 64-bit value."""
    if pa.types.is_integer(kind):
        return _mix(
            np.asarray(array.fill_null(0))
            .astype(np.int64 if pa.types.is_signed_integer(kind) else np.uint64)
            .view(np.uint64)
        )
    words, rest = divmod(kind.bit_width, 64)
    data = array.buffers()[1]
    if rest == 0:
        values = np.frombuffer(data, np.uint64)[
            array.offset * words : (array.offset + len(array)) * words
        ]
        return _words(values.reshape(len(array), words))
    width = kind.bit_width // 8
    raw = np.frombuffer(data, np.uint8)[array.offset * width : (array.offset + len(array)) * width]
    padded = np.zeros((len(array), 8 * (words + 1)), np.uint8)
    padded[:, :width] = raw.reshape(len(array), width)
    return _words(padded.view(np.uint64))


def _words(words: NDArray[np.uint64]) -> Hashes:
    hashes = _mix(words[:, 0])
    for column in range(1, words.shape[1]):
        hashes = _mix(hashes ^ words[:, column])
    return hashes


def _offsets(array: pa.Array) -> NDArray[np.int64]:
    wide = (
        pa.types.is_large_string(array.type)
        or pa.types.is_large_binary(array.type)
        or pa.types.is_large_list(array.type)
    )
    raw = np.frombuffer(array.buffers()[1], np.int64 if wide else np.int32)
    return raw[array.offset : array.offset + len(array) + 1].astype(np.int64)


def _sums(parts: Hashes, counts: NDArray[np.int64]) -> Hashes:
    """The sum of each row's parts, where row ``i`` owns the next ``counts[i]`` of them."""
    totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(parts, dtype=np.uint64)])
    ends = np.cumsum(counts)
    return np.asarray(totals[ends] - totals[ends - counts])


def _positions(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, … within each row."""
    starts = np.cumsum(counts) - counts
    return np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(starts, counts)


def _text(array: pa.Array) -> Hashes:
    """Strings in words of eight bytes: every word is hashed with its position and the row's are added."""
    if len(array) == 0 or array.buffers()[1] is None:
        return np.full(len(array), NULL, np.uint64)
    offsets = _offsets(array)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.zeros(last - first + 8, np.uint8)
    if last > first:
        data[:-8] = np.frombuffer(array.buffers()[2], np.uint8)[first:last]
    lengths = np.diff(offsets)
    counts = (lengths + 7) // 8
    places = _positions(counts)
    at = np.repeat(offsets[:-1] - first, counts) + 8 * places
    unaligned: Any = np.ndarray((len(data) - 7,), np.uint64, data.data, 0, (1,))
    words = unaligned[at]
    left = np.repeat(lengths, counts) - 8 * places
    tail = left < WORD
    words[tail] &= (np.uint64(1) << (left[tail].astype(np.uint64) * np.uint64(8))) - np.uint64(1)
    parts = _mix(words ^ (places.astype(np.uint64) * FINAL))
    return _mix(_sums(parts, counts) ^ lengths.astype(np.uint64))


def _lists(array: pa.Array) -> Hashes:
    offsets = _offsets(array)
    children = (
        array.values
        if not pa.types.is_map(array.type)
        else pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])
    )
    if pa.types.is_map(array.type):
        offsets = offsets - offsets[0]
    counts = np.diff(offsets)
    used = children.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    parts = _mix(_array(used) ^ (_positions(counts).astype(np.uint64) * FINAL))
    return _mix(_sums(parts, counts) ^ counts.astype(np.uint64))


def _type_name(kind: pa.DataType) -> str:
    return str(kind).replace("large_", "")
