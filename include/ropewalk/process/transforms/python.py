"""A Python function of the whole table, as a pandas frame or an Arrow table, in the task's own process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from ropewalk.contracts.plugins import TransformOptions
from ropewalk.contracts.template import Code
from ropewalk.process.relations import Computed, Relation, Relations
from ropewalk.process.types import data_type

if TYPE_CHECKING:
    import pyarrow as pa


class Options(TransformOptions):
    """``code`` defines ``transform(data)``; ``returns`` states the columns that it gives, and their types.

    ``args`` are handed over by name: ``transform(data, **args)``. The whole table is in memory at once.
    """

    shorthand: ClassVar[str | None] = "code"

    code: Annotated[str, Code()]
    returns: dict[str, str] = Field(min_length=1)
    engine: Literal["pandas", "arrow"] = "pandas"
    args: dict[str, Any] = Field(default_factory=dict)


def transform(options: Options, this: Relation, relations: Relations) -> Computed:  # noqa: ARG001
    """What the function makes of the rows."""
    returns = {name: data_type(word, relations) for name, word in options.returns.items()}

    def call(table: pa.Table, schema: pa.Schema) -> pa.Table:
        from ropewalk.process.python import call as run

        return run(options.code, table, schema, engine=options.engine, args=options.args)

    return Computed(call, returns)
