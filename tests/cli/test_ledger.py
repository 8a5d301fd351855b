"""The ledger and the quarantine of a run, as the command shows them: from real stages, over HTTP and Flight."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
from ropewalk.testing.services import StageService, running

from tests.cli.test_cli import ropewalk
from tests.conftest import Postgres
from tests.kernel.test_why import Stages

FILE = """
title: Ledger
start: 2013-01-01
partition: day
steps:
  rows:
    collect: files
    with: {path: "data://rows.csv", columns: {a: integer}}
  clean:
    process:
      - sql: |
          SELECT a, b FROM rows WHERE a > 0
    checks:
      - between: {column: a, max: 5, on_fail: quarantine}
"""


DAYS = """
start: 2013-01-01
partition: day
steps:
  rows:
    collect: files
    with: {path: "data://rows.csv", columns: {a: integer}, where: "day = {{ partition.date }}"}
  clean:
    process:
      - sql: SELECT a FROM rows
    checks:
      - between: {column: a, max: 5, on_fail: quarantine}
"""


@contextmanager
def installed(postgres: Postgres, folder: Path, text: str) -> Iterator[Stages]:
    """An installation of two stages, whose home is the folder."""
    database = postgres.database()
    env = {"ROPEWALK_ROOT_DATA": str(folder)}
    services = [StageService(name, database.stage(name), folder, env) for name in ("collect", "process")]  # fmt: skip
    with running(*services) as started:
        stages = Stages(folder, started, text)
        known = {
            one.stage: {"url": one.url, "flight": one.flight, "token": one.token} for one in started
        }
        (folder / "endpoints.json").write_text(json.dumps({"stages": known}))
        yield stages


@pytest.fixture(scope="module")
def home(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of an installation of two stages, which have done one run twice."""
    folder = tmp_path_factory.mktemp("ledger")
    with installed(postgres, folder, FILE) as stages:
        stages.rows("a,b\n1,x\n9,[bold]y\n0,z\noops,=1+1\n")
        stages.run("one")
        stages.run("two")
        yield folder


def listed(home: Path) -> list[list[str]]:
    """What is listed of the rows in quarantine."""
    done = ropewalk("quarantine", "list", ROPEWALK_HOME=str(home))
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()[1:]]


def days(*values: tuple[int, str]) -> str:
    """Rows of days in January."""
    return "day,a\n" + "".join(f"2013-01-0{day},{value}\n" for day, value in values)


def test_a_day_that_a_later_run_has_mended_leaves_its_batch(
    postgres: Postgres, tmp_path: Path
) -> None:
    with installed(postgres, tmp_path, DAYS) as stages:
        stages.rows(days((1, "1"), (2, "6"), (2, "2"), (3, "9"), (3, "3")))
        stages.run("month", last=date(2013, 1, 4))
        second = ["why", "2013-01-02", "clean", "month", "1", "2", "50.00%"]
        third = ["why", "2013-01-03", "clean", "month", "1", "2", "50.00%"]
        assert listed(tmp_path) == [second, third]
        stages.run("good", first=date(2013, 1, 1))  # where nothing was set aside
        assert listed(tmp_path) == [second, third]

        stages.rows(days((1, "1"), (2, "1"), (2, "2"), (3, "8"), (3, "3"), (3, "4")))
        stages.run("second", "anew", first=date(2013, 1, 2))
        assert listed(tmp_path) == [third]
        stages.run("third", "anew", first=date(2013, 1, 3))
        assert listed(tmp_path) == [["why", "2013-01-03", "clean", "third", "1", "3", "33.33%"]]
        stages.rows(days((1, "1"), (2, "7"), (2, "2"), (3, "4")))
        stages.run("again", "once more", last=date(2013, 1, 4))
        assert listed(tmp_path) == [["why", "2013-01-02", "clean", "again", "1", "2", "50.00%"]]


def test_the_ledger_accounts_for_every_row(home: Path) -> None:
    done = ropewalk("ledger", "one", ROPEWALK_HOME=str(home))
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["rows", "4", "3", "1", "✓", "filter"] in rows
    assert ["clean", "3", "1", "1", "1", "by", "where", "✓", "filter"] in rows
    assert "rows, clean: first time for 2013-01-01" in done.stdout
    assert "4 rows read, 0 published, 2 in quarantine" in done.stdout
    again = ropewalk("ledger", "two", ROPEWALK_HOME=str(home))
    assert "rows, clean: reused from run one" in again.stdout


def test_a_run_that_nobody_knows(home: Path) -> None:
    done = ropewalk("ledger", "tow", ROPEWALK_HOME=str(home))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no run 'tow' has asked for anything (the latest is two)" in done.stderr


def test_the_quarantine_is_listed_by_the_last_run_of_a_partition(home: Path) -> None:
    done = ropewalk("quarantine", "list", ROPEWALK_HOME=str(home))
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert rows == [
        ["why", "2013-01-01", "clean", "two", "1", "2", "50.00%"],
        ["why", "2013-01-01", "rows", "two", "1", "4", "25.00%"],
    ]
    nothing = ropewalk("quarantine", "list", "another", ROPEWALK_HOME=str(home))
    assert nothing.stdout == "No rows are in quarantine.\n"


def test_the_rows_set_aside_are_shown_as_they_are(home: Path) -> None:
    done = ropewalk("quarantine", "show", "two", ROPEWALK_HOME=str(home))
    assert "a: oops is no int64" in done.stdout
    assert '{"a":9,"b":"[bold]y"}' in done.stdout  # no markup of ours


def test_as_csv_with_all_that_is_known_of_each(home: Path) -> None:
    done = ropewalk("quarantine", "show", "two", "--csv", "--step", "rows", ROPEWALK_HOME=str(home))
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert (row["step"], row["source"], row["line"], row["rule"]) == (
        "rows",
        "data://rows.csv",
        "5",
        "type",
    )
    assert json.loads(row["row"]) == {"a": "oops", "b": "=1+1"}


def test_what_is_used_is_no_garbage(home: Path) -> None:
    done = ropewalk("gc", "--dry-run", ROPEWALK_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["collect", "0", "0", "0", "0"], ["process", "0", "0", "0", "0"],
    ]  # fmt: skip


def test_without_an_installation(tmp_path: Path) -> None:
    done = ropewalk("quarantine", "list", ROPEWALK_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "there is no installation in" in done.stderr
