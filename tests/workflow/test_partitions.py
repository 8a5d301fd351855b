"""Partitions tile the time line, by the calendar of any place."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ropewalk.workflow import (
    Workflow,
    covers,
    loads,
    partition_of,
    partition_on,
    partitions,
    touched,
)
from ropewalk.workflow.partitions import values_of

ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
]
GRAINS = ["hour", "day", "week", "month"]


def workflow(grain: str, zone: str) -> Workflow:
    """A workflow with such partitions."""
    text = f"""
start: 2013-01-01
end: 2013-12-31
timezone: {zone}
partition: {grain}
steps: {{a: {{collect: sql, with: {{connection: db, query: SELECT 1 AS n}}}}}}
"""
    return loads(text, Path("w.yaml"))


@given(
    grain=st.sampled_from(GRAINS),
    zone=st.sampled_from(ZONES),
    first=st.dates(date(2000, 1, 1), date(2030, 1, 1)),
    days=st.integers(0, 70),
)
def test_partitions_follow_each_other_without_gap_or_overlap(
    grain: str, zone: str, first: date, days: int
) -> None:
    one = workflow(grain, zone)
    found = list(partitions(one, first, first + timedelta(days=days)))
    assert found
    assert all(before.end == after.start for before, after in pairwise(found))
    assert len({part.name for part in found}) == len(found)


@given(
    grain=st.sampled_from(GRAINS), zone=st.sampled_from(ZONES),
    moment=st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)  # fmt: skip
def test_a_moment_lies_in_its_partition_and_so_does_its_start(
    grain: str, zone: str, moment: datetime
) -> None:
    one = workflow(grain, zone)
    found = partition_of(one, moment)
    assert found is not None
    assert found.start <= moment < found.end
    assert partition_of(one, found.start) == found
    assert partition_of(one, found.end) != found


@pytest.mark.parametrize(
    ("day", "start", "hours"),
    [("2013-01-01", "2013-01-01T05:00:00+00:00", 24), ("2013-03-10", "2013-03-10T05:00:00+00:00", 23),
     ("2013-11-03", "2013-11-03T04:00:00+00:00", 25)],
)  # fmt: skip
def test_days_of_new_york(day: str, start: str, hours: int) -> None:
    found = partition_on(workflow("day", "America/New_York"), date.fromisoformat(day))
    assert found is not None
    assert (found.name, found.start.isoformat()) == (day, start)
    assert (found.end - found.start) == timedelta(hours=hours)


def test_what_the_values_mean() -> None:
    one = workflow("day", "America/New_York")
    assert values_of(one, partition_on(one, date(2013, 1, 31))) == {
        "partition.start": "2013-01-31T05:00:00+00:00",
        "partition.end": "2013-02-01T05:00:00+00:00",
        "partition.name": "2013-01-31",
        "partition.date": "2013-01-31",
        "partition.month": "2013-01",
        "partition.year": "2013",
    }


def test_which_days_a_workflow_covers() -> None:
    one = workflow("day", "Asia/Kolkata")
    days = [date(2012, 12, 31), date(2013, 1, 1), date(2013, 12, 31), date(2014, 1, 1)]
    found = [partition_on(one, day) for day in days]
    assert [covers(one, part) for part in found if part] == [False, True, True, False]


def test_names() -> None:
    names = {
        grain: partition_on(workflow(grain, "Europe/Berlin"), date(2013, 7, 3)) for grain in GRAINS
    }
    assert {grain: part.name for grain, part in names.items() if part} == {
        "hour": "2013-07-03T00+0200", "day": "2013-07-03", "week": "2013-W27", "month": "2013-07",
    }  # fmt: skip


@given(
    grain=st.sampled_from(GRAINS),
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2013, 2, 1), datetime(2013, 10, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    hours=st.integers(1, 1500),
)
def test_the_partitions_that_a_range_touches_hold_it_and_none_is_beside_it(
    grain: str, zone: str, start: datetime, hours: int
) -> None:
    end = start + timedelta(hours=hours)
    found = list(touched(workflow(grain, zone), start, end))
    assert found[0].start <= start < found[0].end
    assert found[-1].start < end <= found[-1].end
    assert all(before.end == after.start for before, after in pairwise(found))
