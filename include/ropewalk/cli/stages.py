"""The stages of the local installation, as a client of their contract."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ropewalk.contracts.errors import (
    ConfigError,
    NotFoundError,
    Problem,
    RetryableError,
    error_of,
)
from ropewalk.contracts.models import Asked, DatasetRef, Garbage, Report
from ropewalk.contracts.tls import client_context

if TYPE_CHECKING:
    import pyarrow as pa

TIMEOUT = 30.0
MOST = 1000


def endpoints() -> dict[str, Any]:
    """What ``endpoints.json`` of the installation says; ConfigError where there is none."""
    home = Path(os.environ.get("ROPEWALK_HOME", ".ropewalk"))
    try:
        found: dict[str, Any] = json.loads((home / "endpoints.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(
            f"there is no installation in {home}", hint="make up, or set ROPEWALK_HOME"
        ) from None
    return found


def trusted(known: Mapping[str, Any]) -> ssl.SSLContext | bool:
    """How the installation's stages are known, where they speak TLS."""
    return client_context(known["tls"]) if "tls" in known else False


def asked(**wanted: Any) -> list[Asked]:
    """What runs have asked of all stages: by ``workflow`` and ``run``, the ``latest``, the ``quarantined``."""
    query = {name: value for name, value in wanted.items() if value is not None}
    found = [
        one
        for name, stage in endpoints()["stages"].items()
        for one in _call("GET", name, stage, "/v1/tasks", params={**query, "limit": MOST})["asked"]
    ]
    return [Asked.model_validate(one) for one in found]


def asked_by(run: str, workflow: str | None) -> list[Asked]:
    """What a run has asked for; NotFoundError where it is none, ConfigError where two workflows have it."""
    found = asked(run=run, workflow=workflow)
    names = sorted({one.workflow for one in found})
    if not names:
        latest = [one.run for one in asked(workflow=workflow, latest=True)]
        hint = f"the latest is {latest[0]}" if latest else None
        raise NotFoundError(f"no run {run!r} has asked for anything", code="unknown_run", hint=hint)
    if len(names) > 1:
        raise ConfigError(
            f"{' and '.join(names)} have a run {run!r}", hint=f"add --workflow {names[0]}"
        )
    return found


def reports(found: Iterable[Asked]) -> dict[str, Report]:
    """The reports of a run's steps that have succeeded."""
    return {one.step: one.status.report for one in found if one.status.report is not None}


def collect(*, dry_run: bool) -> dict[str, Garbage]:
    """Have every stage collect its garbage: what each has done, or would do."""
    return {
        name: Garbage.model_validate(
            _call("POST", name, stage, "/v1/garbage", params={"dry_run": dry_run}, timeout=3600)
        )
        for name, stage in endpoints()["stages"].items()
    }


def rows(stage: str, ref: DatasetRef, scratch: Path) -> pa.Table:
    """The rows of a dataset that a stage has made, over Flight."""
    from ropewalk.kernel.flight import fetch
    from ropewalk.kernel.tls import Tls

    known = endpoints()
    of = known["stages"][stage]
    here = ref.model_copy(update={"flight": of["flight"], "ticket": of["token"]})
    return fetch(here, scratch, Tls.of_files(known.get("tls", {}))).table()


def _call(method: str, name: str, stage: dict[str, str], path: str, **more: Any) -> Any:
    import httpx

    more.setdefault("timeout", TIMEOUT)
    headers = {"authorization": f"Bearer {stage['token']}"}
    try:
        answer = httpx.request(
            method,
            stage["url"] + path,
            headers=headers,
            trust_env=False,
            verify=trusted(endpoints()),
            **more,
        )
    except httpx.TransportError as error:
        raise RetryableError(
            f"stage {name} at {stage['url']} does not answer ({type(error).__name__})",
            code="stage_away", hint="make status",
        ) from None  # fmt: skip
    if answer.is_error:
        raise error_of(Problem.model_validate_json(answer.content))
    return answer.json()
