"""Parquet and Arrow: cut, bent, of types that no table has, and larger than they look."""

from __future__ import annotations

import decimal
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.corpus.bytes_cases import DAMAGED
from tests.corpus.case import Case

TABLE = pa.table({"n": range(1_000), "w": [f"w{n}" for n in range(1_000)]})
SMALL: list[tuple[Any, ...]] = [(1, "a"), (2, "b")]


def parquet(table: pa.Table, **more: Any) -> bytes:
    """A table as a Parquet file."""
    file = io.BytesIO()
    pq.write_table(table, file, **more)
    return file.getvalue()


def stream(*tables: pa.Table) -> bytes:
    """Tables as one Arrow stream."""
    file = io.BytesIO()
    with pa.ipc.new_stream(file, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    return file.getvalue()


def file_of(table: pa.Table) -> bytes:
    """A table as an Arrow file."""
    file = io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def bomb() -> bytes:
    """400 MB in some hundred kB."""
    return parquet(pa.table({"n": np.zeros(50_000_000, np.int64)}), compression="zstd")


def bomb_of_a_text() -> bytes:
    """A hundred thousand times the same text of 1 MB: 100 GB in some 50 kB."""
    column = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(100_000, np.int32)), pa.array(["x" * 1_000_000])
    )
    return parquet(pa.table({"w": column}), store_schema=False)


def zeros(rows: int, batch: int | None = None) -> bytes:
    """A packed Arrow stream of zeros, 8 bytes each: in one batch, or in several of so many rows."""
    file = io.BytesIO()
    table = pa.table({"n": np.zeros(rows, np.int64)})
    packed = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(file, table.schema, options=packed) as writer:
        writer.write_table(table, max_chunksize=batch)
    return file.getvalue()


def of_another_size(rows: int, size: int) -> bytes:
    """Such a stream, whose one buffer says that it unpacks to so many bytes."""
    data, old = zeros(rows), (rows * 8).to_bytes(8, "little") + b"\x28\xb5\x2f\xfd"
    if data.count(old) != 1:
        raise AssertionError("the size is not told apart from the rest")
    return data.replace(old, size.to_bytes(8, "little") + old[8:])


def texts(offsets: list[int], data: bytes = b"abcd") -> pa.Table:
    """A column of texts with these offsets."""
    buffers = [None, pa.py_buffer(np.array(offsets, np.int32).tobytes()), pa.py_buffer(data)]
    return pa.table({"w": pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)})


def bent(data: bytes, offsets: list[int], wrong: list[int]) -> bytes:
    """The bytes of a stream or a file with other offsets in it: Arrow would not write them."""
    old, new = (np.array(ints, np.int32).tobytes() for ints in (offsets, wrong))
    if data.count(old) != 1:
        raise AssertionError("the offsets are not told apart from the rest")
    return data.replace(old, new)


def dictionary(index: int) -> pa.Table:
    """A dictionary's column with an index."""
    column = pa.DictionaryArray.from_arrays(
        pa.array([0, index], pa.int8()), pa.array(["a"]), safe=False
    )
    return pa.table({"w": column})


LISTS = pa.table({"l": [[7], [7, 7], [7]]})
WHOLE = parquet(TABLE)
TWICE = stream(TABLE, TABLE)
FLOAT16 = pa.table({"v": pa.array([np.float16(0.5)], pa.float16())})
DECIMAL256 = pa.table({"v": pa.array([decimal.Decimal(10) ** 50], pa.decimal256(60, 0))})
UNION = pa.table({"v": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])})

HOLDS = r"the file holds more than 200 MiB \(raise ROPEWALK_MAX_UNPACKED"
PIECE = r"a piece of the file takes more memory than a task has: malloc of size \d+ failed \(write it in smaller"
WIDE = pa.table({"w": [f"{n}" + "x" * 1_000_000 for n in range(100)]})

CASES = [
    *(Case(f"078-parquet-cut-{at}", files={"a.parquet": WHOLE[:at]}, error=DAMAGED)
      for at in (0, 3, 8, len(WHOLE) // 2, -9, -1)),
    Case("080-bomb", files={"a.parquet": bomb}, error=HOLDS),
    Case("080-bomb-of-a-text", files={"a.parquet": bomb_of_a_text}, ends="memory",
         error=r"a\.parquet: the task used \d+ MiB of memory: its limit is 512 MiB"),
    Case("080-bomb-of-a-batch", files={"a.arrow": lambda: zeros(200_000_000)}, error=PIECE),
    Case("080-bomb-of-batches", files={"a.arrow": lambda: zeros(50_000_000, 1 << 20)}, error=HOLDS),
    Case("080-batch-that-says-it-is-large", files={"a.arrow": lambda: of_another_size(1_000, 1 << 40)}, error=PIECE),
    Case("080-batch-that-says-it-is-small", files={"a.arrow": lambda: of_another_size(1_000_000, 1_000)}, error=DAMAGED + "ZSTD decompression failed"),
    Case("080-wide-rows-in-small-batches", files={"a.parquet": lambda: parquet(WIDE, use_dictionary=False)},
         rows=[(text,) for text in WIDE["w"].to_pylist()]),
    Case("081-texts-that-are-no-utf-8", files={"a.parquet": parquet(texts([0, 2], b"\xff\xfe"))},
         error=DAMAGED + ".*UTF8"),
    Case("082-stream-cut-between-messages", files={"a.arrow": TWICE[:-8]},
         error=r"the stream has no end mark, so it may have been cut \(close the writer"),
    Case("082-two-streams", files={"a.arrow": TWICE + TWICE}, error="there is more after the stream's end"),
    *(Case(f"083-stream-cut-{at}", files={"a.arrow": TWICE[:at]}, error=DAMAGED) for at in (4, 200, len(TWICE) // 2, -20)),
    *(Case(f"083-file-cut-{at}", files={"a.arrow": file_of(TABLE)[:at]}, error=DAMAGED) for at in (6, 12, 5_000, -1)),
    Case("084-offset-beyond-the-end", files={"a.arrow": bent(stream(texts([0, 1, 3, 4])), [0, 1, 3, 4], [0, 1, 3, 1_000_000_000])}, error=DAMAGED),
    Case("084-offsets-that-fall", files={"a.arrow": bent(file_of(texts([0, 1, 3, 4])), [0, 1, 3, 4], [0, 3, 1, 4])}, error=DAMAGED),
    Case("085-index-out-of-the-dictionary", files={"a.arrow": stream(dictionary(7))}, error=DAMAGED),
    Case("085-index-below-the-dictionary", files={"a.arrow": stream(dictionary(-1))}, error=DAMAGED),
    Case("085-negative-offset-of-a-list", files={"a.arrow": bent(stream(LISTS), [0, 1, 3, 4], [0, -1, 3, 4])}, error=DAMAGED),
    Case("085-texts-that-are-no-utf-8", files={"a.arrow": stream(texts([0, 2], b"\xff\xfe"))}, error=DAMAGED + ".*UTF8"),
    Case("085-zero-byte", files={"a.arrow": stream(texts([0, 2, 4], b"a\0bc"))}, rows=[("bc",)],
         aside=[(1, "w", r"w: a\\0 has a zero byte")]),
    Case("086-half-floats", files={"a.arrow": stream(FLOAT16)}, rows=[(0.5,)]),
    Case("086-large-decimals", files={"a.arrow": stream(DECIMAL256)}, rows=[(decimal.Decimal(10) ** 50,)]),
    Case("086-union", files={"a.arrow": stream(UNION)},
         error=r"column 'v' has the type .*union.*, which a dataset cannot hold \(cast it to a plain type first\)"),
    Case("086-two-columns-of-one-name", files={"a.arrow": stream(pa.table([[1], [2]], names=["a", "a"]))},
         error="two columns are named 'a'"),
    Case("087-parquet-and-csv", files={"a.parquet": parquet(pa.table({"n": [1], "w": ["a"]})), "b.csv": b"w,n\nb,2\n"},
         rows=SMALL),
    Case("087-parquet-of-another-type", files={"a.parquet": parquet(pa.table({"n": pa.array([1], pa.int32())})),
                                               "b.parquet": parquet(pa.table({"n": [2, 2**40]}))},
         rows=[(1,), (2,)], aside=[(2, "n", "n: 1099511627776 is no int32")]),
    Case("088-no-rows", files={"a.parquet": parquet(TABLE.slice(0, 0))}, rows=[], types={"n": "int64", "w": "string"}),
]  # fmt: skip
