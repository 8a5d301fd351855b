"""Sheets of Excel files as Arrow: what a cell holds that its column has no value for is told, never left out."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa

from ropewalk.collect.csv import Refused
from ropewalk.collect.unpack import archive_of
from ropewalk.contracts.errors import ConfigError, DataError, nearest

SHARE = 4  # of a task's memory, what a file may be; it is held whole, and its sheet beside it
RENAMED = re.compile(r"^(.*)_\d+$")


@dataclass
class Sheet:
    """The rows of a sheet, the line of each, and the rows that have a cell in error."""

    rows: pa.RecordBatch
    lines: pa.Array
    refused: list[Refused]


def read_sheet(stream: IO[bytes], wanted: str | None, name: str, memory: int) -> Sheet:
    """A sheet of a file, the first where none is named; DataError for a file that is none."""
    import fastexcel

    data = _bounded(stream, name, memory)
    try:
        book = fastexcel.read_excel(data)
        if not book.sheet_names:
            raise DataError("the file has no sheet", code="damaged_file", file=name)
        sheet = wanted or book.sheet_names[0]
        if sheet not in book.sheet_names:
            hint = nearest(sheet, book.sheet_names)
            raise ConfigError(f"{name} has no sheet {sheet!r}", code="no_sheet", hint=hint)
        loaded = book.load_sheet(sheet, schema_sample_rows=None)
        _check_header(book, sheet, loaded, name)
        batch, errors = loaded.to_arrow_with_errors()
    except fastexcel.FastExcelError as error:
        said = str(error).splitlines()[0]
        raise DataError(f"this is no Excel file: {said}", code="damaged_file", file=name) from None
    return _without_errors(batch, errors.errors if errors else [], sheet)


def _bounded(stream: IO[bytes], name: str, memory: int) -> bytes:
    """The whole file; DataError where it, or what is packed in it, would not fit in memory."""
    most = memory // SHARE
    data = stream.read(most + 1)
    if len(data) > most:
        raise _too_large(name, most)
    if zipfile.is_zipfile(io.BytesIO(data)):
        _check_packed(data, name, memory)
    return data


def _check_packed(data: bytes, name: str, most: int) -> None:
    """DataError for what is packed in a file, where it is too large or was bent: the library does not look."""
    with archive_of(io.BytesIO(data)) as archive:
        if sum(one.file_size for one in archive.infolist()) > most:
            raise _too_large(name, most)
        bent = archive.testzip()
    if bent is not None:
        raise DataError(
            f"the file is damaged: {bent} in it is not what was written",
            code="damaged_file",
            file=name,
        )


def _too_large(name: str, most: int) -> DataError:
    return DataError(
        f"an Excel file may hold {most >> 20} MiB here", code="too_large", file=name,
        hint="save it as CSV, which is read piece by piece",
    )  # fmt: skip


def _check_header(book: Any, sheet: str, loaded: Any, name: str) -> None:
    """DataError for a column without a name, and for two of one name: the library would invent others."""
    for column in loaded.available_columns():
        if column.column_name_from == "generated":
            raise DataError(
                f"column {column.index + 1} of sheet {sheet!r} has no name",
                code="header",
                file=name,
                line=1,
            )
    names = [column.name for column in loaded.available_columns()]
    if any((match := RENAMED.match(one)) and match[1] in names for one in names):
        header = book.load_sheet(sheet, header_row=None, n_rows=1, dtypes="string").to_arrow()
        told = [column[0].as_py() for column in header.columns] if header.num_rows else []
        doubled = sorted({one for one in told if one and told.count(one) > 1})
        if doubled:
            raise DataError(
                f"two columns of sheet {sheet!r} are named {doubled[0]!r}",
                code="header",
                file=name,
                line=1,
            )


def _without_errors(batch: pa.RecordBatch, errors: list[Any], sheet: str) -> Sheet:
    lines = np.arange(2, batch.num_rows + 2)
    keep = np.ones(batch.num_rows, bool)
    refused = {}
    for error in errors:
        row, column = error.offset_position
        if keep[row]:
            keep[row] = False
            values = batch.slice(row, 1).to_pylist()[0]
            reason = f"{batch.schema.names[column]}: {error.detail}"
            refused[row] = Refused(row + 2, f"sheet {sheet!r}: {reason}", str(values)[:10_000])
    return Sheet(batch.filter(pa.array(keep)), pa.array(lines[keep]), list(refused.values()))
