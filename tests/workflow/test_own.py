"""A stage that someone else wrote is a word of the workflow, and does its work as the others do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from rich.console import Console
from ropewalk.cli.run import run_workflow
from ropewalk.contracts.errors import ConfigError, RopewalkError
from ropewalk.contracts.models import RunInfo, Use
from ropewalk.testing.services import StageService, running
from ropewalk.workflow import WorkflowError, load, loads, task_request

from tests.conftest import Postgres

ROOT = Path(__file__).parents[2]
FILE = """title: Where our customers are
stages: [geocode]
steps:
  customers:
    collect: files
    with: {path: "data://customers.csv", select: [name, street]}
  places:
    geocode: addresses
    from: customers
    with: {column: street}
  near:
    process:
      - sql: SELECT name, lat FROM places WHERE lat < 10
"""


@pytest.fixture(scope="module")
def geocode(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageService]:
    """The stage, with a store of its own: what it reads and makes goes over Flight."""
    home = tmp_path_factory.mktemp("geocode")
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"}
    url = postgres.database().superuser
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("CREATE SCHEMA geocode")
    with running(StageService("tests.workflow.geocode", url, home, env)) as (service,):
        yield service


@pytest.fixture
def workflow_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workflow and its data."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "customers.csv").write_text("name,street\nAnn,Elm St\nBob,Very Long Avenue\n")
    monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(data))
    path = tmp_path / "customers.yaml"
    path.write_text(FILE)
    return path


def test_its_step_is_done_between_those_of_the_built_in_stages(
    geocode: StageService, workflow_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"url": geocode.url, "flight": geocode.flight, "token": geocode.token}
    monkeypatch.setenv("ROPEWALK_STAGE_GEOCODE", json.dumps(where))
    (tmp_path / "geocode.json").write_text(described(geocode))
    text = FILE.replace("[geocode]", "{geocode: {connection: geocode, describe: geocode.json}}")
    workflow_file.write_text(text)
    reports = run_workflow(
        load(workflow_file), None, {}, store=tmp_path / "state", refresh=False, console=Console(quiet=True)
    )  # fmt: skip
    assert {name: report.rows.out for name, report in reports.items()} == {
        "customers": 2, "places": 2, "near": 1,
    }  # fmt: skip
    assert (reports["places"].stage, reports["places"].plugins) == ("geocode", ["addresses"])
    assert [column.name for column in reports["near"].columns["data"]] == ["name", "lat"]
    wrong = FILE.replace("column: street", "column: city")
    with pytest.raises(RopewalkError, match="city"):
        run_workflow(
            loads(wrong, workflow_file), None, {}, store=tmp_path / "state", refresh=False, console=Console(quiet=True)
        )  # fmt: skip


def described(service: StageService) -> str:
    """What the stage says of itself."""
    with service.client as client:
        return client.get("/v1/describe").text


def test_without_its_address_the_step_says_what_to_set(
    workflow_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROPEWALK_STAGE_GEOCODE", raising=False)
    with pytest.raises(ConfigError) as caught:
        run_workflow(
            load(workflow_file), None, {}, store=tmp_path / "state", refresh=False, console=Console(quiet=True)
        )  # fmt: skip
    assert str(caught.value) == (
        "there is no stage 'geocode' here (set ROPEWALK_STAGE_GEOCODE to its url, flight and token, as JSON)"
    )


def test_the_request_is_for_that_stage_with_the_options_as_they_are() -> None:
    text = FILE.replace("column: street", 'column: street, near: "{{ run.id }}"')
    workflow = loads(text, Path("w.yaml"))
    step = workflow.steps["places"]
    request = task_request(workflow, step, run=RunInfo(id="r"), partition=None)
    options = {"column": "street", "near": "{{ run.id }}"}
    assert (step.connection, step.needs, request.stage) == ("geocode", ("customers",), "geocode")
    assert (request.do, request.values) == (
        [Use(plugin="addresses", version="", options=options)],
        {"run.id": "r"},
    )
    assert (request.generation, loads(FILE, Path("w.yaml")).steps["customers"].connection) == (
        "",
        None,
    )


def test_a_step_of_it_that_reads_no_step_reads_the_outside_world() -> None:
    workflow = loads(FILE.replace("    from: customers\n", ""), Path("w.yaml"))
    request = task_request(workflow, workflow.steps["places"], run=RunInfo(id="r"), partition=None)
    assert request.generation == ":r"


def test_its_connection_may_have_another_name() -> None:
    workflow = loads(FILE.replace("[geocode]", "{geocode: geocode_eu}"), Path("w.yaml"))
    assert workflow.steps["places"].connection == "geocode_eu"


DESCRIPTION = {
    "stage": "geocode", "contract": "1.0", "version": "7",
    "plugins": [{
        "kind": "geocoder", "name": "addresses", "version": "3", "description": "Adds a place.",
        "options": {
            "type": "object", "required": ["column"], "additionalProperties": False,
            "properties": {"column": {"type": "string"}, "precision": {"type": "integer"}},
        },
    }],
}  # fmt: skip
OWN = "stages: [geocode]"
TOLD = "stages: {geocode: {connection: geocode, describe: geocode.json}}"
WRONG = {
    FILE.replace("geocode: addresses", "geocod: addresses"):
        "w.yaml:8:13: step 'places' has no stage word (did you mean 'geocode'?)",
    FILE.replace("geocode: addresses", "geocode: [addresses]"):
        "w.yaml:8:5: a plugin is named by a word, not ['addresses']",
    FILE.replace("{column: street}", "street"): "w.yaml:10:11: with holds options by name",
    FILE.replace("street}\n  near", "'{{ params.x }}'}\n  near"):
        "w.yaml:8:14: unknown value {{ params.x }} (valid: run.id)",
    FILE.replace("[geocode]", "{geocode: 'http://127.0.0.1:9000'}"):
        "w.yaml:2:1: an address is a setting, not part of a workflow: write geocode: geocode,"
        " and set the connection ropewalk_stage_geocode in Airflow",
    FILE.replace("[geocode]", "[collect]"):
        "w.yaml:2:1: 'collect' is a word of Ropewalk's own: give the stage another name",
    FILE.replace("[geocode]", "geocode"): "w.yaml:2:9: stages are names of your own: stages: [geocode]",
    FILE.replace(OWN, TOLD).replace("addresses", "adresses"):
        "w.yaml:8:14: stage 'geocode' has no plugin 'adresses' (did you mean 'addresses'?)",
    FILE.replace(OWN, TOLD).replace("column: street", "colum: street"):
        "w.yaml:10:19: geocoder 'addresses' has no option 'colum' (did you mean 'column'?)",
    FILE.replace(OWN, TOLD).replace("column: street", "column: street, precision: high"):
        "w.yaml:10:39: geocoder 'addresses': 'high' is not of type 'integer'",
    FILE.replace(OWN, TOLD).replace("column: street", ""):
        "w.yaml:10:5: geocoder 'addresses': 'column' is a required property",
    FILE.replace(OWN, TOLD.replace("geocode.json", "../x.json")):
        "w.yaml:8:14: the file '../x.json' lies outside of the workflow's folder",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_told_before_anything_runs(tmp_path: Path, text: str) -> None:
    (tmp_path / "geocode.json").write_text(json.dumps(DESCRIPTION))
    with pytest.raises(WorkflowError) as caught:
        loads(text, tmp_path / "w.yaml")
    assert str(caught.value) == WRONG[text]


def test_with_its_description_the_request_names_the_plugins_version(tmp_path: Path) -> None:
    (tmp_path / "geocode.json").write_text(json.dumps(DESCRIPTION))
    text = FILE.replace(OWN, TOLD).replace(
        "column: street", 'column: street, precision: "{{ run.id }}"'
    )
    assert loads(text, tmp_path / "w.yaml").steps["places"].do[0].version == "3"
