"""Who may reach what in an installation's Postgres."""

from __future__ import annotations

import itertools

import psycopg
import pytest
from ropewalk.local.databases import LOGINS, RESULTS, STAGES, Databases

from tests.conftest import Database, Postgres

PAIRS = [(a, b) for a, b in itertools.product(STAGES, STAGES) if a != b]


def test_a_stage_makes_tables_in_its_own_schema(database: Database, stage: str) -> None:
    with psycopg.connect(database.stage(stage)) as session:
        session.execute(f'CREATE TABLE "{stage}".task (key text)')
        assert session.execute("SELECT current_user").fetchone() == (f"ropewalk_{stage}",)


@pytest.mark.parametrize(("reader", "owner"), PAIRS)
def test_no_stage_reads_or_writes_another_ones_schema(
    postgres: Postgres, reader: str, owner: str
) -> None:
    database = _shared(postgres)
    with psycopg.connect(database.stage(reader), autocommit=True) as session:
        for statement in (
            f'SELECT * FROM "{owner}".task',
            f'INSERT INTO "{owner}".task VALUES (1)',
            f'CREATE TABLE "{owner}".mine (key text)',
            f'DROP SCHEMA "{owner}" CASCADE',
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)


@pytest.mark.parametrize("reader", ["ropewalk_present", "ropewalk_reader"])
def test_what_store_publishes_is_read_and_not_written_by_its_readers(
    database: Database, reader: str
) -> None:
    with psycopg.connect(database.stage("store")) as session:
        session.execute("CREATE SCHEMA flights")
        session.execute("CREATE TABLE flights.departures AS SELECT 1 AS n")
        session.execute("CREATE TABLE store.ledger AS SELECT 1 AS n")
    with psycopg.connect(database.dsn(reader), autocommit=True) as session:
        assert session.execute("SELECT n FROM flights.departures").fetchall() == [(1,)]
        for refused in (
            "DELETE FROM flights.departures",
            "SELECT * FROM store.ledger",
            "CREATE SCHEMA mine",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(refused)


@pytest.mark.parametrize("stage_name", ["collect", "process", "analyze"])
def test_results_are_closed_to_the_other_stages(database: Database, stage_name: str) -> None:
    with psycopg.connect(database.stage("store")) as session:
        session.execute("CREATE SCHEMA flights")
        session.execute("CREATE TABLE flights.departures AS SELECT 1 AS n")
    with (
        psycopg.connect(database.stage(stage_name)) as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        session.execute("SELECT n FROM flights.departures")


def test_a_wrong_password_is_refused(postgres: Postgres) -> None:
    wrong = postgres.cluster.dsn("ropewalk_store", "wrong", "postgres")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_the_superuser_is_not_let_in_over_tcp(postgres: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects connection"):
        psycopg.connect(postgres.cluster.dsn("postgres", "", "postgres"))


def test_provisioning_again_keeps_all_and_changes_passwords(postgres: Postgres) -> None:
    passwords = {login: f"{login}-test" for login in LOGINS}
    Databases(postgres.cluster, passwords).provision()
    with psycopg.connect(postgres.databases.stage("store", RESULTS)) as session:
        session.execute("CREATE TABLE store.kept AS SELECT 1 AS n")
    changed = Databases(postgres.cluster, {**passwords, "ropewalk_store": "changed"})
    changed.provision()
    try:
        with psycopg.connect(changed.stage("store")) as session:
            assert session.execute("SELECT n FROM store.kept").fetchone() == (1,)
    finally:
        postgres.databases.provision_roles()


def test_only_their_own_roles_reach_airflow_and_fleet(postgres: Postgres) -> None:
    postgres.databases.provision()
    with psycopg.connect(postgres.databases.dsn("fleet", "fleet")) as session:
        session.execute("CREATE TABLE IF NOT EXISTS planes (tailnum text)")
    with psycopg.connect(
        postgres.databases.dsn("fleet_reader", "fleet"), autocommit=True
    ) as session:
        assert session.execute("SELECT * FROM planes").fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("DELETE FROM planes")
    for login, database in (
        ("ropewalk_collect", "fleet"),
        ("ropewalk_store", "airflow"),
        ("airflow", RESULTS),
    ):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(postgres.databases.dsn(login, database))


def _shared(postgres: Postgres) -> Database:
    """The installation's own database, with a table in every stage's schema."""
    postgres.databases.provision_results(RESULTS)
    database = Database(RESULTS, postgres.databases)
    for stage in STAGES:
        with psycopg.connect(database.stage(stage)) as session:
            session.execute(f'CREATE TABLE IF NOT EXISTS "{stage}".task (key text)')
    return database
