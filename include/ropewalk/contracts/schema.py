"""The JSON Schema of the contract: every message that crosses between Airflow, the command line and the stages."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from ropewalk.contracts.errors import Problem
from ropewalk.contracts.models import (
    CONTRACT_VERSION,
    Asked,
    Description,
    Garbage,
    LogLine,
    TaskRequest,
    TaskStatus,
)


def contract_schema() -> dict[str, Any]:
    """One schema with a definition per message."""
    messages = [
        (model, "validation")
        for model in (TaskRequest, TaskStatus, Asked, Garbage, LogLine, Description, Problem)
    ]
    _, schema = models_json_schema(messages, title=f"Ropewalk contract {CONTRACT_VERSION}")  # type: ignore[arg-type]
    return schema
