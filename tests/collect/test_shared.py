"""What the partitions of a batch share in reading: nothing that shows in what each of them gets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import Partition, Report, Slice
from ropewalk.kernel.batch import PARTITIONS
from ropewalk.testing.bench import TaskBench

from tests.conftest import Database

START = datetime(2013, 3, 9, 5, tzinfo=UTC)
QUERY = "SELECT seen, tail, seats FROM plane WHERE seen >= {{ partition.start }} AND seen < {{ partition.end }}"
COLUMNS = {"seen": "timestamp", "tail": "string", "seats": "integer"}
WHERE = "seen >= {{ partition.start }} AND seen < {{ partition.end }}"


def days(number: int, *names: str) -> list[Slice]:
    """Slices of a day each, with the values of their bounds and of more."""
    found = []
    for index in range(number):
        start, end = START + timedelta(days=index), START + timedelta(days=index + 1)
        values = {
            "partition.start": start.isoformat(),
            "partition.end": end.isoformat(),
            "partition.date": start.date().isoformat(),
        }
        chosen = {name: values[name] for name in ("partition.start", "partition.end", *names)}
        one = Partition(start=start, end=end, name=start.date().isoformat())
        found.append(Slice(partition=one, values=chosen))
    return found


@pytest.fixture
def bench(tmp_path: Path) -> TaskBench:
    """The stage, with a dataset store of its own."""
    return TaskBench(tmp_path)


@pytest.fixture
def fleet(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database that has seen a plane in each hour of four days."""
    with psycopg.connect(database.superuser) as connection:
        connection.execute("CREATE TABLE plane (seen timestamptz, tail text, seats integer)")
        connection.execute(
            "INSERT INTO plane SELECT '2013-03-09 05:30Z'::timestamptz + n * interval '1 hour', 'N' || n, n % 7"
            " FROM generate_series(0, 95) AS n"
        )
    monkeypatch.setenv("ROPEWALK_CONNECTION_FLEET", database.superuser)
    monkeypatch.setenv("ROPEWALK_PRIVATE_HOSTS", "127.0.0.1")
    return database


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file whose rows are of four days, two of them no good."""
    lines = [f"{(START + timedelta(hours=n)).isoformat()},N{n},{n % 7}" for n in range(96)]
    lines[7], lines[50] = lines[7] + "x", "never,N50,1"
    (tmp_path / "seen.csv").write_text("\n".join(["seen,tail,seats", *lines, "", ""]))
    monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(tmp_path))
    return tmp_path


def singly(bench: TaskBench, slices: list[Slice], source: str, **options: Any) -> list[Report]:
    """Each partition by itself."""
    return [
        bench.run("collect", [(source, options)], partition=one.partition, values=one.values, generation="alone")
        for one in slices
    ]  # fmt: skip


def batch(bench: TaskBench, slices: list[Slice], source: str, **options: Any) -> Report:
    """All partitions as one batch."""
    return bench.run("collect", [(source, options)], batch=slices, generation="batch")


def parts(bench: TaskBench, report: Report) -> list[Report]:
    """The report of each partition of a batch."""
    keys = bench.table(report, PARTITIONS)["key"].to_pylist()
    return [found.report for key in keys if (found := bench.store.manifest(key))]


def same(one: Report, other: Report) -> bool:
    """Whether two tasks have read the same, and say the same of it."""
    prints = [{name: ref.fingerprint for name, ref in r.outputs.items()} for r in (one, other)]
    return prints[0] == prints[1] and (one.rows, one.lineage) == (other.rows, other.lineage)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[int]]:
    """Counts how often a source is read from now on."""

    def count(source: str) -> list[int]:
        from ropewalk.contracts.plugins import plugin

        module, counted = plugin("source", source).module, [0]
        read = module.read

        def counting(options: Any, task: Any) -> Any:
            counted[0] += 1
            return read(options, task)

        monkeypatch.setattr(module, "read", counting)
        return counted

    return count


@pytest.mark.usefixtures("files")
def test_a_file_is_read_once_and_each_day_gets_and_says_what_it_would_alone(
    bench: TaskBench, reads: Callable[[str], list[int]]
) -> None:
    options = {"path": "data://seen.csv", "columns": COLUMNS, "where": WHERE}
    alone = singly(bench, days(4), "files", **options)
    counted = reads("files")
    together = batch(bench, days(4), "files", **options)
    assert counted == [1]
    assert all(map(same, alone, parts(bench, together)))
    assert [one.rows.quarantined for one in alone] == [2] * 4
    assert (together.rows.out, together.rows.quarantined) == (94, 8)


@pytest.mark.usefixtures("files")
def test_files_of_other_names_are_read_when_their_turn_comes(bench: TaskBench, files: Path) -> None:
    for one in days(4):
        name = one.partition.name
        (files / f"{name}.csv").write_text(
            f"seen,tail,seats\n{one.partition.start.isoformat()},{name},1\n"
        )
    options = {"path": "data://{{ partition.date }}.csv", "columns": COLUMNS}
    slices = days(4, "partition.date")
    alone = singly(bench, slices, "files", **options)
    together = batch(bench, slices, "files", **options)
    assert all(map(same, alone, parts(bench, together)))
    assert together.rows.out == 4


@pytest.mark.usefixtures("fleet")
def test_a_query_is_asked_once_for_the_range_and_each_day_gets_its_rows(
    bench: TaskBench, reads: Callable[[str], list[int]]
) -> None:
    options = {"connection": "fleet", "query": QUERY, "columns": COLUMNS, "partition_by": "seen"}
    alone = singly(bench, days(4), "sql", **options)
    counted = reads("sql")
    together = batch(bench, days(4), "sql", **options)
    assert counted == [1]
    assert all(map(same, alone, parts(bench, together)))
    assert together.rows.out == 96


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    "change",
    [
        {"partition_by": None},
        {"columns": {"seen": "timestamp", "tail": "string"}},  # what type has seats on a day without a plane?
        {"columns": {**COLUMNS, "tail": "integer"}},  # whose day is a row that is refused?
        {"query": QUERY + " AND {{ partition.date }} <> ''"},  # a range has no date
    ],
)  # fmt: skip
def test_a_query_that_might_give_a_day_other_rows_is_asked_for_each(
    bench: TaskBench, reads: Callable[[str], list[int]], change: dict[str, Any]
) -> None:
    options = {
        "connection": "fleet",
        "query": QUERY,
        "columns": COLUMNS,
        "partition_by": "seen",
        **change,
    }
    slices = days(4, *(["partition.date"] if "query" in change else []))
    alone = singly(bench, slices, "sql", **options)
    counted = reads("sql")
    together = batch(bench, slices, "sql", **options)
    assert counted[0] >= 4
    assert all(map(same, alone, parts(bench, together)))


@pytest.mark.usefixtures("fleet")
def test_rows_outside_of_the_partition_are_dropped_and_counted(bench: TaskBench) -> None:
    options = {"connection": "fleet", "query": "SELECT * FROM plane", "partition_by": "seen"}
    (one,) = singly(bench, days(1), "sql", **options)
    assert (one.rows.out, one.rows.dropped) == (24, {"outside of the partition": 72})
    assert not one.rows.unexplained


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("sen", "there is no column 'sen' (did you mean 'seen'?)"),
        ("tail", "column 'tail' is string, and rows belong to a partition by an instant"),
    ],
)
def test_a_column_that_tells_no_partition_is_refused(
    bench: TaskBench, column: str, told: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        singly(bench, days(1), "sql", connection="fleet", query=QUERY, partition_by=column)
    assert told in str(refused.value)
