"""The one tree of errors, and the RFC 9457 problem document in which an error crosses a border.

RopewalkError
├── ConfigError        a workflow file or a setting is wrong; the user mends it
├── ContractError      a request does not fit the contract; the caller mends it
└── TaskError          a task could not do its work
    ├── FatalError     doing it again gives the same
    ├── RetryableError doing it again may succeed (``retry_after`` seconds, where known)
    │   └── BusyError  too much is asked for at once
    └── DataError      the data is wrong: type, check, row; the user mends data or bounds
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

PROBLEM_TYPE = "https://ropewalk.dev/problems/"


class Problem(BaseModel):
    """An error as JSON (RFC 9457): ``code`` for programs, ``detail`` for people, the place where it applies."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = PROBLEM_TYPE + "error"
    title: str = "Error"
    status: int = 500
    code: str = "error"
    detail: str = ""
    hint: str | None = None
    retryable: bool = False
    retry_after: float | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    row: int | None = None
    field: str | None = None
    step: str | None = None
    partitions: list[str] = []


PLACES = ("file", "line", "column", "row", "field", "step", "partitions")


class RopewalkError(Exception):
    """An error with its parts as attributes; ``str()`` is one sentence with the place first and the hint last.

    ``partitions`` names those of a batch that have failed, where the others of it have not.
    """

    title: ClassVar[str] = "Error"
    status: ClassVar[int] = 500
    retryable: bool = False
    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        row: int | None = None,
        field: str | None = None,
        step: str | None = None,
        partitions: Iterable[str] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.hint = hint
        self.retry_after = retry_after
        self.file, self.line, self.column = file, line, column
        self.row, self.field, self.step = row, field, step
        self.partitions = list(partitions)

    def __str__(self) -> str:
        place = ":".join(str(p) for p in (self.file, self.line, self.column) if p is not None)
        text = f"{place}: {self.detail}" if place else self.detail
        return f"{text} ({self.hint})" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        return (error_of, (self.problem(),))

    def problem(self) -> Problem:
        """The error as a problem document."""
        places = {name: getattr(self, name) for name in PLACES}
        return Problem(
            type=PROBLEM_TYPE + self.code.replace("_", "-"),
            title=self.title,
            status=self.status,
            code=self.code,
            detail=self.detail,
            hint=self.hint,
            retryable=self.retryable,
            retry_after=self.retry_after,
            **places,
        )


class ConfigError(RopewalkError):
    """A workflow file or a setting is wrong."""

    title, status, default_code = "Wrong configuration", 422, "config"


class TextError(ConfigError):
    """A text of code in an option is wrong at the character ``offset``.

    ``where`` says so in words; ``plain`` is the detail without, for whoever knows the place in the file.
    """

    def __init__(self, detail: str, *, text: str, offset: int, where: str, **more: Any) -> None:
        super().__init__(detail + where, **more)
        self.text, self.offset, self.plain = text, offset, detail


class ContractError(RopewalkError):
    """A request does not fit the contract."""

    title, status, default_code = "Wrong request", 400, "contract"


class NotFoundError(ContractError):
    """What the request names does not exist."""

    title, status, default_code = "Not found", 404, "not_found"


class ConflictError(ContractError):
    """The request contradicts what is already there."""

    title, status, default_code = "Conflict", 409, "conflict"


class UnauthorizedError(ContractError):
    """The request carries no valid token."""

    title, status, default_code = "Not authorized", 401, "unauthorized"


class ForbiddenError(ContractError):
    """The request's token is valid, and does not allow this."""

    title, status, default_code = "Forbidden", 403, "forbidden"


class TaskError(RopewalkError):
    """A task could not do its work."""

    title, status, default_code = "Task failed", 500, "task"


class FatalError(TaskError):
    """Doing the task again gives the same error."""

    default_code = "fatal"


class RetryableError(TaskError):
    """Doing the task again may succeed."""

    title, status, default_code, retryable = "Task failed for now", 503, "retryable", True


class BusyError(RetryableError):
    """Too much is asked for at once."""

    title, status, default_code = "Too many requests", 429, "busy"


class DataError(TaskError):
    """The data is wrong."""

    title, status, default_code = "Data not as declared", 422, "data"


BY_TITLE = {
    cls.title: cls
    for cls in (
        ConfigError,
        ContractError,
        NotFoundError,
        ConflictError,
        UnauthorizedError,
        ForbiddenError,
        FatalError,
        RetryableError,
        BusyError,
        DataError,
    )
}


def error_of(problem: Problem) -> RopewalkError:
    """The error that a problem document tells of; an unknown title becomes a retryable or a fatal one."""
    cls = BY_TITLE.get(problem.title, RetryableError if problem.retryable else FatalError)
    places: dict[str, Any] = {name: getattr(problem, name) for name in PLACES}
    return cls(
        problem.detail,
        code=problem.code,
        hint=problem.hint,
        retry_after=problem.retry_after,
        **places,
    )


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """A hint that names the nearest valid name, or all of a few, or None where there is none."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid: {', '.join(names[:20])}" if names else None
