"""The transform cast."""

from __future__ import annotations

from ropewalk.testing.transforms import TransformSuite


class TestCast(TransformSuite):
    name = "cast"
    options = {"columns": {"n": "integer", "x": "double"}}
    rows = [{"n": "1", "x": 1, "s": "a"}, {"n": None, "x": 2, "s": "b"}]
    made = [{"n": 1, "x": 1.0, "s": "a"}, {"n": None, "x": 2.0, "s": "b"}]
    bad = {"columns": {"nn": "integer"}}
    error = "rows has no column 'nn' (did you mean 'n'?)"


class TestCastToNull(TransformSuite):
    name = "cast"
    options = {"columns": {"n": "integer"}, "on_error": "null"}
    rows = [{"n": "1"}, {"n": "one"}]
    made = [{"n": 1}, {"n": None}]
