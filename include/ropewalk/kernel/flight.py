"""Arrow Flight on every stage: datasets as checked streams, and tasks for whoever speaks gRPC alone.

A stream that merely ended is not complete: the last message of every stream, in both directions, is an
empty batch whose metadata says how many rows went and what their fingerprint is.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from pyarrow import flight

from ropewalk.contracts.errors import (
    DataError,
    FatalError,
    ForbiddenError,
    NotFoundError,
    Problem,
    RetryableError,
    RopewalkError,
    TaskError,
    UnauthorizedError,
    error_of,
)
from ropewalk.contracts.models import DatasetRef, Report
from ropewalk.contracts.tokens import DATASETS, dataset_scope
from ropewalk.kernel.batch import PARTITIONS
from ropewalk.kernel.datasets import BATCH_ROWS, Dataset, DatasetStore, Draft
from ropewalk.kernel.fingerprint import Fingerprint
from ropewalk.kernel.perform import open_store
from ropewalk.kernel.settings import ANY_HOST, Settings
from ropewalk.kernel.tls import Tls
from ropewalk.kernel.tokens import Grant, Verifier, refused

ACTIONS = {
    "submit": "submit a task: the body is a TaskRequest, the answer a TaskStatus",
    "read": 'how a task stands: {"key", "wait"}',
    "log": 'a task\'s log lines: {"key", "after"}',
    "cancel": 'cancel a task: {"key", "asker"}',
    "describe": "the stage and its plugins",
}


def serve(settings: Settings) -> None:
    """Serve Flight on the settings' port until the process ends."""
    scheme = "grpc+tls" if Tls.of(settings).on else "grpc"
    location = f"{scheme}://{settings.host}:{settings.flight_port}"
    Server(location, settings).serve()


class Server(flight.FlightServerBase):  # type: ignore[misc]
    """The Flight service of one replica."""

    def __init__(self, location: str, settings: Settings) -> None:
        self._settings, self._tls = settings, Tls.of(settings)
        super().__init__(
            location, middleware={"auth": _Gate(settings)}, **self._tls.flight_server()
        )
        self._store: DatasetStore = open_store(settings)

    def do_get(self, context: Any, ticket: Any) -> Any:
        """The rows of a dataset; the ticket is its id, ``key/output``."""
        with _as_flight(context):
            dataset = self._opened(context, ticket.ticket.decode())
            return flight.GeneratorStream(dataset.schema, sent(dataset))

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Take in a dataset; the answer's metadata is its reference."""
        with _as_flight(context):
            _grant(context).need("datasets")
            name = descriptor.path[0].decode() if descriptor.path else "put"
            draft = self._store.draft(secrets.token_hex(32))
            try:
                ref = _received(draft, reader, name)
            except BaseException:
                draft.discard()
                raise
            writer.write(ref.model_dump_json().encode())

    def list_flights(self, context: Any, criteria: bytes) -> Iterator[Any]:
        """Every dataset; ``criteria`` is the beginning of the ids."""
        with _as_flight(context):
            _grant(context).need("datasets")
        return self._listed(criteria)

    def _listed(self, criteria: bytes) -> Iterator[Any]:
        for key in self._store.committed():
            manifest = self._store.manifest(key)
            for output in manifest.outputs if manifest else ():
                if f"{key}/{output}".startswith(criteria.decode()):
                    yield self._info(self._open(f"{key}/{output}"))

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """The schema, rows and bytes of a dataset; its descriptor is a path ``[key, output]`` or its id."""
        with _as_flight(context):
            parts = [part.decode() for part in descriptor.path or ()]
            dataset = "/".join(parts) or (descriptor.command or b"").decode()
            return self._info(self._opened(context, dataset))

    def list_actions(self, context: Any) -> list[tuple[str, str]]:
        """What `do_action` can do."""
        with _as_flight(context):
            _grant(context).need("describe")
        return list(ACTIONS.items())

    def do_action(self, context: Any, action: Any) -> Iterator[bytes]:
        """Do what the HTTP route of the same name does, with the caller's own token, and give its answer as JSON."""
        with _as_flight(context):
            body = action.body.to_pybytes() if action.body is not None else b""
            yield self._forward(action.type, body, _grant(context))

    def _opened(self, context: Any, dataset: str) -> Dataset:
        """A dataset that the caller may read: by its own id, or as one that a batch of his lists."""
        grant = _grant(context)
        if not grant.allows(dataset_scope(dataset)) and dataset not in self._of_batches(grant):
            grant.need(dataset_scope(dataset))
        return self._open(dataset)

    def _of_batches(self, grant: Grant) -> set[str]:
        """The datasets of the batches that a ticket is for."""
        named = (right.removeprefix("dataset:") for right in grant.scope)
        batches = [name for name in named if name.endswith(f"/{PARTITIONS}")]
        tables = [self._open(name).table() for name in batches]
        return {one for table in tables for one in table["id"].to_pylist() if one}

    def _open(self, dataset: str) -> Dataset:
        key, _, output = dataset.partition("/")
        manifest = self._store.manifest(key) if len(key) == 64 and key.isalnum() else None  # noqa: PLR2004
        if manifest is None or output not in manifest.outputs:
            raise NotFoundError(f"the dataset store has no dataset {dataset}")
        entry = manifest.outputs[output]
        ref = DatasetRef(
            id=dataset, fingerprint=entry.fingerprint, rows=entry.rows, bytes=entry.bytes
        )
        return self._store.dataset(ref)

    def _info(self, opened: Dataset) -> Any:
        endpoint = flight.FlightEndpoint(
            opened.ref.id, [self._settings.flight_url] if self._settings.flight_url else []
        )
        descriptor = flight.FlightDescriptor.for_path(*opened.ref.id.split("/"))
        return flight.FlightInfo(
            opened.schema, descriptor, [endpoint], opened.ref.rows, opened.ref.bytes
        )

    def _forward(self, name: str, body: bytes, grant: Grant) -> bytes:
        if name not in ACTIONS:
            raise NotFoundError(
                f"there is no action {name!r}", hint=f"there are {', '.join(ACTIONS)}"
            )
        request = _request(name, body, self._settings)
        headers = {**request.pop("headers", {}), "authorization": f"Bearer {grant.token}"}
        answer = httpx.request(
            **request, headers=headers, timeout=60, trust_env=False, verify=self._tls.own_context()
        )
        if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise error_of(Problem.model_validate_json(answer.content))
        return answer.content


def put(
    url: str, token: str, data: pa.Table, name: str = "put", tls: Tls | None = None
) -> DatasetRef:
    """Send a table to a stage's Flight server: the reference of the dataset that it has become there."""
    client, options = _client(url, token, tls)
    with client:
        descriptor = flight.FlightDescriptor.for_path(name)
        writer, answers = client.do_put(descriptor, data.schema, options)
        digest = Fingerprint(data.schema)
        for batch in data.to_batches(max_chunksize=BATCH_ROWS):
            digest.update(batch)
            writer.write_batch(batch)
        writer.write_with_metadata(_empty(data.schema), _trailer(digest))
        writer.done_writing()
        answer = answers.read()
        writer.close()
    return DatasetRef.model_validate_json(answer.to_pybytes())


def fetch(ref: DatasetRef, scratch: Path, tls: Tls | None = None) -> Dataset:
    """Bring a dataset of another stage's store here by its ticket, checked against its reference."""
    from ropewalk.kernel.datasets import columns_of

    client, options = _client(str(ref.flight), ref.ticket or "", tls)
    path = scratch / f"{secrets.token_hex(8)}.arrow"
    with client:
        try:
            reader = client.do_get(flight.Ticket(ref.id), options)
            with pa.ipc.new_file(path, reader.schema) as file:
                digest = Fingerprint(reader.schema)
                for batch in _checked(reader, digest):
                    file.write_batch(batch)
        except (flight.FlightUnauthenticatedError, flight.FlightUnauthorizedError) as error:
            raise _refusal(ref, str(error)) from None
        except flight.FlightError as error:
            raise RetryableError(
                f"{ref.flight} does not give {ref.id}: {error}", code="flight"
            ) from None
    if (digest.rows, digest.hexdigest()) != (ref.rows, ref.fingerprint):
        raise RetryableError(f"{ref.id} came with other rows than it has", code="damaged")
    return Dataset(ref, columns_of(reader.schema), [path])


def _refusal(ref: DatasetRef, told: str) -> TaskError:
    """What it means that a ticket opens nothing: one that has expired comes anew with the next try, no other does."""
    problem = _problem_in(told)
    kind = RetryableError if problem.code == "token_expired" else FatalError
    detail = f"{ref.flight} does not let this task read {ref.id}: {problem.detail}"
    return kind(detail, code="flight_refused")


def _problem_in(told: str) -> Problem:
    """The problem document in the text of a Flight error, which goes on behind it; or the text as one."""
    try:
        found, _ = json.JSONDecoder().raw_decode(told, told.index("{"))
        return Problem.model_validate(found)
    except ValueError:
        return Problem(detail=told)


def sent(dataset: Dataset) -> Iterator[Any]:
    """What a stream of a dataset brings: its batches, and at the end what they must have been."""
    digest = json.dumps({"rows": dataset.rows, "fingerprint": dataset.ref.fingerprint}).encode()
    yield from dataset.reader()
    yield _empty(dataset.schema), digest


def _received(draft: Draft, reader: Any, name: str) -> DatasetRef:
    writer = draft.writer("data", reader.schema)
    for batch in _checked(reader, Fingerprint(reader.schema)):
        writer.write(batch)
    outputs = draft.finish()
    now = datetime.now(UTC)
    report = Report(
        key=draft.key, workflow="put", step=name, stage="flight", plugins=["put"], run="",
        outputs=outputs, started=now, ended=now,
    )  # fmt: skip
    draft.commit(report, before=lambda: None)
    return outputs["data"]


def _checked(reader: Any, digest: Fingerprint) -> Iterator[pa.RecordBatch]:
    """The batches of a stream; DataError unless its last message confirms them."""
    trailer: dict[str, Any] | None = None
    for chunk in reader:
        if chunk.app_metadata is not None:
            trailer = json.loads(chunk.app_metadata.to_pybytes())
        batch = chunk.data
        if batch is not None and batch.num_rows:
            batch.validate(full=True)
            digest.update(batch)
            yield batch
    said = trailer and (trailer.get("rows"), trailer.get("fingerprint"))
    if said != (digest.rows, digest.hexdigest()):
        raise DataError(
            f"the stream brought {digest.rows} rows, and its end does not confirm them",
            code="stream_cut",
            hint="the last message must be an empty batch with {rows, fingerprint} as metadata",
        )


def _trailer(digest: Fingerprint) -> bytes:
    return json.dumps({"rows": digest.rows, "fingerprint": digest.hexdigest()}).encode()


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _client(url: str, token: str, tls: Tls | None) -> tuple[Any, Any]:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    trusted = (tls or Tls()).flight_client(url)
    return flight.FlightClient(url, **trusted), flight.FlightCallOptions(headers=headers)


def _request(name: str, body: bytes, settings: Settings) -> dict[str, Any]:
    """The HTTP request that an action stands for."""
    host = "127.0.0.1" if settings.host in ANY_HOST else settings.host
    base = f"{Tls.of(settings).scheme}://{host}:{settings.port}/v1"
    request: dict[str, Any] = {"method": "GET"}
    if name == "describe":
        return {**request, "url": f"{base}/describe"}
    if name == "submit":
        from ropewalk.contracts.keys import task_key
        from ropewalk.contracts.models import TaskRequest

        key = task_key(TaskRequest.model_validate_json(body))
        headers = {"content-type": "application/json"}
        return {"method": "PUT", "url": f"{base}/tasks/{key}", "content": body, "headers": headers}
    wanted = json.loads(body)
    url = f"{base}/tasks/{wanted.pop('key')}" + ("/log" if name == "log" else "")
    method = "DELETE" if name == "cancel" else "GET"
    return {**request, "method": method, "url": url, "params": wanted}


class _Gate(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Lets a call pass whose token is for this stage, or is a ticket; what it may do, each method asks."""

    def __init__(self, settings: Settings) -> None:
        self._verifier = Verifier(settings.public_keys, (settings.stage, DATASETS))

    def start_call(self, info: Any, headers: dict[str, list[str]]) -> _Caller:
        place = f"flight {info.method.name}"
        try:
            return _Caller(self._verifier.grant("".join(headers.get("authorization", ()))), place)
        except UnauthorizedError as error:
            refused(error, place=place, client="")  # whose address pyarrow tells only further in
            raise flight.FlightUnauthenticatedError(_told(error)) from None


class _Caller(flight.ServerMiddleware):  # type: ignore[misc]
    """Who calls, and what, for the length of a call."""

    def __init__(self, grant: Grant, place: str) -> None:
        self.grant, self.place = grant, place


def _grant(context: Any) -> Grant:
    grant: Grant = context.get_middleware("auth").grant
    return grant


def _told(error: RopewalkError) -> str:
    """An error as a problem document, which is all that Flight's own errors can carry."""
    return error.problem().model_dump_json(exclude_none=True)


class _as_flight:  # noqa: N801 - reads as a verb
    """Tells our errors, and Arrow's, in Flight's own words."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, ForbiddenError | UnauthorizedError):
            place = self._context.get_middleware("auth").place
            refused(error, place=place, client=self._context.peer())
            kinds = {401: flight.FlightUnauthenticatedError, 403: flight.FlightUnauthorizedError}
            raise kinds[error.status](_told(error)) from None
        if isinstance(error, RopewalkError):
            raise flight.FlightServerError(_told(error)) from None
        if isinstance(error, pa.ArrowInvalid | ValueError | KeyError):
            raise flight.FlightServerError(f"not readable: {error}") from None
