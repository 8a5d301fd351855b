"""Reads the files of a `sources.files` step: opened, unpacked, parsed by their format, typed and filtered."""

from __future__ import annotations

import codecs
import lzma
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ropewalk.collect import csv, json
from ropewalk.collect.aside import refuse, typed
from ropewalk.collect.convert import infer, nulled, type_of
from ropewalk.collect.spool import Spool
from ropewalk.collect.unpack import PACKED, Text, opened, packing, seekable, too_large, unpacked
from ropewalk.contracts.errors import ConfigError, DataError, RopewalkError, nearest
from ropewalk.kernel.roots import Root, locate

if TYPE_CHECKING:
    from ropewalk.collect.sources.files import Options
    from ropewalk.kernel.task import Task

FORMATS = {
    "csv": "csv", "tsv": "csv", "txt": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "json",
    "parquet": "parquet", "pq": "parquet", "arrow": "arrow", "feather": "arrow", "ipc": "arrow",
    "xlsx": "excel", "xls": "excel", "xlsb": "excel", "ods": "excel",
}  # fmt: skip
ROWS, BYTES = 65_536, 8 << 20  # of a batch, at most
DAMAGES = (
    EOFError, OSError, UnicodeError, lzma.LZMAError, pa.ArrowException, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
Types = Mapping[str, pa.DataType]


def read_files(options: Options, task: Task) -> pa.RecordBatchReader:
    """The rows of all files that the options name, whether they are wanted or not."""
    _check_encoding(options.encoding)
    task.took(0)
    files = _Files(options, task)
    batches = files.batches()
    first = next(batches, None)
    schema = first.schema if first is not None else files.schema()
    every = _chain(first, batches)
    return pa.RecordBatchReader.from_batches(schema, every)


class _Files:
    """The files of one step; all have the columns and types that the first of them fixes."""

    def __init__(self, options: Options, task: Task) -> None:
        self.options = options
        self.task = task
        self.declared = {name: type_of(kind) for name, kind in options.columns.items()}
        self.types: dict[str, pa.DataType] | None = None
        self.guessed: set[str] = set()  # columns of texts whose type is that of their first block
        self.without_rows: dict[str, pa.DataType] = {}
        self.records = json.Records(self.declared)
        self.spool = Spool(task.scratch)

    def schema(self) -> pa.Schema:
        """The schema where there is no row: of the first file, or of what is declared."""
        return pa.schema(list((self.types or self.without_rows or self.declared).items()))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The typed rows of every file; those of JSON come last, when all of its fields are known."""
        for root, path in self._found():
            name = f"{root.name}://{path}"
            self.task.reads(name)
            try:
                with opened(root, path) as file:
                    how = self.options.compression or packing(path)
                    most = self.task.settings.max_unpacked
                    for inner, stream in unpacked(file, name, how, most):
                        yield from self._rows(stream, inner)
            except RopewalkError:
                raise
            except pa.ArrowMemoryError as error:
                raise DataError(
                    f"a piece of the file takes more memory than a task has: {_said(error)}",
                    code="too_large",
                    file=name,
                    hint="write it in smaller batches or row groups, or raise ROPEWALK_MEMORY_LIMIT",
                ) from None
            except DAMAGES as error:
                if _of_the_way(error):
                    raise
                raise DataError(
                    f"the file is damaged: {_said(error)}",
                    code="damaged_file",
                    file=name,
                ) from None
        yield from self._spooled()

    def _found(self) -> Iterator[tuple[Root, str]]:
        patterns = [self.options.path] if isinstance(self.options.path, str) else self.options.path
        some = False
        for pattern in patterns:
            root, path = locate(pattern)
            found = root.find(path)
            some = some or bool(found)
            if not found and self.options.missing == "error":
                raise DataError(f"there is no file {pattern}", code="no_file", hint=root.near(path))
            yield from ((root, name) for name in found)
        if not some:
            self.task.warning(f"there is no file {', '.join(patterns)}: no rows")

    def _rows(self, stream: Any, name: str) -> Iterator[pa.RecordBatch]:
        kind = self.options.format or _format(name)
        yield from getattr(self, f"_{kind}")(stream, name)

    def _csv(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        options = self.options
        text = Text(stream, name, options.encoding)
        text.check("CSV")
        dialect = csv.Dialect(
            "\t" if name.endswith(".tsv") and options.delimiter == "," else options.delimiter,
            text.encoding, options.header, options.multiline,
        )  # fmt: skip
        names, start, line = csv.header_of(text, name, dialect)
        wanted = self._wanted(names, name)
        self._has_columns(pa.schema([(column, pa.string()) for column in wanted]))
        for block in csv.blocks(text, start, line, names, name, dialect):
            self.task.took(block.read)
            refuse(self.task, name, block.refused)
            if block.blank:
                self.task.drop("blank line", block.blank)
            rows = self._nulled(block.rows.select(wanted))
            types = self._fixed(rows, guess=True)
            lines = pa.array(block.lines, pa.int64())
            yield typed(self.task, rows, types, name, lines, self.guessed)

    def _jsonl(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        text = Text(stream, name, "utf-8")
        text.check("JSON")
        self.records.number = 1
        for lines in json.lines_of(text, csv.LONGEST, name):
            self._parse(lines, name)
        yield from ()

    def _json(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        limit = self.task.settings.memory_limit // 8
        text = Text(stream, name, "utf-8")
        text.check("JSON")
        document = _whole(text, limit)
        if len(document) > limit:
            raise DataError(
                f"a JSON document may have {limit >> 20} MiB here",
                code="too_large",
                file=name,
                hint="write JSON lines: *.jsonl",
            )
        try:
            lines = json.records_of(document, self.options.records)
        except DataError as error:
            raise DataError(
                f"{error.detail}", code=error.code, hint=error.hint, file=name
            ) from None
        self.records.number = 1
        self._parse(lines, name)
        yield from ()

    def _parse(self, lines: bytes, name: str) -> None:
        try:
            parsed = self.records.parse(lines)
        except DataError as error:
            error.file = name
            raise
        for table, numbers in parsed:
            self.task.took(table.num_rows)
            self.spool.write(table, numbers, name)
            self.task.progress(self.spool.rows)
        self.task.took(len(self.records.refused))
        refuse(self.task, name, self.records.refused)
        self.records.refused = []

    def _spooled(self) -> Iterator[pa.RecordBatch]:
        """The records of all JSON files, in the columns that they have together."""
        schema = self.records.schema()
        if len(schema) and self.types is None:
            self._has_columns(schema)
        for source, batch, lines in self.spool.batches(schema):
            wanted = self._wanted(schema.names, source)
            rows = batch.select(wanted)
            types = self._fixed(schema.empty_table().select(wanted))
            yield typed(self.task, rows, types, source, lines)

    def _parquet(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with seekable(stream, self.task.scratch) as file:
            opened_file = pq.ParquetFile(
                file, page_checksum_verification=True, buffer_size=BYTES, pre_buffer=False
            )
            schema = opened_file.schema_arrow
            wanted = self._wanted(schema.names, name)
            self._has_columns(pa.schema([schema.field(column) for column in wanted]))
            rows = _rows_of_batch(opened_file)
            yield from self._typed_batches(opened_file.iter_batches(rows, columns=wanted), name)

    def _arrow(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        with seekable(stream, self.task.scratch) as file:
            if file.read(6) == b"ARROW1":
                book = pa.ipc.open_file(file)
                self._has_columns(book.schema)
                every = (book.get_batch(index) for index in range(book.num_record_batches))
                yield from self._typed_batches(every, name)
                return
            file.seek(0)
            reader = pa.ipc.open_stream(file)
            self._has_columns(reader.schema)
            yield from self._typed_batches(reader, name)
            _check_end(file, name)

    def _excel(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        from ropewalk.collect.excel import read_sheet

        sheet = read_sheet(stream, self.options.sheet, name, self.task.settings.memory_limit)
        self.task.took(sheet.rows.num_rows + len(sheet.refused))
        refuse(self.task, name, sheet.refused)
        wanted = self._wanted(sheet.rows.schema.names, name)
        types = self._fixed(sheet.rows.select(wanted))
        yield typed(self.task, sheet.rows.select(wanted), types, name, sheet.lines)

    def _typed_batches(self, batches: Any, name: str) -> Iterator[pa.RecordBatch]:
        """Batches from outside, in the declared types, each checked in full.

        An offset out of range would crash a later reader, and bytes that are no UTF-8 the database.
        """
        number, size, most = 1, 0, self.task.settings.max_unpacked
        for batch in batches:
            batch.validate(full=True)
            size += batch.nbytes
            if size > most:
                raise too_large(name, most)
            wanted = self._wanted(batch.schema.names, name)
            types = self._fixed(batch.select(wanted))
            lines = pa.array(np.arange(number, number + batch.num_rows))
            number += batch.num_rows
            self.task.took(batch.num_rows)
            yield typed(self.task, batch.select(wanted), types, name, lines)

    def _wanted(self, names: list[str], file: str) -> list[str]:
        """The columns that are read: every file must have them, and no others where all are read."""
        doubled = [one for one, count in Counter(names).items() if count > 1]
        if doubled:
            raise DataError(
                f"two columns are named {min(doubled)!r}", code="duplicate_column", file=file
            )
        known = list(self.types) if self.types is not None else (self.options.select or names)
        for name in [*known, *(self.declared if self.types is None else ())]:
            if name not in names:
                raise DataError(
                    f"{file} has no column {name!r}",
                    code="unknown_column",
                    file=file,
                    hint=nearest(name, names),
                )
        more = [name for name in names if name not in known]
        if more and self.options.select is None:
            raise DataError(
                f"{file} has a column {more[0]!r}, which the files before it lack",
                code="unknown_column",
                file=file,
                hint="select: names the columns that are wanted",
            )
        return known

    def _nulled(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        columns = [nulled(column, self.options.nulls) for column in rows.columns]
        return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)

    def _has_columns(self, schema: pa.Schema) -> None:
        """Remember the columns of the first file, for when there are no rows."""
        if not self.without_rows:
            self.without_rows = {
                one.name: self.declared.get(one.name) or one.type for one in schema
            }

    def _fixed(self, rows: pa.RecordBatch, *, guess: bool = False) -> dict[str, pa.DataType]:
        """The type of each column: declared, or what the first block of the first file has."""
        if self.types is None:
            columns = zip(rows.schema.names, rows.columns, strict=True)
            self.types = {
                name: self.declared.get(name) or (infer(column) if guess else column.type)
                for name, column in columns
            }
            if guess:
                self.guessed = self.types.keys() - self.declared.keys()
        return self.types


def _whole(stream: Text, limit: int) -> bytes:
    """All that a stream has, or a little more than ``limit`` bytes of it."""
    parts, size = [], 0
    while size <= limit and (more := stream.read(json.BLOCK)):
        parts.append(more)
        size += len(more)
    return b"".join(parts)


def _rows_of_batch(file: Any) -> int:
    """How many rows of a Parquet file make a batch of bounded size, by what it says of itself.

    It does not say how often a long text is repeated: batches that have texts are smaller.
    """
    metadata = file.metadata
    narrow = all(_of_one_width(kind) for kind in file.schema_arrow.types)
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    widths: list[int] = [group.total_byte_size // max(1, group.num_rows) for group in groups]
    return max(1, min(ROWS if narrow else ROWS // 4, BYTES // max([1, *widths])))


def _of_one_width(kind: pa.DataType) -> bool:
    try:
        return int(kind.bit_width) > 0
    except ValueError:
        return False


def _check_end(file: Any, name: str) -> None:
    """DataError where a stream of Arrow has no end mark: a cut one cannot be told from a whole one otherwise."""
    at = file.tell()
    file.seek(max(0, at - len(END_OF_STREAM)))
    if file.read(len(END_OF_STREAM)) != END_OF_STREAM:
        raise DataError(
            "the stream has no end mark, so it may have been cut",
            code="damaged_file",
            file=name,
            hint="close the writer, or write an Arrow file",
        )
    if file.read(1):
        raise DataError("there is more after the stream's end", code="damaged_file", file=name)


def _said(error: Exception) -> str:
    """The first line of what an error says; some say nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _of_the_way(error: Exception) -> bool:
    """Whether an error is of the disk or the network, and not of the bytes: Arrow tells both as an OSError."""
    return isinstance(error, OSError) and (error.errno is not None or "AWS Error" in str(error))


def _format(name: str) -> str:
    """The format that a name's ending tells, packing left aside."""
    parts = name.lower().split(".")
    ending = parts[-2] if parts[-1] in PACKED and len(parts) > 1 else parts[-1]
    if ending not in FORMATS:
        raise ConfigError(
            f"{name}: no format goes by this ending", code="no_format", hint="add format: csv"
        )
    return FORMATS[ending]


def _check_encoding(name: str) -> None:
    try:
        codecs.lookup(name)
    except LookupError:
        raise ConfigError(f"there is no encoding {name!r}", hint="utf-8, latin-1, cp1252") from None


def _chain(
    first: pa.RecordBatch | None, rest: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    if first is not None:
        yield first
    yield from rest
