"""The check not_null."""

from __future__ import annotations

from ropewalk.testing.checks import CheckSuite


class TestNotNull(CheckSuite):
    name = "not_null"
    options = ["a", "b"]
    good = [{"a": 1, "b": "x"}]
    bad = [{"a": None, "b": "x"}, {"a": 1, "b": None}, {"a": None, "b": None}]
    detail = "3 of 4 rows: a, b not null"
    wrong = ["aa"]
    error = "made has no column 'aa' (did you mean 'a'?)"
