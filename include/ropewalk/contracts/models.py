"""The contract between Airflow, the command line and the stages: what is asked, and what is answered."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from ropewalk.contracts.errors import Problem

CONTRACT_VERSION = "1.0"
MAX_DEPTH = 64  # of options; a workflow file nests less

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Scalar = str | int | float | bool | None


class Frozen(BaseModel):
    """A message: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(BaseModel):
    """A message that a stage sends: immutable; readers ignore keys that they do not know yet."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Partition(Frozen):
    """The half-open time range ``[start, end)`` in UTC that a task covers, and its ``name`` (``2013-01-01``)."""

    start: AwareDatetime
    end: AwareDatetime
    name: str

    @model_validator(mode="after")
    def _ordered(self) -> Partition:
        if self.start >= self.end:
            raise ValueError(f"partition start {self.start} is not before its end {self.end}")
        return self


class Column(Answer):
    """One column of a dataset; ``type`` is Arrow's name of the type."""

    name: str
    type: str
    nullable: bool = True


class DatasetRef(Answer):
    """The small name of an immutable dataset: where it is and what its content must be.

    ``id`` is ``{task key}/{output}``; ``fingerprint`` is a digest of the content, independent of row
    order and batch size; ``flight`` is the address of the stage that made it. ``ticket`` is the right to fetch it
    there: who submits a task adds one to each of its inputs, nobody else has any.
    """

    id: str
    fingerprint: str
    rows: int
    bytes: int
    flight: str | None = None
    ticket: str | None = Field(None, repr=False)


class Use(Frozen):
    """One plugin with its options, as the workflow file gives them; ``{{ … }}`` are still in it.

    An empty ``version`` is whichever the stage has: of a stage that has not described itself.
    """

    plugin: Name
    version: str = "1"
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _shallow(cls, options: dict[str, Any]) -> dict[str, Any]:
        level: list[Any] = [options]
        for _ in range(MAX_DEPTH):
            level = [inner for one in level for inner in _within(one)]
        if level:
            raise ValueError(f"options nest deeper than {MAX_DEPTH} levels")
        return options


def _within(value: Any) -> list[Any]:
    """What a value of JSON holds."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


class Written(Frozen):
    """An option's code as it stands in a file from a line and column on, its further lines whole."""

    file: str
    line: int
    column: int
    text: str


class Origin(Frozen):
    """Where in the workflow file the parts of a task stand: ``places["do/0"] = (line, column)``, from 1.

    ``texts["do/0/query"]`` is the code that the option ``query`` there was made of.
    """

    file: str
    places: dict[str, tuple[int, int]] = Field(default_factory=dict)
    texts: dict[str, Written] = Field(default_factory=dict)


class RunInfo(Frozen):
    """The run that asks: never part of the key. ``requested`` orders two runs that want one partition."""

    id: str
    requested: int = 0
    title: str = ""
    url: str | None = None
    attempt: str = ""


class Slice(Frozen):
    """One partition of a batch, and the values of the ``{{ partition.… }}`` that the options name.

    ``generation`` is the partition's own, where it is another than the batch's.
    """

    partition: Partition
    values: dict[str, Scalar] = Field(default_factory=dict)
    generation: str = ""


class TaskRequest(Frozen):
    """What a stage is asked to do: one step, in one run, for one partition, or for each of a ``batch``.

    ``values`` holds the value of every ``{{ … }}`` that the options name; ``upstream`` the keys of
    tasks whose reports (not data) the task reads; ``retention`` is for how many seconds what it makes is kept when
    nobody asks for it.
    """

    contract: str = CONTRACT_VERSION
    workflow: Name
    step: Name
    stage: Name
    do: list[Use] = Field(min_length=1)
    checks: list[Use] = Field(default_factory=list)
    max_quarantined: str | None = None
    partition: Partition | None = None
    batch: list[Slice] = Field(default_factory=list)
    values: dict[str, Scalar] = Field(default_factory=dict)
    inputs: dict[str, DatasetRef] = Field(default_factory=dict)
    upstream: dict[str, Key] = Field(default_factory=dict)
    generation: str = ""
    timeout: float | None = None
    retention: float | None = None
    run: RunInfo
    origin: Origin | None = None


class State(StrEnum):
    """The states of a task."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether a task in this state changes no more by itself."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class CheckResult(Answer):
    """What a check found; ``failed`` counts rows (or is 1 for a failed check of the whole table)."""

    check: str
    columns: list[str] = Field(default_factory=list)
    status: Literal["passed", "warned", "failed", "quarantined"]
    on_fail: Literal["fail", "warn", "quarantine"] = "fail"
    failed: int = 0
    detail: str = ""


Cardinality = Literal["1:1", "filter", "1:n", "n:1", "join", "any"]


class RowCounts(Answer):
    """The row ledger of a task: what came in per input, what left, and why the rest did not.

    ``read`` counts the rows that came from outside. ``cardinality`` says how the rows of the input ``of`` (where
    it names none: of all inputs, or those that were read) became the rows of the output. ``dropped`` counts by rule,
    ``dropped_of`` those of them that were rows of an input, by the input.
    """

    inputs: dict[str, int] = Field(default_factory=dict)
    read: int | None = None
    out: int = 0
    quarantined: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    dropped_of: dict[str, dict[str, int]] = Field(default_factory=dict)
    cardinality: Cardinality = "any"
    of: str | None = None

    @property
    def came(self) -> int:
        """The rows that the equation is about."""
        if self.of is not None:
            return self.inputs[self.of]
        return sum(self.inputs.values()) if self.read is None else self.read

    @property
    def lost(self) -> int:
        """Those of them that rules dropped."""
        rules = self.dropped if self.of is None else self.dropped_of.get(self.of, {})
        return sum(rules.values())

    @property
    def unexplained(self) -> int | None:
        """Rows that are missing by the equation of the cardinality, negative where there are too many.

        None where the cardinality has no equation.
        """
        left = self.out + self.quarantined
        if self.cardinality in {"1:1", "filter"}:
            return self.came - left - self.lost
        if self.cardinality == "n:1":
            return min(0, max(1, self.came) - left)
        return None


class ColumnSource(Answer):
    """A column of an input dataset that an output column is made from."""

    dataset: str
    column: str


class Lineage(Answer):
    """What a task read and wrote: names of outside datasets, and per output column the columns it is made from."""

    reads: list[str] = Field(default_factory=list)
    writes: list[str] = Field(default_factory=list)
    columns: dict[str, list[ColumnSource]] = Field(default_factory=dict)


class Published(Answer):
    """One table or folder that a sink wrote; ``target`` is a name like ``postgres://results/flights.departures``.

    ``left`` are the rows of a late upsert or replace that it has not written, since later requests have.
    """

    step: str
    target: str
    mode: str
    rows: int
    left: int = 0
    partition: str | None = None
    replayed: bool = False
    superseded: bool = False


class MetricFormat(Answer):
    """How people read a metric: Python's format of numbers, and the unit behind it."""

    format: str = ",.6g"
    unit: str = ""


class Artifact(Answer):
    """A file that a task made besides datasets (a page, a picture)."""

    bytes: int
    digest: str
    media_type: str


class Report(Answer):
    """What a task says when it has succeeded; kept in the dataset store with its outputs.

    ``why`` tells what was new to the task: the parts of its key that are other than those of the task before;
    ``inputs`` are the datasets that it read, by their steps. ``aside`` is of a batch: by each of its partitions that
    set rows aside how many, and of how many.
    """

    key: Key
    workflow: str
    step: str
    stage: str
    plugins: list[str]
    run: str
    partition: str | None = None
    outputs: dict[str, DatasetRef] = Field(default_factory=dict)
    columns: dict[str, list[Column]] = Field(default_factory=dict)
    rows: RowCounts = Field(default_factory=RowCounts)
    aside: dict[str, tuple[int, int]] = Field(default_factory=dict)
    checks: list[CheckResult] = Field(default_factory=list)
    since: Scalar = None
    until: Scalar = None
    previous: str | None = None
    watermark: Scalar = None
    metrics: dict[str, Scalar] = Field(default_factory=dict)
    formats: dict[str, MetricFormat] = Field(default_factory=dict)
    lineage: Lineage = Field(default_factory=Lineage)
    published: list[Published] = Field(default_factory=list)
    artifacts: dict[str, Artifact] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    why: list[str] = Field(default_factory=list)
    inputs: dict[str, str] = Field(default_factory=dict)
    retention: float | None = None
    started: datetime
    ended: datetime

    @property
    def output(self) -> DatasetRef | None:
        """The dataset that the steps after this one read; of a batch, the list of its partitions' datasets."""
        return self.outputs.get("data") or self.outputs.get("partitions")


class Progress(Answer):
    """How far a running task is; ``fraction`` is None where the whole is not known."""

    rows: int = 0
    bytes: int = 0
    fraction: float | None = None
    message: str = ""


class TaskStatus(Answer):
    """The answer to submit and to poll. ``reused`` names the run that a finished task was taken from.

    ``waits`` tells what a task waits for that has not begun when a poll ends.
    """

    key: Key
    state: State
    attempt: int = 0
    progress: Progress = Field(default_factory=Progress)
    report: Report | None = None
    error: Problem | None = None
    reused: str | None = None
    waits: str = ""
    queued: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None


class Asked(Answer):
    """That a run has asked for a step, and how its task stands; several runs may have asked for one task.

    Where the latest was looked for, ``partitions`` are those of a batch for which no later run has asked.
    """

    workflow: str
    step: str
    run: str
    partition: str | None = None
    partitions: list[str] = Field(default_factory=list)
    status: TaskStatus


class Garbage(Answer):
    """What a collection of garbage has done: datasets ``marked`` as old and ``removed``, other files, tasks forgotten.

    ``busy`` says that another was at work.
    """

    marked: int = 0
    removed: int = 0
    files: int = 0
    tasks: int = 0
    busy: bool = False


class LogLine(Answer):
    """One line of a task's own log; ``n`` rises by one within a task."""

    n: int
    at: datetime
    level: str = "info"
    text: str


class PluginInfo(Answer):
    """A plugin as ``/v1/describe`` shows it; ``options`` is a JSON Schema."""

    kind: str
    name: str
    version: str
    description: str
    options: dict[str, Any]


class Description(Answer):
    """What a stage can do."""

    stage: str
    contract: str
    version: str
    plugins: list[PluginInfo]
