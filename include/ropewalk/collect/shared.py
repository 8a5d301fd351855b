"""Reads that the partitions of a batch share: what each would read alike, or a range of which each has its part.

What is read for several partitions is kept in the batch's scratch folder, and each partition takes its rows from
there, by the same condition as it would by itself. What the read said (which rows it refused, what it read, how
many records came) is said again for each partition that it is for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ropewalk.collect.belonging import OUTSIDE, belonging
from ropewalk.kernel.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

    from ropewalk.contracts.models import Scalar
    from ropewalk.contracts.plugins import Plugin

BOUNDS = {"partition.start", "partition.end"}


@dataclass
class Told(Task):
    """What a source says while it is read for several partitions; nothing of it is committed."""

    aside: list[pa.Table] = field(default_factory=list)

    def __post_init__(self) -> None:
        """It has no draft: nothing is put out."""

    def quarantine(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Keep rows that are set aside, for each partition to set them aside."""
        self.aside.append(pa.table(rows) if isinstance(rows, pa.RecordBatch) else rows)


@dataclass(frozen=True)
class Kept:
    """What a read has brought: its rows, mapped from a file, and what it said."""

    rows: pa.Table
    told: Told

    def say(self, task: Task, records: int | None) -> None:
        """Say it again for a partition, of whose records there were so many."""
        task.reads(*self.told.lineage.reads)
        for rule, rows in self.told.drops.items():
            task.drop(rule, rows)
        for aside in self.told.aside:
            task.quarantine(aside)
        if records is not None:
            task.took(records)


class Shared:
    """The reads of a batch. Of files, which change from partition to partition, the last are kept."""

    def __init__(self, batch: Task, connection: duckdb.DuckDBPyConnection) -> None:
        self._batch, self._connection = batch, connection
        self._files: tuple[str, Kept] | None = None
        self._range: Kept | None = None
        self._singly = not _by_bounds(batch)

    def rows(self, source: Plugin, options: Any, task: Task) -> pa.RecordBatchReader | None:
        """A partition's rows of a read that is shared; None where it must be read by itself."""
        if hasattr(source.module, "shared"):
            return self._of_files(source, options, task)
        if getattr(options, "partition_by", None) is None or self._singly:
            return None
        return self._of_range(options.partition_by, task)

    def _of_files(self, source: Plugin, options: Any, task: Task) -> pa.RecordBatchReader:
        alike = source.module.shared(options)
        if self._files is None or self._files[0] != repr(alike):
            self._files = None  # its rows go before the next ones come
            self._files = repr(alike), self._read(source, alike, task.values)
        kept = self._files[1]
        kept.say(task, kept.told.records)
        found: pa.RecordBatchReader = source.module.pick(options, kept.rows, task, self._connection)
        return found

    def _of_range(self, column: str, task: Task) -> pa.RecordBatchReader | None:
        if self._range is None:
            self._range = self._whole_range()
        if self._range is None or task.request.partition is None:
            self._singly = True
            return None
        rows = belonging(self._range.rows, column, task.request.partition)
        self._range.say(task, rows.num_rows)
        task.drop(OUTSIDE, 0)
        return rows.to_reader()

    def _whole_range(self) -> Kept | None:
        """The range of all partitions, read at once; None where a partition by itself might look different."""
        slices = self._batch.request.batch
        values = {
            **self._batch.request.values,
            "partition.start": slices[0].values["partition.start"],
            "partition.end": slices[-1].values["partition.end"],
        }
        source, options = self._told(values).use("source")
        kept = self._read(source, options, values)
        undeclared = sorted(set(kept.rows.column_names) - set(options.columns))
        if undeclared or kept.told.aside:
            why = (
                f"the type of {undeclared[0]!r} is not declared"
                if undeclared
                else "rows are refused"
            )
            self._batch.note(f"{source.name} is read partition by partition, since {why}")
            return None
        return kept

    def _read(self, source: Plugin, options: Any, values: Mapping[str, Scalar]) -> Kept:
        told = self._told(values)
        reader = source.function(options, told)
        path = self._batch.scratch / "shared.arrow"
        path.unlink(
            missing_ok=True
        )  # an earlier read's pages stay mapped as long as they are needed
        with pa.ipc.new_file(str(path), reader.schema) as file:
            for batch in reader:
                file.write_batch(batch)
        return Kept(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), told)

    def _told(self, values: Mapping[str, Scalar]) -> Told:
        batch = self._batch
        request = batch.request.model_copy(update={"batch": [], "values": dict(values)})
        return Told(
            request, batch.store, batch.settings, batch.scratch, key=batch.key, attempt=batch.attempt,
            tell=batch.tell, show=batch.show, fence=batch.fence,
        )  # fmt: skip


def _by_bounds(batch: Task) -> bool:
    """Whether the partitions of a batch differ in nothing but their bounds."""
    return set(batch.request.batch[0].values) == BOUNDS
