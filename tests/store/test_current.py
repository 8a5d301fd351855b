"""Which tasks' rows the tables hold: what the collector must leave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from ropewalk.contracts.errors import RetryableError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import Report, TaskRequest
from ropewalk.kernel.batch import PARTITIONS
from ropewalk.kernel.garbage import Collector
from ropewalk.kernel.manifests import MANIFEST, folder
from ropewalk.kernel.migrations import migrate
from ropewalk.kernel.stage import built_in
from ropewalk.kernel.stage import load as load_stage
from ropewalk.store.current import current
from ropewalk.testing.bench import TaskBench
from ropewalk.testing.sinks import day

from tests.conftest import Database, Postgres
from tests.kernel.test_batch import DAYS, Shop

AWAY = "postgresql://nobody@127.0.0.1:1/none"


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
    assert current() == set()
    first = load(bench, 1)
    assert current() == {task_key(first)}
    second = load(bench, 2)
    assert current() == {task_key(second)}
    report = bench.store.manifest(task_key(second))
    assert report is not None
    assert report.report.inputs == {"days": second.inputs["days"].id}


def test_while_the_database_is_away_nothing_is_taken_for_unused(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", postgres.database().stage("store"))
    load(TaskBench(tmp_path), 1)
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", AWAY)
    with pytest.raises(RetryableError, match="does not say what it holds"):
        current()


def test_every_database_of_the_stage_is_asked_and_nothing_else(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has never been loaded into holds nothing; what is no PostgreSQL is not asked."""
    results = conninfo_to_dict(postgres.database().stage("store"))
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", make_conninfo("", **results))
    monkeypatch.setenv("ROPEWALK_CONNECTION_EMPTY", postgres.database().stage("store"))
    monkeypatch.setenv("ROPEWALK_CONNECTION_LAKE", "s3://bucket/folder")
    monkeypatch.setenv("ROPEWALK_CONNECTION_MAIL", '{"url": "smtp://mail.internal"}')
    monkeypatch.setenv("ROPEWALK_CONNECTION_KEY", '{"token": "a=b"}')
    assert current() == set()
    request = load(TaskBench(tmp_path), 1)
    monkeypatch.setenv("ROPEWALK_CONNECTION_RENAMED", make_conninfo("", **results))
    monkeypatch.delenv("ROPEWALK_CONNECTION_RESULTS")
    assert current() == {task_key(request)}


@pytest.mark.parametrize(
    ("loads", "held"),
    [
        ([("upsert", 0, 1), ("upsert", 0, 2), ("upsert", 0, 3)], {0, 1, 2}),
        ([("upsert", 1, 1), ("upsert", 2, 2)], {0, 1}),
        ([("replace", 0, 1), ("upsert", 0, 2)], {0, 1}),
        ([("append", 1, 1), ("replace_partition", 2, 2), ("upsert", 0, 3)], {0, 1, 2}),
        ([("upsert", 0, 1), ("upsert", 0, 2), ("replace", 0, 3)], {2}),
        ([("upsert", 0, 1), ("replace", 0, 2), ("upsert", 0, 3)], {1, 2}),
        ([("upsert", 0, 2), ("upsert", 0, 4), ("replace", 0, 3)], {1, 2}),
        ([("upsert", 0, 1), ("replace", 0, 1), ("upsert", 0, 1)], {1, 2}),
        ([("replace", 0, 1), ("replace_partition", 1, 2), ("replace_partition", 1, 3)], {0, 2}),
        ([("upsert", 1, 1), ("upsert", 2, 2), ("replace_partition", 1, 3)], {1, 2}),
        ([("append", 1, 1), ("upsert", 1, 2), ("append", 1, 3)], {1, 2}),
        ([("replace", 0, 2), ("replace_partition", 1, 1)], {0}),
    ],
)
def test_a_load_is_held_while_its_rows_are_in_the_table(
    postgres: Postgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loads: list[tuple[str, int, int]],
    held: set[int],
) -> None:
    """Whatever its state is called: an upsert marks all loads before it as replaced."""
    url = postgres.database().stage("store")
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", url)
    bench = TaskBench(tmp_path)
    keys = []
    for number, (mode, partition, requested) in enumerate(loads):
        options = {"schema": "out", "mode": mode, **({"key": ["n"]} if mode == "upsert" else {})}
        request = bench.request(
            "store",
            [("postgres", options)],
            inputs={"days": pa.table({"n": pa.array([number])})},
            requested=requested,
            partition=day(partition) if partition else None,
        )
        keys.append(bench.perform(request).key)
    with psycopg.connect(url) as session:
        query = "SELECT task FROM out.days JOIN ropewalk.load ON id = _ropewalk_load"
        rows = {keys.index(key) for (key,) in session.execute(query)}
    assert rows == held
    assert current() == {keys[number] for number in held}


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
        load(bench, 2)
        own.collect()  # the last time that it holds the first back was before this
        others.collect()
        others.collect()
        assert bench.store.manifest(first.inputs["days"].id.partition("/")[0]) is None


def test_what_only_batches_have_loaded_stays(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch's row, whose key no load has, may be gone: the loads are its partitions'."""
    shop = shop_of(database, tmp_path, monkeypatch)
    batch = shop.run(DAYS[0], DAYS[-1])
    made_of = parts(shop, batch["publish"])
    assert len(made_of) == 2 * len(DAYS)
    with collectors(shop, database) as all_of_them:
        for one in all_of_them * 3:
            one.collect()
    assert shop.store.manifest(batch["sales"].key) is None, "no table was made of that directly"
    assert all(map(shop.store.manifest, made_of))


def test_what_a_batch_has_loaded_stays_though_it_could_not_say_so(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that was cancelled between the commit of two of its loads and that of their manifests."""
    shop = shop_of(database, tmp_path, monkeypatch)
    batch = shop.run(DAYS[0], DAYS[-1])
    made_of = parts(shop, batch["publish"])
    request = shop.requests["publish"]
    loaded = shop.store.dataset(batch["publish"].outputs[PARTITIONS]).table()["key"].to_pylist()
    for key in (batch["publish"].key, *loaded[:2]):
        shop.store.objects.delete(f"{folder(key)}/{MANIFEST}")
    with collectors(shop, database) as all_of_them:
        enter(all_of_them[-1], request, "cancelled")
        for one in all_of_them * 3:
            one.collect()
    assert all(map(shop.store.manifest, made_of))


def test_what_a_run_has_loaded_stays_though_it_was_cancelled_before_it_said_so(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = postgres.database()
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", database.stage("store"))
    bench = TaskBench(tmp_path, retention_days=0, grace_seconds=0)
    request = load(bench, 1)
    bench.store.objects.delete(f"{folder(task_key(request))}/{MANIFEST}")
    with collectors(bench, database) as all_of_them:
        enter(all_of_them[-1], request, "cancelled")
        for one in all_of_them * 3:
            one.collect()
    assert bench.store.dataset(request.inputs["days"]).rows == 1


def test_while_one_database_is_away_nothing_is_removed_that_another_holds(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what the one that is away may hold: every tombstone is answered before the collection ends."""
    database = postgres.database()
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", database.stage("store"))
    monkeypatch.setenv("ROPEWALK_CONNECTION_AWAY", AWAY)
    bench = TaskBench(tmp_path, retention_days=0, grace_seconds=0)
    unused = bench.dataset("unused", pa.table({"n": [0]}))
    request = load(bench, 1)
    with collectors(bench, database) as all_of_them:
        *others, own = all_of_them
        for _ in range(3):
            for one in others:
                one.collect()
            with pytest.raises(RetryableError, match="'away' does not say what it holds"):
                own.collect()
        assert bench.store.dataset(request.inputs["days"]).rows == 1
        assert bench.store.dataset(unused).rows == 1
        monkeypatch.delenv("ROPEWALK_CONNECTION_AWAY")
        for one in all_of_them * 3:
            one.collect()
    assert bench.store.manifest(unused.id.partition("/")[0]) is None
    assert bench.store.dataset(request.inputs["days"]).rows == 1


def shop_of(database: Database, home: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop whose datasets are old at once."""
    monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(home / "data"))
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", database.stage("store"))
    shop = Shop(database, home)
    old = {"retention_days": 0, "grace_seconds": 0}
    shop.settings = shop.settings.model_copy(update=old)
    shop.sell(1)
    return shop


def parts(shop: Shop, batch: Report) -> set[str]:
    """The keys of what the partitions of a load were made of."""
    table = shop.store.dataset(batch.outputs[PARTITIONS]).table()
    manifests = [shop.store.manifest(key) for key in table["key"].to_pylist()]
    return {
        ref.partition("/")[0]
        for manifest in manifests
        if manifest is not None
        for ref in manifest.report.inputs.values()
    }


@contextmanager
def collectors(place: TaskBench | Shop, database: Database) -> Iterator[list[Collector]]:
    """The collectors of the stages that have to do with a load, that of the loads last."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(collector(place, database, stage))
            for stage in ("collect", "process", "store")
        ]


@contextmanager
def collector(bench: TaskBench | Shop, database: Database, stage: str) -> Iterator[Collector]:
    """A stage's collector, which waits for nothing, with a ledger of that stage's own."""
    url = database.stage(stage)
    migrate(url, stage)
    with psycopg.connect(
        url, autocommit=True, options=f"-c search_path={stage}", row_factory=dict_row
    ) as connection:
        yield Collector(load_stage(built_in(stage)), bench.settings, bench.store, connection)


def enter(collector: Collector, request: TaskRequest, state: str = "succeeded") -> None:
    """Enter a task in the ledger of its stage, as one that ended long ago."""
    collector.connection.execute(
        "INSERT INTO task (key, workflow, step, run_id, requested, request, asker, state, ended_at)"
        " VALUES (%s, 'w', 's', 'r', 1, %s, '', %s, '2013-01-01Z')",
        [task_key(request), request.model_dump_json(), state],
    )
