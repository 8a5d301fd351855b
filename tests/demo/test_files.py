"""The flights' files."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo import facts, files

HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,"
    "carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files in it."""
    folder = tmp_path_factory.mktemp("data")
    assert files.prepare(folder) is True
    return folder


def test_a_file_per_month_holds_its_flights(data: Path) -> None:
    paths = sorted((data / "flights").glob("2013-*.csv"))
    lines = [path.read_text(encoding="utf-8").splitlines() for path in paths]

    assert [path.name for path in paths] == [f"2013-{month:02}.csv" for month in range(1, 13)]
    assert len(lines[0]) == 1 + facts.JANUARY
    assert sum(len(each) - 1 for each in lines) == facts.FLIGHTS
    assert {each[0] for each in lines} == {HEADER}
    assert lines[0][1] == (
        "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z"
    )
    assert (
        "2013,1,1,,1630,,,1815,,EV,4308,N18120,EWR,RDU,,416,16,30,2013-01-01T21:00:00Z"
        in (lines[0])
    )


def test_files_of_the_present_version_are_left_alone(data: Path) -> None:
    june = data / "flights" / "2013-06.csv"
    before = june.stat().st_mtime_ns

    assert files.prepare(data) is False
    assert june.stat().st_mtime_ns == before


def test_what_is_missing_or_old_is_made_again(data: Path) -> None:
    december, stamp = data / "flights" / "2013-12.csv", data / "flights" / files.STAMP
    december.unlink()
    assert files.prepare(data) is True
    assert december.exists()

    stamp.write_text("older", encoding="utf-8")
    assert files.prepare(data) is True
    assert files.prepare(data) is False
