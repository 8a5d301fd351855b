"""``ropewalk backfill``: a range of partitions through Airflow, many of them in each run."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ropewalk.contracts.errors import (
    ConfigError,
    FatalError,
    NotFoundError,
    RetryableError,
    nearest,
)
from ropewalk.workflow import Workflow, cut, load, partitions
from ropewalk.workflow.model import Grain

if TYPE_CHECKING:
    from ropewalk.cli.airflow import Airflow
    from ropewalk.contracts.models import Partition, Scalar

LENGTH = re.compile(r"^(\d+)d?$")
FEWEST, MOST = 31, 183  # days of a run, where nobody says how many
PREFIX = "batch__"  # Airflow keeps "backfill__" for its own
POLL = 1.0  # seconds between two looks at Airflow, each of which costs it what a task wants
PATIENCE = 120.0  # seconds that Airflow may be away
ENDED = {"success", "failed"}
GOING = {"running", "deferred"}
DONE = {*ENDED, "skipped", "upstream_failed", "removed"}
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Partitions that one run does."""

    partitions: Sequence[Partition]
    zone: Any

    @property
    def days(self) -> tuple[date, date]:
        """The first and the last day, in the workflow's calendar."""
        last = self.partitions[-1].end - timedelta(microseconds=1)
        return self.partitions[0].start.astimezone(self.zone).date(), last.astimezone(
            self.zone
        ).date()

    @property
    def moments(self) -> list[str]:
        """The moment at which its first partition begins, and that at which its last one ends."""
        return [self.partitions[0].start.isoformat(), self.partitions[-1].end.isoformat()]

    @property
    def name(self) -> str:
        """Its first and last partition."""
        names = dict.fromkeys((self.partitions[0].name, self.partitions[-1].name))
        return "_".join(names)


@dataclass
class Run:
    """A run of Airflow that does a batch."""

    id: str
    batch: Batch
    state: str = "queued"
    ended: int = 0  # tasks
    total: int = 1
    now: str = ""


@dataclass
class Outcome:
    """What has become of a backfill."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def workflow_named(name: str) -> Workflow:
    """The workflow of a file, or of a name in the folder of the workflows."""
    return load(file_named(name))


def file_named(name: str) -> Path:
    """The file of a workflow, which is named by itself or by its name in the folder of the workflows."""
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        return path
    folder = Path(os.environ.get("ROPEWALK_DAGS_FOLDER", "dags")) / "workflows"
    found = {one.stem: one for one in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])}
    if name not in found:
        raise ConfigError(
            f"there is no workflow {name!r} in {folder}", code="no_workflow",
            hint=nearest(name, found) or "set ROPEWALK_DAGS_FOLDER, or name the file",
        )  # fmt: skip
    return found[name]


def length(text: str) -> int:
    """The days of ``31d``."""
    match = LENGTH.match(text.strip())
    if match is None or int(match[1]) == 0:
        raise ConfigError(f"a batch is so many days, not {text!r}", hint="--batch 31d")
    return int(match[1])


def fitting(first: date, last: date) -> int:
    """So many days of a range as one run does best: two runs keep two cores busy, and each costs Airflow the same."""
    half = ((last - first).days + 2) // 2
    return min(max(half, FEWEST), MOST)


def batches(workflow: Workflow, first: date, last: date, days: int) -> list[Batch]:
    """The partitions of a range, in batches of at most so many days; each begins and ends with a day."""
    if last < first:
        raise ConfigError(f"the last day {last} is before the first, {first}", code="bad_range")
    found: list[list[Partition]] = []
    for one in partitions(workflow, first, last):
        local = one.start.astimezone(workflow.zone)
        begun = found[-1][0].start.astimezone(workflow.zone).date() if found else local.date()
        last_day = (one.end - timedelta(microseconds=1)).astimezone(workflow.zone).date()
        full = (last_day - begun).days >= days and (local.hour, local.minute) == (0, 0)
        if not found or full:
            found.append([])
        found[-1].append(one)
    return [Batch(group, workflow.zone) for group in found]


class Backfill:
    """One backfill: its runs, until all have ended.

    All were requested at one moment, each partition a microsecond after the one before: as they would be one by one.
    """

    def __init__(
        self, session: Airflow, workflow: Workflow, conf: dict[str, Scalar], console: Console
    ) -> None:
        self._airflow, self._workflow, self._console = session, workflow, console
        self._requested = session.now()
        self._conf = conf
        self._runs: list[Run] = []
        self._places: dict[str, int] = {}
        self.outcome = Outcome()

    def run(self, groups: Sequence[Batch], at_once: int) -> Outcome:
        """Do all batches, so many at once; what has failed of one does not keep the rest of it."""
        waiting = list(groups)
        names = [one.name for group in groups for one in group.partitions]
        self._places = {name: place for place, name in enumerate(names)}
        total = sum(len(group.partitions) for group in groups)
        try:
            with _progress(self._console) as shown:
                bar = shown.add_task(self._workflow.name, total=total)
                while waiting or self._active():
                    while waiting and len(self._active()) < at_once:
                        self._start(waiting.pop(0))
                    waiting += self._look()
                    shown.update(bar, completed=self._completed(), description=self._now())
                    time.sleep(POLL)
        except KeyboardInterrupt:
            self._stop()
            raise
        return self.outcome

    def _active(self) -> list[Run]:
        return [run for run in self._runs if run.state not in ENDED]

    def _start(self, batch: Batch) -> None:
        first, last = batch.days
        again = sum(run.batch.name == batch.name for run in self._runs)
        name = f"{PREFIX}{batch.name}__{self._requested}" + (f"__{again}" if again else "")
        conf: dict[str, Any] = {**self._conf, "date": first.isoformat(), "to": last.isoformat()}
        conf["requested"] = self._requested + self._places[batch.partitions[0].name]
        if self._workflow.header.partition is Grain.HOUR:  # whose batch may begin or end in a day
            conf["moments"] = batch.moments
        patiently(lambda: self._airflow.trigger(self._workflow.name, name, conf))
        self._runs.append(Run(name, batch))

    def _look(self) -> list[Batch]:
        """See how all active runs stand; the batches that are to be done in place of failed ones."""
        more: list[Batch] = []
        for run in self._active():
            patiently(partial(self._see, run))
            if run.state == "success":
                self.outcome.done += [one.name for one in run.batch.partitions]
            elif run.state == "failed":
                more += self._rest(run)
        return more

    def _see(self, run: Run) -> None:
        dag = self._workflow.name
        tasks = self._airflow.tasks(dag, run.id)
        run.total = max(1, len(tasks))
        run.ended = sum(task["state"] in DONE for task in tasks)
        going = [task["task_id"] for task in tasks if task["state"] in GOING]
        run.now = ", ".join(going)
        if not going:  # a run that has ended has no such task
            run.state = self._airflow.run(dag, run.id)["state"]

    def _rest(self, run: Run) -> list[Batch]:
        """What can be done of a failed run: the partitions before, between and after those at fault."""
        failed = patiently(partial(self._told, run))
        names = [one.name for one in run.batch.partitions]
        bad = {name: error for name, error in failed.items() if name in names}
        if not bad:
            bad = dict.fromkeys(names, next(iter(failed.values()), "see the run in Airflow"))
        self.outcome.failed |= bad
        groups: list[list[Partition]] = [[]]
        for one in run.batch.partitions:
            if one.name in bad:
                groups.append([])
            else:
                groups[-1].append(one)
        return [Batch(group, run.batch.zone) for group in groups if group]

    def _told(self, run: Run) -> dict[str, str]:
        """The partitions that the failed tasks of a run name, and what is said of them."""
        dag = self._workflow.name
        failed: dict[str, str] = {}
        for task in self._airflow.tasks(dag, run.id):
            if task["state"] == "failed":
                told = self._airflow.left(dag, run.id, task["task_id"], "failed") or {}
                error = f"{task['task_id']}: {told.get('error', 'see its log in Airflow')}"
                failed |= dict.fromkeys(told.get("partitions") or [""], error)
        return failed

    def _completed(self) -> float:
        """Partitions done, those of active runs by the share of their tasks."""
        done = len(self.outcome.done) + len(self.outcome.failed)
        return done + sum(len(r.batch.partitions) * r.ended / r.total for r in self._active())

    def _now(self) -> str:
        active = self._active()
        told = f"{active[0].batch.name}: {active[0].now or 'waits'}" if active else "done"
        return told + (f" (and {len(active) - 1} more)" if len(active) > 1 else "")

    def _stop(self) -> None:
        for run in self._active():
            self._airflow.stop(self._workflow.name, run.id)
        self._console.print(f"stopped; {len(self.outcome.done)} partitions are done and stay")


def patiently(ask: Callable[[], T]) -> T:
    """What Airflow answers; while it is away, wait and ask again for some time."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except RetryableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL)


def ready(session: Airflow, workflow: Workflow) -> None:
    """ConfigError unless Airflow knows the workflow and lets it run."""
    try:
        dag = session.dag(workflow.name)
    except NotFoundError:
        raise ConfigError(
            f"Airflow has no DAG {workflow.name!r}",
            code="no_dag",
            hint="is its file in dags/workflows?",
        ) from None
    if dag["is_paused"]:
        raise ConfigError(
            f"{workflow.name} is paused in Airflow", code="paused",
            hint=f"airflow dags unpause {workflow.name}",
        )  # fmt: skip


def rate(session: Airflow, workflow: Workflow) -> float | None:
    """Seconds for a partition, by the latest backfills; None where there was none."""
    runs = [run for run in session.runs(workflow.name) if run["dag_run_id"].startswith(PREFIX)]
    known = list(_spent(workflow, runs))
    count = sum(number for _, _, number in known)
    if not count:
        return None
    return _covered([(start, end) for start, end, _ in known]) / count


def _spent(
    workflow: Workflow, runs: list[dict[str, Any]]
) -> Iterator[tuple[datetime, datetime, int]]:
    for run in runs:
        conf = run.get("conf") or {}
        if conf.get("date") and conf.get("to") and run["start_date"] and run["end_date"]:
            first, last = date.fromisoformat(conf["date"]), date.fromisoformat(conf["to"])
            number = len(list(cut(partitions(workflow, first, last), conf.get("moments"))))
            yield (
                datetime.fromisoformat(run["start_date"]),
                datetime.fromisoformat(run["end_date"]),
                number,
            )


def _covered(spans: list[tuple[datetime, datetime]]) -> float:
    """The seconds in which at least one of several spans was."""
    total, until = 0.0, None
    for start, end in sorted(spans):
        begin = max(start, until) if until else start
        total += max(0.0, (end - begin).total_seconds())
        until = max(end, until) if until else end
    return total


def say_outcome(outcome: Outcome, seconds: float, console: Console) -> None:
    """Print what has become of a backfill; FatalError where a partition failed."""
    console.print(f"[green]✓[/] {len(outcome.done)} partitions in {seconds:.0f} s")
    if not outcome.failed:
        return
    for name, error in sorted(outcome.failed.items()):
        console.print(f"[red]✗[/] {name}  {escape(error)}", soft_wrap=True)
    raise FatalError(f"{len(outcome.failed)} partitions failed", code="partitions_failed")


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def do_backfill(
    name: str,
    days: tuple[date, date],
    conf: dict[str, Scalar],
    *,
    size: str | None,
    at_once: int,
    dry_run: bool,
    console: Console,
) -> None:
    """The command: plan the batches, then say what they would do, or do them."""
    from ropewalk.cli.airflow import airflow

    workflow = workflow_named(name)
    given = {key: value for key, value in conf.items() if key != "refresh"}
    params = workflow.params(given)
    groups = batches(workflow, *days, fitting(*days) if size is None else length(size))
    with airflow() as session:
        if dry_run:
            _foretell(session, workflow, groups, params, refresh="refresh" in conf, console=console)
            return
        ready(session, workflow)
        begun = time.monotonic()
        outcome = Backfill(session, workflow, {**params, **conf}, console).run(groups, at_once)
        say_outcome(outcome, time.monotonic() - begun, console)


def _foretell(
    session: Airflow,
    workflow: Workflow,
    groups: Sequence[Batch],
    params: dict[str, Scalar],
    *,
    refresh: bool,
    console: Console,
) -> None:
    from ropewalk.cli.dry_run import Foreseen, foresee, say_foreseen, store_of_installation

    store = store_of_installation()
    found = foresee(workflow, groups, params, store) if store else None
    if found and refresh:  # a refresh reads everything again
        found = Foreseen(to_run=[*found.reused, *found.to_run])
    say_foreseen(workflow, groups, found, rate(session, workflow), console)
