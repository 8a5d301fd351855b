"""Publishes the inputs of a `sinks.postgres` step: data, ledger and order of requests in one transaction.

The tables may lie in several databases: then `in_doubt` makes one transaction of theirs.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
from psycopg import errors as pg
from psycopg import sql

from ropewalk.contracts.errors import ConfigError, DataError, FatalError
from ropewalk.contracts.models import Published
from ropewalk.kernel.failpoints import failpoint
from ropewalk.store import in_doubt, ledger, reaper, sessions
from ropewalk.store.columns import (
    LOAD,
    OWN,
    PARTITION,
    Table,
    as_columns,
    ensure,
    fits,
    look,
    need_key,
    postgres_types,
    refuse_rounding,
)
from ropewalk.store.encode import encoded
from ropewalk.store.in_doubt import Database
from ropewalk.store.ledger import Found, Load
from ropewalk.store.sessions import Statement, together, told

if TYPE_CHECKING:
    from ropewalk.kernel.datasets import Dataset
    from ropewalk.kernel.task import Task
    from ropewalk.store.sinks.postgres import Options

AHEAD = 4  # blocks that are encoded while others are sent
IDLE = 0.8  # of a lease: so long a transaction stays open of which nothing is heard
SAFE = """
SELECT set_config('idle_in_transaction_session_timeout', %s, true),
    CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END
"""
KEY_OF = """
SELECT attname FROM pg_index CROSS JOIN unnest(indkey) WITH ORDINALITY AS one (number, place)
    JOIN pg_attribute ON attrelid = indrelid AND attnum = one.number
WHERE indexrelid = to_regclass(%s) AND indrelid = to_regclass(%s) ORDER BY place
"""
WHOLE = """
SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
    AND (attname = ANY(%s) OR NOT atthasdef AND attidentity = '') ORDER BY attnum
"""


@dataclass(frozen=True)
class Seen:
    """What was in a database when its session began: whether the ledger, and the columns of each table."""

    ledger: bool
    columns: list[list[Any]]


@dataclass(frozen=True)
class Loaded:
    """What became of a load, and how many of its rows it wrote: the others are a later request's."""

    load: Load
    what: str
    rows: int


@dataclass(frozen=True)
class Staged:
    """How rows go by way of another table: their columns, the key by which they meet others, and whether late."""

    schema: pa.Schema
    key: list[str]
    late: bool


def publish(options: Options, task: Task) -> None:
    """Publish every input, all or none of them."""
    if options.mode == "replace_partition" and task.request.partition is None:
        raise ConfigError(
            "mode replace_partition needs a workflow with partitions",
            code="no_partition",
            hint="mode: replace",
        )
    tables = {(options.database(step), options.table(step)) for step in task.request.inputs}
    if len(tables) < len(task.request.inputs):
        raise ConfigError(
            "two inputs go to one table: each takes the other's place", code="one_table"
        )
    with _opened(options, task) as opened:
        databases = [one for one, _ in opened]
        failpoint("sink.connected")
        in_doubt.prepare(databases, task)
        for one, seen in opened:
            with told(one.name):
                _have_tables(one, seen, options, task)
        found = _commit(databases, options, task)
        hosts = {step: sessions.host(one.session) for one in databases for step in one.tables}
    for step, loaded in found.items():
        _report(task, step, loaded, f"{hosts[step]}.{loaded.load.table}")


@contextmanager
def _opened(options: Options, task: Task) -> Iterator[list[tuple[Database, Seen]]]:
    """A session with each database, and what is there; those of earlier attempts are ended."""
    tables: dict[str, dict[str, Table]] = {}
    for step in task.request.inputs:  # which are opened when nobody before can commit any more
        table = Table(options.schema_, options.table(step))
        tables.setdefault(options.database(step), {})[step] = table
    with ExitStack() as stack:
        opened = []
        for name in sorted(tables):  # everyone's order: two tasks do not wait for each other
            with told(name):
                tag = reaper.tag(task.key, task.attempt)
                session = stack.enter_context(sessions.opened(name, tag))
                there, *columns = reaper.take_over(
                    session, task.key, task.attempt, task.settings.lock_seconds,
                    ledger.THERE, *map(look, tables[name].values()),
                )  # fmt: skip
            one = Database(name, session, tables[name], alone=len(tables) == 1)
            opened.append((one, Seen(there == [(True,)], columns)))
        yield opened


def _have_tables(database: Database, seen: Seen, options: Options, task: Task) -> None:
    """Have the ledger, and the tables with the columns of the data."""
    session, evolve = database.session, options.columns == "evolve"
    if not seen.ledger:
        ledger.create(session)
    for (step, table), present in zip(database.tables.items(), seen.columns, strict=True):
        columns = postgres_types(task.input(step).schema, table)
        need_key(columns, options.key, table)
        if not fits(present, columns):
            evolved = partial(ensure, session, table, columns, evolve=evolve)
            reaper.in_moments(database, evolved, task.settings.lock_seconds)


def _commit(databases: list[Database], options: Options, task: Task) -> dict[str, Loaded]:
    """The one transaction: every table, and the ledger; what became of each."""
    found: dict[str, Loaded] = {}
    for number, one in enumerate(databases):
        with told(one.name), in_doubt.awake(databases[:number], _idle(task) / 4):
            found |= _load(one, options, task)
    in_doubt.commit(databases, task)
    failpoint("sink.committed")
    return found


def _load(database: Database, options: Options, task: Task) -> dict[str, Loaded]:
    """Write a database's tables and its ledger, in a transaction that stays open."""
    session = database.session
    loads = {
        step: ledger.load_of(table, options.mode, options.key, step, task)
        for step, table in database.tables.items()
    }
    loaded: dict[str, Loaded] = {}
    safe: Statement = (SAFE, [f"{round(1000 * _idle(task))}ms"])
    known = reaper.begin(database, list(loads.values()), safe, task.settings.lock_seconds)
    failpoint("sink.locked")
    for (step, load), found in zip(loads.items(), known, strict=True):
        what, rows = ledger.verdict(found), load.rows
        if what == "apply":
            rows = _apply(database, load, found, task.input(step), options, task)
        elif what == "replayed":
            rows = found.rows
        elif what == "superseded" and found.state is None:
            session.execute(*ledger.entry(load, "superseded"))
        elif what == "unchanged":
            ledger.renew(session, load)
        loaded[step] = Loaded(load, what, rows)
        failpoint("sink.loaded")
    return loaded


def _idle(task: Task) -> float:
    """Seconds after which the server ends a session that is silent: before another attempt can have the task."""
    return IDLE * task.settings.lease_seconds


def _apply(
    database: Database, load: Load, found: Found, dataset: Dataset, options: Options, task: Task
) -> int:
    """Bring the rows into the table, in place of those that the load is responsible for; how many it wrote."""
    connection = database.session
    entered, *_, present = together(
        connection, ledger.entry(load, "current"), *_deletion(load, found), look(load.table)
    )
    number = entered[0][0]
    failpoint("sink.deleted")
    refuse_rounding(load.table, present, dataset.schema)
    schema = as_columns(dataset.schema, present)
    reader = _cast(dataset.reader(), schema)
    texts = {name for name, kind in postgres_types(schema, load.table).items() if kind == "numeric"}
    key = options.key or _key_of_later(connection, load, found)
    if not texts and not key:
        _copy(connection, load.table.identifier, reader, load, number, task)
        return load.rows
    late = found.overtaken and bool(key)
    staged = Staged(schema, key, late)
    written = _copy_staged(database, load, _as_texts(reader, texts), staged, number, task)
    if written != load.rows:
        ledger.count(connection, number, written)
    return written


def _deletion(load: Load, found: Found) -> list[Statement]:
    """Deletes the rows that the load takes the place of: in a `replace` every one but those of later requests."""
    delete = sql.SQL("DELETE FROM {}").format(load.table.identifier)
    if load.mode == "replace":
        if found.overtaken:
            delete += sql.SQL(
                " WHERE {} NOT IN (SELECT id FROM ropewalk.load WHERE target = {} AND requested > {})"
            ).format(sql.Identifier(LOAD), str(load.table), load.requested)
        return [(delete, [])]
    if load.mode == "upsert" or not found.written:
        return []
    where = sql.SQL(" WHERE {} = {}").format(sql.Identifier(PARTITION), load.scope)
    return [(delete + where, [])]


def _key_of_later(connection: psycopg.Connection[Any], load: Load, found: Found) -> list[str]:
    """By what the rows of later upserts are known, which a late `replace` leaves; nothing where it is not late."""
    if load.mode != "replace" or not found.overtaken:
        return []
    return _key_of(connection, load.table)


def _key_of(connection: psycopg.Connection[Any], table: Table) -> list[str]:
    """The columns of the index by which rows of an upsert meet others; none where there is no such index."""
    index = sql.Identifier(table.schema, key_index(table)).as_string(connection)
    rows = connection.execute(KEY_OF, [index, table.identifier.as_string(connection)])
    return [row[0] for row in rows]


def _copy_staged(
    database: Database,
    load: Load,
    reader: pa.RecordBatchReader,
    staged: Staged,
    number: int,
    task: Task,
) -> int:
    """By way of a temporary table: for types that go as text, and for rows that meet others by a key.

    How many rows it wrote: those whose keys later requests have are left as they are.
    """
    connection, key = database.session, staged.key
    columns = {**postgres_types(staged.schema, load.table), **OWN}
    stage = _stage(database, columns)
    _copy(connection, stage, reader, load, number, task)
    if key:
        _check_key(connection, load, stage, key)
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    values = sql.SQL(", ").join(
        sql.SQL("{}::{}").format(sql.Identifier(name), sql.SQL(kind))
        for name, kind in columns.items()
    )
    insert = sql.SQL("INSERT INTO {} AS old ({}) SELECT {} FROM {}").format(
        load.table.identifier, names, values, stage
    )
    insert += _on_conflict(_whole(connection, load.table, list(columns)), key)
    if staged.late:
        insert += sql.SQL(
            " WHERE coalesce((SELECT requested FROM ropewalk.load WHERE id = old.{}), 0) <= {}"
        ).format(sql.Identifier(LOAD), load.requested)
    written = connection.execute(insert).rowcount
    connection.execute(sql.SQL("DROP TABLE {}").format(stage))
    if not staged.late and written != load.rows:
        raise _taken(load, written)
    return written


def _stage(database: Database, columns: dict[str, str]) -> sql.Identifier:
    """A table for the rows on their way; an ordinary one where the transaction may hold no temporary one."""
    own = f"stage_{secrets.token_hex(8)}"
    stage = sql.Identifier(own) if database.alone else sql.Identifier("ropewalk", own)
    kind = sql.SQL("TEMPORARY" if database.alone else "UNLOGGED")
    defined = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL("text" if of == "numeric" else of))
        for name, of in columns.items()
    )
    database.session.execute(sql.SQL("CREATE {} TABLE {} ({})").format(kind, stage, defined))
    return stage


def _check_key(
    connection: psycopg.Connection[Any], load: Load, stage: sql.Identifier, key: list[str]
) -> None:
    """DataError for two rows of one key, or for a row without; and the index that a key needs."""
    names = sql.SQL(", ").join(map(sql.Identifier, key))
    missing = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(n)) for n in key)
    without = connection.execute(
        sql.SQL("SELECT count(*) FROM {} WHERE {}").format(stage, missing)
    ).fetchone()
    if without and without[0]:  # such a row meets none, not even itself
        raise DataError(
            f"{load.table}: {without[0]} rows have no key: {' or '.join(key)} is NULL",
            code="null_key",
            hint="filter them out, or give them a value: coalesce(…)",
        )
    doubled = connection.execute(
        sql.SQL(
            "SELECT count(*) FROM (SELECT 1 FROM {} GROUP BY {} HAVING count(*) > 1) AS d"
        ).format(stage, names)
    ).fetchone()
    if doubled and doubled[0]:
        raise DataError(
            f"{load.table}: {doubled[0]} keys ({', '.join(key)}) are there more than once in the data",
            code="doubled_key",
            hint="deduplicate in a process step",
        )
    made = _key_of(connection, load.table)
    if made and set(made) != set(key):
        raise ConfigError(
            f"{load.table}: its rows are told apart by {', '.join(made)}, not by {', '.join(key)}",
            code="key",
            hint=f"DROP INDEX {load.table.schema}.{key_index(load.table)} for another key",
        )
    index = sql.Identifier(key_index(load.table))
    try:
        connection.execute(
            sql.SQL("CREATE UNIQUE INDEX IF NOT EXISTS {} ON {} ({})").format(
                index, load.table.identifier, names
            )
        )
    except pg.UniqueViolation:
        raise DataError(
            f"{load.table}: its rows are not told apart by {', '.join(key)}", code="key"
        ) from None


def key_index(table: Table) -> str:
    """The name of the index by which rows of an upsert meet others."""
    return f"{table.name[:40]}_ropewalk_key"


def _whole(connection: psycopg.Connection[Any], table: Table, columns: list[str]) -> list[str]:
    """The columns that an upsert writes: those of its data, and the others, which are NULL then, but for defaults."""
    rows = connection.execute(WHOLE, [table.identifier.as_string(connection), columns])
    return [row[0] for row in rows]


def _on_conflict(columns: list[str], key: list[str]) -> sql.Composed:
    if not key:
        return sql.SQL("").format()
    rest = [name for name in columns if name not in key]
    names = sql.SQL(", ").join(map(sql.Identifier, key))
    sets = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in rest
    )
    return sql.SQL(" ON CONFLICT ({}) DO UPDATE SET {}").format(names, sets)


def _copy(
    connection: psycopg.Connection[Any],
    table: sql.Identifier,
    reader: pa.RecordBatchReader,
    load: Load,
    number: int,
    task: Task,
) -> None:
    """COPY the rows in; FatalError unless the database took all of them."""
    names = sql.SQL(", ").join(map(sql.Identifier, [*reader.schema.names, PARTITION, LOAD]))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(table, names)
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy, ahead(encoded(reader, number, load.scope)) as blocks:
            for block in blocks:
                copy.write(block)
                failpoint("sink.copying")
        if cursor.rowcount != load.rows:
            raise _taken(load, cursor.rowcount)
        task.progress(cursor.rowcount, of=load.rows, message=str(load.table))


def _taken(load: Load, rows: int) -> FatalError:
    return FatalError(f"{load.table} took {rows} rows of {load.rows}", code="row_count")


@contextmanager
def ahead(blocks: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """Blocks that another thread makes while those before are sent."""
    ready: queue.Queue[Any] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def encode() -> None:
        try:
            for block in blocks:
                put(block)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the blocks are taken
            put(error)
        put(None)

    def taken() -> Iterator[Any]:
        while (block := ready.get()) is not None:
            if isinstance(block, BaseException):
                raise block
            yield block

    thread = threading.Thread(target=encode, daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stop.set()
        thread.join()


def _as_texts(reader: pa.RecordBatchReader, names: set[str]) -> pa.RecordBatchReader:
    """The rows with some columns as texts."""
    fields = [
        field.with_type(pa.string()) if field.name in names else field for field in reader.schema
    ]
    return _cast(reader, pa.schema(fields))


def _cast(reader: pa.RecordBatchReader, schema: pa.Schema) -> pa.RecordBatchReader:
    """The rows in a schema whose columns can hold them."""
    if schema == reader.schema:
        return reader
    return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in reader))


def _report(task: Task, step: str, one: Loaded, target: str) -> None:
    load, left = one.load, one.load.rows - one.rows
    task.writes(target)
    task.published(
        Published(
            step=step, target=target, mode=load.mode, rows=one.rows, left=left,
            partition=task.request.partition.name if task.request.partition else None,
            replayed=one.what in {"replayed", "unchanged"}, superseded=one.what == "superseded",
        )
    )  # fmt: skip
    told = {
        "apply": f"{one.rows:,} rows" + (f"; {left:,} left to later requests" if left else ""),
        "unchanged": "holds these rows already",
        "replayed": "was loaded by this task before",
        "superseded": "left as it is: a later request has written it",
    }
    task.info(f"{load.table}: {told[one.what]}")
