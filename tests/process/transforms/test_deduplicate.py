"""The transform deduplicate."""

from __future__ import annotations

from ropewalk.testing.transforms import TransformSuite


class TestDeduplicate(TransformSuite):
    name = "deduplicate"
    options = {"by": ["k"]}
    rows = [
        {"k": 1, "v": 2},
        {"k": 1, "v": 1},
        {"k": 2, "v": 1},
        {"k": None, "v": 3},
        {"k": None, "v": 4},
    ]
    made = [{"k": 1, "v": 1}, {"k": 2, "v": 1}, {"k": None, "v": 3}]
    dropped = 2
    bad = {"by": ["kk"]}
    error = "rows has no column 'kk' (did you mean 'k'?)"


class TestLast(TransformSuite):
    name = "deduplicate"
    options = {"by": ["k"], "order_by": ["at"], "keep": "last"}
    rows = [{"k": 1, "v": 9, "at": 1}, {"k": 1, "v": 1, "at": 2}, {"k": 1, "v": 5, "at": None}]
    made = [{"k": 1, "v": 1, "at": 2}]
    dropped = 2


class TestWholeRows(TransformSuite):
    name = "deduplicate"
    options = None
    rows = [{"k": 1, "v": 1}, {"k": 1, "v": 1}, {"k": 1, "v": 2}]
    made = [{"k": 1, "v": 1}, {"k": 1, "v": 2}]
    dropped = 1
