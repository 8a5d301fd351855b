"""TLS of a stage, for both of its protocols: as a server, and as a client of other stages."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.contracts.errors import ConfigError
from ropewalk.kernel.settings import Settings


@dataclass(frozen=True)
class Tls:
    """A stage's certificate and key, the authority that it trusts, and whether clients must be certified by it."""

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    mutual: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Tls:
        """As the settings say."""
        return cls(settings.tls_cert, settings.tls_key, settings.tls_ca, settings.tls_mutual)

    @classmethod
    def of_files(cls, files: Mapping[str, str]) -> Tls:
        """A client's, as ``endpoints.json`` names its files: ``ca``, ``cert``, ``key``."""
        cert, key, ca = (
            Path(files[name]) if name in files else None for name in ("cert", "key", "ca")
        )
        return cls(cert, key, ca)

    def check(self) -> None:
        """ConfigError unless the settings go together, and the files are what they should be."""
        if (self.cert is None) != (self.key is None):
            raise ConfigError("ROPEWALK_TLS_CERT and ROPEWALK_TLS_KEY go together", code="tls")
        if self.mutual and (self.ca is None or self.cert is None):
            raise ConfigError(
                "ROPEWALK_TLS_MUTUAL needs ROPEWALK_TLS_CA, ROPEWALK_TLS_CERT and ROPEWALK_TLS_KEY",
                code="tls",
            )
        try:
            self.context()
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise ConfigError(
                f"the certificate, its key or the authority does not serve: {error}", code="tls"
            ) from None

    @property
    def on(self) -> bool:
        """Whether the stage speaks TLS alone."""
        return self.cert is not None

    @property
    def scheme(self) -> str:
        """Of the stage's HTTP address."""
        return "https" if self.on else "http"

    def uvicorn(self) -> dict[str, Any]:
        """What uvicorn is told."""
        if not self.on:
            return {}
        asked = ssl.CERT_REQUIRED if self.mutual else ssl.CERT_NONE
        return {
            "ssl_certfile": self.cert,
            "ssl_keyfile": self.key,
            "ssl_ca_certs": str(self.ca) if self.ca else None,
            "ssl_cert_reqs": asked,
        }

    def flight_server(self) -> dict[str, Any]:
        """What a Flight server is told."""
        if self.cert is None or self.key is None:
            return {}
        pair = (self.cert.read_bytes(), self.key.read_bytes())
        ca = self.ca.read_bytes() if self.ca and self.mutual else None
        return {"tls_certificates": [pair], "verify_client": self.mutual, "root_certificates": ca}

    def flight_client(self, url: str) -> dict[str, Any]:
        """What a Flight client of an address is told: whom to trust, and who we are."""
        if not url.startswith("grpc+tls:"):
            return {}
        pair = {"cert_chain": self.cert, "private_key": self.key} if self.cert else {}
        files = {"tls_root_certs": self.ca, **pair}
        return {name: path.read_bytes() for name, path in files.items() if path is not None}

    def context(self) -> ssl.SSLContext:
        """What an HTTP client is told: the same."""
        found = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        if self.cert is not None:
            found.load_cert_chain(self.cert, self.key)
        return found

    def own_context(self) -> ssl.SSLContext | bool:
        """For a call of the stage to itself, whatever name its certificate has."""
        if not self.on:
            return False
        found = self.context()
        found.check_hostname = False
        return found
