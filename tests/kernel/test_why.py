"""What is done again and what is not, through real stages: and that either says why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import pytest
from ropewalk.contracts.models import DatasetRef, RunInfo, TaskStatus
from ropewalk.testing.services import StageService, running
from ropewalk.workflow import load, task_request
from ropewalk.workflow.partitions import partition_on, partitions

from tests.conftest import Postgres

FILE = """
title: Why
start: 2013-01-01
partition: day
steps:
  rows:
    collect: files
    with: {path: "data://rows.csv"}
  clean:
    process:
      - sql: |
          SELECT a, b FROM rows WHERE a > 0
"""


class Stages:
    """Collect and process, one store, and a workflow that runs through them as under Airflow."""

    def __init__(self, home: Path, services: Iterable[StageService], text: str = FILE) -> None:
        self.home, self.services = home, {service.stage: service for service in services}
        self.file = home / "why.yaml"
        self.file.write_text(text)
        self.rows("a,b\n1,x\n2,y\n0,z\n")

    def rows(self, text: str) -> None:
        """What the source has from now on."""
        (self.home / "rows.csv").write_text(text)

    def sql(self, query: str) -> None:
        """What the second step asks from now on."""
        self.file.write_text(FILE.replace("SELECT a, b FROM rows WHERE a > 0", query))

    def run(
        self,
        name: str,
        generation: str = "",
        first: date = date(2013, 1, 1),
        last: date | None = None,
    ) -> dict[str, TaskStatus]:
        """Both steps, of a day or of a batch: how each stood when it was asked for, or when it had ended."""
        workflow = load(self.file)
        found: dict[str, TaskStatus] = {}
        inputs: dict[str, DatasetRef] = {}
        for step in workflow.order():
            request = task_request(
                workflow, step, run=RunInfo(id=name), partition=partition_on(workflow, first),
                batch=list(partitions(workflow, first, last)) if last else (),
                inputs=inputs, generation=generation,
            )  # fmt: skip
            service = self.services[step.stage]
            status = service.submit(request)
            found[step.name] = status if status.report else service.end(status.key)
            report = found[step.name].report
            assert report is not None, found[step.name].error
            assert report.output is not None
            inputs[step.name] = report.output
        return found


@pytest.fixture
def stages(postgres: Postgres, tmp_path: Path) -> Iterator[Stages]:
    """The stages, running."""
    database = postgres.database()
    env = {"ROPEWALK_ROOT_DATA": str(tmp_path)}
    services = [StageService(name, database.stage(name), tmp_path, env) for name in ("collect", "process")]  # fmt: skip
    with running(*services) as started:
        yield Stages(tmp_path, started)


def test_what_is_done_again_says_why_and_what_is_not_says_from_where(stages: Stages) -> None:
    first = stages.run("one")
    assert [why(status) for status in first.values()] == [["first time for 2013-01-01"]] * 2

    again = stages.run("two")
    assert [status.reused for status in again.values()] == ["one", "one"]

    cleared = stages.run("three", generation="three/1")
    assert "cleared" in why(cleared["rows"])[0]
    assert cleared["clean"].reused == "one"  # the rows are the same: nothing after them runs

    stages.sql("SELECT a,\n            b -- the rest\n          FROM rows   WHERE a>0")
    assert stages.run("four", generation="three/1")["clean"].reused == "one"

    stages.rows("a,b\n2,y\n1,x\n0,z\n")
    assert stages.run("five", generation="five/1")["clean"].reused == "one"  # in another order

    stages.rows("a,b\n1,x\n2,other\n0,z\n")
    changed = stages.run("six", generation="six/1")
    assert why(changed["clean"]) == ["input rows has other rows"]

    stages.sql("SELECT a, b FROM rows WHERE a >= 0")
    asked = stages.run("seven", generation="six/1")
    assert asked["rows"].reused == "six"
    assert why(asked["clean"]) == ["option query of sql has changed"]


def test_a_run_after_a_clear_has_what_the_clear_has_read(stages: Stages) -> None:
    """Not what was read first: the later start has the later data."""
    stages.run("one", generation="0")
    stages.rows("a,b\n5,new\n")
    cleared = stages.run("one", generation="one/1")
    later = stages.run("two", generation="0")
    assert later["rows"].reused == later["clean"].reused == "one"
    assert later["rows"].key == cleared["rows"].key
    assert rows_of(later) == rows_of(cleared) == 1
    stages.rows("a,b\n5,new\n6,newer\n")
    stages.run("three", generation="three/0")  # a refresh
    assert rows_of(stages.run("four", generation="0")) == 2
    assert rows_of(stages.run("one", generation="one/1")) == 1  # a retry of what has been read


def test_a_run_waits_for_a_read_that_was_asked_for_before_it(stages: Stages) -> None:
    stages.run("one", generation="0")
    collect, workflow = stages.services["collect"], load(stages.file)
    step = workflow.steps["rows"]

    def ask(run: str, generation: str) -> str:
        day = partition_on(workflow, date(2013, 1, 1))
        request = task_request(
            workflow, step, run=RunInfo(id=run), partition=day, generation=generation
        )
        return collect.submit(request).key

    refresh = ask("two", "two/0")
    assert ask("three", "0") == refresh
    assert collect.end(refresh).state.ended


def rows_of(found: dict[str, TaskStatus]) -> int:
    """How many rows came to the last step."""
    report = found["clean"].report
    assert report is not None
    return report.rows.out


def why(status: TaskStatus) -> list[str]:
    """What the report says."""
    assert status.report is not None
    assert status.reused is None
    return status.report.why
