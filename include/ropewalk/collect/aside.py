"""Sets rows aside: what does not parse, and what does not convert, with its file, line, column and reason."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.collect.convert import Bad, convert, rows_of
from ropewalk.kernel.task import QUARANTINE

if TYPE_CHECKING:
    from ropewalk.collect.csv import Refused
    from ropewalk.kernel.task import Task


def refuse(task: Task, source: str, refused: Sequence[Refused]) -> None:
    """Set aside lines that are not rows."""
    if refused:
        columns = {
            "source": [source] * len(refused),
            "line": [one.line for one in refused],
            "rule": ["parse"] * len(refused),
            "column": [None] * len(refused),
            "reason": [one.reason for one in refused],
            "row": [one.text.replace("\0", "\\0") for one in refused],
        }
        task.quarantine(pa.table(columns, schema=QUARANTINE))


def typed(
    task: Task,
    batch: pa.RecordBatch,
    types: Mapping[str, pa.DataType],
    source: str,
    lines: pa.Array,
    guessed: Container[str] = (),
) -> pa.RecordBatch:
    """The batch in the given types, without the rows that do not convert: those are set aside.

    So are those with a zero byte in a text, which PostgreSQL cannot hold and C cuts off.
    """
    found, bad = convert(batch, types, guessed)
    bad += _with_zero_bytes(found)
    if not bad:
        return found
    _set_aside(task, batch, bad, source, lines)
    return found.filter(pa.array(~rows_of(bad, batch.num_rows)))


def _set_aside(
    task: Task, batch: pa.RecordBatch, bad: Sequence[Bad], source: str, lines: pa.Array
) -> None:
    """Each row once, for the first column of it that does not convert."""
    seen = pa.array([], pa.int64())
    for one in bad:
        rows = one.rows.filter(pc.invert(pc.is_in(one.rows, value_set=seen)))
        seen = pa.concat_arrays([seen, rows])
        values = _shown(batch.column(one.column).take(rows))
        said = f" is no {one.type}" if one.type else " has a zero byte"
        reason = pc.binary_join_element_wise(f"{one.column}: ", values, said, "")
        size = len(rows)
        columns = [
            pa.repeat(pa.scalar(source), size),
            lines.take(rows),
            pa.repeat(pa.scalar("type"), size),
            pa.repeat(pa.scalar(one.column), size),
            reason,
            _as_json(batch.take(rows)),
        ]
        task.quarantine(pa.RecordBatch.from_arrays(columns, schema=QUARANTINE))


def _shown(values: pa.Array) -> pa.Array:
    """Values as texts for a reason."""
    if pa.types.is_nested(values.type):
        return pa.array(["the value"] * len(values))
    return pc.replace_substring(pc.cast(values, pa.string()), "\0", "\\0")


def _with_zero_bytes(batch: pa.RecordBatch) -> list[Bad]:
    """The rows of each column of texts that have a zero byte."""
    found = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if text and _has_zero(column):
            rows = pc.indices_nonzero(pc.fill_null(pc.match_substring(column, "\0"), False))
            found.append(Bad(name, "", rows.cast(pa.int64())))
    return [one for one in found if len(one.rows)]


def _has_zero(column: pa.Array) -> bool:
    """Whether there may be a zero byte in some texts: one look at their bytes."""
    if not len(column) or column.buffers()[2] is None:
        return False
    _, offsets, data = column.buffers()
    width = np.int64 if pa.types.is_large_string(column.type) else np.int32
    ends = np.frombuffer(offsets, width, column.offset + len(column) + 1)[column.offset :]
    looked = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    return len(looked) > 0 and int(looked.min()) == 0


def _as_json(batch: pa.RecordBatch) -> pa.Array:
    """Each row as a JSON object."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        connection.register("bad", pa.table(batch))
        found = connection.sql(
            "SELECT CAST(to_json(bad) AS VARCHAR) AS row FROM bad"
        ).to_arrow_table()
    return found["row"].combine_chunks().cast(pa.string())
