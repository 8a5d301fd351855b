"""A stage that someone else wrote is reached by the connection that the workflow names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ropewalk.contracts.models import Use
from ropewalk.testing.services import StageService
from ropewalk.workflow import loads
from ropewalk_airflow.dag import workflow_dag
from ropewalk_airflow.hook import StageHook, connection_id
from ropewalk_airflow.operator import StageOperator

from tests.plugins.test_hook import service

__all__ = ["service"]  # the fixture

FILE = """stages: {geocode: geocode_eu}
steps:
  a:
    collect: files
    with: {path: "data://a.csv"}
  b:
    geocode: addresses
    from: a
"""


def test_the_task_of_its_step_has_its_connection() -> None:
    dag = workflow_dag(loads(FILE, Path("customers.yaml")))
    assert {task.task_id: task.conn_id for task in dag.tasks} == {  # type: ignore[union-attr]
        "a": "ropewalk_collect", "b": "ropewalk_stage_geocode_eu",
    }  # fmt: skip


def test_a_dag_written_by_hand_may_ask_it_too() -> None:
    task = StageOperator(task_id="b", stage="geocode", do=[{"addresses": {"column": "street"}}])
    assert task.conn_id == "ropewalk_stage_geocode"
    step = task._what({"dag_run": type("Run", (), {"dag_id": "by_hand"})})[1]  # noqa: SLF001
    assert step.do == (Use(plugin="addresses", version="", options={"column": "street"}),)
    assert step.connection == "geocode"


def test_the_connection_is_one_of_a_stage(
    service: StageService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {
        "conn_type": "ropewalk_stage", "host": "127.0.0.1", "port": service.port, "password": service.key,
        "extra": {"stage": "collect"},  # what the service calls itself
    }  # fmt: skip
    name = connection_id("geocode", "geocode_eu")
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(found))
    assert StageHook(name).test_connection()[0]
