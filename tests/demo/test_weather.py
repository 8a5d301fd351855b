"""The weather API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from demo import facts
from demo.observations import Observations
from demo.weather import Service, application
from fastapi.testclient import TestClient

TOKEN = "the-key"
OBSERVATIONS = Observations()


def client(busy_every: int = 0) -> TestClient:
    """A client of a new service."""
    app = application(Service(TOKEN, busy_every, OBSERVATIONS))
    return TestClient(app, headers={"X-Api-Key": TOKEN})


def pages(api: TestClient, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """Every page, by the links."""
    url: str | None = str(httpx.URL("/observations", params=query))
    while url is not None:
        answer = api.get(url)
        assert answer.status_code == 200
        yield answer.json()["data"]
        url = answer.links.get("next", {}).get("url")


def test_the_links_lead_through_all_records_once() -> None:
    got = [record for page in pages(client(), limit=5000) for record in page]

    assert len(got) == facts.WEATHER
    assert len({(record["origin"], record["time_hour"]) for record in got}) == facts.WEATHER


def test_a_day_comes_in_pages_in_order_of_time() -> None:
    day = {"since": "2013-01-01T05:00:00+00:00", "until": "2013-01-02T05:00:00Z", "limit": 50}

    got = list(pages(client(), **day))

    assert [len(page) for page in got] == [50, 17]
    assert got[0][0] == {
        "origin": "EWR", "year": 2013, "month": 1, "day": 1, "hour": 1, "temp": 39.02,
        "dewp": 26.06, "humid": 59.37, "wind_dir": 270, "wind_speed": 10.357019999999999,
        "wind_gust": None, "precip": 0.0, "pressure": 1012.0, "visib": 10.0,
        "time_hour": "2013-01-01T06:00:00Z",
    }  # fmt: skip
    assert got[1][-1]["time_hour"] == "2013-01-02T04:00:00Z"


def test_the_hour_that_came_twice_is_there_twice() -> None:
    span = {"since": "2013-11-03T05:00:00Z", "until": "2013-11-03T07:00:00Z"}

    (got,) = pages(client(), **span)

    assert [(record["origin"], record["hour"], record["time_hour"]) for record in got] == [
        (origin, 1, f"2013-11-03T{hour}:00:00Z")
        for hour in ("05", "06")
        for origin in ("EWR", "JFK", "LGA")
    ]


def test_nothing_is_an_empty_page() -> None:
    span = {"since": "2013-12-31T05:00:00Z", "until": "2014-01-01T05:00:00Z"}

    assert list(pages(client(), **span)) == [[]]


def test_it_is_busy_now_and_then_and_says_when_to_come_again() -> None:
    api = client(busy_every=3)

    answers = [api.get("/observations") for _ in range(7)]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 200, 200, 503, 200]
    assert answers[2].headers["Retry-After"] == answers[5].headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    "headers", [{}, {b"X-Api-Key": b"another"}, {b"X-Api-Key": b"schl\xfcssel"}]
)
def test_without_the_key_there_is_nothing(headers: dict[bytes, bytes]) -> None:
    api = TestClient(application(Service(TOKEN, 0, OBSERVATIONS)))

    assert api.get("/observations", headers=headers).status_code == 401


@pytest.mark.parametrize("query", ["since=yesterday", "since=2013-01-01T00:00:00", "limit=0"])
def test_a_query_that_makes_no_sense_is_refused(query: str) -> None:
    assert client().get(f"/observations?{query}").status_code == 422


def test_health_needs_no_key() -> None:
    api = TestClient(application(Service(TOKEN, 1, OBSERVATIONS)))

    assert api.get("/healthz").json() == {"status": "ok"}
