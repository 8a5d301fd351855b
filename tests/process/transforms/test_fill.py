"""The transform fill."""

from __future__ import annotations

from ropewalk.testing.transforms import TransformSuite


class TestFill(TransformSuite):
    name = "fill"
    options = {"columns": {"wind": 0, "dest": "it's unknown"}}
    rows = [{"wind": 1.5, "dest": None}, {"wind": None, "dest": "IAH"}]
    made = [{"wind": 1.5, "dest": "it's unknown"}, {"wind": 0.0, "dest": "IAH"}]
    bad = {"columns": {"wnd": 0}}
    error = "rows has no column 'wnd' (did you mean 'wind'?)"
