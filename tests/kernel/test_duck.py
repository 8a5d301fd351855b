"""DuckDB reads nothing but what it is given."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from ropewalk.contracts.models import Scalar
from ropewalk.kernel.duck import bound, duck_for_plans


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '{tmp}/x.csv'",
        "ATTACH '{tmp}/x.db'",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "INSTALL httpfs",
        "LOAD httpfs",
    ],
)
def test_it_is_locked_down(tmp_path: Path, query: str) -> None:
    with duck_for_plans() as connection, pytest.raises(duckdb.Error):
        connection.execute(query.replace("{tmp}", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_the_partitions_bounds_are_bound_as_instants() -> None:
    values: dict[str, Scalar] = {"partition.start": "2013-01-01T05:00:00+00:00", "params.x": 1}
    sql = "t >= {{ partition.start }} AND x = {{ params.x }}"
    assert bound(sql, values) == (
        "t >= CAST($partition_start AS TIMESTAMPTZ) AND x = $params_x",
        {"partition_start": "2013-01-01T05:00:00+00:00", "params_x": 1},
    )
