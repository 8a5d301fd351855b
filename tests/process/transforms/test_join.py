"""The transform join."""

from __future__ import annotations

from ropewalk.testing.transforms import TransformSuite


class TestJoin(TransformSuite):
    name = "join"
    options = {"input": "airports", "by": {"dest": "faa"}, "columns": ["name"]}
    rows = [{"dest": "IAH", "n": 1}, {"dest": "BQN", "n": 2}]
    others = {"airports": [{"faa": "IAH", "name": "Houston", "n": 7}]}
    made = [{"dest": "IAH", "n": 1, "name": "Houston"}, {"dest": "BQN", "n": 2, "name": None}]
    bad = {"input": "airports", "by": {"dest": "fa"}}
    error = "airports has no column 'fa' (did you mean 'faa'?)"


class TestInner(TransformSuite):
    name = "join"
    options = {"input": "planes", "by": ["tailnum"], "how": "inner"}
    rows = [{"tailnum": "a"}, {"tailnum": "b"}, {"tailnum": None}]
    others = {"planes": [{"tailnum": "a", "seats": 10}, {"tailnum": None, "seats": 20}]}
    made = [{"tailnum": "a", "seats": 10}]
    bad = {"input": "plane", "by": ["tailnum"], "of": "rows"}
    error = "the step has no input 'plane' (did you mean 'planes'?)"


class TestSemi(TransformSuite):
    name = "join"
    options = {"input": "planes", "by": ["tailnum"], "how": "semi"}
    rows = [{"tailnum": "a"}, {"tailnum": "b"}]
    others = {"planes": [{"tailnum": "a", "seats": 10}, {"tailnum": "a", "seats": 20}]}
    made = [{"tailnum": "a"}]
    dropped = 1


class TestAnti(TransformSuite):
    name = "join"
    options = {"input": "planes", "by": ["tailnum"], "how": "anti"}
    rows = [{"tailnum": "a"}, {"tailnum": "b"}, {"tailnum": None}]
    others = {"planes": [{"tailnum": "a"}, {"tailnum": None}]}
    made = [{"tailnum": "b"}, {"tailnum": None}]
    dropped = 1
