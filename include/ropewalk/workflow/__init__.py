"""The workflow file: read, checked, and compiled to requests. Imports nothing heavy, and no stage."""

from __future__ import annotations

from ropewalk.workflow.load import load, loads
from ropewalk.workflow.model import Step, Workflow, WorkflowError
from ropewalk.workflow.partitions import (
    covers,
    cut,
    partition_of,
    partition_on,
    partitions,
    touched,
)
from ropewalk.workflow.requests import task_request

__all__ = [
    "Step",
    "Workflow",
    "WorkflowError",
    "covers",
    "cut",
    "load",
    "loads",
    "partition_of",
    "partition_on",
    "partitions",
    "task_request",
    "touched",
]
