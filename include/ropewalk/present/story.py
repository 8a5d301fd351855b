"""What happened to the rows of a run, as its page tells it: counts, checks, quarantine, tables, lineage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ropewalk.contracts.accounts import Account, accounts
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

    account: Account
    reused: str | None
    quarantine: Quarantine | None = None

    @property
    def report(self) -> Report:
        """What the step has said."""
        return self.account.report

    @property
    def name(self) -> str:
        """The step's name."""
        return self.report.step

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.report.ended - self.report.started).total_seconds()


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
    return Story([_step(task, account) for account in accounts(task.reports())])


def _step(task: Task, account: Account) -> StepStory:
    run = account.report.run
    reused = run if run != task.request.run.id else None
    return StepStory(account, reused, _quarantine(task, account.report))


def _quarantine(task: Task, report: Report) -> Quarantine | None:
    ref = report.outputs.get("quarantine")
    if ref is None or ref.rows == 0:
        return None
    table = task.dataset(ref).table()
    groups = table.group_by(["rule", "column"]).aggregate([([], "count_all"), ("reason", "min")])
    groups = groups.sort_by([("count_all", "descending")]).slice(0, MOST_REASONS)
    reasons = groups.rename_columns(["rule", "column", "count", "reason"]).to_pylist()
    return Quarantine(reasons, table.slice(0, SAMPLE_ROWS).to_pylist())
