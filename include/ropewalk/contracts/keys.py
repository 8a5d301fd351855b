"""The task key: what makes two requests the same task (DESIGN §5)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ropewalk.contracts.models import TaskRequest

KEY_FORMAT = "v1"


def key_parts(request: TaskRequest) -> dict[str, Any]:
    """What a task's key is made of; a part that differs is the reason why a task runs again."""
    return {
        "format": KEY_FORMAT,
        "contract": request.contract.split(".", maxsplit=1)[0],
        "workflow": request.workflow,
        "step": request.step,
        "stage": request.stage,
        "do": [use.model_dump(mode="json") for use in request.do],
        "checks": [use.model_dump(mode="json") for use in request.checks],
        "max_quarantined": request.max_quarantined,
        "partition": request.partition and request.partition.model_dump(mode="json"),
        "values": request.values,
        "inputs": {name: ref.fingerprint for name, ref in request.inputs.items()},
        "upstream": request.upstream,
        "generation": request.generation,
        **(
            {"batch": [one.model_dump(mode="json") for one in request.batch]}
            if request.batch
            else {}
        ),
    }


def task_key(request: TaskRequest) -> str:
    """The key of a request: 64 hexadecimal digits, the same on every machine and for every order of keys."""
    text = json.dumps(
        key_parts(request),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()
