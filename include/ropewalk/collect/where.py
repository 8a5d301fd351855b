"""Filters a stream of batches by a condition in SQL, in the locked-down DuckDB; values are bound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pyarrow as pa

from ropewalk.contracts.errors import ConfigError
from ropewalk.kernel.duck import bound, duck

if TYPE_CHECKING:
    import duckdb

    from ropewalk.kernel.task import Task

BATCH = 65_536


def where(
    rows: pa.RecordBatchReader | pa.Table,
    condition: str,
    task: Task,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> pa.RecordBatchReader:
    """The rows for which a condition holds; the others are accounted for as dropped by ``where``."""
    text, parameters = bound(_checked(condition), task.values)
    schema = rows.schema
    read = rows.num_rows if isinstance(rows, pa.Table) else 0
    faults: list[BaseException] = []

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal read
        try:
            for batch in rows:
                read += batch.num_rows
                yield batch
        except BaseException as error:
            faults.append(error)  # DuckDB would tell its text alone
            raise

    def kept() -> Iterator[pa.RecordBatch]:
        left = 0
        stream = pa.RecordBatchReader.from_batches(schema, counted())
        with nullcontext(connection) if connection else duck(task) as opened, _explained(faults):
            opened.register("data", rows if isinstance(rows, pa.Table) else stream)
            found = opened.sql(f"SELECT * FROM data WHERE {text}", params=parameters)  # noqa: S608 - checked
            for batch in found.to_arrow_reader(BATCH):
                left += batch.num_rows
                yield batch.cast(schema) if batch.schema != schema else batch
        task.drop("where", read - left)

    return pa.RecordBatchReader.from_batches(schema, kept())


@contextmanager
def _explained(faults: list[BaseException]) -> Iterator[None]:
    """What is wrong with the condition; what was wrong with the rows as it was told."""
    import duckdb

    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        if faults:
            raise faults[0] from None
        if not isinstance(error, _of_the_condition()):
            raise
        raise ConfigError(
            f"where: {str(error).splitlines()[0]}", code="where", field="where"
        ) from None


def _of_the_condition() -> tuple[type[Exception], ...]:
    import duckdb

    return (
        duckdb.ParserException,
        duckdb.BinderException,
        duckdb.CatalogException,
        duckdb.PermissionException,
        duckdb.DataError,
    )


def _checked(condition: str) -> str:
    """The condition, if it is one expression and nothing more."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    from ropewalk.contracts.template import REFERENCE

    plain = REFERENCE.sub("NULL", condition)
    try:
        parsed = sqlglot.condition(plain, dialect="duckdb")
        statements = sqlglot.parse(f"SELECT * FROM data WHERE ({plain})", dialect="duckdb")  # noqa: S608 - parsed only
    except SqlglotError as error:
        raise ConfigError(
            f"where is no condition: {str(error).splitlines()[0]}", code="where", field="where"
        ) from None
    if len(statements) != 1:
        raise ConfigError("where is one condition", code="where", field="where")
    if parsed.find(exp.Query):
        raise ConfigError(
            "where is a condition over the rows' own columns", code="where", field="where",
            hint="a query over several relations is a process step's",
        )  # fmt: skip
    return f"({condition})"
