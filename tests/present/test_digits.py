"""Numbers as people read them: alike within a column, and never a number that says nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ropewalk.contracts.models import MetricFormat
from ropewalk.present.digits import is_number, texts, written

floats = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


@given(st.lists(floats, min_size=1))
def test_numbers_of_a_column_have_the_same_decimals(values: list[float]) -> None:
    shown = zip(values, texts(values), strict=True)
    plain = [text for value, text in shown if value == 0 or abs(value) >= 1]
    assert len({len(text.partition(".")[2]) for text in plain}) <= 1


@given(st.lists(floats, min_size=1))
def test_only_nothing_is_written_as_nothing(values: list[float]) -> None:
    for value, text in zip(values, texts(values), strict=True):
        assert (float(text.replace(",", "")) == 0) == (value == 0)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([11.549, 8.2, None], ["11.5", "8.2", ""]),
        ([12.0, 3.0], ["12", "3"]),
        ([2013, 2014], ["2013", "2014"]),
        ([27004, 842], ["27,004", "842"]),
        ([0.16941, 2.0e-9], ["0.169", "2e-09"]),
        ([True, "a", math.nan], ["True", "a", "nan"]),
    ],
)
def test_examples(values: list[object], shown: list[str]) -> None:
    assert texts(values) == shown


def test_a_metric_is_written_as_its_chart_writes_it() -> None:
    assert written(11.549, MetricFormat(format=",.1f", unit=" min")) == "11.5 min"
    assert written(11.549, None) == "11.5"
    assert written(None, MetricFormat()) == "none"
    assert not is_number(True)
