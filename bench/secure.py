"""(h) What tokens and TLS cost: a table over Flight with both, with a token alone, and with neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from pyarrow import flight
from ropewalk.cli.certificates import write_certificates
from ropewalk.contracts.tokens import public_key
from ropewalk.kernel.datasets import DatasetStore
from ropewalk.kernel.flight import Server, sent
from ropewalk.kernel.perform import open_store
from ropewalk.kernel.settings import Settings

from bench.clock import alternate
from bench.data import sample
from bench.options import Options
from bench.table import Figure
from bench.transfer import KEY, receiver, ticketed, written

if TYPE_CHECKING:
    from ropewalk.contracts.models import DatasetRef

TITLE = "(h) what tokens and TLS cost a table of ten columns over Flight"
TARGET = 1.5


def run(options: Options) -> Iterator[Figure]:
    """Measures all three, of one dataset."""
    table = sample(options.rows)
    plain = Settings(
        store_url=(options.folder / "store").as_uri(),
        scratch_dir=options.folder / "scratch",
        public_keys=public_key(KEY),
    )
    store = open_store(plain)
    ref = ticketed(written(store, table))
    with ExitStack() as stops:
        receive = stops.enter_context(receiver())
        servers = {
            "neither": stops.enter_context(_served(Bare(store, ref), plain)),
            "token": stops.enter_context(_served(Server("grpc://127.0.0.1:0", plain), plain)),
            "both": stops.enter_context(_encrypted(options, plain)),
        }
        rivals = {name: _fetch(receive, ref, at, table) for name, at in servers.items()}
        for fetch in rivals.values():
            fetch()  # all have met
        taken = alternate(options.console, rivals, options.rounds)
    note = f"{options.rows:,} rows, {table.nbytes / 1e6:,.0f} MB as Arrow"
    for name, what in (("token", "with a token"), ("both", "with a token and mutual TLS")):
        yield Figure(what, taken[name], "with neither", taken["neither"], TARGET, note=note)


def _fetch(receive: Any, ref: str, at: Settings, table: Any) -> Any:
    return lambda: receive("flight", ref, at, table)


class Bare(flight.FlightServerBase):  # type: ignore[misc]
    """A Flight server that gives its one dataset to anyone."""

    def __init__(self, store: DatasetStore, ref: str) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._store, self._ref = store, ref

    def do_get(self, _context: Any, _ticket: Any) -> Any:
        """The dataset's rows, as a stage sends them."""
        from ropewalk.contracts.models import DatasetRef

        ref: DatasetRef = DatasetRef.model_validate_json(self._ref)
        dataset = self._store.dataset(ref)
        return flight.GeneratorStream(dataset.schema, sent(dataset))


@contextmanager
def _served(server: Any, settings: Settings, scheme: str = "grpc") -> Iterator[Settings]:
    """The settings that lead to a server, which goes afterwards."""
    with server:
        yield settings.model_copy(update={"flight_url": f"{scheme}://127.0.0.1:{server.port}"})


@contextmanager
def _encrypted(options: Options, plain: Settings) -> Iterator[Settings]:
    """A stage's server over mutual TLS."""
    folder = options.folder / "tls"
    write_certificates(folder, names=["collect"])
    certified = plain.model_copy(
        update={
            "tls_cert": folder / "collect.pem",
            "tls_key": folder / "collect.key",
            "tls_ca": folder / "ca.pem",
            "tls_mutual": True,
        }
    )
    server = Server("grpc+tls://127.0.0.1:0", certified)
    with _served(server, certified, "grpc+tls") as at:
        yield at
