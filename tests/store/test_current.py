"""Which tasks' rows the tables hold: what the collector must leave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from psycopg.rows import dict_row
from ropewalk.contracts.errors import RetryableError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import TaskRequest
from ropewalk.kernel.garbage import Collector
from ropewalk.kernel.migrations import migrate
from ropewalk.kernel.stage import built_in
from ropewalk.kernel.stage import load as load_stage
from ropewalk.store.current import current
from ropewalk.testing.bench import TaskBench

from tests.conftest import Database, Postgres


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


def test_what_a_table_was_made_of_stays_though_another_stage_has_made_it(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often both stages collect; once the table holds another task's rows it goes."""
    database = postgres.database()
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", database.stage("store"))
    bench = TaskBench(tmp_path, retention_days=0, grace_seconds=0)
    with (
        collector(bench, database, "collect") as others,
        collector(bench, database, "store") as own,
    ):
        first = load(bench, 1)
        enter(own, first)
        for _ in range(3):
            others.collect()
            own.collect()
            assert bench.store.dataset(first.inputs["days"]).rows == 1
            assert bench.store.manifest(task_key(first)) is not None
        enter(own, load(bench, 2))
        own.collect()  # the last time that it holds the first back was before this
        others.collect()
        others.collect()
        assert bench.store.manifest(first.inputs["days"].id.partition("/")[0]) is None


@contextmanager
def collector(bench: TaskBench, database: Database, stage: str) -> Iterator[Collector]:
    """A stage's collector, which waits for nothing, with a ledger of that stage's own."""
    url = database.stage(stage)
    migrate(url, stage)
    with psycopg.connect(
        url, autocommit=True, options=f"-c search_path={stage}", row_factory=dict_row
    ) as connection:
        yield Collector(load_stage(built_in(stage)), bench.settings, bench.store, connection)


def enter(collector: Collector, request: TaskRequest) -> None:
    """Enter a task in the ledger of its stage, as one that ended long ago."""
    collector.connection.execute(
        "INSERT INTO task (key, workflow, step, run_id, requested, request, asker, state, ended_at)"
        " VALUES (%s, 'w', 's', 'r', 1, %s, '', 'succeeded', '2013-01-01Z')",
        [task_key(request), request.model_dump_json()],
    )
