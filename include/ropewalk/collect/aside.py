"""Sets rows aside: what does not parse, and what does not convert, with its file, line, column and reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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
            "row": [one.text for one in refused],
        }
        task.quarantine(pa.table(columns, schema=QUARANTINE))


def typed(
    task: Task,
    batch: pa.RecordBatch,
    types: Mapping[str, pa.DataType],
    source: str,
    lines: pa.Array,
) -> pa.RecordBatch:
    """The batch in the given types, without the rows that do not convert: those are set aside."""
    found, bad = convert(batch, types)
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
        values = pc.cast(batch.column(one.column).take(rows), pa.string())
        reason = pc.binary_join_element_wise(f"{one.column}: ", values, f" is no {one.type}", "")
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


def _as_json(batch: pa.RecordBatch) -> pa.Array:
    """Each row as a JSON object."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        connection.register("bad", pa.table(batch))
        found = connection.sql(
            "SELECT CAST(to_json(bad) AS VARCHAR) AS row FROM bad"
        ).to_arrow_table()
    return found["row"].combine_chunks().cast(pa.string())
