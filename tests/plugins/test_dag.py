"""What a workflow file becomes in Airflow."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from ropewalk.contracts.errors import ConfigError
from ropewalk_airflow.dag import Refused, dag_of_file
from ropewalk_airflow.timetable import WorkflowTimetable

from tests.plugins.conftest import ROOT

WORKFLOWS = sorted((ROOT / "dags" / "workflows").glob("*.yaml"))

UNKNOWN_COLUMN = """steps:
  rows: {collect: files, with: {path: "data://rows.csv", select: [price]}}
  sums: {process: [{sql: SELECT sum(prize) AS n FROM rows}]}
"""


def write(folder: Path, text: str, name: str = "mine") -> Path:
    """A workflow file."""
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_file_is_a_dag_of_its_name_that_airflow_can_keep(path: Path) -> None:
    dag = dag_of_file(path)
    assert dag.dag_id == path.stem
    assert dag.tags == {"ropewalk"}
    again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert set(again.task_ids) == set(dag.task_ids)


def test_tasks_wait_for_what_their_sql_reads() -> None:
    dag = dag_of_file(ROOT / "dags" / "workflows" / "flights_daily.yaml")
    assert dag.get_task("departures").upstream_task_ids == {
        "flights", "weather", "planes", "airports", "airlines",
    }  # fmt: skip
    assert dag.get_task("publish").upstream_task_ids == {
        "by_carrier", "by_hour", "by_destination", "drivers",
    }  # fmt: skip
    assert dag.get_task("report").upstream_task_ids == {"publish"}  # which waits for all others
    assert isinstance(dag.timetable, WorkflowTimetable)
    assert dag.end_date is None  # Airflow would make no tasks for a run by hand after it


def test_the_trigger_form_has_the_files_params_and_the_days() -> None:
    params = dag_of_file(ROOT / "dags" / "workflows" / "flights_daily.yaml").params
    assert list(params) == ["date", "to", "min_flights", "refresh"]
    assert params.get_param("min_flights").schema["minimum"] == 1
    assert params.get_param("date").schema["format"] == "date"


def test_a_published_table_is_an_asset_and_the_workflow_is_one_too() -> None:
    dag = dag_of_file(ROOT / "dags" / "workflows" / "flights_daily.yaml")
    uris = {asset.uri for asset in dag.get_task("publish").outlets}
    assert "ropewalk://results/flights/departures" in uris
    assert {asset.uri for asset in dag.get_task("report").outlets} == {
        "ropewalk://workflow/flights_daily"
    }


def test_retries_are_those_of_the_file() -> None:
    task = dag_of_file(ROOT / "dags" / "workflows" / "flights_daily.yaml").get_task("flights")
    assert (task.retries, task.retry_delay.total_seconds()) == (3, 30)


def test_a_bad_file_is_a_dag_that_says_what_is_wrong(tmp_path: Path) -> None:
    dag = dag_of_file(write(tmp_path, "title: t\nsteps:\n  a:\n    collect: filse\n"))
    assert dag.tags == {"ropewalk", "invalid"}
    assert "mine.yaml:4:14" in str(dag.doc_md)
    assert "did you mean" in str(dag.doc_md)
    task = dag.get_task("invalid")
    assert isinstance(task, Refused)
    with pytest.raises(ConfigError, match=r"mine\.yaml:4:14: .*filse"):
        task.execute({})


def test_the_process_of_a_task_finds_it_in_a_file_that_names_no_column(tmp_path: Path) -> None:
    bad = write(tmp_path, UNKNOWN_COLUMN)
    assert dag_of_file(bad).task_ids == ["invalid"]
    told = dag_of_file(bad, "invalid").get_task("invalid")
    assert isinstance(told, Refused)
    with pytest.raises(ConfigError, match=r"mine\.yaml:3:.*did you mean 'price'"):
        told.execute({})
    assert "sums" in dag_of_file(bad, "sums").task_ids  # the stage says what is wrong


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_process_of_a_task_has_the_dag_that_airflow_has(path: Path) -> None:
    alone = DagSerialization.to_dict(dag_of_file(path, "departures"))
    assert alone == DagSerialization.to_dict(dag_of_file(path))


def test_a_bad_file_may_say_anything(tmp_path: Path) -> None:
    dag = dag_of_file(write(tmp_path, "steps: {a: {collect: '<script>alert(1)</script>`'}}\n", "x"))
    assert isinstance(dag, DAG)
    assert DagSerialization.to_dict(dag)


def test_a_title_is_text_and_no_markup(tmp_path: Path) -> None:
    dag = dag_of_file(write(tmp_path, TITLED))
    assert "<script>" not in str(dag.doc_md)


TITLED = """
title: <script>alert(1)</script>
steps:
  days:
    collect: sql
    with: {connection: fleet, query: SELECT 1 AS n}
"""
