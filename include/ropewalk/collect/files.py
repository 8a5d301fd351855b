"""Reads the files of a `sources.files` step: opened, unpacked, parsed by their format, typed and filtered."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ropewalk.collect import csv, json
from ropewalk.collect.aside import refuse, typed
from ropewalk.collect.convert import infer, nulled, type_of
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
PACKED = {"gz": "gzip", "gzip": "gzip", "zip": "zip", "zst": "zstd", "zstd": "zstd"}
Types = Mapping[str, pa.DataType]


def read_files(options: Options, task: Task) -> pa.RecordBatchReader:
    """The rows of all files that the options name, whether they are wanted or not."""
    if options.encoding.lower().replace("_", "-") not in {"utf-8", "utf8"}:
        _known_encoding(options.encoding)
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

    def schema(self) -> pa.Schema:
        """The schema where there is no row: of the first file, or of what is declared."""
        return pa.schema(list((self.types or self.declared).items()))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The typed rows of every file."""
        for root, path in self._found():
            name = f"{root.name}://{path}"
            self.task.reads(name)
            try:
                with _opened(root, path) as file:
                    for inner, stream in _unpacked(file, name, _packing(self.options, path)):
                        yield from self._rows(stream, inner)
            except RopewalkError:
                raise
            except (EOFError, zipfile.BadZipFile, pa.ArrowException, OSError) as error:
                if _of_the_way(error):
                    raise
                raise DataError(
                    f"the file is damaged: {error}", code="damaged_file", file=name
                ) from None

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

    def _rows(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        kind = self.options.format or _format(name)
        yield from getattr(self, f"_{kind}")(stream, name)

    def _csv(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        options = self.options
        dialect = csv.Dialect(
            "\t" if name.endswith(".tsv") and options.delimiter == "," else options.delimiter,
            options.encoding.lower(), options.header, options.multiline,
        )  # fmt: skip
        names, start = csv.header_of(stream, name, dialect)
        wanted = self._wanted(names, name)
        for block in csv.blocks(stream, start, names, name, dialect):
            self.task.took(block.read)
            refuse(self.task, name, block.refused)
            if block.blank:
                self.task.drop("blank line", block.blank)
            rows = self._nulled(block.rows.select(wanted))
            types = self._fixed({column: rows.column(column) for column in wanted})
            yield typed(self.task, rows, types, name, pa.array(block.lines))

    def _jsonl(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        records = json.Records(self.declared if self.types is None else self.types)
        rest = b""
        while more := stream.read(json.BLOCK):
            lines, found, rest = (rest + more).rpartition(b"\n")
            if len(rest) > csv.LONGEST:
                raise DataError(f"a line is longer than {csv.LONGEST >> 20} MiB", file=name)
            if found:
                yield from self._parsed(records, lines, name)
        yield from self._parsed(records, rest, name)

    def _json(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        limit = self.task.settings.memory_limit // 8
        document = stream.read(limit + 1)
        if len(document) > limit:
            raise DataError(
                f"a JSON document may have {limit >> 20} MiB here",
                file=name,
                hint="write JSON lines: *.jsonl",
            )
        try:
            lines = json.records_of(document, self.options.records)
        except DataError as error:
            raise DataError(
                f"{error.detail}", code=error.code, hint=error.hint, file=name
            ) from None
        yield from self._parsed(
            json.Records(self.declared if self.types is None else self.types), lines, name
        )

    def _parsed(self, records: json.Records, lines: bytes, name: str) -> Iterator[pa.RecordBatch]:
        table = records.parse(lines)
        self.task.took(len(records.refused))
        refuse(self.task, name, records.refused)
        records.refused = []
        if table.num_columns:
            yield from self._typed_batches(table.to_batches(), name)

    def _parquet(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        file = pq.ParquetFile(stream, page_checksum_verification=True)
        wanted = self._wanted(file.schema_arrow.names, name)
        yield from self._typed_batches(file.iter_batches(65_536, columns=wanted), name)

    def _arrow(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        with contextlib.suppress(pa.ArrowInvalid):
            file = pa.ipc.open_file(pa.PythonFile(stream, "r"))
            every = (file.get_batch(index) for index in range(file.num_record_batches))
            yield from self._typed_batches(self._valid(every), name)
            return
        stream.seek(0)
        yield from self._typed_batches(
            self._valid(pa.ipc.open_stream(pa.PythonFile(stream, "r"))), name
        )

    def _excel(self, stream: IO[bytes], name: str) -> Iterator[pa.RecordBatch]:
        import fastexcel

        try:
            book = fastexcel.read_excel(stream.read())
            sheet = self.options.sheet or book.sheet_names[0]
            if sheet not in book.sheet_names:
                hint = nearest(sheet, book.sheet_names)
                raise ConfigError(f"{name} has no sheet {sheet!r}", code="no_sheet", hint=hint)
            batch = book.load_sheet(sheet).to_arrow()
        except fastexcel.FastExcelError as error:
            raise DataError(
                f"{name} is no Excel file: {error}", code="damaged_file", file=name
            ) from None
        yield from self._typed_batches(pa.table(batch).to_batches(65_536), name)

    def _valid(self, batches: Any) -> Iterator[pa.RecordBatch]:
        """Batches from outside, each checked in full: an offset out of range would crash a later reader."""
        for batch in batches:
            batch.validate(full=True)
            yield batch

    def _typed_batches(self, batches: Any, name: str) -> Iterator[pa.RecordBatch]:
        """Batches that have types of their own, in the declared ones."""
        number = 1
        for batch in batches:
            wanted = self._wanted(batch.schema.names, name)
            types = self._fixed({column: batch.column(column) for column in wanted})
            lines = pa.array(np.arange(number, number + batch.num_rows))
            number += batch.num_rows
            self.task.took(batch.num_rows)
            yield typed(self.task, batch.select(wanted), types, name, lines)

    def _wanted(self, names: list[str], file: str) -> list[str]:
        """The columns that are read, which every file must have."""
        known = list(self.types) if self.types is not None else (self.options.select or names)
        for name in [*known, *(self.declared if self.types is None else ())]:
            if name not in names:
                raise DataError(
                    f"{file} has no column {name!r}",
                    code="unknown_column",
                    file=file,
                    hint=nearest(name, names),
                )
        return known

    def _nulled(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        columns = [nulled(column, self.options.nulls) for column in rows.columns]
        return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)

    def _fixed(self, columns: Mapping[str, pa.Array]) -> dict[str, pa.DataType]:
        """The type of each column: declared, or what the first block of the first file has."""
        if self.types is None:
            self.types = {
                name: self.declared.get(name)
                or (
                    infer(column)
                    if pa.types.is_string(column.type) and self._texts()
                    else column.type
                )
                for name, column in columns.items()
            }
        return self.types

    def _texts(self) -> bool:
        """Whether the format has no types of its own."""
        paths = self.options.path if isinstance(self.options.path, str) else self.options.path[0]
        return (self.options.format or _format(paths)) == "csv"


def _of_the_way(error: Exception) -> bool:
    """Whether an error is of the disk or the network, and not of the bytes: Arrow tells both as an OSError."""
    of_bytes = isinstance(error, gzip.BadGzipFile) or not isinstance(error, OSError)
    return not of_bytes and (error.errno is not None or "AWS Error" in str(error))  # type: ignore[attr-defined]


@contextmanager
def _opened(root: Root, path: str) -> Iterator[IO[bytes]]:
    with root.open(path) as file:
        yield file


def _unpacked(file: IO[bytes], name: str, packing: str) -> Iterator[tuple[str, Any]]:
    """What a file holds: itself, or what is packed in it; the names in an archive are data, never paths."""
    if packing == "gzip":
        yield name.removesuffix(".gz"), gzip.GzipFile(fileobj=file)
    elif packing == "zstd":
        import zstandard

        yield name.rpartition(".")[0], zstandard.ZstdDecompressor().stream_reader(file)
    elif packing == "zip":
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    with archive.open(member) as inner:
                        yield f"{name}/{member.filename}", inner
    else:
        yield name, file


def _packing(options: Options, path: str) -> str:
    return options.compression or PACKED.get(path.rpartition(".")[2].lower(), "none")


def _format(name: str) -> str:
    """The format that a name's ending tells, packing left aside."""
    parts = name.lower().split(".")
    ending = parts[-2] if parts[-1] in PACKED and len(parts) > 1 else parts[-1]
    if ending not in FORMATS:
        raise ConfigError(
            f"{name}: no format goes by this ending", code="no_format", hint="add format: csv"
        )
    return FORMATS[ending]


def _known_encoding(name: str) -> None:
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
