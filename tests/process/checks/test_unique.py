"""The check unique."""

from __future__ import annotations

from ropewalk.testing.checks import CheckSuite


class TestUnique(CheckSuite):
    name = "unique"
    options = ["a", "b"]
    good = [
        {"a": 1, "b": 1, "c": 1},
        {"a": 1, "b": 2, "c": 1},
        {"a": 1, "b": None, "c": 1},
        {"a": 1, "b": None, "c": 1},
    ]
    bad = [{"a": 1, "b": 1, "c": 2}, {"a": 1, "b": 1, "c": 0}]
    detail = "2 of 6 rows: a, b unique; for example 1, 1"
    wrong = ["d"]
    error = "made has no column 'd' (valid: a, b, c)"
