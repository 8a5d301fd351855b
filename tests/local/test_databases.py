"""Who may reach what in an installation's Postgres."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import LiteralString

import psycopg
import pytest
from ropewalk.kernel.ledger import Ledger
from ropewalk.kernel.settings import Settings
from ropewalk.local.databases import CONNECTIONS, LOGINS, READER, RESULTS, STAGES, Databases
from ropewalk.local.postgres import SETTINGS

from tests.conftest import Database, Postgres


@pytest.fixture(scope="module")
def shared(postgres: Postgres) -> Database:
    """The installation's own database, with a table in every stage's schema."""
    postgres.databases.provision_results(RESULTS)
    database = Database(RESULTS, postgres.databases)
    for stage in STAGES:
        with psycopg.connect(database.stage(stage)) as session:
            session.execute(f'CREATE TABLE IF NOT EXISTS "{stage}".task (key text)')
    return database


PAIRS = [(a, b) for a, b in itertools.product(STAGES, STAGES) if a != b]


def test_a_stage_makes_tables_in_its_own_schema(database: Database, stage: str) -> None:
    with psycopg.connect(database.stage(stage)) as session:
        session.execute(f'CREATE TABLE "{stage}".task (key text)')
        assert session.execute("SELECT current_user").fetchone() == (f"ropewalk_{stage}",)


@pytest.mark.parametrize(("reader", "owner"), PAIRS)
def test_no_stage_reads_or_writes_another_ones_schema(
    shared: Database, reader: str, owner: str
) -> None:
    with psycopg.connect(shared.stage(reader), autocommit=True) as session:
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


OF_THE_SERVER: list[LiteralString] = [
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/out'",
    "CREATE TEMPORARY TABLE t (x text); COPY t FROM '/etc/passwd'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('postgresql.conf')",
    "SELECT pg_ls_dir('.')",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "CREATE EXTENSION dblink",
    "CREATE EXTENSION file_fdw",
    "CREATE LANGUAGE mine HANDLER plpgsql_call_handler",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "ALTER SYSTEM SET log_statement = 'all'",
    "ALTER ROLE ropewalk_store PASSWORD 'x'",
    "SET ROLE postgres",
    "SET ROLE ropewalk_store",
    "SET SESSION AUTHORIZATION postgres",
    "SET session_replication_role = replica",
    "SELECT pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "CREATE TABLE public.mine (n int)",
    "CREATE SCHEMA AUTHORIZATION postgres",
    "GRANT ropewalk_results TO ropewalk_collect",
    "CREATE PUBLICATION mine FOR ALL TABLES",
    "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION pg_catalog.now()",
]
ROLES = [*(f"ropewalk_{stage}" for stage in STAGES), READER]


REFUSED = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.FeatureNotSupported,  # an extension that is not even there
    psycopg.errors.UndefinedFile,
)


@pytest.mark.parametrize("login", ROLES)
def test_no_role_does_what_is_the_servers(shared: Database, login: str) -> None:
    before = _made(shared)
    with psycopg.connect(shared.dsn(login), autocommit=True) as session:
        others = [statement for statement in OF_THE_SERVER if login not in statement]
        assert [statement for statement in others if not _refuses(session, statement)] == []
    assert _made(shared) == before


@pytest.mark.parametrize("login", ROLES)
def test_a_role_enters_no_other_database(postgres: Postgres, login: str) -> None:
    postgres.databases.provision()
    for database in ("postgres", "template1", "airflow", "fleet"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(postgres.databases.dsn(login, database))


@pytest.mark.parametrize(("killer", "victim"), PAIRS)
def test_a_role_ends_no_other_ones_sessions_and_sees_no_other_ones_queries(
    shared: Database, killer: str, victim: str
) -> None:
    with (
        psycopg.connect(shared.stage(victim)) as one,
        psycopg.connect(shared.stage(killer), autocommit=True) as other,
    ):
        one.execute("SELECT 'secret'")
        for function in ("pg_terminate_backend", "pg_cancel_backend"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute(f"SELECT {function}(%s)", [one.info.backend_pid])
        seen = "SELECT query FROM pg_stat_activity WHERE pid = %s"
        assert other.execute(seen, [one.info.backend_pid]).fetchone() == (
            "<insufficient privilege>",
        )
        assert one.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("stage_name", ["collect", "process", "analyze", "present"])
def test_only_store_makes_schemas_and_temporary_tables(database: Database, stage_name: str) -> None:
    with psycopg.connect(database.stage(stage_name), autocommit=True) as session:
        for statement in ("CREATE SCHEMA mine", "CREATE TEMPORARY TABLE mine (n int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)


def test_rights_that_a_role_was_given_by_hand_end_with_the_next_start(postgres: Postgres) -> None:
    with psycopg.connect(postgres.superuser, autocommit=True) as session:
        session.execute("ALTER ROLE ropewalk_collect SUPERUSER CREATEDB CREATEROLE BYPASSRLS")
        postgres.databases.provision_roles()
        found = session.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication FROM pg_roles"
            " WHERE rolname = 'ropewalk_collect'"
        ).fetchone()
    assert found == (False,) * 5


def test_one_stage_leaves_connections_to_the_others(postgres: Postgres) -> None:
    postgres.databases.provision()
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(psycopg.connect(postgres.databases.stage("analyze")))
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            psycopg.connect(postgres.databases.stage("analyze"))
        with psycopg.connect(postgres.databases.stage("store")) as other:
            assert other.execute("SELECT 1").fetchone() == (1,)


def test_an_installation_that_has_roles_without_a_limit_gets_it_with_the_next_start(
    postgres: Postgres,
) -> None:
    limits = "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'ropewalk_' || %s"
    with psycopg.connect(postgres.superuser, autocommit=True) as session:
        for stage in STAGES:
            session.execute(f'ALTER ROLE "ropewalk_{stage}" CONNECTION LIMIT -1')
        postgres.databases.provision_roles()
        found = [session.execute(limits, [stage]).fetchone() for stage in STAGES]
    assert found == [(CONNECTIONS,)] * len(STAGES)


def test_a_limit_that_the_owner_has_set_stays(postgres: Postgres) -> None:
    limits = "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'ropewalk_process'"
    with psycopg.connect(postgres.superuser, autocommit=True) as session:
        session.execute("ALTER ROLE ropewalk_process CONNECTION LIMIT 77")
        try:
            postgres.databases.provision_roles()
            assert session.execute(limits).fetchone() == (77,)
        finally:
            session.execute("ALTER ROLE ropewalk_process CONNECTION LIMIT -1")
            postgres.databases.provision_roles()


def test_three_replicas_of_a_stage_have_what_they_may_need() -> None:
    settings = Settings.model_validate({"stage": "store"})
    ledger = Ledger.at("postgresql://nowhere", "store").pool.max_size
    listener, garbage, in_doubt = 1, 1, 1
    assert 3 * (ledger + listener + garbage + in_doubt + settings.workers) <= CONNECTIONS
    assert int(SETTINGS["max_connections"]) >= 2 * CONNECTIONS


def _made(database: Database) -> list[tuple[object, ...]]:
    """How much there is of all that can be made: roles, databases, schemas, functions, large objects, extensions."""
    with psycopg.connect(database.superuser) as session:
        return session.execute(
            "SELECT (SELECT count(*) FROM pg_roles), (SELECT count(*) FROM pg_database),"
            " (SELECT count(*) FROM pg_namespace WHERE nspname !~ '^pg_'), (SELECT count(*) FROM pg_proc),"
            " (SELECT count(*) FROM pg_largeobject_metadata), (SELECT count(*) FROM pg_extension)"
        ).fetchall()


def _refuses(session: psycopg.Connection, statement: LiteralString) -> bool:
    try:
        session.execute(statement)
    except REFUSED:
        return True
    return False
