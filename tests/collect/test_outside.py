"""A source is no bridge inwards: what it may reach, tried against real listeners on this machine."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from ropewalk.cli.certificates import write_certificates
from ropewalk.collect import outside
from ropewalk.collect.outside import is_public, origin
from ropewalk.contracts.errors import FatalError, RetryableError, RopewalkError
from ropewalk.testing.bench import TaskBench

from tests.servers import serving

SECRET = "hush-hush-hush"
ELSEWHERE = "127.0.0.5"  # an address of this machine that stands for a public one in these tests


@pytest.fixture
def canary() -> Iterator[int]:
    """The port of a listener on the loopback that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener.getsockname()[1]
        with pytest.raises(BlockingIOError):
            listener.accept()


@contextmanager
def server(
    host: str, location: str = "", tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers with one record, or redirects; its URL, and the headers of each request."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            body = b'[{"n": 1}]'
            self.send_response(302 if location else 200)
            self.send_header("location", location) if location else None
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    made = ThreadingHTTPServer((host, 0), Handler)
    if tls is not None:
        made.socket = tls.wrap_socket(made.socket, server_side=True)
    with serving(made) as url:
        yield url.replace("http:", "https:") if tls else url, seen


Names = Callable[..., list[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Has names resolve as a test says, a list of addresses per turn; gives which were asked for."""
    real, asked = socket.getaddrinfo, []

    def resolve(**known: list[list[str]]) -> list[str]:
        turns = {name.replace("_", "."): iter(given) for name, given in known.items()}

        def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
            if host not in turns:
                return real(host, port, *rest, **more)
            asked.append(host)
            return [entry for one in next(turns[host]) for entry in real(one, port, *rest, **more)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return resolve


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address that counts as public."""
    real = outside.is_public
    monkeypatch.setattr(outside, "is_public", lambda one: one == ELSEWHERE or real(one))
    return ELSEWHERE


@pytest.fixture
def collect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Reads an API at a URL: how many rows came."""

    def one(url: str, allow: str = "", **connection: str) -> int:
        monkeypatch.setenv("ROPEWALK_PRIVATE_HOSTS", allow)
        monkeypatch.setenv("ROPEWALK_CONNECTION_API", json.dumps({"url": url, **connection}))
        do = [("rest", {"connection": "api", "attempts": 1})]
        return TaskBench(tmp_path).run("collect", do).rows.out

    return one


Collect = Callable[..., int]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
     "0.0.0.0", "0.1.2.3",  # noqa: S104
     "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "203.0.113.9",
     "::1", "::", "fe80::1", "fe80::1%2", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
     "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::1", "2001::1", "2001:db8::1"],
)  # fmt: skip
def test_an_address_that_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_an_address_that_is(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "0",
     "localhost", "LOCALHOST", "localhost.", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1]", "[::]",
     "public.example@127.0.0.1", "public.example:80@127.0.0.1", "127.0.0.1%2f@127.0.0.1"],
)  # fmt: skip
def test_this_machine_is_not_reached_by_any_of_its_names(
    collect: Collect, canary: int, host: str
) -> None:
    with pytest.raises(FatalError, match="is .*, an address that is not public") as caught:
        collect(f"http://{host}:{canary}")
    assert caught.value.code == "blocked_destination"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/", "unix:///x", "//x"]
)
def test_only_http_is_spoken(collect: Collect, url: str) -> None:
    with pytest.raises(FatalError):
        collect(url)


def test_a_name_with_one_private_address_among_its_addresses_is_refused(
    collect: Collect, canary: int, names: Names, elsewhere: str
) -> None:
    names(two_test=[[elsewhere, "127.0.0.1"]])
    with pytest.raises(FatalError, match=r"two\.test:\d+ is 127\.0\.0\.1"):
        collect(f"http://two.test:{canary}")


def test_what_was_checked_is_what_is_connected_to(
    collect: Collect, names: Names, elsewhere: str
) -> None:
    """A name that leads elsewhere when it is asked for again gains nothing: it is asked for once."""
    with server(elsewhere) as (url, seen):
        port = int(url.rpartition(":")[2])
        with socket.create_server(("127.0.0.1", port)) as inside:
            inside.setblocking(False)
            asked = names(turns_test=[[elsewhere], ["127.0.0.1"]])
            assert collect(f"http://turns.test:{port}") == 1
            with pytest.raises(BlockingIOError):
                inside.accept()
    assert asked == ["turns.test"]
    assert seen[0]["host"] == f"turns.test:{port}"


def test_a_name_that_does_not_resolve_may_do_so_later(collect: Collect) -> None:
    with pytest.raises(RetryableError, match="no connection"):
        collect("http://nowhere.invalid")


@pytest.mark.parametrize(
    "to", ["http://127.0.0.1:{port}/", "http://2130706433:{port}/", "http://a@localhost:{port}/", "//[::1]:{port}/",
           "http://public.test\\@127.0.0.1:{port}/", "file:///etc/passwd"],
)  # fmt: skip
def test_a_redirect_leads_no_further_inwards(
    collect: Collect, canary: int, elsewhere: str, to: str
) -> None:
    with server(elsewhere, to.format(port=canary)) as (url, seen), pytest.raises(RopewalkError):
        collect(url)
    assert len(seen) == 1


@pytest.mark.parametrize("allow", ["127.0.0.1", "127.0.0.1:{port}", "db.internal 127.0.0.1:{port}"])
def test_what_is_allowed_by_name_is_reached(collect: Collect, allow: str) -> None:
    with server("127.0.0.1") as (url, _):
        assert collect(url, allow.format(port=url.rpartition(":")[2])) == 1


@pytest.mark.parametrize("allow", ["127.0.0.1:1", "localhost", "127.0.0.2", "27.0.0.1", ".0.0.1"])
def test_what_is_allowed_by_another_name_is_not(collect: Collect, canary: int, allow: str) -> None:
    with pytest.raises(FatalError, match="not public"):
        collect(f"http://127.0.0.1:{canary}", allow)


@pytest.mark.parametrize(
    "secret", [{"token": SECRET}, {"token": SECRET, "header": "X-Key"}, {"user": "me", "password": SECRET}]
)  # fmt: skip
def test_a_redirect_to_another_server_is_followed_without_the_secrets(
    collect: Collect, elsewhere: str, secret: dict[str, str]
) -> None:
    with server(elsewhere) as (there, seen), server("127.0.0.1", f"{there}/x") as (url, own):
        assert collect(url, "127.0.0.1", **secret) == 1
    assert not {"authorization", "x-key"} & set(seen[0])
    assert {"authorization", "x-key"} & set(own[0])


def test_a_redirect_to_plain_http_is_not_followed(
    collect: Collect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_certificates(tmp_path / "tls", names=["api"])
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(tmp_path / "tls/ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "tls/api.pem", tmp_path / "tls/api.key")
    with (
        server("127.0.0.1") as (plain, seen),
        server("127.0.0.1", plain, tls=context) as (url, own),
        pytest.raises(FatalError, match="redirects to plain HTTP") as caught,
    ):
        collect(url, "127.0.0.1", token=SECRET)
    assert caught.value.code == "downgrade"
    assert len(own) == 1
    assert seen == []


def test_the_environments_proxies_are_ignored(
    collect: Collect, canary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with server("127.0.0.1") as (url, _):
        assert collect(url, url.removeprefix("http://")) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a.test/x", "http://A.test:80/y?z", True),
        ("https://a.test", "https://a.test:443", True),
        ("http://a.test", "https://a.test", False),
        ("http://a.test", "http://a.test:8080", False),
        ("http://a.test", "http://a.test@b.test", False),
        ("http://a.test", "http://b.test\\@a.test/", False),
        ("http://[::1]:1", "http://[::1]:1/x", True),
    ],
)
def test_the_origin_of_a_url(one: str, other: str, *, same: bool) -> None:
    assert (origin(one) == origin(other)) is same


def test_a_database_inside_is_reached_only_where_it_is_allowed(
    canary: int, elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert elsewhere == ELSEWHERE
    monkeypatch.delenv("ROPEWALK_PRIVATE_HOSTS", raising=False)
    for url in (
        f"postgresql://u:{SECRET}@127.0.0.1:{canary}/db",
        f"postgresql:///db?host=localhost&port={canary}",
        f"postgresql:///db?hostaddr=127.0.0.1&port={canary}",
        f"postgresql://u:{SECRET}@{ELSEWHERE}:{canary}/db?hostaddr=127.0.0.1",
        f"postgresql:///db?host={ELSEWHERE},localhost&port={canary}",
        f"postgresql:///db?hostaddr={ELSEWHERE},127.0.0.1&port={canary}",
    ):
        monkeypatch.setenv("ROPEWALK_CONNECTION_DB", url)
        with pytest.raises(RopewalkError, match="not public") as caught:
            TaskBench(tmp_path).run("collect", [("sql", {"connection": "db", "query": "SELECT 1"})])
        assert caught.value.code == "blocked_destination"
        assert SECRET not in str(caught.value)
