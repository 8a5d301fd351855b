"""Adds a place to each address."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from ropewalk.contracts.plugins import PluginOptions
from ropewalk.kernel.task import Task

VERSION = "3"


class Options(PluginOptions):
    """``column`` holds the address."""

    column: str
    precision: int = 4


def find(options: Options, task: Task) -> None:
    """The rows, each with a place as far from here as its address is long."""
    (dataset,) = task.inputs.values()
    table = dataset.table()
    far = pc.cast(pc.utf8_length(table[options.column]), pa.float64())
    made = table.append_column("lat", pc.round(far, options.precision))
    task.output(made.schema).write(made)
    task.info(f"found {made.num_rows} places")
