"""Planning a backfill: which partitions go together, what is done already, and what is told of it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from ropewalk.cli.airflow import Airflow
from ropewalk.cli.backfill import batches, fitting, length, workflow_named
from ropewalk.cli.dry_run import Foreseen, foresee, say_foreseen, store_of_installation
from ropewalk.cli.run import run_workflow
from ropewalk.contracts.errors import ConfigError
from ropewalk.kernel.manifests import ManifestStore
from ropewalk.kernel.settings import Settings
from ropewalk.workflow import Workflow, loads

TEXT = """
start: 2013-01-01
timezone: America/New_York
partition: day
params: {least: {type: integer, default: 1}}
steps:
  words:
    collect: files
    with: {path: "data://{{ partition.month }}.csv", where: "day = {{ partition.date }}"}
  names:
    collect: files
    with: {path: "data://names.csv"}
  found:
    process:
      - sql: SELECT w.word, n.name FROM words AS w JOIN names AS n USING (word) WHERE n.number >= {{ params.least }}
"""


def workflow(grain: str = "day") -> Workflow:
    """A workflow with partitions of that length."""
    return loads(TEXT.replace("partition: day", f"partition: {grain}"), Path("w.yaml"))


@pytest.mark.parametrize(
    ("grain", "last", "size", "expected"),
    [
        ("day", "2013-01-07", 3, "01-01 01-03, 01-04 01-06, 01-07 01-07"),
        ("day", "2013-01-01", 31, "01-01 01-01"),
        ("week", "2013-01-20", 14, "12-31 01-13, 01-14 01-20"),
        ("month", "2013-03-31", 31, "01-01 01-31, 02-01 02-28, 03-01 03-31"),
        ("month", "2013-03-31", 62, "01-01 02-28, 03-01 03-31"),
        ("hour", "2013-01-03", 2, "01-01 01-02, 01-03 01-03"),
    ],
)
def test_batches_begin_and_end_with_a_day_and_cover_all(
    grain: str, last: str, size: int, expected: str
) -> None:
    found = batches(workflow(grain), date(2013, 1, 1), date.fromisoformat(last), size)
    told = ", ".join(f"{first:%m-%d} {last:%m-%d}" for first, last in (one.days for one in found))
    assert told == expected
    every = [one for batch in found for one in batch.partitions]
    assert all(one.end == other.start for one, other in itertools.pairwise(every))


def test_hours_of_a_day_stay_together_whatever_the_clock_does() -> None:
    (batch,) = batches(workflow("hour"), date(2013, 3, 10), date(2013, 3, 10), 1)
    assert len(batch.partitions) == 23


@pytest.mark.parametrize(
    ("last", "runs"), [("2013-01-31", 1), ("2013-02-28", 2), ("2013-12-31", 2), ("2015-12-31", 6)]
)
def test_a_range_is_done_in_few_runs_that_keep_two_cores_busy(last: str, runs: int) -> None:
    days = date(2013, 1, 1), date.fromisoformat(last)
    assert len(batches(workflow(), *days, fitting(*days))) == runs


@pytest.mark.parametrize("text", ["0d", "d", "1w", "-3", "1.5d"])
def test_a_batch_is_days(text: str) -> None:
    with pytest.raises(ConfigError, match="a batch is so many days"):
        length(text)


def test_a_range_that_goes_backwards_is_refused() -> None:
    with pytest.raises(ConfigError, match="is before the first"):
        batches(workflow(), date(2013, 1, 2), date(2013, 1, 1), 31)


def test_a_workflow_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "workflows").mkdir()
    path = tmp_path / "workflows" / "words.yaml"
    path.write_text(TEXT)
    monkeypatch.setenv("ROPEWALK_DAGS_FOLDER", str(tmp_path))
    assert workflow_named("words").name == workflow_named(str(path)).name == "words"
    with pytest.raises(ConfigError, match="did you mean 'words'"):
        workflow_named("word")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Words of five days."""
    lines = "".join(f"2013-01-0{day},word{day}\n" for day in range(1, 6))
    (tmp_path / "2013-01.csv").write_text(f"day,word\n{lines}")
    (tmp_path / "names.csv").write_text("word,name,number\nword1,one,1\nword2,two,2\n")
    monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("data")
def test_what_a_run_or_a_batch_has_done_is_foreseen_as_reused(tmp_path: Path) -> None:
    one, state, quiet = workflow(), tmp_path / "state", Console(quiet=True)
    run: Any = {"store": state, "refresh": False, "console": quiet}
    run_workflow(one, date(2013, 1, 2), {}, **run)
    run_workflow(one, date(2013, 1, 4), {}, last=date(2013, 1, 5), **run)
    settings = Settings(store_url=(state / "store").as_uri(), scratch_dir=state / "scratch")
    store = ManifestStore.open(settings)
    groups = batches(one, date(2013, 1, 1), date(2013, 1, 5), 31)
    found = foresee(one, groups, one.params({}), store)
    assert found.reused == ["2013-01-02"]  # the names of the others were read for another range
    groups = batches(one, date(2013, 1, 4), date(2013, 1, 5), 31)
    assert foresee(one, groups, one.params({}), store).to_run == []
    assert foresee(one, groups, one.params({"least": 2}), store).reused == []


def test_a_machine_on_which_no_stage_has_run_reads_the_store_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROPEWALK_HOME", str(tmp_path / "no" / "home"))
    monkeypatch.setenv("ROPEWALK_STORE_URL", (tmp_path / "store").as_uri())
    store = store_of_installation()
    assert store is not None
    assert store.manifest("0" * 64) is None


def test_a_machine_without_a_store_foresees_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROPEWALK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ROPEWALK_STORE_URL", raising=False)
    assert store_of_installation() is None


def test_what_is_foreseen_is_told_batch_by_batch(capsys: pytest.CaptureFixture[str]) -> None:
    one = workflow()
    groups = batches(one, date(2013, 1, 1), date(2013, 1, 5), 3)
    say_foreseen(one, groups, None, 2.0, Console(width=100))
    told = capsys.readouterr().out
    assert "2013-01-01_2013-01-03" in told
    assert "w: 5 partitions in 2 runs; about 14 s, by the last backfill" in told
    assert "cannot be told" in told
    assert "to run:" not in told


@pytest.mark.parametrize(
    ("reused", "to_run", "again"),
    [
        ([], "2013-01-01 … 2013-01-07", "none"),
        ([1, 2, 3, 4, 5, 6, 7], "none", "2013-01-01 … 2013-01-07"),
        ([2], "2013-01-01, 2013-01-03 … 2013-01-07", "2013-01-02"),
        ([1, 3, 4, 7], "2013-01-02, 2013-01-05 … 2013-01-06", "2013-01-01, 2013-01-03 … 2013-01-04, 2013-01-07"),
    ],
)  # fmt: skip
def test_the_partitions_that_would_run_and_those_that_are_reused_are_named(
    capsys: pytest.CaptureFixture[str], reused: list[int], to_run: str, again: str
) -> None:
    one = workflow()
    groups = batches(
        one, date(2013, 1, 1), date(2013, 1, 7), 3
    )  # a range goes on into the next batch
    names = [f"2013-01-0{day}" for day in reused]
    say_foreseen(one, groups, Foreseen(reused=names), 2.0, Console(width=40))
    lines = capsys.readouterr().out.splitlines()
    assert f"to run: {to_run}" in lines
    assert f"reused: {again}" in lines


@pytest.mark.usefixtures("data")
def test_what_is_foreseen_of_a_store_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, state = workflow(), tmp_path / "state"
    quiet: Any = {"store": state, "refresh": False, "console": Console(quiet=True)}
    run_workflow(one, date(2013, 1, 2), {}, **quiet)
    settings = Settings(store_url=(state / "store").as_uri(), scratch_dir=state / "scratch")
    groups = batches(one, date(2013, 1, 1), date(2013, 1, 4), 31)
    found = foresee(one, groups, one.params({}), ManifestStore.open(settings))
    say_foreseen(one, groups, found, None, Console(width=100))
    told = capsys.readouterr().out
    assert "to run: 2013-01-01, 2013-01-03 … 2013-01-04\n" in told
    assert "reused: 2013-01-02\n" in told


@pytest.mark.parametrize("apart", [-3600, 0, 3600])
def test_a_backfill_is_requested_by_airflows_clock(apart: int) -> None:
    """A clock that is wrong here would have its loads lose to those of runs before, or win over later ones."""
    with server(apart) as url, httpx.Client(base_url=url, trust_env=False) as client:
        address = {"url": url, "username": "u", "password": "p"}
        session, begun = Airflow(client, address), time.time()
        told, ended = session.now() / 1_000_000 - apart, time.time()
    apart_by_less = 0.6 if apart else 0  # HTTP tells whole seconds, and the middle of one is taken
    assert begun - apart_by_less <= told <= ended + apart_by_less


@contextmanager
def server(apart: int) -> Iterator[str]:
    """A server that lets anyone log in, and whose clock is so many seconds ahead."""

    class Answers(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate((timestamp or time.time()) + apart, usegmt=True)

        def do_GET(self) -> None:
            body = json.dumps({"access_token": "t", "version": "3.3"}).encode()
            self.send_response(201 if self.command == "POST" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name is the library's

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
