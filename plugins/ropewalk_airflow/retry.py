"""Whether a failed step is tried again, and when: what the stage's error says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
from ropewalk.contracts.errors import RopewalkError


class StageRetryPolicy(RetryPolicy):
    """An error that stays fails the task at once; one that may pass waits as long as it asks to."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Any = None,  # noqa: ARG002
    ) -> RetryDecision:
        """The decision for an exception of `StageOperator`."""
        if not isinstance(exception, RopewalkError):
            return RetryDecision.default()
        if not exception.retryable:
            return RetryDecision.fail(
                reason=f"{exception.code}: doing it again would give the same"
            )
        if exception.retry_after is not None:
            return RetryDecision.retry(
                timedelta(seconds=exception.retry_after), reason="as the error asks"
            )
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """It has no settings."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> StageRetryPolicy:  # noqa: ARG003
        """It has no settings."""
        return cls()
