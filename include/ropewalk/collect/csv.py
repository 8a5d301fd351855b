"""CSV, strictly: one parser of record; every line that is not a row of the table is told with its number.

Files are read in blocks that end at a line's end. Before a block is parsed, the lines that would mislead
the parser are taken out of it: bytes that are not of the encoding, and a quote that is not closed, which
would swallow all that follows. Lines with too few or too many values are what the parser itself refuses.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from ropewalk.contracts.errors import DataError

BLOCK = 4 << 20
LONGEST = 64 << 20  # bytes of one line
MOST_COLUMNS = 10_000
NEWLINE, QUOTE = ord("\n"), ord('"')


@dataclass
class Refused:
    """A line that is not a row."""

    line: int
    reason: str
    text: str


@dataclass
class Block:
    """Rows as texts, the line of each in the file, and what was refused among them; ``read`` counts them all."""

    rows: pa.RecordBatch
    lines: np.ndarray[tuple[int], np.dtype[np.int64]]
    refused: list[Refused] = field(default_factory=list)
    blank: int = 0
    read: int = 0


@dataclass(frozen=True)
class Dialect:
    """How a file is written."""

    delimiter: str = ","
    encoding: str = "utf-8"
    header: bool = True
    multiline: bool = False


def header_of(file: IO[bytes], name: str, dialect: Dialect) -> tuple[list[str], bytes]:
    """The names of the columns, and what has been read of the file after them."""
    start = file.read(BLOCK)
    start = start.removeprefix(codecs.BOM_UTF8)
    start = _with_newlines(start)
    line, _, rest = start.partition(b"\n")
    try:
        text = line.decode(dialect.encoding).rstrip("\r")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the header is not {dialect.encoding}: {error.reason}", file=name, line=1
        ) from None
    values = next(csv.reader([text], delimiter=dialect.delimiter), [])
    if not dialect.header:
        return [f"column_{number}" for number in range(1, len(values) + 1)], start
    _check_header(values, name)
    return values, rest


def blocks(
    file: IO[bytes], start: bytes, names: list[str], name: str, dialect: Dialect
) -> Iterator[Block]:
    """The file's rows, block by block; ``start`` is what has been read after the header."""
    line = 2 if dialect.header else 1
    rest = start
    ended = False
    while not ended:
        more = file.read(BLOCK)
        ended = not more
        data = _with_newlines(rest + more)
        cut = len(data) if ended else data.rfind(b"\n") + 1
        data, rest = data[:cut], data[cut:]
        if len(rest) > LONGEST:
            raise DataError(f"line {line} is longer than {LONGEST >> 20} MiB", file=name, line=line)
        if data:
            if not data.endswith(b"\n"):
                data += b"\n"
            block = _block(data, line, names, dialect)
            line += data.count(b"\n")
            yield block


def _block(data: bytes, first: int, names: list[str], dialect: Dialect) -> Block:
    """Parse one block whose first line has the number ``first``."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw == NEWLINE) + 1
    starts = np.concatenate([np.zeros(1, ends.dtype), ends[:-1]])
    lines = np.arange(first, first + len(ends), dtype=np.int64)
    refused: list[Refused] = []
    bad = np.zeros(len(ends), bool)
    for index in _undecodable(data, starts, dialect.encoding):
        bad[index] = True
        refused.append(
            _refused(data, starts, ends, lines, index, f"the bytes are not {dialect.encoding}")
        )
    if QUOTE in data and not dialect.multiline:
        odd = np.add.reduceat((raw == QUOTE).astype(np.int64), starts) % 2 == 1
        refused += [
            _refused(data, starts, ends, lines, int(index), "a quote is not closed")
            for index in np.flatnonzero(odd & ~bad)
        ]
        bad |= odd
    lengths = ends - starts - 1
    blank = (lengths == 0) | ((lengths == 1) & (raw[starts] == ord("\r")))
    bad |= blank
    if bad.any():
        data = raw[np.repeat(~bad, ends - starts)].tobytes()
        lines = lines[~bad]
    if dialect.encoding != "utf-8":
        data = data.decode(dialect.encoding).encode()
    rows, kept = _parsed(data, names, dialect, lines, refused)
    refused.sort(key=lambda one: one.line)
    read = rows.num_rows + len(refused) + int(blank.sum()) if dialect.multiline else len(ends)
    return Block(rows, kept, refused, int(blank.sum()), read)


def _parsed(
    data: bytes, names: list[str], dialect: Dialect, lines: Any, refused: list[Refused]
) -> tuple[pa.RecordBatch, Any]:
    """The rows of clean lines; those with another number of values go to ``refused``."""
    ragged: list[int] = []

    def refuse(row: pacsv.InvalidRow) -> str:
        ragged.append(row.number - 1)
        reason = f"{row.actual_columns} values, where there are {row.expected_columns} columns"
        line = int(lines[row.number - 1]) if row.number - 1 < len(lines) else int(lines[-1])
        refused.append(Refused(line, reason, row.text))
        return "skip"

    schema = pa.schema([(name, pa.string()) for name in names])
    if not data:
        return pa.RecordBatch.from_pylist([], schema), lines[:0]
    table = pacsv.read_csv(
        pa.py_buffer(data),
        read_options=pacsv.ReadOptions(
            use_threads=False, column_names=names, block_size=max(len(data), 1024)
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=dialect.delimiter,
            invalid_row_handler=refuse,
            ignore_empty_lines=False,
            newlines_in_values=dialect.multiline,
        ),
        convert_options=pacsv.ConvertOptions(
            column_types=schema, null_values=[], strings_can_be_null=False, check_utf8=False
        ),
    )
    kept = np.delete(lines, ragged) if ragged else lines
    if len(kept) != table.num_rows:  # values with line ends: a row's line is where its block begins
        kept = np.full(table.num_rows, lines[0])
    batches = table.combine_chunks().to_batches()
    return (batches[0] if batches else pa.RecordBatch.from_pylist([], schema)), kept


def _undecodable(data: bytes, starts: Any, encoding: str) -> list[int]:
    """The lines that are not of the encoding: none in most blocks, which costs one call."""
    found: list[int] = []
    at = 0
    view = memoryview(data)
    while True:
        try:
            codecs.decode(view[at:], encoding)
        except UnicodeDecodeError as error:
            index = int(np.searchsorted(starts, at + error.start, side="right")) - 1
            found.append(index)
            if index + 1 >= len(starts):
                return found
            at = int(starts[index + 1])
        else:
            return found


def _refused(data: bytes, starts: Any, ends: Any, lines: Any, index: Any, reason: str) -> Refused:
    text = data[starts[index] : ends[index] - 1].decode("utf-8", "replace").rstrip("\r")
    return Refused(int(lines[index]), reason, text[:10_000])


def _with_newlines(data: bytes) -> bytes:
    """Old Macintosh lines, which end with a carriage return alone, as lines."""
    if b"\r" in data and b"\n" not in data:
        return data.replace(b"\r", b"\n")
    return data


def _check_header(values: list[str], name: str) -> None:
    if not values:
        raise DataError("the file is empty: it has no header", file=name, line=1, code="empty_file")
    if len(values) > MOST_COLUMNS:
        raise DataError(
            f"{len(values)} columns; at most {MOST_COLUMNS} are read", file=name, line=1
        )
    if "" in values:
        raise DataError(
            f"column {values.index('') + 1} has no name", file=name, line=1, code="header"
        )
    doubled = sorted({value for value in values if values.count(value) > 1})
    if doubled:
        raise DataError(f"two columns are named {doubled[0]!r}", file=name, line=1, code="header")
    if len(values) == 1 and any(mark in values[0] for mark in ";\t|"):
        found = next(mark for mark in ";\t|" if mark in values[0])
        raise DataError(
            f"the header is one column; {found!r} seems to part its values",
            file=name, line=1, code="delimiter", hint=f'add delimiter: "{found}"',
        )  # fmt: skip
