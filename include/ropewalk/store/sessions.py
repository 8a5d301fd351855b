"""Sessions with the databases of a sink's connections, whose troubles are told without their secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ropewalk.contracts.errors import ConfigError, DataError, FatalError, RetryableError
from ropewalk.kernel.settings import connection, connection_names

SCHEMES = {"postgresql", "postgres", "postgresql+psycopg"}
CONNECT_SECONDS = 10
IDLE = "ropewalk:idle"  # the name of a session between two tasks: no attempt's, so nobody ends it
# A server that has vanished without a word is given up after half a minute.
KEEPALIVES: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

Statement = tuple[str | sql.Composed, Sequence[Any] | Mapping[str, Any]]
"""SQL, and the values that are bound in it."""

_kept: ContextVar[dict[str, psycopg.Connection[Any]] | None] = ContextVar("kept", default=None)


def dsn(name: str) -> str:
    """The DSN of a connection, as libpq reads it."""
    url = str(connection(name).secret("url"))
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def names() -> list[str]:
    """The connections of this stage that are PostgreSQL databases."""
    return [one for one in sorted(connection_names()) if _is_database(one)]


def _is_database(name: str) -> bool:
    try:
        text = dsn(name)
        if "://" in text:
            return urlsplit(text).scheme in SCHEMES
        return bool(conninfo_to_dict(text))  # libpq's other form: "host=… dbname=…"
    except (ValueError, ConfigError, psycopg.ProgrammingError):  # told where it is used
        return False


def connect(name: str, tag: str) -> psycopg.Connection[Any]:
    """A session with the database of a connection, named ``tag`` there."""
    return psycopg.connect(
        dsn(name),
        autocommit=True,
        application_name=tag,
        connect_timeout=CONNECT_SECONDS,
        client_encoding="utf8",  # whatever the database keeps: so are the texts that COPY is given
        **KEEPALIVES,
    )


@contextmanager
def opened(name: str, tag: str) -> Iterator[psycopg.Connection[Any]]:
    """A session for one task; within `kept` the one of the task before, unless that has failed."""
    shared = _kept.get()
    session = _renamed(shared.pop(name), tag) if shared and name in shared else None
    session = session or connect(name, tag)
    try:
        yield session
    except BaseException:
        session.close()
        raise
    if shared is None or _renamed(session, IDLE) is None:
        session.close()
    else:
        shared[name] = session


@contextmanager
def kept() -> Iterator[None]:
    """Has tasks that follow each other share their sessions: to open one takes longer than a small load."""
    sessions: dict[str, psycopg.Connection[Any]] = {}
    token = _kept.set(sessions)
    try:
        yield
    finally:
        _kept.reset(token)
        for session in sessions.values():
            session.close()


def together(
    session: psycopg.Connection[Any], *statements: Statement
) -> list[list[tuple[Any, ...]]]:
    """The rows of each of several statements that are sent as one message: the database is far, and asked once.

    Each sees what is committed when it begins (READ COMMITTED). Without a BEGIN among them they are one transaction;
    the first that fails is raised, and none after it is done.
    https://www.postgresql.org/docs/17/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT
    """
    cursor = psycopg.ClientCursor(session)
    texts = [cursor.mogrify(query, values or None) for query, values in statements]
    cursor.execute(";\n".join(texts).encode(session.info.encoding))
    found = []
    more: bool | None = True
    while more:
        found.append(cursor.fetchall() if cursor.description else [])
        more = cursor.nextset()
    return found


def _renamed(session: psycopg.Connection[Any], tag: str) -> psycopg.Connection[Any] | None:
    """The session under another name; None where it has been ended meanwhile."""
    try:
        session.execute("SELECT set_config('application_name', %s, false)", [tag])
    except psycopg.Error:
        session.close()
        return None
    return session


def host(session: psycopg.Connection[Any]) -> str:
    """The database as OpenLineage names it."""
    info = session.info
    address = urlsplit(f"//{info.host}").hostname or info.host
    return f"postgres://{address}:{info.port}/{info.dbname}"


@contextmanager
def told(name: str) -> Iterator[None]:
    """Tells what goes wrong in the database of a connection in a sentence that says what to do."""
    try:
        yield
    except pg.InsufficientPrivilege as error:
        raise FatalError(
            f"the role of {name!r} may not do this: {_said(error)}", code="permission",
            hint="GRANT CREATE ON DATABASE, or let it own the schema",
        ) from None  # fmt: skip
    except (
        pg.LockNotAvailable,
        pg.DeadlockDetected,
        pg.SerializationFailure,
        pg.QueryCanceled,
    ) as error:
        raise RetryableError(
            f"another transaction was in the way: {_said(error)}", code="locked"
        ) from None
    except pg.DiskFull as error:
        raise RetryableError(
            f"the database's disk is full: {_said(error)}", code="disk_full"
        ) from None
    except pg.ProgramLimitExceeded as error:
        raise DataError(
            f"a row is more than PostgreSQL can hold: {_said(error)}",
            code="too_large",
            hint="publish fewer columns, or shorter values",
        ) from None
    except (pg.DataError, pg.IntegrityError) as error:
        column = error.diag.column_name
        raise DataError(
            f"the table refuses the rows: {_said(error)}", code="refused", field=column
        ) from None
    except psycopg.ProgrammingError as error:
        if isinstance(error, pg.InvalidCatalogName | pg.SyntaxErrorOrAccessRuleViolation):
            raise FatalError(
                f"the database of {name!r} refuses: {_said(error)}", code="refused"
            ) from None
        raise ConfigError(
            f"the connection {name!r} is no PostgreSQL DSN", code="connection"
        ) from None
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        pg.IdleInTransactionSessionTimeout,  # the machine stood still meanwhile: no operational error for psycopg
    ) as error:
        raise RetryableError(
            f"the database of {name!r} does not answer: {_said(error)}", code="database_away"
        ) from None


def _said(error: psycopg.Error) -> str:
    """What the database says, in one line and without the address that a connection error has."""
    text = error.diag.message_primary or str(error).splitlines()[0]
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    return f"{text}{detail}"[:500]
