"""The other tests' installation, switched to mutual TLS as its owner does it; these come last, since it stays so."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from pyarrow import flight
from ropewalk.contracts.tls import client_context
from ropewalk.kernel.tls import Tls
from ropewalk.local import processes
from ropewalk.local.databases import STAGES

from tests.e2e.conftest import Stack, run
from tests.e2e.test_stack import pid

DAY = "2013-04-05"  # no other test has run it: all of it is done over TLS
WITHOUT = ("cert", "key")


@pytest.fixture(scope="module")
def encrypted(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The stack, started again with certificates of its own."""
    folder = tmp_path_factory.mktemp("tls")
    command = [sys.executable, "-m", "ropewalk.cli", "certificates", str(folder)]
    run(command, env=stack.variables)
    said = {"ROPEWALK_TLS_DIR": str(folder), "ROPEWALK_TLS_MUTUAL": "true"}
    run(
        [sys.executable, "-m", "ropewalk.local", "up", "--no-run"],
        env={**stack.variables, **said},
    )
    return stack


def test_over_mutual_tls_a_day_runs_and_its_report_opens(encrypted: Stack) -> None:
    run_id = encrypted.trigger("flights_daily", date=DAY)
    assert encrypted.finish("flights_daily", run_id) == "success"
    rows = f"SELECT count(*) FROM flights.departures WHERE date = '{DAY}'"
    assert encrypted.query(rows) == [(flights(encrypted),)]
    told = encrypted.shell(sys.executable, "-m", "ropewalk.cli", "ledger", run_id)
    assert "all of these balance" in told
    with encrypted.session as session:
        inside = session.get(
            httpx.URL(encrypted.endpoints["airflow"]["url"]).join(
                f"/ropewalk/report/flights_daily/{run_id}/"
            )
        )
    trusted = client_context(encrypted.endpoints["tls"])
    with httpx.Client(verify=trusted, trust_env=False, follow_redirects=True) as client:
        present = httpx.URL(encrypted.endpoints["present"]["url"])
        assert client.get(present).is_success
        outside = client.get(present.join(f"/reports/flights_daily/{run_id}/"))
    for page in (inside, outside):
        assert page.status_code == 200, page.text
        assert "New York departures" in page.text


def flights(stack: Stack) -> int:
    """How many flights of the day the demo's file holds."""
    year, month, day = DAY.split("-")
    path = stack.home.path / "data" / "flights" / f"{year}-{month}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return sum(row["day"] == str(int(day)) for row in csv.DictReader(file))


@pytest.mark.parametrize("stage", STAGES)
def test_a_client_without_the_authoritys_certificate_is_refused(
    encrypted: Stack, stage: str
) -> None:
    known, files = encrypted.endpoints["stages"][stage], encrypted.endpoints["tls"]
    assert known["url"].startswith("https:")
    assert known["flight"].startswith("grpc+tls:")
    assert describe(known, files) == 200
    assert actions(known, files)
    stranger = {name: path for name, path in files.items() if name not in WITHOUT}
    with pytest.raises(httpx.TransportError):
        describe(known, stranger)
    with pytest.raises((flight.FlightUnavailableError, flight.FlightInternalError)):
        actions(known, stranger)


def describe(known: Mapping[str, str], files: Mapping[str, str]) -> int:
    """The status of a stage's answer over HTTP."""
    headers = {"authorization": f"Bearer {known['token']}"}
    with httpx.Client(verify=client_context(files), trust_env=False, timeout=30) as client:
        return client.get(f"{known['url']}/v1/describe", headers=headers).status_code


def actions(known: Mapping[str, str], files: Mapping[str, str]) -> list[str]:
    """The actions that a stage offers over Flight."""
    options = flight.FlightCallOptions(
        headers=[(b"authorization", f"Bearer {known['token']}".encode())], timeout=30
    )
    tls = Tls.of_files(dict(files))
    with flight.FlightClient(known["flight"], **tls.flight_client(known["flight"])) as client:
        return [one.type for one in client.list_actions(options)]


def test_a_start_that_says_nothing_of_tls_leaves_it_on(encrypted: Stack) -> None:
    before = {name: pid(encrypted, name) for name in processes.recorded(encrypted.home)}
    endpoints = encrypted.endpoints
    encrypted.local("up", "--no-run")
    assert {name: pid(encrypted, name) for name in processes.recorded(encrypted.home)} == before
    encrypted.local("status")
    assert encrypted.endpoints["tls"] == endpoints["tls"]
    assert Path(endpoints["tls"]["ca"]).is_file()
