"""Which token opens what, on HTTP and on Flight; and that nothing else opens anything."""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pyarrow as pa
import pytest
from fastapi.routing import APIRoute
from pyarrow import flight
from ropewalk.contracts.errors import (
    ConfigError,
    FatalError,
    ForbiddenError,
    RetryableError,
    UnauthorizedError,
)
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import DatasetRef, TaskRequest
from ropewalk.contracts.tokens import (
    ALGORITHM,
    ALL,
    DATASETS,
    dataset_scope,
    mint,
    new_signing_key,
    public_key,
    task_scope,
)
from ropewalk.kernel.app import Service, build
from ropewalk.kernel.auth import Closed, Open
from ropewalk.kernel.flight import fetch, put
from ropewalk.kernel.settings import Settings
from ropewalk.kernel.stage import built_in, load
from ropewalk.kernel.tokens import Verifier
from ropewalk.testing.services import StageService, running

from tests.kernel.conftest import EXAMPLE, ROOT

Ask = Callable[..., TaskRequest]
TABLE = pa.table({"n": pa.array(range(1000), pa.int64())})
OTHER = new_signing_key()
PROBLEM = "application/problem+json"


def signed(key: str, algorithm: str = ALGORITHM, **changed: Any) -> str:
    """A token with some claims changed, or left out where they are None."""
    now = int(time.time())
    claims = {
        "iss": "ropewalk",
        "aud": "collect",
        "scope": " ".join(ALL),
        "iat": now,
        "exp": now + 60,
    }
    kept = {name: value for name, value in {**claims, **changed}.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm)


def by_hand(header: dict[str, Any], secret: bytes, scope: str) -> str:
    """A token as an attacker makes it, whom no library keeps from it."""
    now = int(time.time())
    claims = {"iss": "ropewalk", "aud": "collect", "scope": scope, "iat": now, "exp": now + 60}
    text = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    mac = _encoded(hmac.digest(secret, text.encode(), hashlib.sha256)) if secret else ""
    return f"{text}.{mac}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def tampered(token: str) -> str:
    """A token whose claims allow more than what was signed."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    return f"{head}.{_encoded(json.dumps({**claims, 'scope': ' '.join(ALL)}).encode())}.{signature}"


def refused_tokens(key: str, scope: str) -> dict[str, str]:
    """Every kind of token that opens nothing, by what is wrong with it."""
    now, public = int(time.time()), public_key(key)
    good = mint(key, "collect", scope)
    return {
        "none": "",
        "no token": "not-a-token",
        "expired": signed(key, iat=now - 600, exp=now - 11),
        "not yet valid": signed(key, nbf=now + 60),
        "of the future": signed(key, iat=now + 60, exp=now + 120),
        "another stage's": mint(key, "store", *ALL),
        "of two stages": signed(key, aud=["collect", "store"]),
        "no audience": signed(key, aud=None),
        "no expiry": signed(key, exp=None),
        "another issuer's": signed(key, iss="someone"),
        "scope as a list": signed(key, scope=list(ALL)),
        "another key's": mint(OTHER, "collect", *ALL),
        "alg none": by_hand({"alg": "none", "typ": "JWT"}, b"", scope),
        "alg None": by_hand({"alg": "None", "typ": "JWT"}, b"", scope),
        "HS256 with the public key": by_hand({"alg": "HS256"}, public.encode(), scope),
        "HS256 with its line": by_hand({"alg": "HS256"}, public.splitlines()[1].encode(), scope),
        "EdDSA that is HMAC": by_hand({"alg": "EdDSA"}, public.encode(), scope),
        "a key of its own": by_hand(
            {"alg": "HS256", "jwk": {"kty": "oct", "k": "eA"}}, b"x", scope
        ),
        "tampered": tampered(good),
        "cut": good[:-4],
        "without signature": good.rpartition(".")[0] + ".",
        "doubled": f"{good}, {good}",
    }


CLOSED = ("/v1/tasks", "/v1/describe", "/metrics", "/openapi.json")
KINDS = sorted(refused_tokens(OTHER, "x"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_that_is_none_opens_nothing(service: StageService, ask: Ask, kind: str) -> None:
    """On no route, with a problem document, and with no effect."""
    request = ask()
    key = task_key(request)
    token = refused_tokens(service.key, task_scope(key))[kind]
    headers = {"authorization": f"Bearer {token}".strip()}
    with httpx.Client(base_url=service.url, headers=headers) as client:
        answers = [
            client.put(f"/v1/tasks/{key}", json=request.model_dump(mode="json")),
            client.put(f"/v1/tasks/{key}", content=b"{ this is not even read"),
            client.get(f"/v1/tasks/{key}"),
            client.get(f"/v1/tasks/{key}/log"),
            client.delete(f"/v1/tasks/{key}"),
            client.post("/v1/garbage"),
            *(client.get(path) for path in CLOSED),
        ]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["content-type"] for answer in answers} == {PROBLEM}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert all(answer.json()["code"].startswith("token_") for answer in answers)
    with service.client as client:
        assert client.get(f"/v1/tasks/{key}").status_code == 404


@pytest.mark.parametrize("kind", KINDS)
def test_nor_on_flight(service: StageService, kind: str) -> None:
    ref = known(service)
    token = refused_tokens(service.key, dataset_scope(ref.id))[kind]
    options = _options(token)
    with flight.FlightClient(service.flight) as client:
        for call in _calls(client, options, ref):
            with pytest.raises(flight.FlightUnauthenticatedError, match='"code":"token_'):
                call()


def test_what_is_refused_is_in_the_log_without_the_token(service: StageService) -> None:
    token = mint(OTHER, "collect", *ALL)
    httpx.get(f"{service.url}/v1/describe?x=y", headers={"authorization": f"Bearer {token}"})
    with (
        flight.FlightClient(service.flight) as client,
        pytest.raises(flight.FlightUnauthenticatedError),
    ):
        client.do_get(flight.Ticket("x"), _options(token))
    log = service.log()
    told = [json.loads(line) for line in log.splitlines() if '"call.refused"' in line]
    assert {"GET /v1/describe", "flight DO_GET"} <= {line["place"] for line in told}
    assert {"token_signature"} <= {line["code"] for line in told}
    assert not [part for part in token.split(".")[1:] if part in log]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("none", "token_missing"),
        ("no token", "token_invalid"),
        ("expired", "token_expired"),
        ("not yet valid", "token_early"),
        ("another stage's", "token_audience"),
        ("another key's", "token_signature"),
        ("tampered", "token_signature"),
        ("alg none", "token_algorithm"),
        ("HS256 with the public key", "token_algorithm"),
        ("another task's", "token_scope"),
    ],
)
def test_the_log_tells_why_a_call_was_refused_on_either_way(
    service: StageService, kind: str, code: str
) -> None:
    another = mint(service.key, "collect", task_scope("0" * 64))
    token = {**refused_tokens(service.key, "tasks"), "another task's": another}[kind]
    said = len(service.log())
    answer = httpx.get(
        f"{service.url}/v1/tasks/{'1' * 64}", headers={"authorization": f"Bearer {token}".strip()}
    )
    with (
        flight.FlightClient(service.flight) as client,
        pytest.raises(
            (flight.FlightUnauthenticatedError, flight.FlightUnauthorizedError)
        ) as caught,
    ):
        client.do_get(flight.Ticket("x/y"), _options(token)).read_all()
    lines = [json.loads(line) for line in service.log()[said:].splitlines()]
    refused = [line for line in lines if line["event"] == "call.refused"]
    assert {line["code"] for line in refused} == {code}
    assert {line["place"] for line in refused} == {f"GET /v1/tasks/{'1' * 64}", "flight DO_GET"}
    clients = {line["place"].partition(" ")[0]: line["client"] for line in refused}
    assert clients["GET"] == "127.0.0.1"
    known = kind == "another task's"  # a token that is one: pyarrow tells the address only then
    assert clients["flight"].startswith("ipv4:127.0.0.1:" if known else "")
    assert bool(clients["flight"]) is known
    assert answer.json()["code"] == code
    assert f'"code":"{code}"' in str(caught.value)
    assert not [
        part for part in token.split(".") if len(part) > 20 and part in service.log()[said:]
    ]


def test_who_comes_with_an_expired_token_is_told_where_to_get_another(
    service: StageService,
) -> None:
    token = refused_tokens(service.key, "describe")["expired"]
    answer = httpx.get(f"{service.url}/v1/describe", headers={"authorization": f"Bearer {token}"})
    assert "ropewalk token makes a new one" in answer.json()["hint"]
    assert "make status" in answer.json()["hint"]


@pytest.mark.parametrize(
    ("right", "opened"),
    [
        ("{own}", {"submit", "read", "log", "cancel"}),
        ("tasks", {"submit", "read", "log", "cancel", "another's", "list"}),
        ("{other}", {"another's"}),
        ("describe", {"describe", "openapi"}),
        ("metrics", {"metrics"}),
        ("garbage", {"garbage"}),
        ("reports", set()),
        ("datasets", set()),
        ("", set()),
        ("task", set()),
        ("task:", set()),
        ("TASKS", set()),
        ("tasks:x describes", set()),
        ("{own}x", set()),
        ("dataset:{key}/data", set()),
    ],
)
def test_a_token_opens_what_its_scope_names(
    service: StageService, ask: Ask, right: str, opened: set[str]
) -> None:
    request, another = ask(), ask()
    key, other = task_key(request), service.submit(another).key
    scope = right.format(own=task_scope(key), other=task_scope(other), key=key).split()
    headers = {"authorization": f"Bearer {mint(service.key, 'collect', *scope)}"}
    with httpx.Client(base_url=service.url, headers=headers) as client:
        answers = {
            "submit": client.put(f"/v1/tasks/{key}", json=request.model_dump(mode="json")),
            "read": client.get(f"/v1/tasks/{key}"),
            "log": client.get(f"/v1/tasks/{key}/log"),
            "cancel": client.delete(f"/v1/tasks/{key}"),
            "another's": client.get(f"/v1/tasks/{other}"),
            "describe": client.get("/v1/describe"),
            "openapi": client.get("/openapi.json"),
            "metrics": client.get("/metrics"),
            "list": client.get("/v1/tasks"),
            "garbage": client.post("/v1/garbage?dry_run=true"),
        }
    assert {name for name, answer in answers.items() if answer.is_success} == opened
    closed = [answer for name, answer in answers.items() if name not in opened]
    assert {answer.status_code for answer in closed} <= {403}
    assert {answer.json()["code"] for answer in closed} <= {"token_scope"}


def test_a_key_for_one_task_submits_no_other(service: StageService, ask: Ask) -> None:
    """Not even by another task's request under its own key."""
    request, another = ask(), ask()
    token = mint(service.key, "collect", task_scope(task_key(request)))
    answer = httpx.put(
        f"{service.url}/v1/tasks/{task_key(request)}",
        json=another.model_dump(mode="json"),
        headers={"authorization": f"Bearer {token}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong_key")
    with service.client as client:
        assert client.get(f"/v1/tasks/{task_key(another)}").status_code == 404


def test_a_ticket_reads_its_dataset_and_nothing_else(service: StageService, tmp_path: Path) -> None:
    ref, other = known(service), put(service.flight, service.token, TABLE.slice(1))
    ticket = mint(service.key, DATASETS, dataset_scope(ref.id))
    got = fetch(ref.model_copy(update={"ticket": ticket}), tmp_path)
    assert got.table().equals(TABLE)
    with pytest.raises(FatalError, match="does not let this task read"):
        fetch(other.model_copy(update={"ticket": ticket}), tmp_path)
    late = mint(service.key, DATASETS, dataset_scope(ref.id), life=-600)
    with pytest.raises(RetryableError, match=f"read {ref.id}: the token has expired$"):
        fetch(ref.model_copy(update={"ticket": late}), tmp_path)
    options = _options(ticket)
    with flight.FlightClient(service.flight) as client:
        path = flight.FlightDescriptor.for_path(*ref.id.split("/"))
        assert client.get_flight_info(path, options).total_records == TABLE.num_rows
        for call in _calls(client, options, other):
            with pytest.raises((flight.FlightUnauthorizedError, flight.FlightUnauthenticatedError)):
                call()
    answer = httpx.get(f"{service.url}/v1/describe", headers={"authorization": f"Bearer {ticket}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_audience")


def test_a_tasks_token_reads_no_dataset(service: StageService) -> None:
    ref = known(service)
    token = mint(service.key, "collect", task_scope(ref.id.partition("/")[0]))
    with flight.FlightClient(service.flight) as client:
        for call in _calls(client, _options(token), ref)[:3]:
            with pytest.raises(flight.FlightUnauthorizedError, match="token_scope"):
                call()


def test_a_stage_fetches_its_input_from_another_with_the_ticket_that_it_was_given(
    service: StageService, ask: Ask, database: Any, tmp_path: Path
) -> None:
    """Two stages that share no store: without a ticket, or with that of another dataset, nothing comes."""
    ref = known(service)
    far = StageService(
        EXAMPLE, database.stage("collect"), tmp_path, {"PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"},
        key=service.key, audience="collect",
    )  # fmt: skip
    with running(far):
        report = far.do(ask("read", inputs={"t": ref}))
        assert report.rows.out == TABLE.num_rows
        wrong = mint(service.key, DATASETS, dataset_scope("0" * 64 + "/data"))
        for ticket in (None, wrong, mint(service.key, "store", *ALL)):
            request = ask("read", inputs={"t": ref.model_copy(update={"ticket": ticket})})
            with far.client as client:
                client.put(f"/v1/tasks/{task_key(request)}", json=request.model_dump(mode="json"))
            status = far.end(task_key(request))
            assert status.error is not None
            assert "does not let this task read" in status.error.detail


def known(service: StageService) -> DatasetRef:
    """A dataset that the stage has."""
    return put(service.flight, service.token, TABLE)


def _options(token: str) -> flight.FlightCallOptions:
    return flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())])


def _calls(
    client: flight.FlightClient, options: flight.FlightCallOptions, ref: DatasetRef
) -> list[Callable[[], Any]]:
    """Every call of Flight: those that read a dataset first."""
    path = flight.FlightDescriptor.for_path(*ref.id.split("/"))

    def send() -> None:
        writer, _ = client.do_put(flight.FlightDescriptor.for_path("x"), TABLE.schema, options)
        writer.write_table(TABLE)
        writer.close()

    return [
        lambda: client.do_get(flight.Ticket(ref.id), options).read_all(),
        lambda: client.get_flight_info(path, options),
        lambda: list(client.list_flights(b"", options)),
        send,
        lambda: list(client.list_actions(options)),
        lambda: next(client.do_action(flight.Action("describe", b"{}"), options)),
    ]


# The structure: no route without a policy.


OPEN = {"/healthz", "/readyz"}


def test_every_route_of_a_stage_says_who_may_call_it(stage: str) -> None:
    settings = Settings(stage=stage, store_url="file:///nowhere")
    app = build(Service(load(built_in(stage)), settings, None, None, None), lambda _: None)  # type: ignore[arg-type]
    unknown = [
        route
        for route in app.routes
        if not isinstance(route, APIRoute)
        or (isinstance(route, Open) and route.path not in OPEN)
        or not (isinstance(route, Open | Closed) or getattr(route, "right", None) == "reports")
    ]
    assert not unknown, f"who may call {unknown}?"
    assert app.docs_url is app.redoc_url is app.openapi_url is None


def test_every_route_inside_airflow_asks_for_its_login() -> None:
    importlib.import_module("tests.plugins.conftest")
    from ropewalk_airflow.web import application

    app = application()
    for route in app.routes:
        assert isinstance(route, APIRoute)
        names = [one.call.__qualname__ for one in route.dependant.dependencies if one.call]
        assert any("requires_access_dag" in name for name in names), route.path
    assert app.openapi_url is None


def test_the_demos_service_answers_only_to_its_key() -> None:
    from demo.weather import Service as Weather
    from demo.weather import application
    from starlette.testclient import TestClient

    with TestClient(application(Weather("the-key", 0))) as client:
        for path in ("/observations", "/docs", "/openapi.json", "/redoc"):
            assert client.get(path).status_code in {401, 404}, path
        assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "path",
    ["//v1/describe", "/v1//describe", "/V1/describe", "/v1/DESCRIBE", "/v1/describe;x=1", "/v1/describe;/healthz",
     "/healthz/../v1/describe", "/healthz/%2e%2e/v1/describe", "/v1/%64escribe", "/v1/describe%2f", "/v1/describe/",
     "/v1/describe%00", "/v1/describe/healthz", "/healthz/v1/describe", "/v1/describe?/healthz", "/v1\\describe",
     "/./v1/describe", "/v1/describe#healthz", "/v1/tasks/../describe", "/metrics/", "/metrics;", "/openapi.json/",
     "/docs", "/redoc", "/v1/tasks/", "/v1/tasks", "/v1/tasks/x", "/v1/tasks/%2e%2e/log", "/static/x"],
)  # fmt: skip
def test_no_spelling_of_a_path_gets_past(service: StageService, path: str) -> None:
    import http.client

    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        override = {
            "X-HTTP-Method-Override": "GET",
            "X-Original-URL": "/healthz",
            "X-Forwarded-For": "127.0.0.1",
        }
        connection.request(method, path, headers=override)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status in {307, 400, 401, 404, 405}, (method, answer.status)
        assert b"plugins" not in body
        connection.close()


def test_health_tells_nothing(service: StageService) -> None:
    answer = httpx.get(f"{service.url}/healthz")
    assert answer.json() == {"status": "alive", "detail": ""}
    assert not {"server", "x-powered-by"} & set(answer.headers)


# Keys, and their rotation.


def test_a_stage_takes_the_tokens_of_an_old_and_of_a_new_key() -> None:
    new = new_signing_key()
    both = Verifier(public_key(OTHER) + public_key(new), ("collect",))
    for key in (OTHER, new):
        assert both.grant(f"Bearer {mint(key, 'collect', 'tasks')}").allows("task:x")
    with pytest.raises(UnauthorizedError):
        Verifier(public_key(new), ("collect",)).grant(f"Bearer {mint(OTHER, 'collect', 'tasks')}")
    old = mint(new, "collect", "tasks", life=-600)
    with pytest.raises(UnauthorizedError, match="the token has expired"):
        both.grant(f"Bearer {old}")


@pytest.mark.parametrize(
    "keys", ["", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", OTHER]
)
def test_what_is_no_public_key_starts_no_stage(keys: str) -> None:
    with pytest.raises(ConfigError, match="ROPEWALK_PUBLIC_KEYS"):
        Verifier(keys, ("collect",)).check_keys()


def test_keys_of_another_kind_are_refused() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(ConfigError):
        Verifier(pem.decode(), ()).check_keys()


def test_a_grant_needs_the_very_right() -> None:
    grant = Verifier(public_key(OTHER), ("a",)).grant(f"Bearer {mint(OTHER, 'a', 'task:ab')}")
    grant.need("task:ab")
    for right in ("task:a", "task:abc", "task:", "tasks", "dataset:ab", "describe"):
        with pytest.raises(ForbiddenError):
            grant.need(right)
