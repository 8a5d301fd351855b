"""Reads a query of PostgreSQL as Arrow, without a Python object per value, by ADBC: https://arrow.apache.org/adbc.

It does so by ``COPY``, which takes no bound values, and only for columns whose types it gives as `collect.sql` gives
them. A date or an instant that Arrow cannot hold ADBC wraps around to another: each batch is looked through for such.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.collect import waits
from ropewalk.contracts.errors import DataError, FatalError, RetryableError

if TYPE_CHECKING:
    import sqlalchemy as sa

# PostgreSQL's types whose values come as `collect.sql` has them.
SAME = frozenset({
    16,  # boolean
    17,  # bytea
    20, 21, 23,  # bigint, smallint, integer
    25, 1042, 1043,  # text, char(n), varchar(n)
    700, 701,  # real, double precision
    1082, 1083, 1114, 1184,  # date, time, timestamp without and with a time zone
})  # fmt: skip
READS = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
PASSES = ("08", "40", "53", "55", "57", "58")  # classes of SQLSTATE: not the query's fault
FIRST, LAST = dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 - of both kinds
DAY = 86_400_000_000  # microseconds


def serves(connection: sa.Connection, found: sa.CursorResult[Any]) -> bool:
    """Whether it gives all columns that a query has found in the types that psycopg's values become."""
    if connection.engine.dialect.name != "postgresql" or found.cursor is None:
        return False
    description: Any = found.cursor.description
    return all(column.type_code in SAME for column in description)


def read(
    connection: sa.Connection, statement: sa.TextClause, name: str, lock: str
) -> Iterator[pa.RecordBatch]:
    """The rows of a statement without values, in bounded batches, by a session like that of ``connection``.

    ``lock`` bounds its wait for one. Its COPY is one statement to the last row, and may take as long as that takes.
    DataError for a value that Arrow cannot hold; FatalError where the query is refused.
    """
    from adbc_driver_manager import Error
    from adbc_driver_manager._reader import AdbcRecordBatchReader  # a stream's error has its state
    from adbc_driver_postgresql import dbapi

    # psycopg wants a % doubled, and SQLAlchemy does so; a comment at the end must not take in what COPY has after it.
    query = str(statement.compile(dialect=connection.engine.dialect)).replace("%%", "%") + "\n"
    try:
        with dbapi.connect(_address(connection)) as session, session.cursor() as cursor:
            cursor.execute(READS)
            cursor.execute(lock)
            cursor.fetchall()
            cursor.execute(query)
            stream = cursor.fetch_arrow()
            for batch in AdbcRecordBatchReader._import_from_c(stream.address):  # noqa: SLF001
                _check(batch)
                yield _plain(batch)
    except Error as error:
        raise _told(error, name) from None


def _address(connection: sa.Connection) -> str:
    """All that the other session was opened with, the address that was checked among it."""
    from psycopg.conninfo import make_conninfo

    options = connection.connection.driver_connection.pgconn.info  # type: ignore[union-attr]
    given = {one.keyword: one.val for one in options if one.val is not None}
    return make_conninfo("", **{name.decode(): value.decode() for name, value in given.items()})


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Without what ADBC notes of each column."""
    return pa.RecordBatch.from_arrays(batch.columns, names=batch.schema.names)


def _check(batch: pa.RecordBatch) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        bounds = _bounds(column.type)
        found = pc.min_max(column.view(bounds[0].type)) if bounds else None
        if found is None or not found["min"].is_valid:
            continue
        if found["min"].as_py() < bounds[0].as_py() or found["max"].as_py() > bounds[1].as_py():
            raise DataError(
                f"column {name!r} has a value that is no {column.type}: infinity, or not of the years 1 to 9999",
                code="type",
                field=name,
                hint="CAST it in the query to a type that all values have",
            )


def _bounds(kind: pa.DataType) -> tuple[pa.Scalar, ...]:
    """The least and the greatest number that a date, a time or an instant may be."""
    if pa.types.is_date32(kind):
        return tuple(pa.scalar(one, kind).cast(pa.int32()) for one in (FIRST.date(), LAST.date()))
    if pa.types.is_timestamp(kind):
        return tuple(pa.scalar(one, pa.timestamp("us")).cast(pa.int64()) for one in (FIRST, LAST))
    return (pa.scalar(0), pa.scalar(DAY - 1)) if pa.types.is_time64(kind) else ()


def _told(error: Any, name: str) -> FatalError | RetryableError:
    """What the database says, in one line and without the query."""
    said = str(error).partition("Query was:")[0].replace("\n", " ").strip()[:500]
    if late := waits.waited(name, error.sqlstate, said):
        return late
    if error.sqlstate is None or error.sqlstate.startswith(PASSES):
        return RetryableError(
            f"the database of {name!r} does not go on: {said}", code="database_away"
        )
    return FatalError(f"the database of {name!r} refuses the query: {said}", code="query")
