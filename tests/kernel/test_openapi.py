"""Whatever the API's own description allows, the stage answers as it describes: never with an error of its own."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import schemathesis
from ropewalk.testing.services import StageService
from schemathesis import checks

EXAMPLES = 25


@pytest.mark.parametrize(
    "operation", ["submit", "read", "log", "cancel", "list", "describe", "healthz", "metrics"]
)
def test_an_operation_keeps_its_description(service: StageService, operation: str) -> None:
    headers = {"authorization": f"Bearer {service.token}"}
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json", headers=headers)

    @hypothesis.settings(max_examples=EXAMPLES, database=None)
    @hypothesis.given(case=schema.find_operation_by_id(operation).as_strategy())
    def answered(case: schemathesis.Case[Any]) -> None:
        answer = case.call(headers=headers)
        case.validate_response(
            answer,
            checks=[
                checks.not_a_server_error,
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_schema_conformance,
            ],
        )

    answered()
