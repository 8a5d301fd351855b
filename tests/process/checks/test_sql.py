"""The check sql."""

from __future__ import annotations

from ropewalk.testing.checks import CheckSuite


class TestCondition(CheckSuite):
    name = "sql"
    options = "arrival >= departure"
    good = [{"departure": 1, "arrival": 2}, {"departure": 1, "arrival": None}]
    bad = [{"departure": 3, "arrival": 2}]
    detail = "1 of 3 rows: arrival >= departure"
    wrong = "arival >= departure"
    error = "made has no column 'arival' (did you mean 'arrival'?)"


class TestFailingRows(CheckSuite):
    name = "sql"
    options = {
        "query": "SELECT * FROM made WHERE n NOT IN (SELECT n FROM rows WHERE n < 3)",
        "message": "n is known",
    }
    good = [{"n": 1}]
    bad = [{"n": 3}, {"n": 4}]
    whole = True
    detail = "n is known"
    wrong = {"query": "SELECT * FROM made WHERE nn > 1"}
    error = "made has no column 'nn' (did you mean 'n'?)"


class TestBoolean(CheckSuite):
    name = "sql"
    options = "SELECT count(*) < 3 FROM this"
    good = [{"n": 1}]
    bad = [{"n": 3}, {"n": 4}]
    failed = 1
    whole = True
    detail = "SELECT count(*) < 3 FROM this"
