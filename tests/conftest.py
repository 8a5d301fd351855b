"""Fixtures for all tests: a real Postgres of the test session's own."""

from __future__ import annotations

import gc
import itertools
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

import hypothesis
import pytest
from ropewalk.local.databases import LOGINS, STAGES, Databases
from ropewalk.local.postgres import Cluster, throwaway

# A shared machine may stand still for a second: how long an example takes says nothing.
hypothesis.settings.register_profile(
    "ropewalk", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("ropewalk")

# A shell's background job ignores an interrupt, and so would every command that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

LAST = ("e2e", "test_tls.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests that need a whole running stack last, so that the fast ones speak first; of them those that
    switch it to TLS, since it stays so.
    """
    items.sort(key=lambda item: ("e2e" in item.path.parts, item.path.parts[-2:] == LAST))


@dataclass(frozen=True)
class Database:
    """One database with the schemas, roles and grants of an installation; all DSNs are libpq
    URLs.
    """

    name: str
    databases: Databases

    @property
    def superuser(self) -> str:
        """The superuser's DSN, over the Unix socket."""
        return self.databases.cluster.superuser_dsn(self.name)

    def stage(self, stage: str) -> str:
        """The DSN of a stage's own role, over TCP with a password."""
        return self.databases.stage(stage, self.name)

    def dsn(self, login: str) -> str:
        """The DSN of any login role (``ropewalk_reader``, ``fleet_reader``, …)."""
        return self.databases.dsn(login, self.name)


@dataclass(frozen=True)
class Postgres:
    """The session's server; `database` makes as many databases as a test wants (about 0.1 s
    each).
    """

    cluster: Cluster  # ``port`` on 127.0.0.1, and its socket
    databases: Databases
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def superuser(self) -> str:
        """The superuser's DSN for the database ``postgres``, over the Unix socket."""
        return self.cluster.superuser

    def database(self) -> Database:
        """A new database with a schema per stage, each owned by the stage's role, and the
        installation's grants.
        """
        name = f"test_{next(self.numbers)}"
        self.databases.provision_results(name)
        return Database(name, self.databases)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A throwaway PostgreSQL 18 for the test session, with an installation's roles."""
    with throwaway() as cluster:
        databases = Databases(cluster, {login: f"{login}-test" for login in LOGINS})
        databases.provision_roles()
        yield Postgres(cluster, databases)
        gc.collect()  # a read that failed may hold its session in a traceback: it ends while there is a server


@pytest.fixture
def database(postgres: Postgres) -> Database:
    """A new database, empty but for the stages' schemas, in the session's server."""
    return postgres.database()


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> str:
    """Each of the five stages' names in turn."""
    name: str = request.param
    return name
