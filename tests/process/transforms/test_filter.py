"""The transform filter."""

from __future__ import annotations

from ropewalk.testing.transforms import TransformSuite


class TestFilter(TransformSuite):
    name = "filter"
    options = "delay > {{ params.least }}"
    rows = [{"delay": 1}, {"delay": 5}, {"delay": None}, {"delay": 9}]
    values = {"params.least": 4}
    made = [{"delay": 5}, {"delay": 9}]
    dropped = 2
    bad = "delai > {{ params.least }}"
    error = "rows has no column 'delai' (did you mean 'delay'?)"
