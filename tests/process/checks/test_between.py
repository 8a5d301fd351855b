"""The check between."""

from __future__ import annotations

from ropewalk.testing.checks import CheckSuite


class TestBetween(CheckSuite):
    name = "between"
    options = {"column": "delay", "min": -120, "max": 2000}
    good = [{"delay": -120}, {"delay": 2000}, {"delay": None}]
    bad = [{"delay": -130}, {"delay": 2001}]
    detail = "2 of 5 rows: delay between -120 and 2000; smallest -130, largest 2001"
    wrong = {"column": "dellay", "min": 1}
    error = "made has no column 'dellay' (did you mean 'delay'?)"


class TestDates(CheckSuite):
    name = "between"
    options = {"column": "day", "min": "2013-01-01"}
    good = [{"day": "2013-01-01"}]
    bad = [{"day": "2012-12-31"}]
    detail = "1 of 2 rows: day at least 2013-01-01; for example 2012-12-31"
