"""The schema that editors use: it takes what the loader takes, and points at what it does not know."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from ropewalk.workflow.schema import workflow_schema

ROOT = Path(__file__).parents[2]
FILES = [*ROOT.glob("dags/workflows/*.yaml"), *ROOT.glob("tests/e2e/workflows/*.yaml")]
EXAMPLES = re.findall(
    r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)
SCHEMA = Draft202012Validator(workflow_schema())
REST = {"connection": "shop", "cursor": {"field": "at", "param": "since", "overlap": "2h"}}
SQL = {"connection": "fleet", "table": "event", "cursor": {"column": "at", "overlap": 2}}


def wrong(text: str) -> list[str]:
    """What the schema says of a file."""
    found = json.loads(json.dumps(yaml.safe_load(text), default=str))  # as editors see dates
    return [error.message for error in SCHEMA.iter_errors(found)]


def collecting(name: str, options: dict[str, Any]) -> str:
    """A file that collects so."""
    return json.dumps({"title": "t", "steps": {"s": {"collect": name, "with": options}}})


@pytest.mark.parametrize(
    "text",
    [path.read_text("utf-8") for path in FILES if "invalid" not in path.name] + EXAMPLES,
)
def test_a_good_file_is_good(text: str) -> None:
    assert wrong(text) == []


def test_a_number_may_be_known_when_it_runs_and_a_query_may_stand_in_a_file() -> None:
    text = "title: t\nsteps:\n  s: {process: [{sql: %s}], checks: [{row_count: {min: '%s'}}]}\n"
    assert wrong(text % ("{file: a.sql}", "{{ params.least }}")) == []
    assert wrong(text % ("{file: a.sql}", "some"))
    assert wrong(text % ("{}", "{{ params.least }}"))


@pytest.mark.parametrize(("name", "options"), [("rest", REST), ("sql", SQL)])
def test_two_plugins_may_call_their_parts_the_same(name: str, options: dict[str, Any]) -> None:
    assert wrong(collecting(name, options)) == []
    bad = {**options, "cursor": {**options["cursor"], "from": 1}}
    assert wrong(collecting(name, bad))


def test_every_reference_leads_somewhere() -> None:
    whole = json.dumps(SCHEMA.schema)
    named = set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', whole))
    assert named <= SCHEMA.schema["$defs"].keys()
    assert "source.rest.Cursor" in named
