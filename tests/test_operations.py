"""docs/operations.md tells of every setting and every metric, and each default as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram
from pydantic_core import PydanticUndefined
from ropewalk.kernel import metrics
from ropewalk.kernel.settings import Settings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
ROWS = re.findall(
    r"^\| `(ROPEWALK_[A-Z0-9_]+(?:<NAME>)?)` \| (.+?) \| (.*?) \| (.*?) ?\|$", PAGE, re.MULTILINE
)
PREFIXES = {"ROPEWALK_CONNECTION_", "ROPEWALK_ROOT_"}
READ = [
    *(ROOT / "include").rglob("*.py"),
    *(ROOT / "plugins").rglob("*.py"),
    ROOT / "docker-compose.yaml",
    ROOT / "Dockerfile",
]


def read_anywhere() -> set[str]:
    """Every variable that the product's files name."""
    names: set[str] = set()
    for path in READ:
        names |= set(re.findall(r"ROPEWALK_[A-Z0-9_]*[A-Z0-9]", path.read_text("utf-8")))
    return {name for name in names if not name.startswith(("ROPEWALK_FAILPOINT", *PREFIXES))}


def test_every_setting_is_in_the_table_and_no_other() -> None:
    told = [name for name, *_ in ROWS]
    settings = {f"ROPEWALK_{name.upper()}" for name in Settings.model_fields}
    prefixes = {f"{prefix}<NAME>" for prefix in PREFIXES}
    known = read_anywhere() - {"ROPEWALK_CONNECTION", "ROPEWALK_ROOT"}
    assert sorted(told) == sorted(settings | known | prefixes)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_default_is_as_told(name: str) -> None:
    told = {row[0]: row[2] for row in ROWS}[f"ROPEWALK_{name.upper()}"]
    default = Settings.model_fields[name].default
    if default is None or default == frozenset():
        assert told == "none"
    elif default is not PydanticUndefined:
        assert told == f"`{default}`"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_setting_has_a_meaning_and_an_example_unless_it_is_a_secret(row: tuple[str, ...]) -> None:
    _, meaning, default, example = row
    assert meaning
    assert default
    assert example or "a secret" in meaning


def test_every_metric_is_told() -> None:
    counted = [
        one for one in vars(metrics).values() if isinstance(one, Counter | Gauge | Histogram)
    ]
    names = {
        family.name + ("_total" if family.type == "counter" else "")
        for one in counted
        for family in one.collect()
    }
    assert names
    assert {name for name in names if f"`{name}{{" not in PAGE} == set()
