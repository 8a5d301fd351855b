"""(b) A table from stage to stage: through the dataset store, over Flight, and as JSON over HTTP.

Each time is from a table in the memory of one process to a table in the memory of another, checked on
the way as the product checks it.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from ropewalk.contracts.tokens import DATASETS, dataset_scope, mint, new_signing_key, public_key

from bench.clock import alternate
from bench.data import sample
from bench.options import Options
from bench.table import Figure

if TYPE_CHECKING:
    import pyarrow as pa
    from ropewalk.contracts.models import DatasetRef
    from ropewalk.kernel.datasets import DatasetStore
    from ropewalk.kernel.settings import Settings

TITLE = "(b) a table of ten columns from stage to stage"
TARGET = 50
KEY = new_signing_key()


def run(options: Options) -> Iterator[Figure]:
    """Measures all three ways."""
    table = sample(options.rows)
    with receiver() as receive, _json_server(table) as url, _flight_server(options) as (store, at):
        rivals = {
            "store": lambda: receive("store", written(store, table), at, table),
            "flight": lambda: receive("flight", ticketed(written(store, table)), at, table),
            "json": lambda: receive("json", url, at, table),
        }
        taken = alternate(options.console, rivals, options.rounds)
    for name, what, target in (("store", "dataset store", TARGET), ("flight", "Flight", None)):
        yield Figure(
            f"by {what}", taken[name], "JSON over HTTP", taken["json"], target, sense="at least",
            note=f"{options.rows:,} rows, {table.nbytes / 1e6:,.0f} MB as Arrow",
        )  # fmt: skip


def written(store: DatasetStore, table: pa.Table) -> str:
    """Writes the table as a stage writes its output; gives the reference."""
    from ropewalk.contracts.models import Report

    draft = store.draft(secrets.token_hex(32))
    draft.writer("data", table.schema).write(table)
    outputs, now = draft.finish(), datetime.now(UTC)
    report = Report(
        key=draft.key, workflow="bench", step="data", stage="bench", plugins=["bench"], run="bench",
        outputs=outputs, started=now, ended=now,
    )  # fmt: skip
    draft.commit(report, before=lambda: None)
    ref: DatasetRef = outputs["data"]
    return ref.model_dump_json()


def ticketed(ref: str) -> str:
    """The reference with the right to fetch what it names."""
    found = json.loads(ref)
    return json.dumps({**found, "ticket": mint(KEY, DATASETS, dataset_scope(found["id"]))})


@contextmanager
def receiver() -> Iterator[Any]:
    """Another process, and the function that has it receive a table and waits until it has."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.receiver"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    orders, answers = process.stdin, process.stdout
    if orders is None or answers is None:
        raise RuntimeError("the receiver has no pipes")

    def receive(how: str, what: str, settings: Settings, table: pa.Table) -> None:
        order = {"how": how, "what": what, "settings": _plain(settings)}
        orders.write(json.dumps(order) + "\n")
        orders.flush()
        got = json.loads(answers.readline())
        if got != {"rows": table.num_rows, "columns": table.num_columns}:
            raise RuntimeError(f"{how}: {got} came, of {table.num_rows} rows")

    try:
        yield receive
    finally:
        orders.close()
        answers.close()
        process.wait(30)


@contextmanager
def _flight_server(options: Options) -> Iterator[tuple[DatasetStore, Settings]]:
    """The store, with a stage's Flight server over it, and the settings that lead to both."""
    from ropewalk.kernel.flight import Server
    from ropewalk.kernel.perform import open_store
    from ropewalk.kernel.settings import Settings

    settings = Settings(
        store_url=(options.folder / "store").as_uri(),
        scratch_dir=options.folder / "scratch",
        public_keys=public_key(KEY),
    )
    with Server("grpc://127.0.0.1:0", settings) as server:
        at = settings.model_copy(update={"flight_url": f"grpc://127.0.0.1:{server.port}"})
        yield open_store(at), at


@contextmanager
def _json_server(table: pa.Table) -> Iterator[str]:
    """The obvious way: a route that answers with the rows as JSON."""

    class Rows(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.dumps(table.to_pylist(), default=str).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the table is what is read."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Rows)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/rows"
    finally:
        server.shutdown()
        server.server_close()


def _plain(settings: Settings) -> dict[str, Any]:
    names = {"store_url", "scratch_dir", "flight_url", "tls_cert", "tls_key", "tls_ca"}
    plain: dict[str, Any] = settings.model_dump(mode="json", include=names)
    return plain
