"""Keeps batches on disk while their columns are still being found: a field may come with the last record."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

BATCH = 65_536


@dataclass
class Spool:
    """Tables of any schemas in the order in which they came, each with its source and its lines."""

    folder: Path
    rows: int = 0
    _files: list[tuple[Path, str]] = field(default_factory=list)
    _writer: Any = None
    _schema: pa.Schema | None = None

    def write(self, table: pa.Table, lines: pa.Array, source: str) -> None:
        """Keep a table whose rows have these lines of the source."""
        whole = table.append_column("line", lines)
        if self._writer is None or whole.schema != self._schema or source != self._files[-1][1]:
            self._begin(whole.schema, source)
        self._writer.write_table(whole, BATCH)
        self.rows += table.num_rows

    def batches(self, schema: pa.Schema) -> Iterator[tuple[str, pa.RecordBatch, pa.Array]]:
        """Every batch with its source and its lines, what it lacks of a schema as nulls."""
        self._end()
        files, self._files = self._files, []
        for path, source in files:
            with pa.memory_map(str(path)) as file:
                for batch in pa.ipc.open_stream(file):
                    *columns, lines = batch.columns
                    rows = pa.RecordBatch.from_arrays(columns, batch.schema.names[:-1])
                    yield source, _aligned(rows, schema), lines
            path.unlink()

    def _begin(self, schema: pa.Schema, source: str) -> None:
        self._end()
        path = self.folder / f"spool-{secrets.token_hex(6)}.arrow"
        self._files.append((path, source))
        self._writer = pa.ipc.new_stream(str(path), schema)
        self._schema = schema

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _aligned(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of a schema, each in the type that the batch has it in."""
    columns = [
        batch[one.name] if one.name in batch.schema.names else pa.nulls(batch.num_rows, one.type)
        for one in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema.names)
