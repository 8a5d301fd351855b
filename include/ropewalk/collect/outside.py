"""What a source may reach: a name is resolved once, all its addresses are checked, and one of them is connected to.

An address of this machine or of a private network is refused unless ``ROPEWALK_PRIVATE_HOSTS`` allows its
host by name: else whoever writes a workflow, or a server that redirects, could reach what is behind the stage.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util import parse_url

from ropewalk.contracts.errors import FatalError

if TYPE_CHECKING:
    import requests

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Ways in which an IPv6 address stands for an IPv4 one, whatever Python's version says of them.
EMBEDDING = [
    ipaddress.IPv6Network(text)
    for text in ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
]  # fmt: skip


def reachable(host: str, port: int, allowed: Collection[str]) -> list[str]:
    """The addresses of a host, none of them private unless the host is allowed; FatalError where one is.

    ``allowed`` holds ``host`` and ``host:port``. Raises socket.gaierror where the host has no address.
    """
    name = host.strip("[]").rstrip(".").lower()
    place = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    private = next((address for address in addresses if not is_public(address)), None)
    if private is not None and not {name, place} & set(allowed):
        raise FatalError(
            f"{place} is {private}, an address that is not public",
            code="blocked_destination",
            hint=f"where it may be reached, add {place} to ROPEWALK_PRIVATE_HOSTS",
        )
    return addresses


def is_public(address: str) -> bool:
    """Whether an address is of the internet at large, and in no form that stands for another."""
    found: Address = ipaddress.ip_address(address.partition("%")[0])
    if found.is_multicast or found.is_reserved or found.is_unspecified:
        return False
    return found.is_global and not any(
        found in net for net in EMBEDDING if net.version == found.version
    )


def origin(url: str) -> str:
    """The scheme, host and port of a URL, as the client that asks for it reads them."""
    try:
        parts = parse_url(url)
    except LocationParseError:
        raise FatalError("a server leads to what is no URL", code="request") from None
    scheme = (parts.scheme or "").lower()
    usual = {"http": 80, "https": 443}.get(scheme)
    port = parts.port or usual
    return f"{scheme}://{(parts.host or '').lower()}" + (f":{port}" if port != usual else "")


def guard(session: requests.Session, allowed: Collection[str]) -> requests.Session:
    """The session, reaching only what may be reached, and by no proxy of the environment."""
    session.trust_env = False
    adapter = _Adapter(allowed)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class _Adapter(HTTPAdapter):
    """Connects to the addresses that were checked."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the pools make guarded connections."""
        super().init_poolmanager(*args, **kwargs)
        guarded = type("_Guarded", (_Guarded,), {"allowed": self._allowed})
        plain = type("_Plain", (guarded, HTTPConnection), {})
        secure = type("_Secure", (guarded, HTTPSConnection), {})
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("_SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }


class _Guarded:
    """A connection whose host is resolved and checked here; certificate and Host header keep its name."""

    allowed: Collection[str] = ()
    _dns_host: str
    port: int

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        try:
            addresses = reachable(name, self.port, self.allowed)
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(name, self, socket.gaierror(str(error))) from None  # type: ignore[arg-type]
        return self._first(name, addresses)

    def _first(self, name: str, addresses: list[str]) -> socket.socket:
        """A socket to the first address that answers."""
        failed: Exception = NewConnectionError(self, f"{name} has no address")  # type: ignore[arg-type]
        for address in addresses:
            self._dns_host = address
            try:
                found: socket.socket = super()._new_conn()  # type: ignore[misc]
            except (ConnectTimeoutError, NewConnectionError) as error:
                failed = error
            else:
                return found
            finally:
                self._dns_host = name
        raise failed
