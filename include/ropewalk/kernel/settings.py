"""The settings of a stage service, from the environment (``ROPEWALK_…``) or from mounted secret files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ropewalk.contracts.errors import ConfigError, nearest

MIB = 1024 * 1024
CONNECTION = "ROPEWALK_CONNECTION_"
ROOT = "ROPEWALK_ROOT_"
ANY_HOST = ("0.0.0.0", "::")  # noqa: S104 - names for all addresses, not a choice of them


def _secret_folders() -> list[str]:
    """The folders of ``ROPEWALK_SECRETS_DIR``: a stage has one, a shell those of several stages."""
    return [one for one in os.environ.get("ROPEWALK_SECRETS_DIR", "").split(os.pathsep) if one]


class Connection(BaseModel):
    """Where a named outside system is and what opens it; the whole is a secret, and never shown."""

    model_config = ConfigDict(frozen=True, extra="allow")

    url: SecretStr
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None

    def secret(self, name: str) -> str | None:
        """The value of a field, revealed: for the one call that needs it."""
        value = getattr(self, name, None)
        return value.get_secret_value() if isinstance(value, SecretStr) else value


class Settings(BaseSettings):
    """What a stage service needs to know; every field is ``ROPEWALK_<NAME>``."""

    model_config = SettingsConfigDict(
        env_prefix="ROPEWALK_", secrets_dir=_secret_folders(), frozen=True
    )

    stage: str = "local"
    host: str = "127.0.0.1"
    trusted_network: bool = Field(
        False, description="whether plain HTTP and gRPC may be spoken beyond this machine"
    )
    port: int = 0
    flight_port: int = 0
    flight_url: str | None = Field(
        None, description="the address that other stages reach this Flight server by"
    )
    database_url: SecretStr | None = None
    store_url: str = "file:///var/lib/ropewalk/store"
    public_keys: str = Field(
        "", description="of those whose tokens the stage answers to: Ed25519, in PEM, one or more"
    )
    tls_cert: Path | None = Field(
        None, description="the certificate of the stage, in PEM: it speaks TLS alone"
    )
    tls_key: Path | None = None
    tls_ca: Path | None = Field(
        None,
        description="the authority of the installation's certificates: other stages must have one of it",
    )
    tls_mutual: bool = Field(False, description="whether clients must have one, too")
    view_token: SecretStr | None = Field(
        None, description="opens the present stage's pages in a browser"
    )
    scratch_dir: Path = Path("/tmp/ropewalk")  # noqa: S108 - a default that a service's unit overrides
    memory_limit: int = Field(1024 * MIB, description="bytes that one task may use")
    max_unpacked: int = Field(
        64 * 1024 * MIB, description="bytes that a packed or columnar file from outside may hold"
    )
    max_spill: int = Field(
        64 * 1024 * MIB, description="bytes that one task's queries may spill to the scratch folder"
    )
    threads: int = Field(default_factory=lambda: os.cpu_count() or 1)
    workers: int = Field(2, description="tasks at once")
    lease_seconds: float = Field(
        10.0, description="after which a silent replica's task is taken over; a third more at most"
    )
    retention_days: float = Field(90, description="how long datasets are kept that no run asks for")
    collect_seconds: float = Field(7200, description="between two collections of garbage")
    grace_seconds: float = Field(
        6 * 3600,
        description="between the tombstone of an old dataset and its end, and how long any task is remembered",
    )
    max_body: int = Field(4 * MIB, description="bytes that one request may have")
    request_seconds: float = Field(30, description="within which a request must have come whole")
    lock_seconds: float = Field(
        30, gt=0, description="that a query or a load waits for another transaction's lock"
    )
    query_seconds: float = Field(
        3600, gt=0, description="within which a database must give the next rows of a query"
    )
    max_queued: int = Field(10_000, description="tasks that may wait at the stage")
    s3_endpoint: str | None = None
    python_transforms: bool = True
    pictures: Literal["asked", "kept"] = Field(
        "asked", description="whether a report's PNG and SVG are drawn when asked for, or with it"
    )
    private_hosts: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        description="hosts with private addresses that sources may reach: name or name:port, by commas",
    )

    @field_validator("private_hosts", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """A list as one writes it in an environment: ``db.internal:5432, 127.0.0.1``."""
        if not isinstance(value, str):
            return value
        return frozenset(name.lower() for name in re.split(r"[,\s]+", value) if name)


def settings_of(stage: str) -> Settings:
    """The settings of a stage, from the environment."""
    return Settings.model_validate({"stage": stage})


def connection(name: str) -> Connection:
    """The connection of that name from ``ROPEWALK_CONNECTION_<NAME>``: a JSON object, or a bare URL."""
    names = connection_names()
    if name not in names:
        raise ConfigError(
            f"this stage has no connection {name!r}",
            code="unknown_connection",
            hint=nearest(name, names) or f"set {CONNECTION}{name.upper()} for this stage",
        )
    found = Connection(**_fields(names[name], name))
    if not _is_readable(found.url.get_secret_value()):
        raise ConfigError(
            f"the URL of the connection {name!r} cannot be read: its password has @, /, ? or #",
            code="connection",
            hint="write %40 for @, %2F for /, %3F for ? and %23 for #",
        )
    return found


def connection_names() -> dict[str, str]:
    """Every configured connection: its name in lower case, and its text as it stands in the environment."""
    found = {
        k.removeprefix(CONNECTION).lower(): v
        for k, v in os.environ.items()
        if k.startswith(CONNECTION)
    }
    for folder in _secret_folders():
        for path in Path(folder).glob(f"{CONNECTION.lower()}*"):
            name = path.name.removeprefix(CONNECTION.lower())
            found[name] = path.read_text(encoding="utf-8").strip()
    return found


def roots() -> dict[str, str]:
    """Every configured root of files: ``ROPEWALK_ROOT_DATA=/srv/data`` is what ``data://`` means."""
    return {k.removeprefix(ROOT).lower(): v for k, v in os.environ.items() if k.startswith(ROOT)}


def _is_readable(url: str) -> bool:
    """Whether it is clear where a password ends: else its rest is taken for a host, and told in errors."""
    place, *rest = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)
    cut = re.search(r"^[^\[@]*:(?!\d*$)", place) is not None
    return place.count("@") <= 1 and not (cut and "@" in "".join(rest) and "@" not in place)


def _fields(text: str, name: str) -> dict[str, Any]:
    if not text.lstrip().startswith("{"):
        return {"url": text}
    try:
        fields: dict[str, Any] = json.loads(text)
    except ValueError:
        raise ConfigError(f"connection {name!r} is neither a URL nor a JSON object") from None
    return fields
