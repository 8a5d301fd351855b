"""The columns that an analysis reads: found by name, as numbers, without the rows that lack a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.contracts.errors import ConfigError, DataError, nearest
from ropewalk.contracts.models import ColumnSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ropewalk.kernel.datasets import Dataset
    from ropewalk.kernel.task import Task

    Floats = NDArray[np.float64]

MOST_LEVELS = 100
DIGITS = 10


def only_input(task: Task, besides: str | None = None) -> tuple[str, Dataset]:
    """The one input of an analysis, one that the options name left aside."""
    names = [name for name in task.inputs if name != besides]
    if len(names) != 1:
        raise ConfigError(
            f"the analysis reads one step, not {len(names)}", code="inputs", hint="from: one_step"
        )
    return names[0], task.input(names[0])


def check_columns(dataset: Dataset, names: Iterable[str], *, option: str) -> None:
    """ConfigError for a name that the dataset has no column of."""
    known = dataset.schema.names
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{option}: the data has no column {name!r}",
                code="unknown_column",
                field=option,
                hint=nearest(name, known),
            )


def is_number(kind: pa.DataType) -> bool:
    """Whether a type's values are numbers, or can be counted as such."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def need_numbers(dataset: Dataset, names: Iterable[str], *, option: str) -> None:
    """ConfigError for a column that is not of numbers."""
    for name in names:
        kind = dataset.schema.field(name).type
        if not is_number(kind):
            raise ConfigError(
                f"{option}: column {name!r} is {kind}, not a number", code="not_a_number", field=option,
                hint="cast it in a process step",
            )  # fmt: skip


def numbers(column: pa.Array) -> Floats:
    """A column without nulls, as doubles."""
    found: Floats = np.asarray(pc.cast(column, pa.float64()))
    return found


def rounded(values: Floats) -> Floats:
    """Values with as many digits as do not hang on the order in which rows were added up."""
    with np.errstate(divide="ignore", invalid="ignore"):
        places = DIGITS - 1 - np.floor(np.log10(np.abs(values)))
        found: Floats = np.where(
            np.isfinite(places), np.round(values * 10.0**places) / 10.0**places, values
        )
    return found


def trace(task: Task, source: str, columns: dict[str, Sequence[str]]) -> None:
    """Record which columns of the input each column of the output is made from."""
    task.column_lineage(
        {
            name: [ColumnSource(dataset=source, column=one) for one in made]
            for name, made in columns.items()
        }
    )


@dataclass
class Frame:
    """Rows of chosen columns, complete ones only, in batches that can be read again and again."""

    dataset: Dataset
    names: list[str]
    missing: int = field(default=0, init=False)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows that have a value in every column."""
        self.missing = 0
        for batch in self.dataset.reader():
            chosen = batch.select(self.names)
            whole = reduce(pc.and_, (_present(column) for column in chosen.columns))
            complete = chosen.filter(whole)
            self.missing += batch.num_rows - complete.num_rows
            if complete.num_rows:
                yield complete

    def levels(self, name: str) -> list[Any]:
        """The different values of a column, sorted; DataError where there are too many to count each."""
        found: set[Any] = set()
        for batch in self.batches():
            found.update(pc.unique(batch.column(name)).to_pylist())
            if len(found) > MOST_LEVELS:
                raise DataError(
                    f"column {name!r} has more than {MOST_LEVELS} different values: too many for a category",
                    code="too_many_levels", field=name,
                )  # fmt: skip
        return sorted(found)

    def empty(self, name: str) -> bool:
        """Whether a column has no value at all."""
        return all(
            batch.column(name).null_count == batch.num_rows for batch in self.dataset.reader()
        )


def _present(column: pa.Array) -> pa.Array:
    """Which rows have a value; a NaN is none."""
    valid = pc.is_valid(column)
    if pa.types.is_floating(column.type):
        return pc.and_(valid, pc.fill_null(pc.is_finite(column), fill_value=False))
    return valid
