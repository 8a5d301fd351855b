"""The transform sql."""

from __future__ import annotations

from ropewalk.testing.transforms import TransformSuite


class TestSql(TransformSuite):
    name = "sql"
    options = (
        "SELECT r.a, o.b, r.a + {{ params.more }} AS c FROM rows r LEFT JOIN other o USING (a)"
    )
    rows = [{"a": 1}, {"a": 2}]
    others = {"other": [{"a": 1, "b": "x"}]}
    values = {"params.more": 10}
    made = [{"a": 1, "b": "x", "c": 11}, {"a": 2, "b": None, "c": 12}]
    bad = "SELECT r.a, r.bb FROM rows r LEFT JOIN other o USING (a)"
    error = "rows has no column 'bb' (valid: a)"
