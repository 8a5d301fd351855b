"""JSON to Arrow, block by block; a record that does not parse is told with its number.

What is known of the columns grows with every block: a field may come late, a column of nulls or of whole
numbers may turn out to be one of fractions. What a record says is never changed on the way: a number that
a float cannot hold exactly, ``NaN``, a doubled key or half of a surrogate pair set their record aside.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from ropewalk.collect.convert import UTC, infer_moment
from ropewalk.collect.csv import MOST_COLUMNS, NEWLINE, Refused
from ropewalk.contracts.errors import DataError

BLOCK = 8 << 20
DEEPEST = 64  # brackets within brackets
EXACT = 2**53  # up to which a float holds every whole number
OPENING, CLOSING = list(b"[{"), list(b"]}")
LONG_INTEGER = re.compile(rb"(?<![\d.eE])\d{16}")
HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
BLANK = list(b" \t\r")
NULL_RECORD = re.compile(rb"(?:^|[}\]])[ \t\r]*null", re.MULTILINE)

Parsed = tuple[pa.Table, pa.Array]  # rows, and the line of each


@dataclass
class Records:
    """Parses blocks of JSON lines; ``known`` is the schema of all that has been parsed."""

    types: Mapping[str, pa.DataType]
    number: int = 1
    refused: list[Refused] = field(default_factory=list)
    known: pa.Schema = field(default_factory=lambda: pa.schema([]))
    moments: dict[str, pa.DataType | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        declared = [(name, _parsed_as(kind)) for name, kind in self.types.items()]
        self.known = pa.schema(declared)

    def parse(self, lines: bytes) -> list[Parsed]:
        """The records of some lines; those that are none are added to ``refused``."""
        data = lines.rstrip(b"\n")
        found: list[Parsed] = []
        if data:
            self._halve(data, self.number, found)
            self.number += data.count(b"\n") + 1
        return found

    def schema(self) -> pa.Schema:
        """The columns of all that has been parsed, texts that are all moments as such."""
        return pa.schema([(one.name, self._type(one)) for one in self.known])

    def _type(self, column: pa.Field) -> pa.DataType:
        if column.name in self.types:
            return self.types[column.name]
        if pa.types.is_string(column.type):
            return self.moments.get(column.name) or column.type
        return pa.string() if pa.types.is_null(column.type) else column.type

    def _halve(self, data: bytes, first: int, found: list[Parsed]) -> None:
        """Parse lines, or their halves where they do not parse as a whole."""
        try:
            table = self._read(data)
        except TooWideError:
            raise
        except (pa.ArrowInvalid, UnicodeDecodeError, DataError) as error:
            lines = data.split(b"\n")
            if not data.strip():
                return
            if len(lines) == 1:
                text = data.decode("utf-8", "replace")[:10_000]
                self.refused.append(Refused(first, _reason(error), text))
                return
            middle = len(lines) // 2
            self._halve(b"\n".join(lines[:middle]), first, found)
            self._halve(b"\n".join(lines[middle:]), first + middle, found)
            return
        self._learn(table)
        found.append((table, _numbers(data, first, table.num_rows)))

    def _read(self, data: bytes) -> pa.Table:
        """Parse lines by what is known, or by what they say themselves where the two can be one schema."""
        codecs.utf_8_decode(data, "strict", True)
        if deepest(data) > DEEPEST:
            raise DataError(f"the record nests deeper than {DEEPEST} brackets")
        _check_nulls(data)
        explicit = pa.schema([one for one in self.known if not _has_null(one.type)])
        try:
            return self._joined(_plainly_read(data, explicit), data)
        except pa.ArrowInvalid as error:
            declared = pa.schema([one for one in self.known if one.name in self.types])
            if declared == explicit:
                raise
            try:
                return self._joined(_plainly_read(data, declared), data)
            except pa.ArrowException:
                raise error from None  # what the first says is what is wrong with the record

    def _joined(self, table: pa.Table, data: bytes) -> pa.Table:
        """The table, whose columns are known from now on; an error where they contradict what was."""
        merged = pa.unify_schemas([self.known, table.schema], promote_options="permissive")
        if len(merged) > MOST_COLUMNS:
            raise TooWideError(
                f"the records have more than {MOST_COLUMNS:,} fields",
                code="too_large",
                hint="are the names of fields data? make them a list of records",
            )
        _check_exact(table, data, set(self.types))
        self.known = merged
        return table

    def _learn(self, table: pa.Table) -> None:
        """Which columns of texts still are columns of moments."""
        for column in table.schema:
            name = column.name
            if not pa.types.is_string(column.type) or name in self.types:
                continue
            if name not in self.moments or self.moments[name] is not None:
                self._learn_moment(name, table[name])

    def _learn_moment(self, name: str, texts: pa.ChunkedArray) -> None:
        if texts.null_count == len(texts):
            return
        found = infer_moment(texts.combine_chunks())
        before = self.moments.get(name, found)
        self.moments[name] = found if found == before else UTC if found and before else None


class TooWideError(DataError):
    """The records together have too many fields: no record alone is at fault."""


def _plainly_read(data: bytes, explicit: pa.Schema) -> pa.Table:
    """Parse lines; texts stay texts."""
    table = _arrow_read(data, explicit)
    found = [(one.name, _texts(one.type)) for one in table.schema if one.name not in explicit.names]
    if all(table.schema.field(name).type == kind for name, kind in found):
        return table
    return _arrow_read(data, pa.schema([*explicit, *found]))


def _arrow_read(data: bytes, explicit: pa.Schema) -> pa.Table:
    return pajson.read_json(
        pa.BufferReader(data),
        read_options=pajson.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pajson.ParseOptions(
            explicit_schema=explicit if len(explicit) else None, unexpected_field_behavior="infer"
        ),
    )


def _parsed_as(kind: pa.DataType) -> pa.DataType:
    """The type in which the parser takes a declared one: dates and times are texts in JSON."""
    return pa.string() if pa.types.is_date(kind) or pa.types.is_time(kind) else kind


def _texts(kind: pa.DataType) -> pa.DataType:
    """A type with texts where the parser took them for moments: it would leave out their zone."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([(one.name, _texts(one.type)) for one in kind])
    if pa.types.is_list(kind):
        return pa.list_(_texts(kind.value_type))
    return kind


def _has_null(kind: pa.DataType) -> bool:
    """Whether something of a type is not known yet."""
    if pa.types.is_nested(kind):
        return any(_has_null(kind.field(index).type) for index in range(kind.num_fields))
    return bool(pa.types.is_null(kind))


def _check_nulls(data: bytes) -> None:
    """DataError for a record that is null: Arrow's parser crashes on one."""
    for match in NULL_RECORD.finditer(data) if b"null" in data else ():
        start, end = data.rfind(b"\n", 0, match.end()) + 1, data.find(b"\n", match.end())
        if not isinstance(_strictly(data[start : end if end >= 0 else None]), dict):
            raise DataError("the record is null")


def _check_exact(table: pa.Table, data: bytes, declared: set[str]) -> None:
    """DataError where a float is not the number that stands in the text."""
    for column in table.schema:
        if not _has_float(column.type):
            continue
        rows = _suspects(table[column.name], infinite_only=column.name in declared)
        if len(rows) and not LONG_INTEGER.search(data):
            rows = _suspects(table[column.name], infinite_only=True)
        if len(rows):
            _check_lines(table, data, rows, column.name)


def _has_float(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_float(kind.field(index).type) for index in range(kind.num_fields))
    return bool(pa.types.is_floating(kind))


def _suspects(column: pa.ChunkedArray, *, infinite_only: bool) -> Any:
    """The rows of a column in which a float is none, or so large that it may not be exact."""
    array = column.combine_chunks()
    if pa.types.is_nested(array.type):
        return np.arange(len(array)) if _any_suspect(array, infinite_only) else np.array([], int)
    return np.flatnonzero(_suspect(array, infinite_only))


def _any_suspect(array: pa.Array, infinite_only: bool) -> bool:  # noqa: FBT001 - passed through
    if pa.types.is_struct(array.type) or pa.types.is_list(array.type):
        parts = array.flatten()
        parts = parts if isinstance(parts, list) else [parts]
        return any(_any_suspect(part, infinite_only) for part in parts)
    return bool(pa.types.is_floating(array.type)) and bool(_suspect(array, infinite_only).any())


def _suspect(array: pa.Array, infinite_only: bool) -> Any:  # noqa: FBT001 - passed through
    values = np.abs(array.fill_null(0.0).to_numpy(zero_copy_only=False))
    return ~np.isfinite(values) if infinite_only else ~(values < EXACT)


def _check_lines(table: pa.Table, data: bytes, rows: Any, name: str) -> None:
    lines = [line for line in data.split(b"\n") if line.strip()]
    if len(lines) != table.num_rows:
        raise DataError("there are several records in a line")
    for row in rows.tolist():
        value = table[name][row].as_py()
        if not _same(_strictly(lines[row]).get(name), value):
            raise DataError(
                f"{name}: a float does not hold this number exactly; declare the column as a decimal"
            )


def _strictly(line: bytes) -> Any:
    """A record as Python reads it, its whole numbers whole."""
    try:
        return json.loads(line, parse_constant=_refuse_constant)
    except ValueError as error:
        raise DataError(f"this is not JSON: {error}"[:200]) from None


def _refuse_constant(name: str) -> None:
    raise DataError(f"{name} is not JSON")


def _same(told: Any, held: Any) -> bool:
    """Whether a value is held as it was told."""
    if isinstance(held, dict):
        return isinstance(told, dict) and all(_same(told.get(k), v) for k, v in held.items())
    if isinstance(held, list):
        return isinstance(told, list) and all(map(_same, told, held))
    if isinstance(held, float) and isinstance(told, int):
        return math.isfinite(held) and told == held
    return True


def records_of(document: bytes, path: str | None) -> bytes:
    """The records of one JSON document, one per line; ``path`` names where they are in it (``data.items``)."""
    import duckdb

    where = "$" + "".join(f'."{part}"' for part in (path or "").split(".") if part)
    try:
        text = document.decode("utf-8-sig")
        with duckdb.connect(":memory:") as connection:
            kinds = connection.sql("SELECT json_type($1, $2) AS kind", params=[text, where])
            kind = kinds.to_arrow_table()["kind"][0].as_py()
            if kind != "ARRAY":
                raise _no_records(kind, path)
            rows = connection.sql(
                "SELECT unnest(json_extract($1, $2))::VARCHAR AS r", params=[text, f"{where}[*]"]
            )
            column = rows.to_arrow_table()["r"]
    except UnicodeDecodeError as error:
        raise DataError(
            f"the document is not UTF-8: {error.reason} at byte {error.start}", code="encoding"
        ) from None
    except duckdb.Error as error:
        if HALF_A_PAIR.search(document):
            return _records_one_by_one(text, path)
        raise _not_json(str(error)) from None
    return _joined(column)


def _records_one_by_one(text: str, path: str | None) -> bytes:
    """The same where a text has half of a surrogate pair: only its record is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_json(str(error)) from None
    for part in (path or "").split("."):
        value = value.get(part) if part and isinstance(value, dict) else value
    if not isinstance(value, list):
        raise _no_records(type(value).__name__, path)
    return b"\n".join(json.dumps(record).encode() for record in value)


def _not_json(said: str) -> DataError:
    text = said.splitlines()[0].removeprefix("Invalid Input Error: ")
    return DataError(f"this is not JSON: {text.partition('  Input:')[0]}"[:300], code="not_json")


def _joined(column: Any) -> bytes:
    """Texts as lines."""
    if not len(column):
        return b""
    texts = column.combine_chunks().cast(pa.large_string())
    whole = pa.LargeListArray.from_arrays(pa.array([0, len(texts)], pa.int64()), texts)
    text: str = pc.binary_join(whole, pa.scalar("\n", pa.large_string()))[0].as_py()
    return text.encode()


def _no_records(kind: str | None, path: str | None) -> DataError:
    place = f"at {path!r}" if path else "at its top"
    found = "nothing" if kind is None else f"{kind.lower()}"
    return DataError(
        f"the document has {found} {place}, not a list of records",
        code="no_records",
        hint="records: names where the list is, as in data.items",
    )


def deepest(lines: bytes) -> int:
    """How deep the records of some lines nest, at most: brackets in texts are counted as if they nested."""
    raw = np.frombuffer(lines, np.uint8)
    steps = np.isin(raw, OPENING).astype(np.int64) - np.isin(raw, CLOSING)
    depths = np.cumsum(steps)
    starts = np.concatenate([[0], np.flatnonzero(raw == NEWLINE) + 1])
    starts = starts[starts < len(raw)]
    before = depths[starts] - steps[starts]
    highest = np.maximum.reduceat(depths, starts) - before
    return int(highest.max()) if len(highest) else 0


def _numbers(data: bytes, first: int, rows: int) -> pa.Array:
    """The line of each record: blank lines have none."""
    raw = np.frombuffer(data, np.uint8)
    starts = np.concatenate([[0], np.flatnonzero(raw == NEWLINE) + 1])
    starts = starts[starts < len(raw)]
    said = ~np.isin(raw, [*BLANK, NEWLINE])
    lines = first + np.flatnonzero(np.logical_or.reduceat(said, starts))
    if len(lines) != rows:  # several records in a line
        lines = np.full(rows, first)
    return pa.array(lines, pa.int64())


def lines_of(stream: Any, longest: int, name: str) -> Iterator[bytes]:
    """The lines of a file in blocks."""
    rest = b""
    while more := stream.read(BLOCK):
        lines, found, rest = (rest + more).rpartition(b"\n")
        if len(rest) > longest:
            raise DataError(
                f"a line is longer than {longest >> 20} MiB", code="too_large", file=name
            )
        if found:
            yield lines
    yield rest


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "the bytes are not utf-8"
    text = str(error).removeprefix("JSON parse error: ").split("\n", maxsplit=1)[0]
    return text.replace(" in row 0", "")
