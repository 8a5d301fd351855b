"""Errors cross the border between processes and stay what they are (RFC 9457)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ropewalk.contracts.errors import (
    ConfigError,
    ContractError,
    DataError,
    FatalError,
    NotFoundError,
    Problem,
    RetryableError,
    RopewalkError,
    UnauthorizedError,
    error_of,
    nearest,
)

KINDS = [
    ConfigError,
    ContractError,
    DataError,
    FatalError,
    NotFoundError,
    RetryableError,
    UnauthorizedError,
]
places = st.one_of(st.none(), st.integers(1, 10**6))


@given(
    kind=st.sampled_from(KINDS),
    text=st.text(min_size=1, max_size=50),
    line=places,
    hint=st.text(max_size=20),
)
def test_an_error_is_the_same_after_the_border(
    kind: type[RopewalkError], text: str, line: int | None, hint: str
) -> None:
    error = kind(text, file="w.yaml", line=line, column=line, hint=hint or None)
    document = error.problem().model_dump_json()
    again = error_of(Problem.model_validate_json(document))
    assert str(again) == str(error)
    assert (again.retryable, again.line, again.code) == (error.retryable, line, error.code)
    assert again.problem() == error.problem()


def test_a_problem_of_a_newer_stage_is_understood() -> None:
    told = '{"title": "x", "status": 409, "code": "brand_new", "detail": "d", "retryable": true, "more": 1}'
    error = error_of(Problem.model_validate_json(told))
    assert (error.retryable, str(error)) == (True, "d")


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("fligths", ["flights", "planes"], "did you mean 'flights'?"),
        ("zzz", ["b", "a"], "valid: a, b"),
        ("x", [], None),
    ],
)
def test_the_nearest_name(name: str, known: list[str], hint: str | None) -> None:
    assert nearest(name, known) == hint
