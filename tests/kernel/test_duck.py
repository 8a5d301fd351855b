"""DuckDB reads nothing but what it is given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from ropewalk.contracts.errors import RetryableError
from ropewalk.contracts.models import Scalar
from ropewalk.kernel.duck import bound, duck, duck_for_plans
from ropewalk.kernel.task import Task
from ropewalk.testing.bench import TaskBench

LOCAL_FRAME = pa.table({"a": [1]})
"""What a query would find by its name, were it to look into Python's variables."""

DOORS = [
    "SELECT size FROM read_text('{tmp}/in/x.csv')",
    "SELECT size FROM read_blob('{tmp}/in/x*')",
    "SELECT * FROM read_csv('/etc/passwd', sep=':')",
    "SELECT * FROM read_csv_auto('{tmp}/in/../x.csv')",
    "SELECT * FROM read_json('{tmp}/in/x.json')",
    "SELECT * FROM read_parquet('{tmp}/in/*.parquet')",
    "SELECT * FROM parquet_schema('{tmp}/in/x.parquet')",
    "SELECT * FROM read_duckdb('{tmp}/in/x.duckdb')",
    "SELECT * FROM sniff_csv('{tmp}/in/x.csv')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '{tmp}/in/x.csv'",
    "FROM '{tmp}/in/x.parquet'",
    "SELECT * FROM '{tmp}/link.csv'",
    "SELECT * FROM local_frame",
    "COPY (SELECT 1) TO '{tmp}/out/x.csv'",
    "COPY (SELECT 1) TO '{tmp}/out/x.parquet' (FORMAT parquet)",
    "CREATE TABLE t (x VARCHAR); COPY t FROM '/etc/passwd'",
    "EXPORT DATABASE '{tmp}/out/all'",
    "IMPORT DATABASE '{tmp}/in'",
    "ATTACH '{tmp}/out/x.db'",
    "ATTACH '{tmp}/in/x.duckdb' AS d; SELECT * FROM d.t",
    "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')",
    "FROM duckdb_secrets()",
    "SET memory_limit = '100GB'",
    "SET threads = 64",
    "SET temp_directory = '{tmp}/out'",
    "SET max_temp_directory_size = '100TB'",
    "SET allowed_directories = ['/']",
    "SET disabled_filesystems = ''",
    "SET lock_configuration = false",
    "SET profiling_output = '{tmp}/out/p.txt'",
    "PRAGMA profiling_output = '{tmp}/out/p.txt'",
    "SET log_query_path = '{tmp}/out/q'",
    "CALL enable_logging(storage = 'file', storage_path = '{tmp}/out/l')",
    "SET home_directory = '/'",
    "SET secret_directory = '{tmp}/out'",
    "SET extension_directory = '{tmp}/out'",
    "SET custom_extension_repository = '{tmp}/out'",
]
"""Ways out that a connection without the lock-down has."""

WALLS = [
    "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
    "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "ATTACH 'postgres:host=127.0.0.1' AS p (TYPE postgres)",
    "ATTACH '{tmp}/in/x.sqlite' AS d (TYPE sqlite)",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL icu FROM '{tmp}/in'",
    "LOAD '{tmp}/in/x.duckdb_extension'",
    "SET enable_external_access = true",
    "RESET enable_external_access",
]
"""Ways out that need a network or an extension: without the lock-down they fail for another reason."""

LOCKED = (
    r"disabled (by|through) configuration|the configuration has been locked"
    "|Table with name local_frame does not exist"
)


@pytest.fixture
def laid(tmp_path: Path) -> Path:
    """A folder with a file of every kind that the ways out would open, and one to write to."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for path in (tmp_path / "x.csv", tmp_path / "in/x.csv"):
        path.write_text("a\n1\n")
    (tmp_path / "in/x.json").write_text('[{"a": 1}]')
    (tmp_path / "in/schema.sql").write_text("CREATE TABLE imported (a INT);")
    (tmp_path / "in/load.sql").write_text("")
    (tmp_path / "link.csv").symlink_to(tmp_path / "in/x.csv")
    with duckdb.connect(str(tmp_path / "in/x.duckdb")) as made:
        made.execute("CREATE TABLE t AS SELECT 1 AS a")
        made.execute(f"COPY t TO '{tmp_path}/in/x.parquet'")
    return tmp_path


@pytest.fixture
def unlocked(laid: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection as DuckDB makes it, with its own folders in the test's, and no place to get extensions from."""
    (laid / "home").mkdir()
    config: dict[str, Any] = {
        "home_directory": str(laid / "home"),
        "extension_directory": str(laid / "home"),
        "secret_directory": str(laid / "home"),
        "custom_extension_repository": str(laid / "home"),
        "autoinstall_extension_repository": str(laid / "home"),
    }
    with closing(duckdb.connect(":memory:", config=config)) as connection:
        yield connection


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A task with a scratch folder: its queries may spill."""
    bench = TaskBench(tmp_path)
    (tmp_path / "scratch").mkdir(exist_ok=True)
    request = bench.request("process", [("select", {"columns": ["a"]})])
    return Task(request, bench.store, bench.settings, tmp_path / "scratch")


@pytest.mark.parametrize("query", [*DOORS, *WALLS])
def test_it_is_locked_down(laid: Path, query: str) -> None:
    """No file is read or written, no address asked, nothing installed, no setting changed."""
    with duck_for_plans() as connection, pytest.raises(duckdb.Error, match=LOCKED):
        _run(connection, query, laid)
    assert list((laid / "out").iterdir()) == []


@pytest.mark.parametrize("query", [*DOORS, *WALLS])
def test_a_tasks_is_locked_down_although_it_may_spill(laid: Path, task: Task, query: str) -> None:
    with duck(task) as connection, pytest.raises(duckdb.Error, match=LOCKED):
        _run(connection, query, laid)
    assert list((laid / "out").iterdir()) == []


@pytest.mark.parametrize("query", DOORS)
def test_without_the_lock_it_is_a_way_out(
    laid: Path, unlocked: duckdb.DuckDBPyConnection, query: str
) -> None:
    _run(unlocked, query, laid)


@pytest.mark.parametrize("query", WALLS)
def test_without_the_lock_it_fails_for_another_reason(
    laid: Path, unlocked: duckdb.DuckDBPyConnection, query: str
) -> None:
    with pytest.raises(duckdb.Error, match=rf"^(?!.*({LOCKED}))"):
        _run(unlocked, query, laid)


def test_the_spill_folder_alone_is_open_to_who_gets_past_the_gate(laid: Path, task: Task) -> None:
    """Which is why `tests/process/test_sql.py` holds the gate: once this is red, DuckDB holds it itself."""
    with duck(task) as connection:
        spill = task.scratch / "spill"
        connection.execute(f"COPY (SELECT 1) TO '{spill}/x.csv'")
        for outside in (task.scratch / "x.csv", spill.parent / "spill2", spill / "../x.csv"):
            with pytest.raises(duckdb.PermissionException, match=LOCKED):
                connection.execute(f"COPY (SELECT 1) TO '{outside}'")
        (spill / "link").symlink_to(laid / "in/x.csv")
        with pytest.raises(duckdb.PermissionException, match=LOCKED):
            connection.execute(f"SELECT * FROM read_csv('{spill}/link')")
    assert [one.name for one in task.scratch.iterdir()] == ["spill"]


def test_a_query_spills_no_more_than_it_may(tmp_path: Path) -> None:
    limits = {"memory_limit": 64 << 20, "max_spill": 8 << 20, "threads": 1}
    bench = TaskBench(tmp_path, **limits)
    rows = pa.table({"word": [hashlib.sha512(b"%d" % n).hexdigest() for n in range(300_000)]})
    query = ("sql", {"query": "SELECT * FROM rows ORDER BY word"})
    request = bench.request("process", [query], inputs={"rows": rows})
    with pytest.raises(RetryableError, match="or raise ROPEWALK_MAX_SPILL") as caught:
        bench.perform(request)
    assert caught.value.code == "disk_full"
    assert (
        TaskBench(tmp_path, **{**limits, "max_spill": 1 << 30}).perform(request).rows.out == 300_000
    )


def _run(connection: duckdb.DuckDBPyConnection, query: str, laid: Path) -> None:
    local_frame = LOCAL_FRAME  # where DuckDB would look for it
    connection.execute(query.replace("{tmp}", str(laid))).fetchall()
    assert local_frame.num_rows == 1


def test_a_query_takes_no_more_memory_than_it_may() -> None:
    with duck_for_plans() as connection, pytest.raises(duckdb.OutOfMemoryException):
        connection.execute("SELECT list(x) FROM range(1_000_000_000) t(x)").fetchall()


def test_the_partitions_bounds_are_bound_as_instants() -> None:
    values: dict[str, Scalar] = {"partition.start": "2013-01-01T05:00:00+00:00", "params.x": 1}
    sql = "t >= {{ partition.start }} AND x = {{ params.x }}"
    assert bound(sql, values) == (
        "t >= CAST($partition_start AS TIMESTAMPTZ) AND x = $params_x",
        {"partition_start": "2013-01-01T05:00:00+00:00", "params_x": 1},
    )
