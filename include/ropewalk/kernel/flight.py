"""Arrow Flight on every stage: datasets as checked streams, and tasks for whoever speaks gRPC alone.

A stream that merely ended is not complete: the last message of every stream, in both directions, is an
empty batch whose metadata says how many rows went and what their fingerprint is.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from pyarrow import flight

from ropewalk.contracts.errors import (
    DataError,
    NotFoundError,
    RetryableError,
    RopewalkError,
    UnauthorizedError,
)
from ropewalk.contracts.models import DatasetRef, Report
from ropewalk.kernel.datasets import BATCH_ROWS, Dataset, DatasetStore, Draft
from ropewalk.kernel.fingerprint import Fingerprint
from ropewalk.kernel.perform import open_store
from ropewalk.kernel.settings import ANY_HOST, Settings
from ropewalk.kernel.tokens import bears

ACTIONS = {
    "submit": "submit a task: the body is a TaskRequest, the answer a TaskStatus",
    "read": 'how a task stands: {"key", "wait"}',
    "log": 'a task\'s log lines: {"key", "after"}',
    "cancel": 'cancel a task: {"key", "asker"}',
    "describe": "the stage and its plugins",
}


def serve(settings: Settings) -> None:
    """Serve Flight on the settings' port until the process ends."""
    location = f"grpc://{settings.host}:{settings.flight_port}"
    Server(location, settings).serve()


class Server(flight.FlightServerBase):  # type: ignore[misc]
    """The Flight service of one replica."""

    def __init__(self, location: str, settings: Settings) -> None:
        super().__init__(location, middleware={"auth": _Gate(settings)})
        self._settings = settings
        self._store: DatasetStore = open_store(settings)

    def do_get(self, _: Any, ticket: Any) -> Any:
        """The rows of a dataset; the ticket is its id, ``key/output``."""
        with _as_flight():
            dataset = self._open(ticket.ticket.decode())
            return flight.GeneratorStream(dataset.schema, _sent(dataset))

    def do_put(self, _: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Take in a dataset; the answer's metadata is its reference."""
        with _as_flight():
            name = descriptor.path[0].decode() if descriptor.path else "put"
            draft = self._store.draft(secrets.token_hex(32))
            try:
                ref = _received(draft, reader, name)
            except BaseException:
                draft.discard()
                raise
            writer.write(ref.model_dump_json().encode())

    def list_flights(self, _: Any, criteria: bytes) -> Iterator[Any]:
        """Every dataset; ``criteria`` is the beginning of the ids."""
        for key in self._store.committed():
            manifest = self._store.manifest(key)
            for output in manifest.outputs if manifest else ():
                if f"{key}/{output}".startswith(criteria.decode()):
                    yield self._info(f"{key}/{output}")

    def get_flight_info(self, _: Any, descriptor: Any) -> Any:
        """The schema, rows and bytes of a dataset; its descriptor is a path ``[key, output]`` or its id."""
        with _as_flight():
            parts = [part.decode() for part in descriptor.path or ()]
            return self._info("/".join(parts) or (descriptor.command or b"").decode())

    def list_actions(self, _: Any) -> list[tuple[str, str]]:
        """What `do_action` can do."""
        return list(ACTIONS.items())

    def do_action(self, _: Any, action: Any) -> Iterator[bytes]:
        """Do what the HTTP route of the same name does, and give its answer as JSON."""
        with _as_flight():
            body = action.body.to_pybytes() if action.body is not None else b""
            yield self._forward(action.type, body)

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

    def _info(self, dataset: str) -> Any:
        opened = self._open(dataset)
        endpoint = flight.FlightEndpoint(
            dataset, [self._settings.flight_url] if self._settings.flight_url else []
        )
        descriptor = flight.FlightDescriptor.for_path(*dataset.split("/"))
        return flight.FlightInfo(
            opened.schema, descriptor, [endpoint], opened.ref.rows, opened.ref.bytes
        )

    def _forward(self, name: str, body: bytes) -> bytes:
        if name not in ACTIONS:
            raise NotFoundError(
                f"there is no action {name!r}", hint=f"there are {', '.join(ACTIONS)}"
            )
        answer = httpx.request(**_request(name, body, self._settings), timeout=60, trust_env=False)
        return answer.content


def put(url: str, token: str, data: pa.Table, name: str = "put") -> DatasetRef:
    """Send a table to a stage's Flight server: the reference of the dataset that it has become there."""
    client, options = _client(url, token)
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


def fetch(ref: DatasetRef, scratch: Path, token: str) -> Dataset:
    """Bring a dataset of another stage's store here, checked against its reference."""
    from ropewalk.kernel.datasets import columns_of

    client, options = _client(str(ref.flight), token)
    path = scratch / f"{secrets.token_hex(8)}.arrow"
    with client:
        try:
            reader = client.do_get(flight.Ticket(ref.id), options)
            with pa.ipc.new_file(path, reader.schema) as file:
                digest = Fingerprint(reader.schema)
                for batch in _checked(reader, digest):
                    file.write_batch(batch)
        except flight.FlightError as error:
            raise RetryableError(
                f"{ref.flight} does not give {ref.id}: {error}", code="flight"
            ) from None
    if (digest.rows, digest.hexdigest()) != (ref.rows, ref.fingerprint):
        raise RetryableError(f"{ref.id} came with other rows than it has", code="damaged")
    return Dataset(ref, columns_of(reader.schema), [path])


def _sent(dataset: Dataset) -> Iterator[Any]:
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


def _client(url: str, token: str) -> tuple[Any, Any]:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    return flight.FlightClient(url), flight.FlightCallOptions(headers=headers)


def _request(name: str, body: bytes, settings: Settings) -> dict[str, Any]:
    """The HTTP request that an action stands for."""
    host = "127.0.0.1" if settings.host in ANY_HOST else settings.host
    base = f"http://{host}:{settings.port}/v1"
    token = settings.token.get_secret_value() if settings.token else ""
    request: dict[str, Any] = {"method": "GET", "headers": {"authorization": f"Bearer {token}"}}
    if name == "describe":
        return {**request, "url": f"{base}/describe"}
    if name == "submit":
        from ropewalk.contracts.keys import task_key
        from ropewalk.contracts.models import TaskRequest

        key = task_key(TaskRequest.model_validate_json(body))
        headers = {**request["headers"], "content-type": "application/json"}
        return {"method": "PUT", "url": f"{base}/tasks/{key}", "content": body, "headers": headers}
    wanted = json.loads(body)
    url = f"{base}/tasks/{wanted.pop('key')}" + ("/log" if name == "log" else "")
    method = "DELETE" if name == "cancel" else "GET"
    return {**request, "method": method, "url": url, "params": wanted}


class _Gate(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Lets a call pass that carries the installation's token."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.token

    def start_call(self, _: Any, headers: dict[str, list[str]]) -> None:
        if not bears("".join(headers.get("authorization", ())), self._token):
            raise flight.FlightUnauthenticatedError("no valid token")


class _as_flight:  # noqa: N801 - reads as a verb
    """Tells our errors, and Arrow's, in Flight's own words."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, UnauthorizedError):
            raise flight.FlightUnauthenticatedError(str(error)) from None
        if isinstance(error, RopewalkError):
            raise flight.FlightServerError(
                error.problem().model_dump_json(exclude_none=True)
            ) from None
        if isinstance(error, pa.ArrowInvalid | ValueError | KeyError):
            raise flight.FlightServerError(f"not readable: {error}") from None
