"""One transaction in several databases: all but one are prepared, and the commit of that one decides for all.

The *decider* keeps a row per such transaction, ``ropewalk.decision``, that is written once: "committed" by the very
transaction that it is about, or "given up" by whoever finds others prepared that nobody finishes. So what is in doubt
ends as the decider says, whoever asks it and however late: the next attempt at the task, a load that waits for its
locks, or the stage, at its start and from time to time (`mend`).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import structlog
from psycopg import errors as pg
from psycopg import sql

from ropewalk.contracts.errors import ConfigError, FatalError, RetryableError
from ropewalk.kernel.failpoints import failpoint
from ropewalk.store import sessions
from ropewalk.store.sessions import told

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task
    from ropewalk.store.columns import Table

log = structlog.get_logger()
PATIENCE = 15.0  # seconds that a prepared transaction waits for its decision: it takes milliseconds
TAG = "ropewalk:in doubt"
TABLES = """
CREATE SCHEMA IF NOT EXISTS ropewalk;
CREATE TABLE IF NOT EXISTS ropewalk.decider (id text PRIMARY KEY);
INSERT INTO ropewalk.decider SELECT md5(gen_random_uuid()::text) WHERE NOT EXISTS (SELECT 1 FROM ropewalk.decider);
CREATE TABLE IF NOT EXISTS ropewalk.decision (
    id text PRIMARY KEY,
    committed boolean NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""
IN_DOUBT = """
SELECT gid, prepared < clock_timestamp() - make_interval(secs => %s) FROM pg_prepared_xacts
WHERE owner = current_user AND database = current_database() AND starts_with(gid, %s)
    AND gid ~ '^ropewalk:[0-9a-f]{64}:[0-9a-f]{16}:[0-9a-f]{32}:[0-9]+$'
"""
COMMITTED = "INSERT INTO ropewalk.decision (id, committed) VALUES (%s, true)"
GIVEN_UP = "INSERT INTO ropewalk.decision (id, committed) VALUES (%s, false) ON CONFLICT DO NOTHING"
# A client that could still want to commit what was given up has been ended by the server long before.
FORGET = "DELETE FROM ropewalk.decision WHERE NOT committed AND at < clock_timestamp() - interval '7 days'"


@dataclass(frozen=True)
class Database:
    """A database that a task writes to: the connection's name, its session, a table per step.

    ``alone`` says that it is the only one: else its transaction is prepared, and can hold no temporary table.
    """

    name: str
    session: psycopg.Connection[Any]
    tables: dict[str, Table]
    alone: bool


def prepare(databases: Sequence[Database], task: Task) -> None:
    """Have what a transaction in several databases needs; what the task has left in doubt before is finished."""
    if len(databases) == 1:
        return
    _decider(databases)
    for one in databases:
        with told(one.name):
            _have_tables(one.session)
            rest = settle(one.name, task.key)
        if rest:
            raise RetryableError(
                f"the database of {one.name!r} holds a transaction in doubt, and the one that decides it does not"
                " answer",
                code="in_doubt",
            )


def commit(databases: Sequence[Database], task: Task) -> None:
    """Commit what the sessions have written: in all databases, or in none."""
    if len(databases) == 1:
        _fence(task)
        _decide(databases[0])
        return
    decider = _decider(databases)
    others = [one for one in databases if one is not decider]
    number = f"{task.key}:{secrets.token_hex(8)}"
    try:
        with told(decider.name):
            decider_id = _id(decider.session)
        gids = _prepare_all(others, f"{number}:{decider_id}")
        _fence(task)
        _decide(decider, number)
    except BaseException:
        _give_up(databases, number)
        raise
    for one, gid in zip(others, gids, strict=True):
        failpoint("sink.decided")
        with told(one.name):
            _finish(one.session, gid, committed=True)
    with suppress(psycopg.Error):  # a decision that nobody needs any more
        decider.session.execute("DELETE FROM ropewalk.decision WHERE id = %s", [number])


def refuse_unable(names: Mapping[str, str]) -> None:
    """ConfigError where connections cannot be written together; ``names`` has each by the option that names it."""
    databases = sessions.names()
    unable = []
    for field, name in names.items():
        if name not in databases and sessions.dsn(name):
            raise ConfigError(
                f"the connection {name!r} is no PostgreSQL database: it cannot be written together with others",
                code="two_databases",
                field=field,
                hint="publish there in a step of its own",
            )
        with told(name), closing(sessions.connect(name, TAG)) as session:
            unable += [] if _able(session) else [name]
        _refuse(unable, field)


def settle(name: str, whose: str = "") -> list[str]:
    """Finish what is in doubt in a connection's database: all that is ``whose``, or what nobody has finished for long.

    What stays in doubt, because its decider does not answer or has not decided yet.
    """
    rest = []
    with closing(sessions.connect(name, TAG)) as session:
        found = session.execute(IN_DOUBT, [PATIENCE, f"ropewalk:{whose}"]).fetchall()
        for gid, old in found:
            committed = _decision(gid, give_up=old or bool(whose))
            if committed is None:
                rest.append(gid)
            else:
                _finish(session, gid, committed=committed)
    return rest


def mend() -> None:
    """Finish what killed tasks have left in doubt in the databases of this stage, where it has several."""
    names = sessions.names()
    for name in names if len(names) > 1 else ():
        try:
            rest = settle(name)
            _forget(name)
        except psycopg.Error as error:
            log.warning("in_doubt.away", connection=name, error=type(error).__name__)
        else:
            for gid in rest:
                log.warning("in_doubt.undecided", connection=name, transaction=gid)


@contextmanager
def awake(databases: Sequence[Database], seconds: float) -> Iterator[None]:
    """Keep the server from ending sessions that wait in their transactions while another database is written.

    Each says something every so many seconds.
    """
    stop = threading.Event()

    def speak() -> None:
        while not stop.wait(seconds):
            for one in databases:
                with suppress(psycopg.Error):  # told where the session is used next
                    one.session.execute("SELECT 1")

    thread = threading.Thread(target=speak, daemon=True)
    if databases:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if databases:
            thread.join()


def _decider(databases: Sequence[Database]) -> Database:
    """The database that decides: the one that cannot prepare, or the first; ConfigError where several cannot."""
    unable = []
    for one in databases:
        with told(one.name):
            unable += [] if _able(one.session) else [one]
    _refuse([one.name for one in unable])
    return (unable or databases)[0]


def _refuse(unable: Sequence[str], field: str | None = None) -> None:
    if len({*unable}) > 1:
        raise ConfigError(
            f"the databases of {' and '.join(map(repr, unable))} cannot be written together: they prepare no"
            " transactions",
            code="two_databases",
            field=field,
            hint="set max_prepared_transactions in all but one of them, or publish in a step for each",
        )


def _able(session: psycopg.Connection[Any]) -> bool:
    return session.execute("SHOW max_prepared_transactions").fetchone() != ("0",)


def _have_tables(session: psycopg.Connection[Any]) -> None:
    """Have the table of decisions, and a name for the database that no other has."""
    if session.execute("SELECT to_regclass('ropewalk.decision')").fetchone() != (None,):
        return
    with session.transaction():
        session.execute("SELECT pg_advisory_xact_lock(hashtextextended('ropewalk.load', 1))")
        session.execute(TABLES)


def _id(session: psycopg.Connection[Any]) -> str:
    """How the database is named in those that it decides for."""
    row = session.execute("SELECT id FROM ropewalk.decider").fetchone()
    return str(row[0]) if row else ""


def _prepare_all(others: Sequence[Database], name: str) -> list[str]:
    """Prepare the transactions; their names."""
    gids = []
    for branch, one in enumerate(others):
        gid = f"ropewalk:{name}:{branch}"
        with told(one.name):
            _end(one.session, sql.SQL("PREPARE TRANSACTION {}").format(gid))
        gids.append(gid)
        failpoint("sink.prepared")
    return gids


def _fence(task: Task) -> None:
    task.fence()
    failpoint("sink.fenced")


def _decide(decider: Database, number: str = "") -> None:
    """Commit the decider's transaction; RetryableError where it was given up meanwhile."""
    with told(decider.name):
        if number:
            decider.session.execute("SET LOCAL synchronous_commit TO on")
            try:
                decider.session.execute(COMMITTED, [number])
            except pg.UniqueViolation:
                raise RetryableError(
                    "the load was given up: it took too long", code="in_doubt"
                ) from None
        _end(decider.session, sql.SQL("COMMIT"))


def _end(session: psycopg.Connection[Any], how: sql.SQL | sql.Composed) -> None:
    """End a transaction; FatalError where it had failed, which the server answers by a rollback alone."""
    if session.execute(how).statusmessage == "ROLLBACK":
        raise FatalError("the transaction had failed before its end", code="rolled_back")


def _give_up(databases: Sequence[Database], number: str) -> None:
    """Roll back what is prepared, now rather than later; unless the decider has committed and its answer is lost."""
    for one in databases:
        one.session.close()
    for one in databases:
        with suppress(psycopg.Error):
            settle(one.name, number)


def _decision(gid: str, *, give_up: bool) -> bool | None:
    """Whether the decider has committed; None where it does not answer, or has not decided and is not to be hurried."""
    _, key, token, decider, _ = gid.split(":")
    for name in sessions.names():
        with suppress(psycopg.Error), closing(sessions.connect(name, TAG)) as session:
            if _id(session) == decider:
                return _ask(session, f"{key}:{token}", give_up=give_up)
    return None


def _ask(session: psycopg.Connection[Any], number: str, *, give_up: bool) -> bool | None:
    """The decision; one that is about to be made is waited for."""
    session.execute("SET lock_timeout TO '5s'; SET synchronous_commit TO on")
    if give_up:
        session.execute(GIVEN_UP, [number])
    row = session.execute(
        "SELECT committed FROM ropewalk.decision WHERE id = %s", [number]
    ).fetchone()
    return None if row is None else bool(row[0])


def _forget(name: str) -> None:
    with closing(sessions.connect(name, TAG)) as session:
        if session.execute("SELECT to_regclass('ropewalk.decision')").fetchone() != (None,):
            session.execute(FORGET)


def _finish(session: psycopg.Connection[Any], gid: str, *, committed: bool) -> None:
    """Commit or roll back what is prepared, unless another just did."""
    verb = "COMMIT" if committed else "ROLLBACK"
    with suppress(pg.UndefinedObject):
        session.execute(sql.SQL(f"{verb} PREPARED {{}}").format(gid))
