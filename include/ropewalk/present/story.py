"""What happened to the rows of a run, as its page tells it: counts, checks, quarantine, tables, lineage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ropewalk.contracts.models import CheckResult, ColumnSource, Published, Report, Scalar

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task

SAMPLE_ROWS = 20
MOST_REASONS = 50


@dataclass(frozen=True)
class Quarantine:
    """The rows that a step set aside: how many for which reason, and the first of them."""

    reasons: list[dict[str, Any]]
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class StepStory:
    """A step, as the page shows it."""

    report: Report
    reused: str | None
    quarantine: Quarantine | None = None

    @property
    def name(self) -> str:
        """The step's name."""
        return self.report.step

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.report.ended - self.report.started).total_seconds()

    @property
    def rows_in(self) -> int:
        """The rows of all its inputs."""
        return sum(self.report.rows.inputs.values())


@dataclass(frozen=True)
class Story:
    """All steps of a run, and what its page gathers from them."""

    steps: list[StepStory] = field(default_factory=list)

    @property
    def checks(self) -> list[tuple[str, CheckResult]]:
        """Every check, with its step."""
        return [(step.name, check) for step in self.steps for check in step.report.checks]

    @property
    def published(self) -> list[Published]:
        """Every table that was written."""
        return [target for step in self.steps for target in step.report.published]

    @property
    def metrics(self) -> list[tuple[str, dict[str, Scalar]]]:
        """What the steps measured."""
        return [(step.name, step.report.metrics) for step in self.steps if step.report.metrics]

    @property
    def columns(self) -> list[tuple[str, dict[str, list[ColumnSource]]]]:
        """What each column of a step was made from."""
        found = ((step.name, step.report.lineage.columns) for step in self.steps)
        return [(name, columns) for name, columns in found if columns]

    @property
    def quarantined(self) -> int:
        """The rows in quarantine."""
        return sum(step.report.rows.quarantined for step in self.steps)

    @property
    def dropped(self) -> int:
        """The rows that rules dropped."""
        return sum(sum(step.report.rows.dropped.values()) for step in self.steps)

    @property
    def warnings(self) -> int:
        """The checks that did not pass."""
        return sum(check.status != "passed" for _, check in self.checks)


def story_of(task: Task) -> Story:
    """The story of all steps before the task's own."""
    steps = {step.name: step for step in _steps(task)}
    return Story(sorted(steps.values(), key=lambda step: (_depth(step.name, steps), step.name)))


def _depth(name: str, steps: Mapping[str, StepStory]) -> int:
    """How many steps lie before a step, on the longest way to it."""
    inputs = steps[name].report.rows.inputs
    return max((_depth(source, steps) + 1 for source in inputs if source in steps), default=0)


def _steps(task: Task) -> Iterator[StepStory]:
    for report in task.reports().values():
        reused = report.run if report.run != task.request.run.id else None
        yield StepStory(report, reused, _quarantine(task, report))


def _quarantine(task: Task, report: Report) -> Quarantine | None:
    ref = report.outputs.get("quarantine")
    if ref is None or ref.rows == 0:
        return None
    table = task.dataset(ref).table()
    groups = table.group_by(["rule", "column"]).aggregate([([], "count_all"), ("reason", "min")])
    groups = groups.sort_by([("count_all", "descending")]).slice(0, MOST_REASONS)
    reasons = groups.rename_columns(["rule", "column", "count", "reason"]).to_pylist()
    return Quarantine(reasons, table.slice(0, SAMPLE_ROWS).to_pylist())
