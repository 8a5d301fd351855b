"""The check accepted_values."""

from __future__ import annotations

from ropewalk.testing.checks import CheckSuite


class TestAcceptedValues(CheckSuite):
    name = "accepted_values"
    options = {"column": "origin", "values": ["EWR", "it's"]}
    good = [{"origin": "EWR"}, {"origin": "it's"}, {"origin": None}]
    bad = [{"origin": "XXX"}, {"origin": "XXX"}]
    detail = "2 of 5 rows: origin one of EWR, it's; for example XXX"
    wrong = {"column": "orgin", "values": ["EWR"]}
    error = "made has no column 'orgin' (did you mean 'origin'?)"


class TestNumbers(CheckSuite):
    name = "accepted_values"
    options = {"column": "n", "values": [1, 2]}
    good = [{"n": 1}]
    bad = [{"n": 3}]
    detail = "1 of 2 rows: n one of 1, 2; for example 3"
