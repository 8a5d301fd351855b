"""A workflow as a value: what a file says, checked, with the steps' edges."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from ropewalk.contracts.columns import Columns
from ropewalk.contracts.durations import Duration
from ropewalk.contracts.errors import ConfigError, nearest
from ropewalk.contracts.models import Name, Origin, Scalar, Use
from ropewalk.contracts.plugins import STAGE_KIND

PRESETS = (
    "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly", "@once", "@continuous",
)  # fmt: skip
CRON = re.compile(r"^[-*,/#0-9A-Za-z]+(?: [-*,/#?0-9A-Za-z]+){4}$")
STEP_KEYS = ("with", "from", "checks", "max_quarantined", "timeout", "description")
CRON_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def is_schedule(text: str) -> bool:
    """Whether a text is a preset, or cron's five fields with numbers that they can have."""
    if text in PRESETS:
        return True
    return CRON.match(text) is not None and all(
        low <= int(number) <= high
        for field, (low, high) in zip(text.split(" "), CRON_BOUNDS, strict=True)
        for number in re.findall(r"(?<![/\d])\d+", field)
    )


class Section(BaseModel):
    """A part of the file: unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Grain(StrEnum):
    """How long a partition is."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Retries(Section):
    """How often a failed step is tried again, and after how long."""

    attempts: int = Field(2, ge=0, le=100, description="how often a step is tried again")
    delay: Duration = timedelta(seconds=30)
    backoff: Literal["fixed", "exponential"] = "fixed"


class Param(Section):
    """A parameter of a run: a field of the form in Airflow, and ``{{ params.name }}``."""

    type: Literal["string", "integer", "number", "boolean", "date"] = "string"
    default: Scalar = None
    title: str | None = None
    description: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    enum: list[Scalar] | None = None
    pattern: str | None = None

    @field_validator("pattern")
    @classmethod
    def _pattern_can_be_read(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _some_value_fits(self) -> Param:
        if self.enum is not None and not self.enum:
            raise ValueError("enum lists no value")
        if None not in (self.minimum, self.maximum) and self.minimum > self.maximum:  # type: ignore[operator]
            raise ValueError(f"minimum {self.minimum:g} is more than maximum {self.maximum:g}")
        return self

    @model_validator(mode="after")
    def _default_fits(self) -> Param:
        if self.default is not None:
            self.check(self.default)
        return self

    def check(self, value: Scalar) -> Scalar:
        """The value, if it is one that the parameter may have; ValueError else."""
        kinds: dict[str, tuple[type, ...]] = {
            "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "date": (str,),
        }  # fmt: skip
        if not isinstance(value, kinds[self.type]) or (
            isinstance(value, bool) and self.type != "boolean"
        ):
            raise ValueError(f"{value!r} is not of type {self.type}")
        if self.type == "date":
            date.fromisoformat(str(value))
        if self.enum is not None and value not in self.enum:
            raise ValueError(f"{value!r} is not one of {self.enum}")
        if self.minimum is not None and float(value) < self.minimum:  # type: ignore[arg-type]
            raise ValueError(f"{value!r} is less than {self.minimum:g}")
        if self.maximum is not None and float(value) > self.maximum:  # type: ignore[arg-type]
            raise ValueError(f"{value!r} is more than {self.maximum:g}")
        if self.pattern is not None and not re.search(self.pattern, str(value)):
            raise ValueError(f"{value!r} does not match {self.pattern!r}")
        return value


class After(Section):
    """A schedule that follows other workflows."""

    after: list[Name] = Field(min_length=1)


class OwnStage(Section):
    """A stage that someone else wrote: the name under which Airflow and the command line know its address.

    ``describe`` is a file beside the workflow that holds what the stage answers to ``/v1/describe``: then its plugins
    and their options are checked as those of the built-in stages are.
    """

    connection: Name
    describe: str | None = None


def own_stages(value: Any) -> Any:
    """Stages by their words: from a list of names, or a mapping to a connection's name or to more."""
    if isinstance(value, list):
        value = {name: name for name in value}
    if not isinstance(value, Mapping):
        raise ValueError("stages are names of your own: stages: [geocode]")  # noqa: TRY004 - pydantic's way
    return {
        name: {"connection": given} if isinstance(given, str) else given
        for name, given in value.items()
    }


STAGES_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": {"type": "string"}},
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "required": ["connection"],
                        "additionalProperties": False,
                        "properties": {
                            "connection": {"type": "string"},
                            "describe": {"type": "string"},
                        },
                    },
                ]
            },
        },
    ],
    "description": "stages that someone else wrote, each by its word and its connection's name",
}


class Header(Section):
    """All of a workflow file but its steps, which depend on the installed plugins."""

    title: str = ""
    description: str = ""
    schedule: str | After | None = Field(
        None, description="cron, a preset such as @daily, or {after: [workflow]}"
    )
    start: date | None = Field(None, description="the first day, in the workflow's time zone")
    end: date | None = Field(None, description="the last day")
    timezone: str = "UTC"
    partition: Grain | None = Field(
        None, description="how long the time range is that one run covers"
    )
    catchup: bool = Field(
        default=False, description="whether the schedule also runs what lies in the past"
    )
    retries: Retries = Retries()
    timeout: Duration | None = Field(None, description="how long a step may take")
    retention: Duration | None = Field(
        None,
        description="how long datasets are kept that no run asks for: 30d; 90 days where it is not given",
    )
    params: dict[Name, Param] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    owner: str = "ropewalk"
    stages: Annotated[
        dict[Name, OwnStage], BeforeValidator(own_stages), WithJsonSchema(STAGES_SCHEMA)
    ] = Field(default_factory=dict)
    steps: dict[Name, dict[str, Any]] = Field(min_length=1)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            near = nearest(value, available_timezones())
            hint = f" ({near})" if near and near.startswith("did") else ""
            raise ValueError(f"there is no time zone {value!r}{hint}") from None
        return value

    @field_validator("retention")
    @classmethod
    def _a_day_at_least(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(days=1):
            raise ValueError(
                "a dataset is kept for 1d at least: a run, and its retries, must find it"
            )
        return value

    @field_validator("schedule")
    @classmethod
    def _known_schedule(cls, value: str | After | None) -> str | After | None:
        if isinstance(value, str) and not is_schedule(value):
            raise ValueError(
                f"{value!r} is no schedule: write cron's five fields, or one of {', '.join(PRESETS)}"
            )
        return value

    @field_validator("stages", mode="before")
    @classmethod
    def _no_address(cls, value: Any) -> Any:
        for name, given in value.items() if isinstance(value, Mapping) else ():
            if isinstance(given, str) and "://" in given:
                raise ValueError(
                    f"an address is a setting, not part of a workflow: write {name}: {name}, and set the"
                    f" connection ropewalk_stage_{name} in Airflow"
                )
        return value

    @field_validator("stages")
    @classmethod
    def _own_words(cls, value: dict[str, OwnStage]) -> dict[str, OwnStage]:
        for name in value:
            if name in {*STAGE_KIND, *STEP_KEYS}:
                raise ValueError(
                    f"{name!r} is a word of Ropewalk's own: give the stage another name"
                )
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Header:
        if self.start and self.end and self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        if self.partition and not self.start:
            raise ValueError("a workflow with partitions needs a start: the first day")
        return self


@dataclass(frozen=True)
class Step:
    """One step. ``needs`` are the steps whose data it reads; ``after`` all that it waits for.

    ``connection`` is that of a stage that someone else wrote; the built-in ones have their own names.
    """

    name: str
    stage: str
    do: tuple[Use, ...]
    checks: tuple[Use, ...] = ()
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    max_quarantined: str | None = None
    timeout: timedelta | None = None
    description: str = ""
    origin: Origin | None = None
    connection: str | None = None


@dataclass(frozen=True)
class Workflow:
    """A workflow that has been checked as far as it can be before it runs.

    ``columns`` are those of each step, None where only the data can tell.
    """

    name: str
    file: Path
    header: Header
    steps: Mapping[str, Step] = field(default_factory=dict)
    columns: Mapping[str, Columns] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What people call it."""
        return self.header.title or self.name

    @property
    def zone(self) -> ZoneInfo:
        """Its time zone."""
        return ZoneInfo(self.header.timezone)

    @property
    def draws(self) -> bool:
        """Whether its runs have a page."""
        return any(step.stage == "present" for step in self.steps.values())

    def order(self) -> Iterator[Step]:
        """The steps, each after all that it waits for."""
        graph = {step.name: step.after for step in self.steps.values()}
        return (self.steps[name] for name in TopologicalSorter(graph).static_order())

    def params(self, given: Mapping[str, Scalar] | None = None) -> dict[str, Scalar]:
        """Every parameter's value, the given ones checked; ConfigError for one that is wrong."""
        values = {name: param.default for name, param in self.header.params.items()}
        for name, value in (given or {}).items():
            if name not in values:
                raise ConfigError(
                    f"{self.name} has no parameter {name!r}",
                    code="unknown_param",
                    hint=nearest(name, values),
                )
            try:
                values[name] = self.header.params[name].check(value)
            except ValueError as error:
                raise ConfigError(f"parameter {name!r}: {error}", code="bad_param") from None
        missing = sorted(name for name, value in values.items() if value is None)
        if missing:
            raise ConfigError(
                f"parameter {missing[0]!r} has no default and needs a value", code="missing_param"
            )
        return values


class WorkflowError(ConfigError):
    """A workflow file is wrong; ``problems`` has each mistake with its place."""

    def __init__(self, problems: list[ConfigError]) -> None:
        first = problems[0]
        super().__init__(
            first.detail,
            code=first.code,
            hint=first.hint,
            file=first.file,
            line=first.line,
            column=first.column,
        )
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
