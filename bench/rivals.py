"""The rivals of (a): what `flights_year` does, written as one script, with DuckDB and with pandas.

They read the same files, API and database, and publish the same tables. They do without what makes the rest
of the product: retries, checks, quarantine, checksums, lineage, a report.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ropewalk.contracts.template import bind

if TYPE_CHECKING:
    import pandas as pd

SQL = Path(__file__).parents[1] / "dags" / "workflows" / "sql"
FLEET = ("planes", "airports", "airlines")
AGGREGATES = ("by_carrier", "by_hour", "by_destination")
TABLES = ("departures", *AGGREGATES, "drivers")
VALUES = {"params.min_flights": 30}
TARGET, FEATURES = "dep_delay", ["hour", "distance", "seats", "wind_speed", "precip"]


@dataclass(frozen=True)
class Sources:
    """Where the demo's sources are: the folder of the files, the API and its key, the fleet's DSN."""

    data: Path
    weather: str
    key: str
    fleet: str


def with_duckdb(sources: Sources, dsn: str, schema: str) -> None:
    """One DuckDB script that loads by ADBC."""
    import duckdb
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi

    with duckdb.connect() as base, dbapi.connect(dsn) as session:
        base.execute("SET TimeZone = 'UTC'")
        base.execute(f"CREATE TABLE flights AS FROM read_csv('{sources.data}/flights/*.csv')")
        base.register("observations", pa.Table.from_pylist(list(observations(sources))))
        base.execute(
            "CREATE TABLE weather AS SELECT * REPLACE (CAST(time_hour AS TIMESTAMPTZ) AS time_hour)"
            " FROM observations"
        )
        with dbapi.connect(sources.fleet) as fleet, fleet.cursor() as cursor:
            for name in FLEET:
                cursor.execute(f"TABLE {name}")
                base.register(name, cursor.fetch_arrow_table())
        for name in ("departures", *AGGREGATES):
            base.execute(f"CREATE TABLE {name} AS {query(name)}")
        numbers = base.table("departures").select(TARGET, *FEATURES).df()
        base.register("drivers", regression(numbers))
        with session.cursor() as cursor:
            for name in TABLES:
                rows = base.sql(f"FROM {name}").to_arrow_reader()
                cursor.adbc_ingest(name, rows, mode="replace", db_schema_name=schema)
        session.commit()


def with_pandas(sources: Sources, dsn: str, schema: str) -> None:
    """What many would write: pandas and `to_sql`."""
    import pandas as pd
    import sqlalchemy

    files = sorted((sources.data / "flights").glob("*.csv"))
    flights = pd.concat([pd.read_csv(path) for path in files], ignore_index=True)
    weather = pd.DataFrame(observations(sources))
    fleet = sqlalchemy.create_engine(_psycopg(sources.fleet))
    departures = _departures(flights, weather, **{name: pd.read_sql(name, fleet) for name in FLEET})
    tables = {
        "departures": departures,
        "by_carrier": _by_carrier(departures),
        "by_hour": _means(departures, ["origin", "hour"], ["dep_delay", "wind_speed"]),
        "by_destination": _means(departures, ["dest", "destination"], ["arr_delay", "distance"]),
        "drivers": regression(departures[[TARGET, *FEATURES]]),
    }
    engine = sqlalchemy.create_engine(_psycopg(dsn))
    with engine.begin() as session:
        for name, table in tables.items():
            table.to_sql(name, session, schema=schema, if_exists="replace", index=False)
    engine.dispose()
    fleet.dispose()


def observations(sources: Sources) -> Iterator[dict[str, Any]]:
    """The weather's records, page by page."""
    import requests

    url: str | None = f"{sources.weather}/observations?limit=5000"
    with requests.Session() as session:
        session.trust_env = False
        session.headers["X-Api-Key"] = sources.key
        while url is not None:
            answer = session.get(url, timeout=60)
            answer.raise_for_status()
            yield from answer.json()["data"]
            url = answer.links.get("next", {}).get("url")


def regression(frame: pd.DataFrame) -> pd.DataFrame:
    """Ordinary least squares, as the analysis does it."""
    import statsmodels.api as sm

    whole = frame.dropna().astype(float)
    fit = sm.OLS(whole[TARGET], sm.add_constant(whole[FEATURES])).fit()
    table: pd.DataFrame = fit.params.to_frame("coefficient").assign(
        standard_error=fit.bse, t=fit.tvalues, p=fit.pvalues
    )
    return table.reset_index(names="term")


@cache
def query(name: str) -> str:
    """The SQL of a step, its parameters written in."""
    text, values = bind((SQL / f"{name}.sql").read_text(encoding="utf-8"), VALUES)
    for parameter, value in values.items():
        text = text.replace(f"${parameter}", str(value))
    return text


def _psycopg(dsn: str) -> str:
    return dsn.replace("postgresql://", "postgresql+psycopg://", 1)


def _departures(
    flights: pd.DataFrame,
    weather: pd.DataFrame,
    planes: pd.DataFrame,
    airports: pd.DataFrame,
    airlines: pd.DataFrame,
) -> pd.DataFrame:
    import pandas as pd

    measured = ["temp", "wind_speed", "precip"]
    hours = weather.drop_duplicates(["origin", "time_hour"])[["origin", "time_hour", *measured]]
    known = planes[["tailnum", "manufacturer", "model", "year", "seats"]]
    joined = (
        flights.merge(hours, how="left", on=["origin", "time_hour"])
        .merge(known.rename(columns={"year": "built"}), how="left", on="tailnum")
        .merge(
            airports[["faa", "name"]].rename(columns={"faa": "dest", "name": "destination"}),
            how="left",
            on="dest",
        )
        .merge(airlines.rename(columns={"name": "airline"}), how="left", on="carrier")
    )
    joined["time_hour"] = pd.to_datetime(joined["time_hour"], utc=True)
    joined["date"] = pd.to_datetime(joined[["year", "month", "day"]]).dt.date
    joined["cancelled"] = joined["dep_time"].isna()
    return joined.drop(columns=["year", "month", "day", "minute", "arr_time", "sched_arr_time"])


def _by_carrier(departures: pd.DataFrame) -> pd.DataFrame:
    by_carrier = _means(departures, ["carrier", "airline"], ["dep_delay", "cancelled"])
    return by_carrier[by_carrier["flights"] >= VALUES["params.min_flights"]]


def _means(departures: pd.DataFrame, by: list[str], of: list[str]) -> pd.DataFrame:
    grouped = departures.groupby(by, dropna=False)
    table: pd.DataFrame = grouped[of].mean().assign(flights=grouped.size()).reset_index()
    return table
