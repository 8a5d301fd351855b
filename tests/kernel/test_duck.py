"""DuckDB reads nothing but what it is given."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from ropewalk.contracts.models import Scalar
from ropewalk.kernel.duck import bound, duck_for_plans

PROBES = [
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM read_blob('/etc/host*')",
    "FROM '/etc/passwd'",
    "SELECT * FROM read_csv('/etc/passwd', sep=':')",
    "SELECT * FROM read_csv_auto('{tmp}/../x.csv')",
    "SELECT * FROM read_json('{tmp}/in/x.json')",
    "SELECT * FROM read_parquet('{tmp}/in/*.parquet')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '{tmp}/in/x.csv'",
    "SELECT * FROM '{tmp}/link'",
    "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
    "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "COPY (SELECT 1) TO '{tmp}/out/x.csv'",
    "COPY (SELECT 1) TO '{tmp}/out/x.parquet' (FORMAT parquet)",
    "CREATE TABLE t (x VARCHAR); COPY t FROM '/etc/passwd'",
    "EXPORT DATABASE '{tmp}/out/all'",
    "IMPORT DATABASE '{tmp}/in'",
    "ATTACH '{tmp}/out/x.db'",
    "ATTACH 'postgres:host=127.0.0.1' AS p (TYPE postgres)",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL icu FROM community",
    "LOAD '{tmp}/in/x.duckdb_extension'",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "SET memory_limit = '100GB'",
    "SET threads = 64",
    "SET temp_directory = '{tmp}/out'",
    "SET allowed_directories = ['/']",
    "SET lock_configuration = false",
    "PRAGMA enable_profiling; SET profile_output = '{tmp}/out/p'",
    "PRAGMA profiling_output = '{tmp}/out/p'",
    "SET log_query_path = '{tmp}/out/q'",
    "SET home_directory = '/'",
    "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'x', SECRET 'y')",
    "SELECT * FROM local_frame",
    "SELECT * FROM sniff_csv('/etc/passwd')",
]


@pytest.mark.parametrize("query", PROBES)
def test_it_is_locked_down(tmp_path: Path, query: str) -> None:
    """No file is read or written, no address asked, nothing installed, no setting changed."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in/x.csv").write_text("a\n1\n")
    (tmp_path / "in/x.json").write_text('[{"a": 1}]')
    (tmp_path / "link").symlink_to("/etc/passwd")
    local_frame = pa.table({"a": [1]})
    with duck_for_plans() as connection, pytest.raises(duckdb.Error):
        connection.execute(query.replace("{tmp}", str(tmp_path)))
    assert list((tmp_path / "out").iterdir()) == []
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
