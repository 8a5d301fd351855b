"""JSON to Arrow, block by block; a record that does not parse is told with its number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson

from ropewalk.collect.csv import NEWLINE, Refused
from ropewalk.contracts.errors import DataError

BLOCK = 8 << 20
DEEPEST = 64  # brackets within brackets
OPENING, CLOSING = list(b"[{"), list(b"]}")


@dataclass
class Records:
    """Parses blocks of JSON lines into batches of one schema, which the first block and the declared types make."""

    types: Mapping[str, pa.DataType]
    schema: pa.Schema | None = None
    number: int = 1
    refused: list[Refused] = field(default_factory=list)

    def parse(self, lines: bytes) -> pa.Table:
        """The records of some lines; those that are none are added to ``refused``."""
        data = lines.rstrip(b"\n")
        if not data:
            return (self.schema or pa.schema(list(self.types.items()))).empty_table()
        tables: list[pa.Table] = []
        self._halve(data, self.number, tables)
        self.number += data.count(b"\n") + 1
        if not tables:
            return (self.schema or pa.schema(list(self.types.items()))).empty_table()
        return pa.concat_tables(tables)

    def _halve(self, data: bytes, first: int, tables: list[pa.Table]) -> None:
        """Parse lines, or their halves where they do not parse as a whole."""
        try:
            table = self._read(data)
        except (pa.ArrowInvalid, DataError) as error:
            lines = data.split(b"\n")
            if not data.strip():
                return
            if len(lines) == 1:
                text = data.decode("utf-8", "replace")[:10_000]
                self.refused.append(Refused(first, _reason(error), text))
                return
            middle = len(lines) // 2
            self._halve(b"\n".join(lines[:middle]), first, tables)
            self._halve(b"\n".join(lines[middle:]), first + middle, tables)
            return
        if self.schema is None:
            self.schema = table.schema
        tables.append(table)

    def _read(self, data: bytes) -> pa.Table:
        if deepest(data) > DEEPEST:
            raise DataError(f"the record nests deeper than {DEEPEST} brackets")
        known = self.schema is not None
        explicit = self.schema if self.schema is not None else pa.schema(list(self.types.items()))
        return pajson.read_json(
            pa.BufferReader(data),
            read_options=pajson.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pajson.ParseOptions(
                explicit_schema=explicit if len(explicit) else None,
                unexpected_field_behavior="ignore" if known else "infer",
            ),
        )


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
            f"the document is not UTF-8: {error.reason} at byte {error.start}"
        ) from None
    except duckdb.Error as error:
        raise DataError(
            f"this is not JSON: {str(error).splitlines()[0]}", code="not_json"
        ) from None
    return _joined(column)


def _joined(column: Any) -> bytes:
    """Texts as lines."""
    import pyarrow.compute as pc

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


def _reason(error: Exception) -> str:
    text = str(error).removeprefix("JSON parse error: ").split("\n", maxsplit=1)[0]
    return text.replace(" in row 0", "")
