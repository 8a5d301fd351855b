"""The transform aggregate."""

from __future__ import annotations

from ropewalk.testing.transforms import TransformSuite


class TestAggregate(TransformSuite):
    name = "aggregate"
    options = {
        "by": ["carrier"],
        "columns": {
            "flights": "count(*)",
            "total": "sum(delay) + {{ params.more }}",
            "mean": "avg(delay)",
        },
    }
    values = {"params.more": 0}
    rows = [
        {"carrier": "UA", "delay": 1},
        {"carrier": "UA", "delay": 2},
        {"carrier": "AA", "delay": None},
    ]
    made = [
        {"carrier": "UA", "flights": 2, "total": 3, "mean": 1.5},
        {"carrier": "AA", "flights": 1, "total": None, "mean": None},
    ]
    bad = {"by": ["carrier"], "columns": {"total": "sum(dely)"}}
    error = "rows has no column 'dely' (did you mean 'delay'?)"


class TestTheWhole(TransformSuite):
    name = "aggregate"
    options = {"columns": {"n": "count(distinct a)"}}
    rows = [{"a": 1}, {"a": 1}, {"a": 2}]
    made = [{"n": 2}]
