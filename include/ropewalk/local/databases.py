"""The databases and roles of an installation: who may reach what is decided here, and again at
every start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString, Protocol

if TYPE_CHECKING:
    import psycopg

STAGES = ("collect", "process", "analyze", "store", "present")
RESULTS = "ropewalk"  # the stages' ledgers, a schema for each, and the published tables
READER = "ropewalk_reader"  # people and dashboards
GROUP = "ropewalk_results"  # may read what `store` publishes
FLEET_READER: tuple[LiteralString, ...] = (
    "GRANT CONNECT ON DATABASE fleet TO fleet_reader",
    "GRANT USAGE ON SCHEMA public TO fleet_reader",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO fleet_reader",
    "ALTER DEFAULT PRIVILEGES FOR ROLE fleet GRANT SELECT ON TABLES TO fleet_reader",
)
CLOSED = ("postgres", "template1")  # the server's own databases, which anyone may enter at first
ROLE: LiteralString = (
    " ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
)
CONNECTIONS = 40
"""What a stage's role may have of the server's 120: three replicas take 39 at most, and no stage
leaves the others without."""

# What lies in no schema, and so is closed by its functions.
LARGE_OBJECTS: tuple[LiteralString, ...] = (
    "lo_creat(integer)",
    "lo_create(oid)",
    "lo_from_bytea(oid, bytea)",
)
LOGINS = (*(f"ropewalk_{stage}" for stage in STAGES), READER, "airflow", "fleet", "fleet_reader")


def role(stage: str) -> str:
    """The name of a stage's role."""
    return f"ropewalk_{stage}"


class Server(Protocol):
    """A Postgres: how its superuser gets in, and how a role does."""

    def superuser_dsn(self, database: str) -> str:
        """The superuser's DSN for a database."""

    def dsn(self, role: str, password: str, database: str) -> str:
        """A role's DSN for a database, over TCP."""


@dataclass(frozen=True)
class Databases:
    """A server and its roles' passwords: what a DSN is made of."""

    cluster: Server
    passwords: Mapping[str, str]

    def dsn(self, login: str, database: str = RESULTS) -> str:
        """The DSN of a login role, over TCP."""
        return self.cluster.dsn(login, self.passwords[login], database)

    def stage(self, stage: str, database: str = RESULTS) -> str:
        """The DSN of a stage's role."""
        return self.dsn(role(stage), database)

    def provision(self) -> None:
        """Makes what is missing of roles, databases, schemas and grants; passwords become the
        given ones.
        """
        self.provision_roles()
        self.provision_results(RESULTS)
        self._provision_private("airflow", owner="airflow")
        self._provision_private("fleet", owner="fleet")
        with self._connect("fleet") as session:
            for statement in FLEET_READER:
                _run(session, statement)

    def provision_roles(self) -> None:
        """Makes the roles that are missing and gives each its password."""
        with self._connect("postgres") as session:
            known = _column(session, "SELECT rolname FROM pg_roles")
            if GROUP not in known:
                _run(session, "CREATE ROLE {} NOLOGIN", GROUP)
            for login in LOGINS:
                _login(session, login, self.passwords[login], new=login not in known)
            unlimited = _column(session, "SELECT rolname FROM pg_roles WHERE rolconnlimit = -1")
            for name in map(role, STAGES):
                if name in unlimited:  # a limit of the owner's stays
                    _run(session, f"ALTER ROLE {{}} CONNECTION LIMIT {CONNECTIONS}", name)
            _run(session, "GRANT {} TO {}, {}", GROUP, READER, role("present"))
            for database in CLOSED:
                _run(session, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)

    def provision_results(self, database: str) -> None:
        """A database for ledgers and results: a schema per stage that its role alone can enter."""
        self._create(database)
        with self._connect(database) as session:
            _run(session, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
            for function in LARGE_OBJECTS:
                _run(session, f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
            for stage in STAGES:
                _run(session, "REVOKE ALL ON DATABASE {} FROM {}", database, role(stage))
                _run(session, "GRANT CONNECT ON DATABASE {} TO {}", database, role(stage))
                _run(session, "CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}", stage, role(stage))
            _run(session, "GRANT CONNECT ON DATABASE {} TO {}", database, GROUP)
            _run(session, "GRANT CREATE, TEMPORARY ON DATABASE {} TO {}", database, role("store"))
            # The schemas that `store` makes are for its readers; its ledger, made here, is not.
            for what in ("USAGE ON SCHEMAS", "SELECT ON TABLES"):
                _run(
                    session,
                    f"ALTER DEFAULT PRIVILEGES FOR ROLE {{}} GRANT {what} TO {{}}",
                    role("store"),
                    GROUP,
                )

    def _provision_private(self, database: str, *, owner: str) -> None:
        self._create(database)
        with self._connect(database) as session:
            _run(session, "ALTER DATABASE {} OWNER TO {}", database, owner)

    def _create(self, database: str) -> None:
        with self._connect("postgres") as session:
            if database not in _column(session, "SELECT datname FROM pg_database"):
                _run(session, "CREATE DATABASE {}", database)
            _run(session, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)

    def _connect(self, database: str) -> psycopg.Connection:
        import psycopg

        return psycopg.connect(self.cluster.superuser_dsn(database), autocommit=True)


def _login(session: psycopg.Connection, name: str, password: str, *, new: bool) -> None:
    """Creates or alters a login role; the password is hashed here, so that the server's log never
    sees it.
    """
    from psycopg import sql

    verifier = session.pgconn.encrypt_password(
        password.encode(), name.encode(), b"scram-sha-256"
    ).decode()
    verb: LiteralString = "CREATE" if new else "ALTER"
    statement = sql.SQL(verb + ROLE)
    session.execute(statement.format(sql.Identifier(name), sql.Literal(verifier)))


def _run(session: psycopg.Connection, statement: LiteralString, *names: str) -> None:
    from psycopg import sql

    session.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _column(session: psycopg.Connection, query: LiteralString) -> Iterable[str]:
    return {row[0] for row in session.execute(query)}
