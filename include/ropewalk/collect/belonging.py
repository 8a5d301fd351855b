"""Which rows belong to a partition: those whose instant, in the column that ``partition_by`` names, lies in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.contracts.errors import ConfigError, nearest

if TYPE_CHECKING:
    from ropewalk.contracts.models import Partition
    from ropewalk.kernel.task import Task

INSTANT = pa.timestamp("us", "UTC")
OUTSIDE = "outside of the partition"


def belonging(rows: Any, column: str, partition: Partition) -> Any:
    """The rows of a batch or a table that belong to a partition."""
    if column not in rows.schema.names:
        hint = nearest(column, rows.schema.names)
        raise ConfigError(
            f"there is no column {column!r}", code="unknown_column", field="partition_by", hint=hint
        )
    kind = rows.schema.field(column).type
    if not pa.types.is_timestamp(kind):
        raise ConfigError(
            f"column {column!r} is {kind}, and rows belong to a partition by an instant",
            code="partition_by", field="partition_by", hint=f"columns: {{{column}: timestamp}}",
        )  # fmt: skip
    instants = rows.column(column).cast(INSTANT)
    start, end = pa.scalar(partition.start, INSTANT), pa.scalar(partition.end, INSTANT)
    return rows.filter(pc.and_(pc.greater_equal(instants, start), pc.less(instants, end)))


def only_belonging(
    reader: pa.RecordBatchReader, column: str, partition: Partition, task: Task
) -> pa.RecordBatchReader:
    """The rows of a stream that belong to a partition; the others are accounted for."""

    def batches() -> Iterator[pa.RecordBatch]:
        outside = 0
        for batch in reader:
            found = belonging(batch, column, partition)
            outside += batch.num_rows - found.num_rows
            yield found
        task.drop(OUTSIDE, outside)

    return pa.RecordBatchReader.from_batches(reader.schema, batches())
