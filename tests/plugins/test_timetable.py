"""Which runs a range of dates has."""

from __future__ import annotations

from itertools import pairwise

import pendulum
import pytest
from airflow.timetables.base import DataInterval, TimeRestriction
from hypothesis import given
from hypothesis import strategies as st
from ropewalk_airflow.timetable import WorkflowTimetable

ZONES = [
    "UTC",
    "America/New_York",
    "Asia/Tokyo",
    "Europe/Berlin",
    "Pacific/Apia",
    "Australia/Lord_Howe",
]


def intervals(zone: str, first: pendulum.DateTime, last: pendulum.DateTime) -> list[DataInterval]:
    """The data intervals of all runs between two bounds, as Airflow asks for them one by one."""
    timetable = WorkflowTimetable("@daily", timezone=zone)
    bounds = TimeRestriction(earliest=first, latest=last, catchup=True)
    found: list[DataInterval] = []
    while info := timetable.next_dagrun_info(
        last_automated_data_interval=found[-1] if found else None, restriction=bounds
    ):
        assert info.data_interval is not None
        found.append(info.data_interval)
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_a_backfill_of_january_has_its_31_days_wherever_the_workflow_lives(zone: str) -> None:
    found = intervals(zone, pendulum.datetime(2013, 1, 1), pendulum.datetime(2013, 1, 31))
    days = [interval.start.in_timezone(zone).date() for interval in found]
    assert [day.day for day in days] == list(range(1, 32))


@given(
    zone=st.sampled_from(ZONES),
    first=st.dates(pendulum.date(2010, 1, 1), pendulum.date(2013, 1, 1)),
    days=st.integers(1, 60),
)
def test_runs_follow_each_other_without_gap_or_overlap(
    zone: str, first: pendulum.Date, days: int
) -> None:
    start = pendulum.datetime(first.year, first.month, first.day)
    found = intervals(zone, start, start.add(days=days))
    assert found
    assert all(one.end == other.start for one, other in pairwise(found))
    assert all(
        one.start.in_timezone(zone).hour in {0, 1} for one in found
    )  # 1: no midnight that day


def test_a_day_may_have_23_or_25_hours() -> None:
    def hours(month: int, day: int) -> float:
        at = pendulum.datetime(2013, month, day)
        (one,) = intervals("America/New_York", at, at)
        return (one.end - one.start).total_hours()

    assert (hours(3, 10), hours(11, 3), hours(11, 4)) == (23, 25, 24)


@pytest.mark.parametrize(
    ("logical", "day"),
    [
        (pendulum.datetime(2013, 1, 5), "2013-01-05"),  # a bare date, as a form gives it
        (pendulum.datetime(2013, 1, 5, 5), "2013-01-05"),  # New York's midnight
        (pendulum.datetime(2013, 1, 5, 12), "2013-01-05"),
        (pendulum.datetime(2013, 1, 5, 4, 59), "2013-01-04"),
    ],
)
def test_a_run_by_hand_covers_the_day_of_its_date(logical: pendulum.DateTime, day: str) -> None:
    timetable = WorkflowTimetable("@daily", timezone="America/New_York")
    found = timetable.infer_manual_data_interval(run_after=logical)
    assert str(found.start.in_timezone("America/New_York").date()) == day
    assert (found.end - found.start).total_hours() == 24


def test_a_run_by_hand_now_covers_the_last_day_that_is_over() -> None:
    now = pendulum.now("UTC")
    found = WorkflowTimetable("@daily", timezone="UTC").infer_manual_data_interval(run_after=now)
    assert found.end == now.start_of("day")


def test_the_last_day_is_the_timetables_and_survives_the_scheduler() -> None:
    end = pendulum.datetime(2013, 1, 3, tz="America/New_York")
    made = WorkflowTimetable("@daily", "America/New_York", end)
    again = WorkflowTimetable.deserialize(made.serialize())
    assert again.serialize() == made.serialize()
    bounds = TimeRestriction(earliest=pendulum.datetime(2013, 1, 1), latest=None, catchup=True)
    days, last = [], None
    while info := again.next_dagrun_info(last_automated_data_interval=last, restriction=bounds):
        last = info.data_interval
        assert last is not None
        days.append(last.start.in_timezone("America/New_York").day)
    assert days == [1, 2, 3]
