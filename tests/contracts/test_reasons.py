"""Why a task runs: every part of the key that differs is told, and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ropewalk.contracts.keys import key_parts, task_key
from ropewalk.contracts.models import DatasetRef, Partition, RunInfo, TaskRequest, Use
from ropewalk.contracts.reasons import OF_STAGE, SAME_BUT, reasons

DAY = Partition(
    start=datetime(2013, 1, 1, 5, tzinfo=UTC), end=datetime(2013, 1, 2, 5, tzinfo=UTC), name="2013-01-01"
)  # fmt: skip


def ref(content: str, task: str = "a") -> DatasetRef:
    return DatasetRef(id=f"{task * 64}/data", fingerprint=content, rows=1, bytes=1)


REQUEST = TaskRequest(
    workflow="w",
    step="s",
    stage="process",
    do=[Use(plugin="sql", options={"query": "SELECT 1"}), Use(plugin="fill", options={"a": 1})],
    checks=[Use(plugin="unique", options={"columns": ["a"]})],
    partition=DAY,
    values={"params.n": 10},
    inputs={"flights": ref("x")},
    run=RunInfo(id="r"),
)


def but(**changes: Any) -> TaskRequest:
    return REQUEST.model_copy(update=changes)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (but(do=[Use(plugin="sql", version="2", options={"query": "SELECT 1"}), REQUEST.do[1]]),
         ["sql is version 2, was 1"]),
        (but(do=[Use(plugin="sql", options={"query": "SELECT 2"}), REQUEST.do[1]]),
         ["option query of sql has changed"]),
        (but(do=REQUEST.do[:1]), ["its plugins are sql, were sql, fill"]),
        (but(checks=[]), ["its checks are none, were unique"]),
        (but(max_quarantined="1%"), ["max_quarantined is 1%, was not given"]),
        (but(values={"params.n": 20}), ["params.n is 20, was 10"]),
        (but(inputs={"flights": ref("y")}), ["input flights has other rows"]),
        (but(inputs={"planes": ref("x")}), ["input planes is new", "input flights is read no more"]),
        (but(generation="2", stage="collect"), ["its stage has changed", OF_STAGE["collect"]]),
        (but(), [SAME_BUT]),
    ],
)  # fmt: skip
def test_the_part_that_differs_is_told(request_: TaskRequest, told: list[str]) -> None:
    assert reasons(request_, REQUEST) == told


def test_the_first_task_says_so() -> None:
    assert reasons(REQUEST, None) == ["first time for 2013-01-01"]


PARTS: dict[str, st.SearchStrategy[Any]] = {
    "max_quarantined": st.sampled_from([None, "1", "2%"]),
    "values": st.dictionaries(st.sampled_from(["params.a", "params.b"]), st.integers(0, 1)),
    "inputs": st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from([ref("x"), ref("y"), ref("y", "b")])),
    "generation": st.sampled_from(["", "1"]),
    "do": st.lists(
        st.builds(Use, plugin=st.sampled_from(["sql", "fill"]), version=st.sampled_from("12"),
                  options=st.dictionaries(st.sampled_from("xy"), st.integers(0, 1))),
        min_size=1, max_size=2,
    ),
}  # fmt: skip
REQUESTS = st.fixed_dictionaries({}, optional=PARTS).map(lambda changes: but(**changes))


@given(one=REQUESTS, two=REQUESTS)
def test_another_key_has_a_reason_and_the_same_key_has_none(one: TaskRequest, two: TaskRequest) -> None:  # fmt: skip
    same = task_key(one) == task_key(two)
    assert same == (key_parts(one) == key_parts(two)) == (reasons(one, two) == [SAME_BUT])
