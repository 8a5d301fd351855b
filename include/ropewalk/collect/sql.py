"""Reads the query of a `sources.sql` step in a transaction that can only read, batch by batch."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ropewalk.collect import adbc, waits
from ropewalk.collect.aside import typed
from ropewalk.collect.compare import check_order, compared
from ropewalk.collect.convert import type_of
from ropewalk.collect.outside import reachable
from ropewalk.collect.window import Window
from ropewalk.contracts.errors import ConfigError, DataError, FatalError, RetryableError, nearest
from ropewalk.contracts.template import REFERENCE, bind

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ropewalk.collect.sources.sql import Options
    from ropewalk.kernel.task import Task

BATCH, BYTES = 50_000, 32 << 20  # of a batch, at most
FETCH = 500  # rows that the driver holds
FEW = 5_000  # rows that are not worth another session
SAMPLED = 50  # of so many rows, one is measured
PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521}
FIXED = {
    bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string(), bytes: pa.binary(),
    dt.date: pa.date32(), dt.time: pa.time64("us"), uuid.UUID: pa.string(),
}  # fmt: skip


def read_query(options: Options, task: Task) -> pa.RecordBatchReader:
    """The rows as batches of one schema, which the database's types make."""
    task.took(0)
    batches = _batches(options, task)
    first = next(batches)

    def every() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    return pa.RecordBatchReader.from_batches(first.schema, every())


def _batches(options: Options, task: Task) -> Iterator[pa.RecordBatch]:
    declared = {name: type_of(kind) for name, kind in options.columns.items()}
    window = _window(options, task)
    with _connected(options, task) as connection:
        statement, values = _statement(options, task, connection, window)
        found = connection.execute(statement, values)
        names = list(found.keys())
        _check_names(names, declared)
        kinds = _types(found, connection.engine.dialect.name)
        if options.cursor is not None:
            _check_cursor(options.cursor.column, names)
        number = 0
        lock = waits.for_lock(task.settings)
        for rows in _rows(options, connection, statement, values, found, kinds, declared, lock):
            task.took(rows.num_rows)
            if options.cursor is not None:
                column = options.cursor.column
                check_order(connection.engine.dialect.name, rows.column(column), column)
            batch = window.taken(rows) if window is not None else rows
            yield _declared(task, options, batch, declared, number)
            number += rows.num_rows
        if not number:
            schema = pa.schema(
                [
                    (n, declared.get(n) or k or pa.string())
                    for n, k in zip(names, kinds, strict=True)
                ]
            )
            yield pa.RecordBatch.from_pylist([], schema)
        if window is not None:
            window.close()


def _rows(
    options: Options,
    connection: sa.Connection,
    statement: sa.TextClause,
    values: dict[str, Any],
    found: Any,
    kinds: list[pa.DataType | None],
    declared: Collection[str],
    lock: str,
) -> Iterator[pa.RecordBatch]:
    """What the query has found, as Arrow: by ADBC where it serves, else by way of Python's values."""
    names, fetches = list(found.keys()), iter(partial(found.fetchmany, FETCH), [])
    first = next(_chunks(fetches, FEW), [])
    more = next(fetches, None)
    if more is not None and not values and adbc.serves(connection, found):
        found.close()
        yield from adbc.read(connection, statement, options.connection, lock)
        return
    for rows in _chunks(itertools.chain([first, more or []], fetches), BATCH):
        batch = _batch(rows, names, kinds)
        kinds = _kept(kinds, batch, declared)
        yield batch


def _chunks(fetches: Iterable[Sequence[Any]], most: int) -> Iterator[list[Any]]:
    """The rows in lists of bounded length and size."""
    rows: list[Any] = []
    size = 0
    for more in fetches:
        rows += more
        size += SAMPLED * sum(_size(row) for row in more[::SAMPLED])
        if len(rows) >= most or size >= BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _size(row: Sequence[Any]) -> int:
    return sum(len(value) for value in row if isinstance(value, str | bytes))


def _kept(
    kinds: Sequence[pa.DataType | None], batch: pa.RecordBatch, declared: Collection[str]
) -> list[pa.DataType | None]:
    """The types of the batches after the first: where one is declared, each batch may have its own."""
    return [
        kind if field.name in declared else field.type
        for kind, field in zip(kinds, batch.schema, strict=True)
    ]


def _declared(
    task: Task,
    options: Options,
    batch: pa.RecordBatch,
    declared: dict[str, pa.DataType],
    number: int,
) -> pa.RecordBatch:
    kinds = {field.name: declared.get(field.name, field.type) for field in batch.schema}
    lines = pa.array(np.arange(number + 1, number + batch.num_rows + 1))
    return typed(task, batch, kinds, options.connection, lines)


def _statement(
    options: Options, task: Task, connection: sa.Connection, window: Window | None
) -> tuple[Any, dict[str, Any]]:
    """The query with its values bound, from the cursor's place on."""
    import sqlalchemy as sa

    quote = partial(_quoted, connection.engine.dialect)
    values: dict[str, Any] = {}
    if options.table is not None:
        text = f"SELECT * FROM {'.'.join(quote(part) for part in options.table.split('.'))}"  # noqa: S608 - quoted
    else:
        query = str(options.query).strip().rstrip(";")
        _, values = bind(query, task.values)
        text = REFERENCE.sub(lambda match: f":{match.group(1).replace('.', '_')}", _colons(query))
    if options.cursor is None or window is None:
        return sa.text(text), values
    after, until = window.bounds
    bounds = {"since": (">", after), "until": ("<=", until)}
    column = quote(options.cursor.column)
    told = {name: bound for name, bound in bounds.items() if bound[1] is not None}
    if not told:
        return sa.text(text), values
    side, bind_mark = compared(connection, text, values, column)
    where = " AND ".join(f"{side} {sign} :ropewalk_{name}" for name, (sign, _) in told.items())
    marks = {f"ropewalk_{name}": bind_mark(mark) for name, (_, mark) in told.items()}
    text = f"SELECT * FROM ({text}\n) AS source WHERE {where}"  # noqa: S608 - quoted
    return sa.text(text), values | marks


def _window(options: Options, task: Task) -> Window | None:
    cursor = options.cursor
    return None if cursor is None else Window(task, cursor.column, cursor.start, cursor.overlap)


def _check_cursor(column: str, names: Sequence[str]) -> None:
    if column not in names:
        hint = nearest(column, names)
        raise ConfigError(
            f"the query has no column {column!r}, which the cursor names", code="cursor", hint=hint
        )


def _quoted(dialect: sa.Dialect, name: str) -> str:
    """A name in a text of SQLAlchemy, which takes a colon for a parameter and doubles every percent sign once more."""
    hidden = name.replace("%", "\0")
    return _colons(dialect.identifier_preparer.quote(hidden).replace("\0", "%"))


def _colons(query: str) -> str:
    """A query's own colons (``::date``, ``'12:30'``) as SQLAlchemy takes them for text."""
    return query.replace(":", r"\:")


@contextmanager
def _connected(options: Options, task: Task) -> Iterator[sa.Connection]:
    """A connection that can only read; what goes wrong is told without the connection's secrets."""
    import sqlalchemy as sa
    from sqlalchemy import exc

    name = options.connection
    try:
        url = sa.make_url(_url(str(task.connection(name).secret("url")), name))
        engine = sa.create_engine(
            url, poolclass=sa.NullPool, connect_args=_checked(url, task.settings.private_hosts)
        )
    except (exc.ArgumentError, exc.NoSuchModuleError) as error:
        raise ConfigError(
            f"the connection {name!r} is no SQLAlchemy URL: {type(error).__name__}"
        ) from None
    except ImportError as error:
        raise ConfigError(
            f"the connection {name!r} needs a library: {error}", code="library"
        ) from None
    task.reads(_dataset(engine.url, options))
    try:
        with (
            engine.connect().execution_options(**_reading(engine)) as connection,
            connection.begin(),
        ):
            if engine.dialect.name == "postgresql":
                for bound in (waits.for_lock(task.settings), waits.for_rows(task.settings)):
                    connection.execute(sa.text(bound)).all()
            yield connection
    except exc.OperationalError as error:
        state = getattr(error.orig, "sqlstate", None)
        if late := waits.waited(name, state, _said(error)):
            raise late from None
        if _of_the_query(error, engine):
            raise _refuses(name, error) from None
        raise RetryableError(
            f"the database of {name!r} cannot be reached: {_said(error)}", code="database_away"
        ) from None
    except exc.DBAPIError as error:
        raise _refuses(name, error) from None


def _checked(url: sa.URL, allowed: Collection[str]) -> dict[str, Any]:
    """What has libpq connect to the addresses that were checked, and notice when nobody is there any more.

    Other drivers resolve a checked name again.
    """
    backend = url.get_dialect().name
    hosts = [host for host in _hosts(url) if not host.startswith("/")]  # a folder: a Unix socket
    try:
        port = url.port or int(str(url.query.get("port", PORTS.get(backend, 0))))
        found = [reachable(host, port, allowed)[0] for host in hosts]
    except OSError:
        raise RetryableError("the database's host has no address", code="database_away") from None
    if backend != "postgresql":
        return {}
    lively = {name: value for name, value in waits.LIVELY.items() if name not in url.query}
    pinned = len(found) == 1 and "hostaddr" not in url.query
    return {**lively, **({"hostaddr": found[0]} if pinned else {})}


def _hosts(url: sa.URL) -> list[str]:
    """The hosts that a URL names, in its place or in its query; libpq goes to ``hostaddr`` before ``host``."""
    hosts = [url.host] if url.host else []
    for key in ("host", "hostaddr"):
        named = url.query.get(key, ())
        for text in (named,) if isinstance(named, str) else named:
            hosts += [one for one in text.split(",") if one]
    return hosts


def _of_the_query(error: Any, engine: sa.Engine) -> bool:
    """Whether an error of SQLite is of the query: it calls all of them operational."""
    away = ("unable to open", "locked", "disk I/O")
    return engine.dialect.name == "sqlite" and not any(word in str(error.orig) for word in away)


def _refuses(name: str, error: Any) -> FatalError:
    return FatalError(f"the database of {name!r} refuses the query: {_said(error)}", code="query")


def _reading(engine: sa.Engine) -> dict[str, Any]:
    options: dict[str, Any] = {"stream_results": True, "max_row_buffer": FETCH}
    if engine.dialect.name == "postgresql":
        options |= {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
    return options


def _url(url: str, name: str) -> str:
    if not url:
        raise ConfigError(f"the connection {name!r} has no url", code="connection")
    for scheme in ("postgresql://", "postgres://"):
        url = url.replace(scheme, "postgresql+psycopg://", 1) if url.startswith(scheme) else url
    return url


def _dataset(url: sa.URL, options: Options) -> str:
    """The database as OpenLineage names it."""
    scheme = "postgres" if url.get_backend_name() == "postgresql" else url.get_backend_name()
    place = f"{url.host}:{url.port or 5432}" if url.host else "local"
    return f"{scheme}://{place}/{url.database}" + (f".{options.table}" if options.table else "")


def _said(error: Any) -> str:
    """What the database says, in one line."""
    lines = [line.strip() for line in str(error.orig).splitlines() if line.strip()]
    return " ".join(lines[:3])[:500]


def _check_names(names: Sequence[str], declared: dict[str, pa.DataType]) -> None:
    doubled = sorted({name for name in names if list(names).count(name) > 1})
    if doubled:
        raise DataError(
            f"two columns of the query are named {doubled[0]!r}", code="duplicate_column"
        )
    for name in declared:
        if name not in names:
            raise ConfigError(
                f"the query has no column {name!r}",
                code="unknown_column",
                hint=nearest(name, names),
            )


def _types(found: Any, dialect: str) -> list[pa.DataType | None]:
    """The type of each column, where the database's driver tells it."""
    if dialect != "postgresql":
        return [None] * len(found.keys())
    return [_postgres_type(column) for column in found.cursor.description]


def _postgres_type(column: Any) -> pa.DataType | None:
    by_oid: dict[int, pa.DataType] = {
        16: pa.bool_(), 17: pa.binary(), 20: pa.int64(), 21: pa.int16(), 23: pa.int32(), 25: pa.string(),
        26: pa.int64(), 114: pa.string(), 700: pa.float32(), 701: pa.float64(), 1042: pa.string(),
        1043: pa.string(), 1082: pa.date32(), 1083: pa.time64("us"), 1114: pa.timestamp("us"),
        1184: pa.timestamp("us", "UTC"), 2950: pa.string(), 3802: pa.string(),
    }  # fmt: skip
    numeric = 1700
    if column.type_code == numeric and column.precision and column.precision <= 38:  # noqa: PLR2004
        return pa.decimal128(column.precision, column.scale or 0)
    return by_oid.get(column.type_code)


def _batch(
    rows: Sequence[Any], names: Sequence[str], kinds: Sequence[pa.DataType | None]
) -> pa.RecordBatch:
    """A batch of fetched rows, column by column."""
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    arrays = [
        _array(values, kind, name) for values, kind, name in zip(columns, kinds, names, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


def _array(values: Sequence[Any], kind: pa.DataType | None, name: str) -> pa.Array:
    """A column of Python values; types that Arrow does not know become texts."""
    sample = next((value for value in values if value is not None), None)
    if isinstance(sample, uuid.UUID):
        values = [None if value is None else str(value) for value in values]
    elif (isinstance(sample, dict | list) and kind is None) or (
        kind == pa.string() and isinstance(sample, dict | list)
    ):
        import json

        values = [None if value is None else json.dumps(value, default=str) for value in values]
    elif isinstance(sample, decimal.Decimal) and kind is None:
        kind = pa.decimal128(38, 10)
    elif kind == pa.string() and not isinstance(sample, str | None):
        values = [None if value is None else str(value) for value in values]
    try:
        found = pa.array(values, kind)
    except (pa.ArrowException, OverflowError) as error:
        what = "a value" if kind is None else f"a value that is no {kind}"
        raise DataError(
            f"column {name!r} has {what}: {str(error).splitlines()[0]}",
            code="type",
            field=name,
            hint="CAST it in the query to a type that all values have",
        ) from None
    if pa.types.is_timestamp(found.type) and found.type.tz is None and kind is None:
        return pc.cast(found, pa.timestamp("us"))
    return pc.cast(found, pa.string()) if pa.types.is_null(found.type) else found
