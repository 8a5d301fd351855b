"""Datasets and tasks over gRPC."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import flight
from ropewalk.contracts.errors import RetryableError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import DatasetRef, TaskRequest, TaskStatus
from ropewalk.contracts.tokens import DATASETS, dataset_scope, mint
from ropewalk.kernel.flight import fetch, put
from ropewalk.testing.proxy import Proxy
from ropewalk.testing.services import StageService

Ask = Callable[..., TaskRequest]
TABLE = pa.table({"n": pa.array(range(200_000), pa.int64()), "s": ["word"] * 200_000})


@pytest.fixture
def client(service: StageService) -> flight.FlightClient:
    """A client of the stage's Flight server."""
    return flight.FlightClient(service.flight)


@pytest.fixture
def options(service: StageService) -> flight.FlightCallOptions:
    """The token, as a call carries it."""
    return flight.FlightCallOptions(
        headers=[(b"authorization", f"Bearer {service.token}".encode())]
    )


def ticketed(service: StageService, ref: DatasetRef, **changed: str) -> DatasetRef:
    """The reference with the right to fetch it."""
    ticket = mint(service.key, DATASETS, dataset_scope(ref.id))
    return ref.model_copy(update={"ticket": ticket, **changed})


def test_what_is_put_is_fetched_the_same(service: StageService, tmp_path: Path) -> None:
    ref = put(service.flight, service.token, TABLE)
    assert (ref.rows, ref.flight) == (200_000, service.flight)
    assert fetch(ticketed(service, ref), tmp_path).table().equals(TABLE)


def test_a_connection_that_breaks_within_a_dataset_is_no_end_of_it(
    service: StageService, tmp_path: Path
) -> None:
    ref = put(service.flight, service.token, TABLE)
    breaks = [True]

    def heard(piece: bytes) -> None:
        """Break once the data comes: a connection that breaks before is made anew by gRPC itself."""
        if len(piece) > 10_000 and breaks:
            breaks.pop()
            proxy.halve()

    proxy = Proxy(service.flight_port, heard)
    try:
        through = ticketed(service, ref, flight=f"grpc://127.0.0.1:{proxy.port}")
        with pytest.raises(RetryableError):
            fetch(through, tmp_path)
        assert not breaks
        assert fetch(through, tmp_path).table().equals(TABLE)
    finally:
        proxy.close()


def test_another_content_than_the_reference_names_is_refused(
    service: StageService, tmp_path: Path
) -> None:
    ref = put(service.flight, service.token, TABLE)
    with pytest.raises(RetryableError, match="came with other rows than it has"):
        fetch(ticketed(service, ref, fingerprint="0" * 32), tmp_path)


def test_a_stream_that_merely_ends_is_not_a_dataset(
    client: flight.FlightClient, options: flight.FlightCallOptions
) -> None:
    writer, _ = client.do_put(flight.FlightDescriptor.for_path("cut"), TABLE.schema, options)
    writer.write_table(TABLE)
    with pytest.raises(flight.FlightServerError, match="its end does not confirm them"):
        writer.close()


def test_a_dataset_is_listed_and_described(
    service: StageService, client: flight.FlightClient, options: flight.FlightCallOptions
) -> None:
    ref = put(service.flight, service.token, TABLE)
    listed = list(client.list_flights(ref.id.encode(), options))
    path = flight.FlightDescriptor.for_path(*ref.id.split("/"))
    info = client.get_flight_info(path, options)
    assert [one.total_records for one in (*listed, info)] == [200_000, 200_000]
    assert info.schema.equals(TABLE.schema)
    assert client.do_get(info.endpoints[0].ticket, options).read_all().equals(TABLE)


def test_a_client_that_speaks_only_grpc_can_do_a_task(
    client: flight.FlightClient, options: flight.FlightCallOptions, ask: Ask
) -> None:
    request = ask(rows=7)

    def act(name: str, body: object) -> dict[str, object]:
        action = flight.Action(name, json.dumps(body).encode())
        answer: dict[str, object] = json.loads(
            next(client.do_action(action, options)).body.to_pybytes()
        )
        return answer

    key = act("submit", request.model_dump(mode="json"))["key"]
    status = TaskStatus.model_validate(act("read", {"key": key, "wait": 20}))
    assert (status.key, status.report and status.report.rows.out) == (task_key(request), 7)
    assert act("log", {"key": key})["lines"]
    assert act("cancel", {"key": key})["state"] == "succeeded"
    assert act("describe", {})["stage"] == "collect"
    assert {action.type for action in client.list_actions(options)} == {
        "submit",
        "read",
        "log",
        "cancel",
        "describe",
    }


@pytest.mark.parametrize("ticket", ["", "x/y", "../../etc/passwd", f"{'0' * 64}/data"])
def test_a_ticket_for_nothing_is_refused(
    client: flight.FlightClient, options: flight.FlightCallOptions, ticket: str
) -> None:
    with pytest.raises(flight.FlightServerError, match="the dataset store has no dataset"):
        client.do_get(flight.Ticket(ticket), options).read_all()
