"""docs/security.md names code and tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
CODE = sorted(set(re.findall(r"`([\w/]+/[\w]+\.(?:py|html|yaml))`", PAGE)))


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_a_test_that_the_page_names_is_there(file: str, name: str) -> None:
    assert re.search(rf"^ *(?:async )?def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("file", CODE)
def test_code_that_the_page_names_is_there(file: str) -> None:
    places = (ROOT / "include/ropewalk" / file, ROOT / file)
    assert any(place.is_file() for place in places)


def test_every_row_has_code_and_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert rows
    assert [row for row in rows if "::test_" not in row] == []
