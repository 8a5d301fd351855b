"""What is too large, too deep, too slow or too much is refused, says which limit it met, and disturbs nobody else."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyarrow import flight
from ropewalk.contracts.errors import BusyError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import TaskRequest
from ropewalk.contracts.tokens import ALL, mint, new_signing_key
from ropewalk.testing.services import StageService, running

from tests.conftest import Postgres
from tests.kernel.conftest import maker

MOST, QUEUE = 100_000, 6
LIMITS = {
    "ROPEWALK_MAX_BODY": str(MOST),
    "ROPEWALK_REQUEST_SECONDS": "4",
    "ROPEWALK_MAX_QUEUED": str(QUEUE),
}
Ask = Callable[..., TaskRequest]
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def service(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageService]:
    """A stage with low limits."""
    with running(maker(postgres, tmp_path_factory.mktemp("limits"))(**LIMITS)) as (one,):
        yield one


def serves(service: StageService) -> bool:
    """Whether it answers others."""
    with service.client as client:
        return client.get("/v1/describe").is_success


def put(service: StageService, ask: Ask, content: Any) -> httpx.Response:
    """Submit a task whose request has the content."""
    with service.client as client:
        key = task_key(ask())
        return client.put(
            f"/v1/tasks/{key}", content=content, headers={"content-type": "application/json"}
        )


# Size and depth.


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(service: StageService, ask: Ask, *, chunked: bool) -> None:
    body = b" " * (MOST + 1)
    answer = put(service, ask, iter([body[:MOST], body[MOST:]]) if chunked else body)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.json()["hint"] == "raise ROPEWALK_MAX_BODY of the stage"
    assert answer.headers["content-type"] == PROBLEM
    assert put(service, ask, b" " * MOST).status_code == 422
    assert serves(service)


@pytest.mark.parametrize("depth", [70, 150, 220, 300, 900, 1_500, 40_000])
def test_a_request_that_nests_too_deep(service: StageService, ask: Ask, depth: int) -> None:
    """Whoever finds it too deep first, the parser or the contract."""
    body = ask(mark="@").model_dump_json().replace('"@"', "[" * depth + "]" * depth)
    answer = put(service, ask, body)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == PROBLEM
    if depth < 1_000:
        assert "nest deeper than 64 levels" in answer.json()["detail"]
    assert serves(service)


def test_an_action_of_flight_has_the_same_limits(service: StageService, ask: Ask) -> None:
    options = flight.FlightCallOptions(
        headers=[(b"authorization", f"Bearer {service.token}".encode())]
    )
    body = ask(mark="x" * MOST).model_dump_json().encode()
    deep = ask(mark="@").model_dump_json().replace('"@"', "[" * 150 + "]" * 150).encode()
    with flight.FlightClient(service.flight) as client:
        (answer,) = client.do_action(flight.Action("submit", body), options)
        assert json.loads(answer.body.to_pybytes())["code"] == "too_large"
        with pytest.raises(flight.FlightServerError, match="nest deeper than 64 levels"):
            list(client.do_action(flight.Action("submit", deep), options))


def test_flights_memory_is_bounded_whoever_sends_what(service: StageService) -> None:
    """A message is taken in whole before anyone is asked for a token."""
    bomb = flight.Action("describe", b"x" * (160 << 20))

    def throw(_: int) -> type[BaseException] | None:
        with flight.FlightClient(service.flight) as client:
            try:
                list(client.do_action(bomb))
            except flight.FlightError as error:
                return type(error)
        return None

    assert 2 * (256 << 20) + (1 << 30) in set(
        ceilings(service.process.pid if service.process else 0)
    )
    with ThreadPoolExecutor(4) as pool:
        ends = set(pool.map(throw, range(4)))
    assert ends <= {flight.FlightUnauthenticatedError, flight.FlightUnavailableError}
    assert serves(service)
    service.wait_ready()  # which asks for Flight, too: where it has died of it, it is there again


def ceilings(pid: int) -> Iterator[int]:
    """The private bytes that a process and all that came of it may hold, where there is a limit."""
    found = re.search(r"Max data size +(\d+)", Path(f"/proc/{pid}/limits").read_text())
    if found:
        yield int(found.group(1))
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield from ceilings(int(child))


# Slow and endless requests.


def connected(service: StageService, text: str) -> socket.socket:
    """A connection on which a part of a request went."""
    one = socket.create_connection(("127.0.0.1", service.port), timeout=60)
    one.sendall(text.encode())
    return one


def rest(one: socket.socket) -> str:
    """All that comes until the other side has closed."""
    with one:
        return b"".join(iter(lambda: one.recv(65536), b"")).decode()


def test_who_is_too_slow_is_sent_away_and_others_are_served(service: StageService) -> None:
    head = (
        f"PUT /v1/tasks/{'0' * 64} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {service.token}\r\n"
    )
    starts = ["", "GET /heal", "GET /healthz HTTP/1.1\r\nhost: x\r\n", "\r\n"]
    body = "content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    with ExitStack() as stack:
        slow = [connected(service, text) for text in starts * 50]
        for one in slow:
            stack.enter_context(one)
        waits = connected(service, head + body)
        assert serves(service)
        assert {rest(one).partition("\r\n")[0] for one in slow} == {"HTTP/1.1 408 Request Timeout"}
        told = rest(waits)
    assert told.startswith("HTTP/1.1 408")
    assert '"code":"too_slow"' in told
    assert "ROPEWALK_REQUEST_SECONDS" in told


def test_a_connection_that_is_kept_is_not_kept_by_the_next_requests_beginning(
    service: StageService,
) -> None:
    one = connected(service, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert one.recv(65536).startswith(b"HTTP/1.1 200")
    one.sendall(b"GET /he")
    assert rest(one).rpartition("HTTP/1.1 ")[2].startswith("408")


def test_a_head_without_end_is_cut(service: StageService) -> None:
    before = memory(service)
    for line in (b"x: " + b"y" * 60_000 + b"\r\n", b"y" * 60_000):
        one = connected(service, "GET /healthz HTTP/1.1\r\nhost: x\r\n")
        with one, suppress(ConnectionError):
            for _ in range(2_000):
                one.sendall(line)
            raise AssertionError("120 MB of headers were taken in")
    assert memory(service) - before < 20 << 20
    assert serves(service)


def memory(service: StageService) -> int:
    """The resident bytes of the service."""
    status = Path(f"/proc/{service.process.pid if service.process else 0}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found.group(1)) * 1024 if found else 0


# Too much at once.


def test_a_full_queue_takes_no_more_but_those_that_it_has(
    service: StageService, ask: Ask, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    asked = [ask(go=str(go)) for _ in range(QUEUE + 30)]
    taken, refused = [], []
    for request in asked:
        try:
            service.submit(request)
        except BusyError as error:
            refused.append(error)
        else:
            taken.append(request)
    assert refused
    assert len(taken) <= QUEUE + 2  # with the two that run
    told = refused[-1]
    assert (told.code, told.status, told.retryable) == ("queue_full", 429, True)
    assert told.retry_after == 30
    assert "ROPEWALK_MAX_QUEUED" in str(told)
    for request in taken:
        assert service.submit(request).key == task_key(request)
    with service.client as client:
        request = asked[-1]
        answer = client.put(f"/v1/tasks/{task_key(request)}", json=request.model_dump(mode="json"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
    go.touch()
    assert {service.end(task_key(request)).state for request in taken} == {"succeeded"}
    assert service.do(ask()).rows.out == 3


def test_a_thousand_bad_tokens_cost_little_and_others_are_served(service: StageService) -> None:
    stranger = mint(new_signing_key(), "collect", *ALL)
    serves(service)
    before, said = memory(service), len(service.log())

    def knock(number: int) -> int:
        bad = stranger if number % 2 else "x" * 8_000
        return client.get("/v1/tasks", headers={"authorization": f"Bearer {bad}"}).status_code

    with httpx.Client(base_url=service.url, timeout=60) as client, ThreadPoolExecutor(16) as pool:
        answers = pool.map(knock, range(1_000))
        assert serves(service)
        assert set(answers) == {401}
    lines = [json.loads(line) for line in service.log()[said:].splitlines()]
    refused = [line for line in lines if line["event"] == "call.refused"]
    assert len(refused) == 1_000
    assert set(refused[0]) == {"event", "place", "client", "code", "level", "timestamp"}
    assert "x" * 100 not in service.log()
    assert memory(service) - before < 20 << 20
