"""Which tasks' rows the tables hold: what the collector must leave."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from ropewalk.contracts.errors import RetryableError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import TaskRequest
from ropewalk.store.current import current
from ropewalk.testing.bench import TaskBench

from tests.conftest import Postgres


def load(bench: TaskBench, number: int) -> TaskRequest:
    """A load that replaces the one before."""
    table = pa.table({"n": pa.array([number])})
    do = [("postgres", {"schema": "out", "mode": "replace"})]
    request = bench.request("store", do, inputs={"days": table}, requested=number)
    bench.perform(request)
    return request


def test_a_load_is_current_until_another_replaces_it(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", postgres.database().stage("store"))
    bench = TaskBench(tmp_path)
    assert current([]) == set()
    first = load(bench, 1)
    assert current([first]) == {task_key(first)}
    second = load(bench, 2)
    assert current([first, second]) == {task_key(second)}
    report = bench.store.manifest(task_key(second))
    assert report is not None
    assert report.report.inputs == {"days": second.inputs["days"].id}


def test_while_the_database_is_away_nothing_is_taken_for_unused(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", postgres.database().stage("store"))
    request = load(TaskBench(tmp_path), 1)
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(RetryableError, match="does not say what it holds"):
        current([request])
