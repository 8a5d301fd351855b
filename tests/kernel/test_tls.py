"""TLS for real, on both protocols: plain, TLS, mutual, another authority's certificate, an expired one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
import uvicorn
from fastapi import FastAPI
from pyarrow import flight
from ropewalk.cli.certificates import write_certificates
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.tls import client_context
from ropewalk.contracts.tokens import ALL, mint, new_signing_key, public_key
from ropewalk.kernel.flight import Server, fetch, put
from ropewalk.kernel.settings import Settings
from ropewalk.kernel.tls import Tls

KEY = new_signing_key()
TABLE = pa.table({"n": pa.array(range(1000), pa.int64())})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of an authority, of another one, and expired ones."""
    made = tmp_path_factory.mktemp("tls")
    write_certificates(made / "ours")
    write_certificates(made / "others")
    (made / "old").mkdir()
    for name in ("ca.pem", "ca.key"):
        (made / "old" / name).write_bytes((made / "ours" / name).read_bytes())
    write_certificates(made / "old", days=-0.01)
    return made


def files(folder: Path, name: str = "", ca: str = "ours", of: str = "ours") -> dict[str, str]:
    """A client's files: whom it trusts, and its certificate where it has one."""
    own = {"cert": str(folder / of / f"{name}.pem"), "key": str(folder / of / f"{name}.key")}
    return {"ca": str(folder / ca / "ca.pem"), **(own if name else {})}


def stage(folder: Path, of: str = "ours", *, mutual: bool = False) -> Tls:
    """The TLS of a stage."""
    at = folder / of
    return Tls(at / "collect.pem", at / "collect.key", folder / "ours" / "ca.pem", mutual)


@contextmanager
def http(tls: Tls) -> Iterator[str]:
    """A server of HTTP with it; its URL."""
    app = FastAPI()
    app.get("/")(lambda: {"n": 1})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_config=None, lifespan="off", **tls.uvicorn())
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"{tls.scheme}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def grpc(tls: Tls, tmp_path: Path) -> Iterator[str]:
    """A Flight server with it; its URL."""
    settings = Settings(
        stage="collect", store_url=(tmp_path / "store").as_uri(), scratch_dir=tmp_path / "scratch",
        public_keys=public_key(KEY), tls_cert=tls.cert, tls_key=tls.key, tls_ca=tls.ca, tls_mutual=tls.mutual,
    )  # fmt: skip
    scheme = "grpc+tls" if tls.on else "grpc"
    with Server(f"{scheme}://127.0.0.1:0", settings) as server:
        yield f"{scheme}://127.0.0.1:{server.port}"


def get(url: str, given: dict[str, str] | None) -> int:
    """The status of an answer over HTTP."""
    verify = client_context(given) if given else False
    return httpx.get(url, verify=verify, trust_env=False, timeout=20).status_code


def send(url: str, given: dict[str, str] | None, scratch: Path) -> int:
    """How many rows come back over Flight of those that were sent."""
    tls, token = Tls.of_files(given or {}), mint(KEY, "collect", *ALL)
    ref = put(url, token, TABLE, tls=tls)
    there = ref.model_copy(update={"flight": url, "ticket": token})
    return fetch(there, scratch, tls).rows


def test_plain(tmp_path: Path) -> None:
    with http(Tls()) as url, grpc(Tls(), tmp_path) as flight_url:
        assert (get(url, None), send(flight_url, None, tmp_path)) == (200, 1000)


@pytest.mark.parametrize("mutual", [False, True])
def test_a_client_of_the_same_authority_is_let_in(
    folder: Path, tmp_path: Path, *, mutual: bool
) -> None:
    tls, given = stage(folder, mutual=mutual), files(folder, "client")
    with http(tls) as url, grpc(tls, tmp_path) as flight_url:
        assert (get(url, given), send(flight_url, given, tmp_path)) == (200, 1000)


WRONG = {
    "no certificate": (True, "ours", {}),
    "another authority's certificate": (True, "ours", {"name": "client", "of": "others"}),
    "an expired certificate": (True, "ours", {"name": "client", "of": "old"}),
    "trusts another authority": (False, "ours", {"ca": "others"}),
    "the stage's has expired": (False, "old", {}),
    "the stage's is another authority's": (False, "others", {}),
}


@pytest.mark.parametrize("what", WRONG)
def test_whoever_cannot_be_trusted_gets_nothing(folder: Path, tmp_path: Path, what: str) -> None:
    mutual, of, client = WRONG[what]
    tls, given = stage(folder, of, mutual=mutual), files(folder, **client)
    with http(tls) as url, grpc(tls, tmp_path) as flight_url:
        with pytest.raises(httpx.TransportError):
            get(url, given)
        with pytest.raises((flight.FlightUnavailableError, flight.FlightInternalError)):
            send(flight_url, given, tmp_path)
    assert not list((tmp_path / "store").glob("tasks/*/*"))


def test_there_is_no_plain_port_beside(folder: Path, tmp_path: Path) -> None:
    tls = stage(folder)
    with http(tls) as url, grpc(tls, tmp_path) as flight_url:
        with pytest.raises(httpx.TransportError):
            get(url.replace("https:", "http:"), None)
        with pytest.raises((flight.FlightUnavailableError, flight.FlightInternalError)):
            send(flight_url.replace("grpc+tls:", "grpc:"), None, tmp_path)


def test_settings_that_do_not_go_together_start_no_stage(folder: Path) -> None:
    ours = folder / "ours"
    for tls in (
        Tls(cert=ours / "collect.pem"),
        Tls(key=ours / "collect.key"),
        Tls(mutual=True),
        Tls(ours / "collect.pem", ours / "store.key", ours / "ca.pem"),
        Tls(ours / "nothing.pem", ours / "nothing.key"),
        Tls(ours / "collect.key", ours / "collect.pem"),
    ):
        with pytest.raises(ConfigError):
            tls.check()


def test_keys_are_their_owners_alone_and_an_authority_stays(folder: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in (folder / "ours").glob("*.key")} == {0o600}
    before = (folder / "ours" / "ca.pem").read_bytes()
    write_certificates(folder / "ours", names=["geocode"], hosts=["geo.internal"])
    assert (folder / "ours" / "ca.pem").read_bytes() == before
