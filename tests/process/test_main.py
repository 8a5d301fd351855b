"""The stage as a real service."""

from __future__ import annotations

from pathlib import Path

import pytest
from ropewalk.contracts.errors import DataError
from ropewalk.testing.services import StageService, running
from ropewalk.testing.transforms import ProcessBench, tables

from tests.conftest import Database


def test_the_service_does_a_task_and_tells_of_its_errors(
    database: Database, bench: ProcessBench, tmp_path: Path
) -> None:
    inputs = tables({"flights": [{"delay": 1}, {"delay": 2}, {"delay": None}]})
    request = bench.request(
        [("filter", "delay > 0"), ("sql", "SELECT sum(delay) AS total FROM flights")], inputs
    )
    wrong = bench.request(
        [("sql", "SELECT * FROM flights")], inputs, checks=[("not_null", ["delay"])]
    )
    with running(StageService("process", database.stage("process"), tmp_path)) as (service,):
        report = service.do(request)
        assert bench.rows(report) == [{"total": 3}]
        assert report.rows.dropped == {"filter": 1}
        with pytest.raises(DataError) as caught:
            service.do(wrong)
    assert caught.value.detail == "check not_null failed: 1 of 3 rows: delay not null"
