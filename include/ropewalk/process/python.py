"""Calling a user's Python function, and holding its result to the schema that was declared."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ropewalk.contracts.errors import ConfigError, DataError, FatalError, nearest

if TYPE_CHECKING:
    import pandas as pd

NAME = "<python>"


def call(
    code: str, table: pa.Table, schema: pa.Schema, *, engine: str, args: Mapping[str, Any]
) -> pa.Table:
    """What ``transform`` in the code makes of a table, with the declared schema."""
    function = _function(code)
    data = _frame(table) if engine == "pandas" else table
    try:
        made = function(data, **args)
    except Exception as error:
        detail = f"{type(error).__name__}: {error}{_line(error)}"
        raise FatalError(f"the python transform failed: {detail}", code="python") from error
    return _checked(made, schema, engine)


def _function(code: str) -> Callable[..., Any]:
    names: dict[str, Any] = {"__name__": "transform"}
    try:
        exec(compile(code, NAME, "exec"), names)  # noqa: S102 - what this transform is for
    except SyntaxError as error:
        raise ConfigError(
            f"the code is not Python: {error.msg} (line {error.lineno} of the code)", code="python"
        ) from None
    except Exception as error:
        detail = f"{type(error).__name__}: {error}{_line(error)}"
        raise FatalError(f"the python transform failed: {detail}", code="python") from error
    function: Any = names.get("transform")
    if not callable(function):
        raise ConfigError(
            "the code defines no function transform",
            code="python",
            hint="write def transform(data): …",
        )
    made: Callable[..., Any] = function
    return made


def _frame(table: pa.Table) -> pd.DataFrame:
    """A pandas frame in which whole numbers and truths stay what they are beside nulls."""
    import pandas as pd

    exact = {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    frame: pd.DataFrame = table.to_pandas(types_mapper=exact.get)
    return frame


def _checked(made: Any, schema: pa.Schema, engine: str) -> pa.Table:
    columns = _columns(made, engine)
    missing = [name for name in schema.names if name not in columns]
    if missing:
        raise DataError(
            f"the python transform returns no column {missing[0]!r}",
            code="python_schema",
            hint=nearest(missing[0], columns),
        )
    extra = [name for name in columns if name not in schema.names]
    if extra:
        raise DataError(
            f"the python transform returns a column {extra[0]!r} that returns does not declare",
            code="python_schema",
            hint=f"add {extra[0]} to returns, or drop it",
        )
    arrays = [_array(columns[field.name], field) for field in schema]
    return pa.table(arrays, schema=schema)


def _columns(made: Any, engine: str) -> dict[str, Any]:
    if engine == "arrow":
        if not isinstance(made, pa.Table):
            raise _not("a pyarrow.Table", made)
        return {str(name): made.column(name) for name in made.column_names}
    import pandas as pd

    if not isinstance(made, pd.DataFrame):
        raise _not("a pandas.DataFrame", made)
    return {str(name): made[name] for name in made.columns}


def _array(values: Any, field: pa.Field) -> Any:
    """A column with its declared type: what would lose a value, or read a text as one, is an error."""
    try:
        found = values if isinstance(values, pa.ChunkedArray) else pa.Array.from_pandas(values)
        if _is_text(found.type) != _is_text(field.type) and not pa.types.is_null(found.type):
            raise pa.ArrowTypeError("texts and other values are not turned into each other")
        return found.cast(field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        kind = values.type if isinstance(values, pa.ChunkedArray) else values.dtype
        said = str(error).splitlines()[0]
        raise DataError(
            f"the python transform returns {field.name!r} as {kind}, which is not {field.type}: {said}",
            code="python_schema",
            field=field.name,
        ) from None


def _is_text(kind: pa.DataType) -> bool:
    return kind in {pa.string(), pa.large_string(), pa.string_view()}


def _not(what: str, made: Any) -> DataError:
    return DataError(
        f"the python transform returns {type(made).__name__}, not {what}", code="python_schema"
    )


def _line(error: BaseException) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == NAME]
    return f" (line {lines[-1]} of the code)" if lines else ""
