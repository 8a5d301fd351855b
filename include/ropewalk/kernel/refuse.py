"""With what settings no stage starts: a service that anyone could enter is worse than none."""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.weak import LEAST, weakness
from ropewalk.kernel.settings import Settings
from ropewalk.kernel.tls import Tls

PASSWORD = 8  # characters of a role's, which the owner of the database may have chosen


def refuse_weak_secrets(settings: Settings) -> None:
    """ConfigError where a secret is empty, too short, or known to everyone."""
    url = urlsplit(_revealed(settings.database_url) or "")
    password = None if url.password is None else unquote(url.password)
    if password is not None and password == url.username:
        raise _weak("ROPEWALK_DATABASE_URL: the password", "is the role's name")
    for what, secret, least in (
        ("ROPEWALK_DATABASE_URL: the password", password, PASSWORD),
        ("ROPEWALK_VIEW_TOKEN", _revealed(settings.view_token), LEAST),
    ):
        why = None if secret is None else weakness(secret, least)
        if why:
            raise _weak(what, why)


def refuse_open_house(settings: Settings) -> None:
    """ConfigError where others than this machine's programs may listen to what is said in plain."""
    if is_loopback(settings.host) or Tls.of(settings).on or settings.trusted_network:
        return
    raise ConfigError(
        f"ROPEWALK_HOST is {settings.host}: tokens and data would go over a network in plain",
        code="no_tls",
        hint="set ROPEWALK_TLS_CERT and ROPEWALK_TLS_KEY; or ROPEWALK_TRUSTED_NETWORK=true where nobody else is on"
        " that network, as on those of docker-compose.yaml",
    )


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _weak(what: str, why: str) -> ConfigError:
    return ConfigError(
        f"{what} {why}",
        code="weak_secret",
        hint="make up and make secrets make good ones; so does: openssl rand -base64 24",
    )
