"""The transform select."""

from __future__ import annotations

from ropewalk.testing.transforms import TransformSuite


class TestSelect(TransformSuite):
    name = "select"
    options = ["c", "a"]
    rows = [{"a": 1, "b": 2, "c": 3}]
    made = [{"c": 3, "a": 1}]
    bad = ["d"]
    error = "rows has no column 'd' (valid: a, b, c)"


class TestExclude(TransformSuite):
    name = "select"
    options = {"exclude": ["b"]}
    rows = [{"a": 1, "b": 2, "c": 3}]
    made = [{"a": 1, "c": 3}]
