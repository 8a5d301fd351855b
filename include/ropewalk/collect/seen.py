"""What an incremental source took in the last stretch before its watermark, so that what comes late is taken once.

Each row or record is known by a digest of its content. The digests of the last ``overlap`` before the watermark are an
output of the task, ``seen``; the next task reads that stretch again, and drops what it finds there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.collect.marks import check_days, comparable, less, mark_before
from ropewalk.contracts.errors import FatalError, NotFoundError
from ropewalk.kernel.fingerprint import by_value, row_hashes

if TYPE_CHECKING:
    from ropewalk.contracts.durations import Length
    from ropewalk.contracts.models import Scalar
    from ropewalk.kernel.task import Task

SEEN = "seen"
DIGEST = pa.binary(16)
MANY = 1_000_000  # digests after which those that are too old are left out


class Seen:
    """The digests that the task before has left, and those that this one leaves."""

    def __init__(self, task: Task, overlap: Length) -> None:
        self._task, self._overlap = task, overlap
        self._before = self._taken_before()
        self._read: list[tuple[pa.Array, pa.Array]] = []
        self._count = 0

    def bound(self, since: Scalar) -> Scalar:
        """From where on is read: a stretch before the watermark, where it is known what was taken there."""
        return since if self._before is None else mark_before(since, self._overlap)

    def check_days(self, said: pa.Array) -> None:
        """ConfigError where the overlap is none of days, which are what the cursor's values are."""
        for day in said.drop_null()[:1]:
            check_days(day, self._overlap)

    def known(self, digests: pa.Array) -> pa.Array:
        """Which of them were taken before."""
        if self._before is None:
            return pa.repeat(pa.scalar(False), len(digests))
        return pc.is_in(digests, value_set=self._before)

    def remember(self, values: pa.Array, digests: pa.Array, highest: Any) -> None:
        """Keep what was read, known before or not, with the cursor's values; the highest so far is one of them.

        ConfigError where the overlap is none of such values.
        """
        less(highest, self._overlap)
        self._read.append((values, digests))
        self._count += len(digests)
        if self._count > MANY:
            self._prune(highest)

    def write(self, highest: Any) -> None:
        """Leave the digests for the next task; those of before stay where nothing was read."""
        self._prune(highest)
        kept = [digests for _, digests in self._read]
        if highest is None and self._before is not None:
            kept.append(self._before)
        table = pa.table({"digest": pa.chunked_array(kept, DIGEST)})
        self._task.output(table.schema, SEEN).write(table)

    def _prune(self, highest: Any) -> None:
        """Leave out what lies further back than the next task will look."""
        if highest is None:
            return
        kept = []
        for values, digests in self._read:
            bound = comparable(less(highest, self._overlap), values.type)
            recent = pc.fill_null(pc.greater(values, bound), False)
            kept.append((values.filter(recent), digests.filter(recent)))
        self._read = kept
        self._count = sum(len(digests) for _, digests in kept)

    def _taken_before(self) -> pa.Array | None:
        """The digests that the task before has left; None where it had no overlap, and nothing is read again."""
        if self._task.previous is None:
            return None
        manifest = self._task.store.manifest(self._task.previous)
        if manifest is None:
            raise _collected(self._task.previous)
        if SEEN not in manifest.report.outputs:
            return None
        try:
            table = self._task.dataset(manifest.report.outputs[SEEN]).table()
        except NotFoundError:
            raise _collected(self._task.previous) from None
        return table["digest"].combine_chunks()


def _collected(key: str) -> FatalError:
    """That it is no longer known what the task before took: rows would be missed, or come twice."""
    return FatalError(
        f"what task {key[:12]} had read in the overlap has been collected, so late rows cannot be told from known ones",
        code="collected",
        hint="run it without overlap: it takes its own rows again, no late ones (a longer retention keeps the rest)",
    )


def digests_of_rows(batch: pa.RecordBatch) -> pa.Array:
    """128 bits a row: two digests that mix the columns in different orders.

    Of numbers the value counts: SQLite's come as integers in one read, and as floats in the next that has a fraction.
    """
    return _both(batch, batch.select(batch.schema.names[::-1]))


def digests_of_texts(texts: pa.Array) -> pa.Array:
    """128 bits a text: of it, and of it from its end."""
    return _both(*(pa.record_batch([one], ["text"]) for one in (texts, pc.utf8_reverse(texts))))


def _both(one: pa.RecordBatch, other: pa.RecordBatch) -> pa.Array:
    with np.errstate(over="ignore"):
        both = np.stack([row_hashes(one, by_value), row_hashes(other, by_value)], axis=1)
    data = pa.py_buffer(np.ascontiguousarray(both).tobytes())
    return pa.Array.from_buffers(DIGEST, len(both), [None, data])
