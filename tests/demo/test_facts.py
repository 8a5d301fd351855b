"""The demo's figures are those of the package, counted anew."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from demo import facts, files
from demo.package import data_file


@pytest.fixture(scope="module")
def package() -> Iterator[duckdb.DuckDBPyConnection]:
    """The package's tables."""
    flights = files.flights()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("texts", flights)
        connection.execute(
            """CREATE TABLE flights AS SELECT origin, dest, tailnum, dep_time,
               CAST(time_hour AS TIMESTAMPTZ) AS time_hour, make_date(CAST(year AS INT),
               CAST(month AS INT), CAST(day AS INT)) AS local_date FROM texts"""
        )
        for name in ("weather", "planes", "airports", "airlines"):
            path = str(data_file(f"{name}.csv"))
            connection.execute(
                f"CREATE TABLE {name} AS FROM read_csv(?, nullstr = 'NA', header = true)", [path]
            )
        yield connection


@pytest.mark.parametrize(
    ("expected", "query"),
    [
        (facts.FLIGHTS, "FROM flights"),
        (facts.JANUARY, "FROM flights WHERE month(local_date) = 1"),
        (
            facts.JANUARY,
            (
                "FROM flights WHERE time_hour >= '2013-01-01 05:00+00'"
                " AND time_hour < '2013-02-01 05:00+00'"
            ),
        ),
        (facts.FIRST_DAY, "FROM flights WHERE local_date = '2013-01-01'"),
        (facts.SECOND_DAY, "FROM flights WHERE local_date = '2013-01-02'"),
        (facts.CANCELLED, "FROM flights WHERE dep_time IS NULL"),
        (facts.WITHOUT_TAILNUM, "FROM flights WHERE tailnum IS NULL"),
        (facts.WITHOUT_PLANE, "FROM flights ANTI JOIN planes USING (tailnum)"),
        (
            facts.WITHOUT_DESTINATION,
            "FROM flights ANTI JOIN airports ON flights.dest = airports.faa",
        ),
        (facts.WITHOUT_WEATHER, "FROM flights ANTI JOIN weather USING (origin, time_hour)"),
        (facts.WEATHER, "FROM weather"),
        (facts.WEATHER, "FROM (SELECT DISTINCT origin, time_hour FROM weather)"),
        (
            facts.DOUBLED_LOCAL_HOURS,
            (
                "FROM (SELECT 1 FROM weather GROUP BY origin, year, month, day, hour"
                " HAVING count(*) = 2)"
            ),
        ),
        (facts.PLANES, "FROM planes"),
        (facts.AIRPORTS, "FROM airports"),
        (facts.AIRLINES, "FROM airlines"),
    ],
)
def test_figure_is_that_of_the_package(
    package: duckdb.DuckDBPyConnection, expected: int, query: str
) -> None:
    assert package.execute(f"SELECT count(*) {query}").fetchall() == [(expected,)]
