"""The check row_count."""

from __future__ import annotations

from ropewalk.testing.checks import CheckSuite


class TestRowCount(CheckSuite):
    name = "row_count"
    options = {"min": 1, "max": 2}
    good = [{"a": 1}, {"a": 2}]
    bad = [{"a": 3}]
    failed = 1
    whole = True
    detail = "between 1 and 2 rows; there are 3"
