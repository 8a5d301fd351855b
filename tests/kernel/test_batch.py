"""A batch does what runs of one partition each would do: the same keys, datasets, loads and rows, in any mixture."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ropewalk.contracts.accounts import accounts
from ropewalk.contracts.errors import DataError, RetryableError
from ropewalk.contracts.models import Progress, Report, RunInfo, TaskRequest
from ropewalk.kernel.batch import PARTITIONS
from ropewalk.kernel.perform import open_store, perform
from ropewalk.kernel.reads import settled
from ropewalk.kernel.settings import Settings
from ropewalk.kernel.stage import built_in, load
from ropewalk.kernel.task import nobody
from ropewalk.workflow import loads, partition_on, partitions, task_request

from tests.conftest import Database

WORKFLOW = """
start: 2013-01-01
timezone: America/New_York
partition: day
params: {least: {type: integer, default: 2}}
steps:
  sales:
    collect: files
    with:
      path: "data://sales-{{ partition.month }}.csv"
      columns: {sold: timestamp, shop: string, amount: integer}
      where: "sold >= {{ partition.start }} AND sold < {{ partition.end }}"
  shops:
    collect: files
    with: {path: "data://shops.csv", columns: {shop: string, town: string}}
  clean:
    process:
      - deduplicate: {of: sales, by: [sold, shop]}
      - sql: SELECT s.sold, s.shop, s.amount, n.town FROM sales AS s LEFT JOIN shops AS n ON n.shop = s.shop
    checks:
      - between: {column: amount, min: 0, max: 1000, on_fail: quarantine}
      - not_null: {columns: [town]}
  totals:
    process:
      - sql: >
          SELECT {{ partition.date }} AS day, shop, count(*) AS sales, sum(amount) AS total, avg(amount) AS mean
          FROM clean GROUP BY shop HAVING count(*) >= {{ params.least }}
    checks:
      - unique: [shop]
  publish:
    store: postgres
    from: [clean, totals]
    with: {schema: out, mode: replace_partition}
"""
DAYS = [date(2013, 1, 30), date(2013, 1, 31), date(2013, 2, 1), date(2013, 2, 2)]
NAMES = [day.isoformat() for day in DAYS]


@dataclass
class Shop:
    """The workflow with sources, a store and a database of its own."""

    database: Database
    folder: Path
    workflow: Any = field(default_factory=lambda: loads(WORKFLOW, Path("shop.yaml")))
    runs: int = 0
    requests: dict[str, TaskRequest] = field(default_factory=dict)  # of the last run, by step

    def __post_init__(self) -> None:
        url = (self.folder / "store").as_uri()
        self.settings = Settings(store_url=url, scratch_dir=self.folder / "scratch")
        self.store = open_store(self.settings)

    def sell(self, amount: int, *extra: str) -> None:
        """Write the sources: in every hour of each day two shops sell for so much; and more lines."""
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        (data / "shops.csv").write_text("shop,town\na,York\nb,Leeds\nc,Hull\n")
        lines: dict[str, list[str]] = {}
        for number, day in enumerate(DAYS):
            found = lines.setdefault(f"{day:%Y-%m}", ["sold,shop,amount"])
            for hour in range(10, 14):
                found += [f"{day}T{hour}:00:00Z,{shop},{amount + number}" for shop in "ab"]
            found.append(f"{day}T15:00:00Z,c,5000")  # more than the check allows
        for line in extra:
            lines[line[:7]].append(line)
        lines["2013-01"].append("2013-01-31T16:00:00Z,a,many")  # is no integer
        for month, text in lines.items():
            (data / f"sales-{month}.csv").write_text("\n".join(text) + "\n")

    def run(self, first: date, last: date | None = None, **more: Any) -> dict[str, Report]:
        """All steps, of a day or of a batch; the reports by step."""
        self.runs += 1
        given = {"requested": self.runs, "generation": "0", "fence": nobody, "show": nobody, **more}
        run = RunInfo(id=f"run-{given['requested']}", requested=given["requested"])
        reports: dict[str, Report] = {}
        for step in self.workflow.order():
            request = task_request(
                self.workflow,
                step,
                run=run,
                partition=partition_on(self.workflow, first),
                batch=list(partitions(self.workflow, first, last)) if last else (),
                inputs={name: one.output for name, one in reports.items() if one.output},
                upstream={name: one.key for name, one in reports.items()},
                generation=given["generation"],
            )
            self.requests[step.name] = request
            reports[step.name] = perform(
                load(built_in(step.stage)), settled(request, self.store), store=self.store, settings=self.settings,
                fence=given["fence"], show=given["show"],
            )  # fmt: skip
        return reports

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the results."""
        with psycopg.connect(self.database.stage("store")) as session:
            cursor = session.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row as text, with the partition that it belongs to; all but the number of its load."""
        return {
            name: self.query(
                f"SELECT (to_jsonb(one) - '_ropewalk_load')::text FROM out.{name} AS one ORDER BY 1"
            )
            for name in ("clean", "totals")
        }

    def totals(self) -> dict[str, int]:
        """What a shop has sold, by day."""
        return dict(self.query("SELECT day, total::int FROM out.totals WHERE shop = 'a'"))

    def loads(self) -> list[tuple[Any, ...]]:
        """What the ledger says is in the tables."""
        return self.query(
            "SELECT target, scope, content, mode, rows FROM ropewalk.load WHERE state = 'current' ORDER BY 1, 2"
        )

    def datasets(self, report: Report) -> dict[str, str]:
        """The content of each partition of a batch."""
        table = self.store.dataset(report.outputs[PARTITIONS]).table()
        names, prints = table["partition"].to_pylist(), table["fingerprint"].to_pylist()
        return dict(zip(names, prints, strict=True))


@pytest.fixture
def shop(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop that has sold for 1 in each hour of its first day."""
    monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", database.stage("store"))
    one = Shop(database, tmp_path)
    one.sell(1)
    return one


def summed(reports: Iterable[Report], count: str) -> int:
    """A count of several reports together."""
    return sum(getattr(report.rows, count) for report in reports)


def test_a_batch_is_as_many_runs_of_a_day(shop: Shop, tmp_path: Path) -> None:
    batch = shop.run(DAYS[0], DAYS[-1])
    tables, loads = shop.tables(), shop.loads()
    shop.query("DROP SCHEMA out CASCADE; TRUNCATE ropewalk.load")
    alone = Shop(shop.database, tmp_path / "alone")
    singly = [alone.run(day) for day in DAYS]
    assert shop.tables() == tables
    assert shop.loads() == loads
    assert len(tables["clean"]) == 8 * len(DAYS)
    for step in ("sales", "clean", "totals"):
        reports = [one[step] for one in singly]
        assert shop.datasets(batch[step]) == {
            one.partition: one.output.fingerprint for one in reports if one.output
        }
        for count in ("out", "read", "quarantined"):
            if getattr(batch[step].rows, count) is not None:
                assert getattr(batch[step].rows, count) == summed(reports, count)
        assert batch[step].rows.dropped == {
            rule: sum(one.rows.dropped.get(rule, 0) for one in reports)
            for rule in reports[0].rows.dropped
        }
    assert [check.failed for check in batch["clean"].checks] == [len(DAYS), 0]
    assert batch["clean"].outputs["quarantine"].rows == len(DAYS)
    assert [one.wrong for one in accounts(batch)] == [""] * len(batch)


def test_a_day_after_a_batch_is_done_already_and_unchanged(shop: Shop) -> None:
    batch = shop.run(DAYS[0], DAYS[-1])
    day = shop.run(DAYS[1])
    for step in ("sales", "clean", "totals"):
        assert day[step].run == batch[step].run
    assert [one.replayed for one in day["publish"].published] == [True, True]


def test_a_batch_after_a_day_takes_what_the_day_has_done(shop: Shop) -> None:
    shop.run(DAYS[1])
    batch = shop.run(DAYS[0], DAYS[-1])
    assert batch["clean"].notes == ["a batch of 4 partitions; 1 had been done before"]
    assert len(shop.tables()["clean"]) == 8 * len(DAYS)


@pytest.mark.parametrize(
    "order",
    [
        [(0, 3), (1, 1), (1, 3), (0, 0)],
        [(2, 2), (0, 3), (0, 1)],
        [(0, 1), (2, 3), (1, 2), (3, 3), (0, 3)],
    ],
)
def test_batches_and_days_in_any_order_leave_each_day_as_it_was_asked_for_last(
    shop: Shop, order: list[tuple[int, int]]
) -> None:
    expected: dict[str, int] = {}
    for number, (first, last) in enumerate(order):
        amount = 10 * (number + 1)
        shop.sell(amount)
        shop.run(DAYS[first], DAYS[last] if last > first else None, generation=f"refresh-{number}")
        expected |= {NAMES[day]: 4 * (amount + day) for day in range(first, last + 1)}
    assert shop.totals() == expected
    rows = shop.query("SELECT count(*), count(DISTINCT (sold, shop)) FROM out.clean")
    assert rows == [(8 * len(expected), 8 * len(expected))]


def test_the_later_request_wins_day_by_day_whoever_comes_last(shop: Shop) -> None:
    shop.sell(10)
    shop.run(DAYS[1], requested=5, generation="a")
    shop.sell(20)
    late = shop.run(DAYS[0], DAYS[-1], requested=3, generation="b")
    assert shop.totals() == {NAMES[0]: 80, NAMES[1]: 44, NAMES[2]: 88, NAMES[3]: 92}
    told = {(one.step, one.superseded): one.rows for one in late["publish"].published}
    assert told == {
        ("clean", False): 24, ("clean", True): 8, ("totals", False): 6, ("totals", True): 2,
    }  # fmt: skip
    assert [one.wrong for one in accounts(late)] == [""] * len(late)


@pytest.mark.parametrize("commits", [1, 3, 6, 10, 14, 17])
def test_a_batch_that_is_ended_in_its_middle_goes_on_where_it_was(shop: Shop, commits: int) -> None:
    left = commits

    def fence() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RetryableError("the lease is another's", code="fenced")

    with pytest.raises(RetryableError, match="the lease is another's"):
        shop.run(DAYS[0], DAYS[-1], requested=1, fence=fence)
    done = {key: _written(shop, key) for key in shop.store.committed()}
    shop.run(DAYS[0], DAYS[-1], requested=1)
    assert {key: _written(shop, key) for key in done} == done
    assert shop.totals() == {name: 4 * (1 + number) for number, name in enumerate(NAMES)}
    assert shop.query("SELECT count(*), count(DISTINCT (sold, shop)) FROM out.clean") == [(32, 32)]


IDLE = (
    "pid FROM pg_stat_activity WHERE application_name LIKE 'ropewalk:%' AND state = 'idle'"
    " AND datname = current_database()"
)


def test_the_loads_of_a_batch_share_a_session(shop: Shop) -> None:
    found: set[Any] = set()
    shop.run(DAYS[0], DAYS[-1], fence=lambda: found.update(shop.query(f"SELECT {IDLE}")))
    assert len(found) == 1
    assert not shop.query(f"SELECT {IDLE}"), "it ends with the batch"


def test_a_load_of_a_batch_finds_another_session_where_that_before_it_was_ended(shop: Shop) -> None:
    found: set[Any] = set()

    def show(_: Progress) -> None:
        ended = f"SELECT pid, pg_terminate_backend(pid, 5000) FROM (SELECT {IDLE}) AS idle"
        found.update(shop.query(ended))

    shop.run(DAYS[0], DAYS[-1], show=show)  # before each day
    assert len(found) == len(DAYS) - 1
    assert shop.totals() == {name: 4 * (1 + number) for number, name in enumerate(NAMES)}


def test_a_batch_and_a_day_after_a_clear_have_what_the_clear_has_read(shop: Shop) -> None:
    """Whichever of them has been done before; in a batch that is cleared every day is read anew."""
    shop.run(DAYS[0], DAYS[-1])
    shop.sell(100)
    shop.run(DAYS[1], generation="run-2/1")
    want = {name: 4 * (1 + n) for n, name in enumerate(NAMES)} | {NAMES[1]: 404}
    assert shop.totals() == want
    again = shop.run(DAYS[0], DAYS[-1])
    assert again["sales"].notes == ["a batch of 4 partitions; 4 had been done before"]
    assert shop.totals() == want
    shop.run(DAYS[0], DAYS[2], generation="run-4/1")
    shop.run(DAYS[2])
    shop.run(DAYS[0], DAYS[-1])
    assert shop.totals() == {name: 4 * (100 + n) for n, name in enumerate(NAMES[:3])} | {
        NAMES[3]: 16
    }


def _written(shop: Shop, key: str) -> str:
    manifest = shop.store.manifest(key)
    assert manifest is not None
    return manifest.attempt


def test_a_day_whose_data_is_wrong_fails_alone_and_is_named(shop: Shop) -> None:
    shop.sell(1, "2013-02-01T18:00:00Z,nowhere,7")
    with pytest.raises(
        DataError, match="1 of 4 partitions failed: 2013-02-01: check not_null"
    ) as failed:
        shop.run(DAYS[0], DAYS[-1])
    assert failed.value.partitions == ["2013-02-01"]
    assert failed.value.problem().partitions == ["2013-02-01"]
    before, after = shop.run(DAYS[0], DAYS[1]), shop.run(DAYS[3])
    assert before["clean"].notes == ["a batch of 2 partitions; 2 had been done before"]
    assert after["clean"].run == "run-1"
    assert set(shop.totals()) == {NAMES[0], NAMES[1], NAMES[3]}


def test_batches_over_one_range_at_once_do_not_disturb_each_other(
    shop: Shop,
) -> None:
    errors: list[BaseException] = []

    def run(requested: int, first: int, last: int) -> None:
        try:
            one = Shop(shop.database, shop.folder)
            one.run(DAYS[first], DAYS[last], requested=requested)
        except BaseException as error:  # noqa: BLE001 - told in the test's thread
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=given) for given in ((70, 0, 3), (80, 1, 3), (90, 0, 2))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert shop.totals() == {name: 4 * (1 + number) for number, name in enumerate(NAMES)}
    assert shop.query("SELECT count(*), count(DISTINCT (sold, shop)) FROM out.clean") == [(32, 32)]
    requested = (  # a partition is asked for a moment after the one before
        "SELECT DISTINCT scope, requested / 10 FROM ropewalk.load WHERE state = 'current' ORDER BY 1"
    )
    assert shop.query(requested) == [(NAMES[0], 9), (NAMES[1], 9), (NAMES[2], 9), (NAMES[3], 8)]


@pytest.mark.parametrize("mode", ["{mode: upsert, key: [shop]}", "{mode: replace}"])
def test_rows_that_meet_over_partitions_are_those_of_the_latest_whoever_ends_last(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """As after runs of one day each, though the later half of a backfill is done before the earlier."""
    text = WORKFLOW.replace("from: [clean, totals]", "from: [totals]").replace(
        "{schema: out, mode: replace_partition}", mode.replace("{", "{schema: out, ")
    )
    found = []
    for name, ranges in (
        ("singly", [(day, None, place) for place, day in enumerate(DAYS)]),
        ("halves", [(DAYS[2], DAYS[3], 2), (DAYS[0], DAYS[1], 0)]),
        ("one_more", [(DAYS[0], DAYS[3], 0), (DAYS[1], None, 1)]),
    ):
        workflow = loads(text.replace("schema: out", f"schema: {name}"), Path("shop.yaml"))
        monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(tmp_path / name / "data"))
        monkeypatch.setenv("ROPEWALK_CONNECTION_RESULTS", database.stage("store"))
        one = Shop(database, tmp_path / name, workflow)
        one.sell(1)
        for first, last, place in ranges:
            one.run(first, last, requested=100 + place, generation=f"from {first} to {last}")
        found.append(one.query(f"SELECT day, shop, total FROM {name}.totals ORDER BY shop"))
    assert found[0] == found[1] == found[2]
    assert {str(day) for day, *_ in found[0]} == {NAMES[3]}
