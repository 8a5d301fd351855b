"""Messages: what is asked is strict, what is answered may grow."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError
from ropewalk.contracts.models import DatasetRef, Partition, RunInfo, TaskRequest, TaskStatus, Use

REQUEST = TaskRequest(
    workflow="w", step="s", stage="collect", do=[Use(plugin="files")], run=RunInfo(id="r")
)


def test_a_request_with_a_key_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="colour"):
        TaskRequest.model_validate({**REQUEST.model_dump(), "colour": 1})


def test_an_answer_of_a_newer_stage_is_read() -> None:
    status = TaskStatus.model_validate({"key": "a" * 64, "state": "running", "brand_new": 1})
    assert status.state == "running"
    assert DatasetRef.model_validate(
        {"id": "x", "fingerprint": "f", "rows": 1, "bytes": 1, "new": 2}
    )


def test_a_partition_has_a_beginning_before_its_end() -> None:
    day = datetime(2013, 1, 1, tzinfo=UTC)
    with pytest.raises(ValidationError, match="is not before its end"):
        Partition(start=day, end=day, name="x")


@pytest.mark.parametrize("name", ["", "A", "a-b", "1a", "a b", "a;drop", "a" * 64])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        TaskRequest.model_validate({**REQUEST.model_dump(), "workflow": name})
