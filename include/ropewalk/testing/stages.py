"""The conformance suite of stages: inherit it, and give it a running stage. It judges by HTTP and gRPC alone.

A stage may be written in any language; what it is asked, and what it must answer, is in ``ropewalk.contracts`` and its
JSON Schema (``ropewalk schema --contract``)::

    class TestGeocode(StageSuite):
        @pytest.fixture
        def stage(self) -> Stage:
            return Stage("http://127.0.0.1:9000", "grpc://127.0.0.1:9001", TOKEN, request={…})
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import pytest
from pydantic import BaseModel

from ropewalk.contracts.errors import Problem
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import (
    CONTRACT_VERSION,
    DatasetRef,
    Description,
    LogLine,
    Report,
    State,
    TaskRequest,
    TaskStatus,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.flight import FlightCallOptions, FlightClient

WAIT = 20  # seconds of a long poll
ROUNDS = 6  # long polls before a task counts as one that does not end
ROUTES = {
    "/v1/tasks/{key}": {"put", "get", "delete"},
    "/v1/tasks/{key}/log": {"get"},
    "/v1/describe": {"get"},
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
}
ACTIONS = {"submit", "read", "log", "cancel", "describe"}
NOBODY = "0" * 64  # the key of no task
FINGERPRINT = "e7ad85812c04e44de7fbfa75e697b2c0"  # of `rows`, on every machine
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Stage:
    """A running stage: its addresses, its token, and what it may be asked to do.

    ``request`` is a task that succeeds, as JSON; ``slow`` one that does not end by itself within minutes.
    """

    url: str
    flight: str
    token: str
    request: Mapping[str, Any]
    slow: Mapping[str, Any] | None = None

    def call(
        self, method: str, path: str, *, token: str | None = None, **more: Any
    ) -> httpx.Response:
        """The answer to a request with the stage's token, with another, or with none where it is empty."""
        bearer = self.token if token is None else token
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        return httpx.request(
            method, self.url + path, headers=headers, timeout=WAIT + 20, trust_env=False,
            verify=self.url.startswith("https:"), **more,
        )  # fmt: skip

    def submit(self, request: TaskRequest) -> TaskStatus:
        """Submit a task."""
        answer = self.call(
            "PUT", f"/v1/tasks/{task_key(request)}", json=request.model_dump(mode="json")
        )
        return said(answer, TaskStatus, 200, 202)

    def read(self, key: str, wait: float = 0) -> TaskStatus:
        """How a task stands."""
        return said(self.call("GET", f"/v1/tasks/{key}", params={"wait": wait}), TaskStatus)

    def cancel(self, key: str, asker: str = "") -> TaskStatus:
        """Cancel a task."""
        return said(self.call("DELETE", f"/v1/tasks/{key}", params={"asker": asker}), TaskStatus)

    def lines(self, key: str, after: int = 0) -> list[LogLine]:
        """A task's log lines after one."""
        answer = self.call("GET", f"/v1/tasks/{key}/log", params={"after": after})
        assert answer.status_code == httpx.codes.OK
        return [LogLine.model_validate_json(json.dumps(line)) for line in answer.json()["lines"]]

    def end(self, key: str) -> TaskStatus:
        """How a task stands when it has ended."""
        for _ in range(ROUNDS):
            status = self.read(key, WAIT)
            if status.state.ended:
                return status
        raise AssertionError(f"task {key[:12]} does not end")

    def done(self, request: TaskRequest) -> Report:
        """The report of a task."""
        status = self.end(self.submit(request).key)
        assert status.state is State.SUCCEEDED, status.error
        assert status.report is not None
        return status.report

    @property
    def client(self) -> FlightClient:
        """A client of its Flight server."""
        from pyarrow import flight

        return flight.FlightClient(self.flight)

    def options(self, token: str | None = None) -> FlightCallOptions:
        """What a Flight call carries."""
        from pyarrow import flight

        bearer = self.token if token is None else token
        headers = [(b"authorization", f"Bearer {bearer}".encode())] if bearer else []
        return flight.FlightCallOptions(headers=headers, timeout=60)

    def act(self, name: str, body: Any = None) -> Any:
        """The answer to a Flight action."""
        from pyarrow import flight

        action = flight.Action(name, b"" if body is None else json.dumps(body).encode())
        (answer,) = self.client.do_action(action, self.options())
        return json.loads(answer.body.to_pybytes())

    def put(self, table: pa.Table, trailer: Mapping[str, Any] | None) -> DatasetRef:
        """Send a table, with a last message that says how many rows went and what they are."""
        from pyarrow import flight

        path = flight.FlightDescriptor.for_path("rows")
        writer, answers = self.client.do_put(path, table.schema, self.options())
        with writer:
            writer.write_table(table)
            if trailer is not None:
                empty = table.schema.empty_table().to_batches() or [_empty(table.schema)]
                writer.write_with_metadata(empty[0], json.dumps(trailer).encode())
            writer.done_writing()
            answer = answers.read()
        assert answer is not None, "the stage does not say what it has taken in"
        return DatasetRef.model_validate_json(answer.to_pybytes())

    def get(self, dataset: str) -> tuple[pa.Table, dict[str, Any]]:
        """A dataset, and what the last message says of it."""
        import pyarrow as pa
        from pyarrow import flight

        reader = self.client.do_get(flight.Ticket(dataset.encode()), self.options())
        batches, trailer = [], {}
        for chunk in reader:
            if chunk.app_metadata is not None:
                trailer = json.loads(chunk.app_metadata.to_pybytes())
            if chunk.data is not None and chunk.data.num_rows:
                batches.append(chunk.data)
        return pa.Table.from_batches(batches, reader.schema), trailer


def rows() -> pa.Table:
    """A table whose fingerprint is `FINGERPRINT`."""
    import pyarrow as pa

    return pa.table(
        {
            "n": pa.array([1, 2, None], pa.int64()),
            "s": pa.array(["rope", None, "walk"], pa.string()),
        }
    )


def said(answer: httpx.Response, model: type[M], *status: int) -> M:
    """What an answer says, held to the contract's schema without goodwill."""
    assert answer.status_code in (status or (200,)), answer.text
    assert answer.headers["content-type"].startswith("application/json")
    return model.model_validate_json(answer.content, strict=True)


def problem(answer: httpx.Response, *status: int) -> Problem:
    """The problem document (RFC 9457) of an answer with one of these statuses."""
    assert answer.status_code in status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    found = Problem.model_validate_json(answer.content, strict=True)
    assert found.status == answer.status_code
    assert found.type.partition(":")[0] in {"http", "https", "urn", "about"}
    assert found.title
    assert found.code
    return found


class StageSuite:
    """What every stage keeps (DESIGN §3): the seven routes, and the same over Flight."""

    @pytest.fixture
    def stage(self) -> Stage:
        """The stage that is judged."""
        raise NotImplementedError

    @pytest.fixture
    def ask(self, stage: Stage) -> Callable[..., TaskRequest]:
        """Makes a request that nobody has made before."""
        run = uuid.uuid4().hex

        def fresh(given: Mapping[str, Any] | None = None, **more: Any) -> TaskRequest:
            base = {**(stage.request if given is None else given), **more}
            return TaskRequest.model_validate_json(
                json.dumps({**base, "generation": f"{base.get('generation', '')}{run}"})
            )

        return fresh

    @pytest.fixture
    def slow(self, stage: Stage, ask: Callable[..., TaskRequest]) -> Iterator[TaskRequest]:
        """A task that runs until it is cancelled."""
        if stage.slow is None:
            pytest.skip("the stage has no task that does not end")
        request = ask(stage.slow)
        yield request
        stage.call("DELETE", f"/v1/tasks/{task_key(request)}")

    # The service

    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    def test_anyone_may_ask_whether_it_lives(self, stage: Stage, path: str) -> None:
        """Without a token."""
        answer = stage.call("GET", path, token="")
        assert answer.status_code == httpx.codes.OK
        assert answer.json()["status"]

    @pytest.mark.parametrize("token", ["", "another-installations-token"])
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("PUT", f"/v1/tasks/{NOBODY}"),
            ("GET", f"/v1/tasks/{NOBODY}"),
            ("DELETE", f"/v1/tasks/{NOBODY}"),
            ("GET", f"/v1/tasks/{NOBODY}/log"),
            ("GET", "/v1/describe"),
            ("GET", "/metrics"),
            ("GET", "/openapi.json"),
        ],
    )
    def test_every_other_route_wants_the_token(
        self, stage: Stage, method: str, path: str, token: str
    ) -> None:
        """And says so before it looks at what was asked."""
        body = {"content": b"{"} if method == "PUT" else {}
        found = problem(stage.call(method, path, token=token, **body), 401)
        assert not found.retryable

    def test_it_describes_itself(self, stage: Stage) -> None:
        """With every plugin's JSON Schema, the sample's among them."""
        found = said(stage.call("GET", "/v1/describe"), Description)
        request = TaskRequest.model_validate_json(json.dumps(stage.request))
        assert found.stage == request.stage
        assert found.contract.partition(".")[0] == CONTRACT_VERSION.partition(".")[0]
        names = [(one.kind, one.name) for one in found.plugins]
        assert len(set(names)) == len(names)
        assert all(one.options.get("type") == "object" for one in found.plugins)
        known = {(one.name, one.version) for one in found.plugins}
        assert {(use.plugin, use.version) for use in request.do} <= known

    def test_its_openapi_has_every_route(self, stage: Stage) -> None:
        """In version 3.1."""
        found = stage.call("GET", "/openapi.json").json()
        assert found["openapi"].startswith("3.1")
        paths = {path: set(methods) for path, methods in found["paths"].items()}
        assert all(methods <= paths.get(path, set()) for path, methods in ROUTES.items())

    def test_its_metrics_are_prometheus_own(self, stage: Stage) -> None:
        """In the format that its server scrapes."""
        from prometheus_client.parser import text_string_to_metric_families

        answer = stage.call("GET", "/metrics")
        assert answer.headers["content-type"].startswith(("text/plain", "application/openmetrics"))
        assert any(family.samples for family in text_string_to_metric_families(answer.text))

    # A task

    def test_a_task_is_done_once(self, stage: Stage, ask: Callable[..., TaskRequest]) -> None:
        """Who asks again gets the report, and the name of the run that it is of."""
        request = ask()
        first = stage.submit(request)
        assert first.key == task_key(request)
        report = stage.end(first.key).report
        assert report is not None
        assert (report.key, report.workflow, report.step, report.stage, report.run) == (
            first.key, request.workflow, request.step, request.stage, request.run.id,
        )  # fmt: skip
        assert report.started <= report.ended
        assert all(ref.id.startswith(first.key) for ref in report.outputs.values())
        other = request.model_copy(
            update={"run": request.run.model_copy(update={"id": "another", "attempt": "another"})}
        )
        answer = stage.call("PUT", f"/v1/tasks/{first.key}", json=other.model_dump(mode="json"))
        again = said(answer, TaskStatus, 200)
        assert (again.state, again.report, again.attempt) == (State.SUCCEEDED, report, 1)
        assert again.reused == request.run.id

    def test_many_at_once_ask_for_one_task(
        self, stage: Stage, ask: Callable[..., TaskRequest]
    ) -> None:
        """And it runs once."""
        request = ask()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(stage.submit, [request] * 8))
        assert {one.key for one in answers} == {task_key(request)}
        assert stage.end(task_key(request)).attempt == 1

    def test_a_long_poll_answers_when_the_task_has_ended(
        self, stage: Stage, ask: Callable[..., TaskRequest]
    ) -> None:
        """A task that ends is told of; one that has ended, at once."""
        key = stage.submit(ask()).key
        assert stage.end(key).state is State.SUCCEEDED
        assert stage.read(key, WAIT).state is State.SUCCEEDED

    def test_a_wait_that_is_none_is_refused(self, stage: Stage) -> None:
        """Below zero, too long, or no number."""
        for wait in (-1, 3600, "soon"):
            problem(stage.call("GET", f"/v1/tasks/{NOBODY}", params={"wait": wait}), 400, 422)

    def test_a_task_that_nobody_asked_for_is_not_found(self, stage: Stage) -> None:
        """Whatever is wanted of it."""
        problem(stage.call("GET", f"/v1/tasks/{NOBODY}"), 404)
        problem(stage.call("GET", f"/v1/tasks/{NOBODY}/log"), 404)
        problem(stage.call("DELETE", f"/v1/tasks/{NOBODY}"), 404)

    def test_a_key_that_is_not_the_requests_is_refused(
        self, stage: Stage, ask: Callable[..., TaskRequest]
    ) -> None:
        """So that a key means the same to all."""
        body = ask().model_dump(mode="json")
        found = problem(stage.call("PUT", f"/v1/tasks/{NOBODY}", json=body), 400, 409, 422)
        assert not found.retryable
        problem(stage.call("GET", f"/v1/tasks/{NOBODY}"), 404)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("stage", "elsewhere"),
            ("contract", "99.0"),
            ("do", [{"plugin": "there_is_none_such", "options": {}}]),
            ("do", []),
            ("workflow", None),
            ("colour", "blue"),
        ],
    )
    def test_what_it_cannot_do_is_refused(
        self, stage: Stage, ask: Callable[..., TaskRequest], name: str, value: Any
    ) -> None:
        """With a problem that no retry heals."""
        body = {**ask().model_dump(mode="json"), name: value}
        try:
            key = task_key(TaskRequest.model_validate_json(json.dumps(body)))
        except ValueError:
            key = NOBODY
        assert not problem(stage.call("PUT", f"/v1/tasks/{key}", json=body), 400, 422).retryable

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"do": 1e999}'])
    def test_what_is_no_request_is_refused(self, stage: Stage, body: bytes) -> None:
        """And the stage lives on."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {stage.token}"}
        answer = httpx.put(
            f"{stage.url}/v1/tasks/{NOBODY}", content=body, headers=headers, trust_env=False,
            verify=stage.url.startswith("https:"),
        )  # fmt: skip
        assert not problem(answer, 400, 422).retryable
        assert stage.call("GET", "/healthz").status_code == httpx.codes.OK

    @pytest.mark.parametrize("key", ["x", "0" * 63, "G" * 64, "..%2Fetc"])
    def test_a_key_that_is_none_is_refused(self, stage: Stage, key: str) -> None:
        """As not there, or as no key."""
        problem(stage.call("GET", f"/v1/tasks/{key}"), 400, 404, 422)

    def test_its_log_is_read_page_by_page(
        self, stage: Stage, ask: Callable[..., TaskRequest]
    ) -> None:
        """Each line once, in the order of its number."""
        key = stage.done(ask()).key
        every = stage.lines(key)
        numbers = [line.n for line in every]
        assert numbers == sorted(set(numbers))
        for number in (0, *numbers):
            assert stage.lines(key, number) == [line for line in every if line.n > number]

    def test_what_has_ended_is_not_cancelled(
        self, stage: Stage, ask: Callable[..., TaskRequest]
    ) -> None:
        """It stays what it is."""
        report = stage.done(ask())
        assert (stage.cancel(report.key).state, stage.read(report.key).report) == (
            State.SUCCEEDED, report,
        )  # fmt: skip

    # A task that does not end

    def test_a_long_poll_ends_before_the_task(self, stage: Stage, slow: TaskRequest) -> None:
        """And says that it runs, or waits to."""
        key = stage.submit(slow).key
        status = stage.read(key, 0.2)
        assert status.state in {State.QUEUED, State.RUNNING}, status.error
        assert status.report is None

    def test_a_task_is_cancelled(self, stage: Stage, slow: TaskRequest) -> None:
        """Nothing of it is visible, and it stays cancelled until someone asks again."""
        key = stage.submit(slow).key
        stage.cancel(key)
        assert stage.end(key).state is State.CANCELLED
        assert (stage.cancel(key).state, stage.read(key).report) == (State.CANCELLED, None)
        assert list(stage.client.list_flights(key.encode(), stage.options())) == []
        assert stage.submit(slow).state in {State.QUEUED, State.RUNNING}

    def test_only_who_asked_last_cancels(self, stage: Stage, slow: TaskRequest) -> None:
        """A try that was overtaken does not end its successor's work."""

        def of(attempt: str) -> TaskRequest:
            run = slow.run.model_copy(update={"attempt": attempt})
            return slow.model_copy(update={"run": run})

        key = stage.submit(of("first")).key
        stage.submit(of("second"))
        status = stage.cancel(key, "first")
        assert not status.state.ended, status.error
        stage.cancel(key, "second")
        assert stage.end(key).state is State.CANCELLED

    # Flight

    def test_its_actions_answer_as_its_routes_do(
        self, stage: Stage, ask: Callable[..., TaskRequest]
    ) -> None:
        """So that a client can do without HTTP."""
        assert {one.type for one in stage.client.list_actions(stage.options())} >= ACTIONS
        request = ask()
        key = stage.act("submit", request.model_dump(mode="json"))["key"]
        assert key == task_key(request)
        stage.end(key)
        assert TaskStatus.model_validate(stage.act("read", {"key": key, "wait": 1})) == stage.read(
            key
        )
        lines = stage.act("log", {"key": key, "after": 0})["lines"]
        assert [LogLine.model_validate(line) for line in lines] == stage.lines(key)
        assert stage.act("cancel", {"key": key})["state"] == "succeeded"
        assert stage.act("describe") == stage.call("GET", "/v1/describe").json()

    @pytest.mark.parametrize("token", ["", "another-installations-token"])
    def test_every_flight_call_wants_the_token(self, stage: Stage, token: str) -> None:
        """Reading, writing, listing and acting."""
        from pyarrow import flight

        client, options = stage.client, stage.options(token)
        path = flight.FlightDescriptor.for_path(NOBODY, "data")

        def put() -> None:
            writer, _ = client.do_put(path, rows().schema, options)
            with writer:
                writer.write_table(rows())

        for call in (
            lambda: client.do_get(flight.Ticket(f"{NOBODY}/data".encode()), options).read_all(),
            lambda: list(client.list_flights(b"", options)),
            lambda: client.get_flight_info(path, options),
            lambda: list(client.do_action(flight.Action("describe", b""), options)),
            lambda: list(client.list_actions(options)),
            put,
        ):
            with pytest.raises(flight.FlightUnauthenticatedError):
                call()

    def test_what_a_task_made_is_there_as_its_report_says(
        self, stage: Stage, ask: Callable[..., TaskRequest]
    ) -> None:
        """Rows, fingerprint and columns of every output; the stream's last message confirms them."""
        report = stage.done(ask())
        for name, ref in report.outputs.items():
            table, trailer = stage.get(ref.id)
            assert (table.num_rows, trailer) == (
                ref.rows, {"rows": ref.rows, "fingerprint": ref.fingerprint},
            )  # fmt: skip
            assert table.column_names == [column.name for column in report.columns[name]]

    def test_what_is_put_is_there_the_same(self, stage: Stage) -> None:
        """Under the fingerprint that the content has everywhere."""
        from pyarrow import flight

        ref = stage.put(rows(), {"rows": 3, "fingerprint": FINGERPRINT})
        assert (ref.rows, ref.fingerprint) == (3, FINGERPRINT)
        table, trailer = stage.get(ref.id)
        assert table.sort_by("n").equals(rows().sort_by("n"))
        assert trailer == {"rows": 3, "fingerprint": FINGERPRINT}
        path = flight.FlightDescriptor.for_path(*ref.id.split("/"))
        info = stage.client.get_flight_info(path, stage.options())
        listed = list(stage.client.list_flights(ref.id.encode(), stage.options()))
        assert [one.total_records for one in (info, *listed)] == [3, 3]
        assert info.schema.equals(rows().schema)

    @pytest.mark.parametrize(
        "trailer",
        [
            None,
            {"rows": 2, "fingerprint": FINGERPRINT},
            {"rows": 3, "fingerprint": "0" * 32},
            {},
        ],
    )
    def test_a_stream_that_its_end_does_not_confirm_is_refused(
        self, stage: Stage, trailer: dict[str, Any] | None
    ) -> None:
        """One that merely ended may have been cut."""
        from pyarrow import flight

        with pytest.raises(flight.FlightError):
            stage.put(rows(), trailer)

    @pytest.mark.parametrize("ticket", ["", "x", f"{NOBODY}/data", "../../etc/passwd", "\x00"])
    def test_a_ticket_for_nothing_is_refused(self, stage: Stage, ticket: str) -> None:
        """And tells of nothing else."""
        from pyarrow import flight

        with pytest.raises(flight.FlightError):
            stage.get(ticket)

    def test_an_action_that_is_none_is_refused(self, stage: Stage) -> None:
        """By its name."""
        from pyarrow import flight

        with pytest.raises(flight.FlightError):
            stage.act("dance", {})


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([], schema=schema)
