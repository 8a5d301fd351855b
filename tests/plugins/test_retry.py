"""Which errors are worth another try."""

from __future__ import annotations

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction
from ropewalk.contracts.errors import BusyError, ConfigError, DataError, FatalError, RetryableError
from ropewalk_airflow.retry import StageRetryPolicy


def decide(error: BaseException) -> tuple[RetryAction, float | None]:
    """What the policy says: the action, and the seconds until the next try where it says so."""
    found = StageRetryPolicy().evaluate(error, 1, 3)
    delay = found.retry_delay
    return found.action, delay.total_seconds() if delay is not None else None


@pytest.mark.parametrize("error", [ConfigError("x"), DataError("x"), FatalError("x")])
def test_what_stays_wrong_fails_at_once(error: Exception) -> None:
    assert decide(error) == (RetryAction.FAIL, None)


def test_what_may_pass_takes_the_retries_of_the_file() -> None:
    assert decide(RetryableError("x")) == (RetryAction.DEFAULT, None)
    assert decide(ValueError("not ours")) == (RetryAction.DEFAULT, None)


def test_a_server_that_says_when_is_believed() -> None:
    assert decide(RetryableError("x", retry_after=90)) == (RetryAction.RETRY, 90)
    assert decide(BusyError("x", retry_after=30)) == (RetryAction.RETRY, 30)
