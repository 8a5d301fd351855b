"""The transform rename."""

from __future__ import annotations

from ropewalk.testing.transforms import TransformSuite


class TestRename(TransformSuite):
    name = "rename"
    options = {"columns": {"a": "b", "b": "a"}}
    rows = [{"a": 1, "b": 2, "c": 3}]
    made = [{"b": 1, "a": 2, "c": 3}]
    bad = {"columns": {"carier": "airline"}}
    error = "rows has no column 'carier' (valid: a, b, c)"
