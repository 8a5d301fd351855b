"""CSV, strictly: one parser of record; every line that is not a row of the table is told with its number.

Files are read in blocks that end at a line's end. Before a block is parsed, the lines that would mislead
the parser are taken out of it: bytes that are not of the encoding, and a quote that is not closed, which
would swallow all that follows. Lines with too few or too many values are what the parser itself refuses.
"""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from ropewalk.contracts.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ropewalk.collect.unpack import Stream

    Ints = NDArray[np.int64]

BLOCK = 4 << 20
LONGEST = 64 << 20  # bytes of one line
csv.field_size_limit(BLOCK)
MOST_COLUMNS = 10_000
NEWLINE, RETURN, QUOTE, ASCII = ord("\n"), ord("\r"), ord('"'), 0x80
SHOWN = 10_000  # characters of a refused line
OPEN_QUOTE = "a quote is not closed"


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
    lines: Ints
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


def header_of(file: Stream, name: str, dialect: Dialect) -> tuple[list[str], bytes, int]:
    """The names of the columns, what has been read of the file after them, and that rest's first line."""
    start = b""
    while len(start) < BLOCK and (more := file.read(BLOCK)):
        start += more
    start = _with_newlines(start, dialect)
    end = _first_end(start, dialect)
    if end < 0 and len(start) >= BLOCK:
        raise DataError(
            f"the first line is longer than {BLOCK >> 20} MiB", code="header", file=name, line=1
        )
    line, rest = (start, b"") if end < 0 else (start[:end], start[end + 1 :])
    values = _header_values(line, name, dialect)
    if not dialect.header:
        return [f"column_{number}" for number in range(1, len(values) + 1)], start, 1
    _check_header(values, name)
    return values, rest, 2 + line.count(b"\n")


def _header_values(line: bytes, name: str, dialect: Dialect) -> list[str]:
    try:
        text = line.decode(dialect.encoding).rstrip("\r")
        lines = text.splitlines(keepends=True) or [text]
        return next(csv.reader(lines, delimiter=dialect.delimiter, strict=True), [])
    except UnicodeDecodeError as error:
        raise DataError(
            f"the header is not {dialect.encoding}: {error.reason}",
            code="encoding",
            file=name,
            line=1,
            hint="encoding: latin-1 or cp1252 are others",
        ) from None
    except csv.Error as error:
        raise DataError(
            f"the header is no line of CSV: {error}", code="header", file=name, line=1
        ) from None


def _first_end(data: bytes, dialect: Dialect) -> int:
    """Where the first line ends, -1 where it does not."""
    end = data.find(b"\n")
    while dialect.multiline and end >= 0 and data.count(b'"', 0, end) % 2:
        end = data.find(b"\n", end + 1)
    return end


def blocks(
    file: Stream, start: bytes, first: int, names: list[str], name: str, dialect: Dialect
) -> Iterator[Block]:
    """The file's rows, block by block; ``start`` is what has been read after the header."""
    line, rest, ended = first, start, False
    while not ended:
        more = file.read(BLOCK)
        ended = not more
        data = rest + more
        if ended and data and not data.endswith(b"\n"):
            data += b"\n"
        data = _with_newlines(data, dialect)
        ends = _ends(data, dialect)
        cut = int(ends[-1]) if len(ends) else 0
        data, rest = data[:cut], data[cut:]
        if len(rest) > LONGEST:
            raise DataError(
                f"line {line} is longer than {LONGEST >> 20} MiB",
                code="too_large",
                file=name,
                line=line,
            )
        if data:
            block = _block(data, ends, line, names, dialect)
            line += data.count(b"\n")
            yield block
    if rest:
        raise DataError("a quote is not closed", code="open_quote", file=name, line=line)


def _ends(data: bytes, dialect: Dialect) -> Ints:
    """Where the rows end: at a line's end, but for one in quotes where values may have such."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw == NEWLINE) + 1
    if dialect.multiline and QUOTE in data and len(ends):
        quotes = np.cumsum(raw == QUOTE)
        ends = ends[quotes[ends - 1] % 2 == 0]
    return ends


def _block(data: bytes, ends: Ints, first: int, names: list[str], dialect: Dialect) -> Block:
    """Parse one block whose first line has the number ``first``."""
    raw = np.frombuffer(data, np.uint8)
    starts = np.concatenate([np.zeros(1, ends.dtype), ends[:-1]])
    lines = first + _newlines_before(raw, starts, dialect)
    refused: list[Refused] = []
    read = len(ends)
    bad = np.zeros(read, bool)
    for index in _undecodable(data, raw, starts, ends, dialect.encoding):
        bad[index] = True
        refused.append(
            _refused(data, starts, ends, lines, index, f"the bytes are not {dialect.encoding}")
        )
    for index, reason in _misquoted(data, raw, starts, ends, dialect):
        if not bad[index]:
            bad[index] = True
            refused.append(_refused(data, starts, ends, lines, index, reason))
    lengths = ends - starts - 1
    blank = (lengths == 0) | ((lengths == 1) & (raw[starts] == RETURN))
    bad |= blank
    if bad.any():
        data = raw[np.repeat(~bad, ends - starts)].tobytes()
        lines, sizes = lines[~bad], (ends - starts)[~bad]
        ends = np.cumsum(sizes)
    if dialect.encoding != "utf-8":
        data = data.decode(dialect.encoding).encode()
        ends = _ends(data, dialect)
    parts: list[tuple[pa.RecordBatch, Ints]] = []
    _parse(data, ends, lines, names, dialect, parts, refused)
    refused.sort(key=lambda one: one.line)
    return Block(*_joined(parts, names), refused, int(blank.sum()), read)


def _newlines_before(raw: Any, starts: Ints, dialect: Dialect) -> Ints:
    if not dialect.multiline:
        return np.arange(len(starts))
    return np.searchsorted(np.flatnonzero(raw == NEWLINE), starts)


def _misquoted(
    data: bytes, raw: Any, starts: Ints, ends: Ints, dialect: Dialect
) -> Iterator[tuple[int, str]]:
    """The lines that the parser would take for something else than they say, and why."""
    quotes = np.flatnonzero(raw == QUOTE)
    if not len(quotes):
        return
    if not dialect.multiline:
        odd = np.add.reduceat((raw == QUOTE).astype(np.int64), starts) % 2 == 1
        yield from ((int(index), OPEN_QUOTE) for index in np.flatnonzero(odd))
    beside = [NEWLINE, RETURN, QUOTE, ord(dialect.delimiter)]
    before = np.where(quotes > 0, raw[quotes - 1], NEWLINE)
    within = quotes[~np.isin(before, beside) & ~np.isin(raw[quotes + 1], beside)]
    for index in np.unique(np.searchsorted(starts, within, side="right") - 1).tolist():
        line = data[starts[index] : ends[index]].decode(dialect.encoding, "replace")
        try:
            list(
                csv.reader(line.splitlines(keepends=True), delimiter=dialect.delimiter, strict=True)
            )
        except csv.Error as error:
            yield index, f"a quote is not doubled: {error}"


def _parse(
    data: bytes,
    ends: Ints,
    lines: Ints,
    names: list[str],
    dialect: Dialect,
    parts: list[tuple[pa.RecordBatch, Ints]],
    refused: list[Refused],
) -> None:
    """Parse clean lines, or their halves where they are not as many rows as lines: a quote went astray."""
    if not data:
        return
    rows, ragged = _parsed(data, names, dialect)
    whole = not _swallowed_its_end(rows, data)
    if whole and rows.num_rows + len(ragged) == len(lines):
        refused += [
            Refused(int(lines[row.number - 1]), _of_another_width(row), row.text) for row in ragged
        ]
        parts.append((rows, np.delete(lines, [row.number - 1 for row in ragged])))
        return
    if len(lines) == 1:
        text = data.decode("utf-8", "replace").rstrip("\r\n")
        refused.append(Refused(int(lines[0]), OPEN_QUOTE, text[:SHOWN]))
        return
    middle = len(lines) // 2
    at = int(ends[middle - 1])
    _parse(data[:at], ends[:middle], lines[:middle], names, dialect, parts, refused)
    _parse(data[at:], ends[middle:] - at, lines[middle:], names, dialect, parts, refused)


def _swallowed_its_end(rows: pa.RecordBatch, data: bytes) -> bool:
    """Whether the last value has the end of the data in it, since its quote is not closed."""
    if not rows.num_rows or QUOTE not in data or data.rstrip(b"\r\n").endswith(b'"'):
        return False
    return str(rows.columns[-1][-1].as_py()).endswith("\n")


def _parsed(
    data: bytes, names: list[str], dialect: Dialect
) -> tuple[pa.RecordBatch, list[pacsv.InvalidRow]]:
    """The rows of lines, and those that have another number of values."""
    ragged: list[pacsv.InvalidRow] = []

    def refuse(row: pacsv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    schema = pa.schema([(name, pa.string()) for name in names])
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
    batches = table.combine_chunks().to_batches()
    return (batches[0] if batches else pa.RecordBatch.from_pylist([], schema)), ragged


def _joined(
    parts: list[tuple[pa.RecordBatch, Ints]], names: list[str]
) -> tuple[pa.RecordBatch, Ints]:
    if len(parts) == 1:
        return parts[0]
    schema = pa.schema([(name, pa.string()) for name in names])
    whole = pa.Table.from_batches([rows for rows, _ in parts], schema).combine_chunks()
    lines = np.concatenate([np.zeros(0, np.int64), *(lines for _, lines in parts)])
    batches = whole.to_batches()
    return (batches[0] if batches else pa.RecordBatch.from_pylist([], schema)), lines


def _of_another_width(row: pacsv.InvalidRow) -> str:
    return f"{row.actual_columns} values, where there are {row.expected_columns} columns"


def _undecodable(data: bytes, raw: Any, starts: Ints, ends: Ints, encoding: str) -> list[int]:
    """The lines that are not of the encoding: none in most blocks, which costs one call."""
    if _decodes(data, encoding):
        return []
    marked = np.flatnonzero(np.logical_or.reduceat(raw >= ASCII, starts))
    return [int(i) for i in marked if not _decodes(data[starts[i] : ends[i]], encoding)]


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        codecs.decode(data, encoding)
    except UnicodeDecodeError:
        return False
    return True


def _refused(data: bytes, starts: Any, ends: Any, lines: Any, index: Any, reason: str) -> Refused:
    text = data[starts[index] : ends[index] - 1].decode("utf-8", "replace").rstrip("\r")
    return Refused(int(lines[index]), reason, text[:SHOWN])


def _with_newlines(data: bytes, dialect: Dialect) -> bytes:
    """The data with newlines for the carriage returns that stand alone: so lines ended on old Macintoshes.

    Where values may have line ends, only if there are no others. One that is the last byte may go on.
    """
    last = data[-1:] == b"\r"
    alone = data.count(b"\r") - data.count(b"\r\n") - last
    if not alone or (dialect.multiline and b"\n" in data):
        return data
    body = data[:-1] if last else data
    text = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text + b"\r" if last else text


def _check_header(values: list[str], name: str) -> None:
    if not values:
        raise DataError("the file is empty: it has no header", file=name, line=1, code="empty_file")
    if len(values) > MOST_COLUMNS:
        raise DataError(
            f"{len(values)} columns; at most {MOST_COLUMNS} are read",
            file=name, line=1, code="too_large",
        )  # fmt: skip
    if "" in values:
        raise DataError(
            f"column {values.index('') + 1} has no name", file=name, line=1, code="header"
        )
    if any("\0" in value for value in values):
        raise DataError(
            "the header has zero bytes",
            file=name, line=1, code="encoding", hint="is it UTF-16? then say encoding: utf-16-le",
        )  # fmt: skip
    doubled = [value for value, count in Counter(values).items() if count > 1]
    if doubled:
        raise DataError(f"two columns are named {min(doubled)!r}", file=name, line=1, code="header")
    if len(values) == 1 and any(mark in values[0] for mark in ";\t|"):
        found = next(mark for mark in ";\t|" if mark in values[0])
        raise DataError(
            f"the header is one column; {found!r} seems to part its values",
            file=name, line=1, code="delimiter", hint=f'add delimiter: "{found}"',
        )  # fmt: skip
