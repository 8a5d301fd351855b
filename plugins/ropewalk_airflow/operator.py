"""The operator of a step: asks a stage to do it, waits a little in the worker, then in the triggerer."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, BaseOperatorLink
from ropewalk.contracts.errors import (
    ConfigError,
    FatalError,
    Problem,
    RetryableError,
    RopewalkError,
    error_of,
)
from ropewalk.contracts.models import (
    DatasetRef,
    Partition,
    Report,
    RunInfo,
    State,
    TaskRequest,
    TaskStatus,
    Use,
)
from ropewalk.contracts.plugins import STAGE_KIND, plugin
from ropewalk.workflow import (
    Step,
    Workflow,
    covers,
    cut,
    partition_of,
    partition_on,
    partitions,
    task_request,
)
from ropewalk.workflow.model import Grain, Header

from ropewalk_airflow.assets import finished, followed, tell_finished, tell_published
from ropewalk_airflow.hook import StageHook, connection_id
from ropewalk_airflow.links import DatasetLink, ReportLink
from ropewalk_airflow.retry import StageRetryPolicy
from ropewalk_airflow.trigger import StageTrigger

BATCH_WAIT = 60.0  # seconds that a worker waits for a batch, of which there are few at once
MOST_BATCHED = 10_000  # partitions of one run
POLL = 2.0  # seconds between two looks at the log while the worker waits
LEVELS = {"warning": "warning", "error": "error", "debug": "debug"}


class StageOperator(BaseOperator):
    """Has a stage do one step.

    In a DAG made from a file, ``workflow`` and ``step`` say what. In a DAG written by hand::

        flights = StageOperator(task_id="flights", stage="collect", do=[{"files": {"path": "data://f/*.csv"}}])
        clean = StageOperator(task_id="clean", stage="process", do=[{"sql": "SELECT * FROM flights"}],
                              inputs=["flights"])
        flights >> clean

    ``inputs`` are the ids of tasks whose data it reads. What a task leaves in XCom is a few hundred bytes:
    the task's key, references to its datasets, and the keys of the tasks before it.
    """

    operator_extra_links: Collection[BaseOperatorLink] = (ReportLink(), DatasetLink())
    ui_color = "#e8f1f5"

    def __init__(
        self,
        *,
        workflow: Workflow | None = None,
        step: Step | None = None,
        stage: str = "",
        do: Sequence[Mapping[str, Any]] = (),
        checks: Sequence[Mapping[str, Any]] = (),
        inputs: Sequence[str] = (),
        conn_id: str | None = None,
        defer_after: float = 10.0,
        **more: Any,
    ) -> None:
        super().__init__(**{"retry_policy": StageRetryPolicy(), **more})
        self.workflow = workflow
        self.step = step
        self.stage = step.stage if step else stage
        self.do = do
        self.checks = checks
        self.inputs = inputs
        self.conn_id = conn_id or connection_id(self.stage, _own(self.stage, step))
        self.defer_after = defer_after
        if workflow is not None and not workflow.draws:
            self.operator_extra_links = ()  # there is no page to lead to
        elif self.stage == "present":
            self.operator_extra_links = (ReportLink(),)  # the page is all that it makes
        self.report: Report | None = None
        self._key: str | None = None
        self._asker = ""
        self._before: dict[str, str] = {}

    def execute(self, context: Any) -> dict[str, Any]:
        """Submit the step, and wait for its end: here for ``defer_after`` seconds, then in the triggerer."""
        request = self._request(context)
        hook, self._asker = StageHook(self.conn_id), request.run.attempt
        status = hook.submit(request)
        self._key = status.key
        self._say_submitted(request, status)
        seconds = self.defer_after if len(request.batch) <= 1 else max(self.defer_after, BATCH_WAIT)
        status, after = self._wait(hook, status, seconds)
        return self._finish(self._ended(status, after), context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after the triggerer: the rest of the log, and the report or the error; or wait on.

        A task that has failed may run again by now, because another run has asked for it, and the triggerer waits
        only so long for a stage that is away.
        """
        hook, self._key, self._asker = StageHook(self.conn_id), event["key"], str(context["ti"].id)
        status = hook.read(event["key"])
        status = self._ended(status, self._tell(hook, status.key, event["after"]))
        step = self._what(context)[1]
        _, self._before = told_before(context, step, self.upstream_task_ids)
        return self._finish(status, context)

    def on_kill(self) -> None:
        """Cancel the task at the stage, unless a newer try has asked for it."""
        if self._key is not None:
            StageHook(self.conn_id).cancel(self._key, self._asker)

    def _request(self, context: Any) -> TaskRequest:
        workflow, step = self._what(context)
        told, self._before = told_before(context, step, self.upstream_task_ids)
        return task_request(
            workflow,
            step,
            run=run_info(context, workflow),
            partition=partition_for(workflow, context),
            batch=batch_for(workflow, context),
            params={name: context["params"][name] for name in workflow.header.params},
            inputs={
                task: DatasetRef.model_validate(told[task]["outputs"][name])
                for task in step.needs
                for name in ("data", "partitions")
                if name in told[task]["outputs"]
            },
            upstream={task: self._before[task] for task in (*step.needs, *step.after)},
            generation=generation(context),
        )

    def _what(self, context: Any) -> tuple[Workflow, Step]:
        """The workflow and the step: the file's, or made of what a hand-written DAG gives."""
        if self.workflow is not None and self.step is not None:
            return self.workflow, self.step
        step = Step(
            name=self.task_id,
            stage=self.stage,
            do=tuple(_use(STAGE_KIND.get(self.stage), one) for one in self.do),
            checks=tuple(_use("check", one) for one in self.checks),
            connection=_own(self.stage, None),
            needs=tuple(self.inputs),
            after=tuple(self.upstream_task_ids) if self.stage == "present" else tuple(self.inputs),
        )
        header = Header(steps={step.name: {}})
        name = context["dag_run"].dag_id
        return Workflow(name, Path(), header, {step.name: step}), step

    def _wait(self, hook: StageHook, status: TaskStatus, seconds: float) -> tuple[TaskStatus, int]:
        """The task's state after at most so many seconds, and the last log line that was told."""
        deadline = time.monotonic() + seconds
        after = 0
        while not status.state.ended and (left := deadline - time.monotonic()) > 0:
            before, status = status, hook.read(status.key, wait=min(POLL, left))
            if status.waits and not before.waits:
                self.log.info("Waits: %s", status.waits)
            after = self._tell(hook, status.key, after)
        return status, after

    def _ended(self, status: TaskStatus, after: int) -> TaskStatus:
        """The state of a task that has ended; any other is waited for in the triggerer."""
        if not status.state.ended:
            self.defer(
                trigger=StageTrigger(self.conn_id, status.key, self._asker, after),
                method_name="execute_complete",
            )
        return status

    def _tell(self, hook: StageHook, key: str, after: int) -> int:
        """Write the stage's log lines into the task's log; the number of the last."""
        for line in hook.lines(key, after):
            getattr(self.log, LEVELS.get(line.level, "info"))("%s", line.text)
            after = line.n
        return after

    def _say_submitted(self, request: TaskRequest, status: TaskStatus) -> None:
        covers = f" for {request.partition.name}" if request.partition else ""
        covers += f" ({len(request.batch)} partitions)" if len(request.batch) > 1 else ""
        if status.reused:
            self.log.info("Reused: run %s has done this already%s", status.reused, covers)
        else:
            self.log.info("Stage %s has task %s%s", self.stage, status.key[:12], covers)

    def _finish(self, status: TaskStatus, context: Any) -> dict[str, Any]:
        """What XCom keeps of a report; a task that failed raises its error."""
        if status.state is State.SUCCEEDED and status.report is not None:
            self.report = status.report
            self._say_why(status.report, context["dag_run"].run_id, told=bool(status.reused))
            self._say_report(status.report)
            self._tell_assets(status.report, context)
            outputs = {
                name: ref.model_dump(mode="json") for name, ref in status.report.outputs.items()
            }
            return {"key": status.key, "outputs": outputs, "before": self._before}
        if status.state is State.CANCELLED:
            raise RetryableError("the task was cancelled at the stage", code="cancelled")
        error = error_of(status.error or Problem(detail="the stage gave no reason", retryable=True))
        _leave_failure(error, context)
        raise error

    def _say_why(self, report: Report, run: str, *, told: bool) -> None:
        """Why the task ran; or whose work it has found in the dataset store, where that is not told yet."""
        if told:
            return
        if report.run != run:
            self.log.info("Reused: run %s has done this already", report.run)
        elif report.why:
            self.log.info("Why it ran: %s", "; ".join(report.why))

    def _say_report(self, report: Report) -> None:
        rows = report.rows
        counts = {"out": rows.out, "quarantined": rows.quarantined, **rows.dropped}
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
        self.log.info("Rows: in %s; %s", f"{sum(rows.inputs.values()):,}", told or "none out")
        for check in report.checks:
            say = self.log.info if check.status == "passed" else self.log.warning
            say("Check %s: %s %s", check.check, check.status, check.detail)
        for target in report.published:
            count = f"{target.rows:,} {'row' if target.rows == 1 else 'rows'}"
            left = f"; {target.left:,} left to later requests" if target.left else ""
            self.log.info("Published %s to %s (%s)%s", count, target.target, target.mode, left)

    def _tell_assets(self, report: Report, context: Any) -> None:
        """Leave with the assets of a workflow's file what has been published, for those that run after it."""
        if self.workflow is None or self.step is None:
            return
        tell_published(context, self.step, report)
        if finished(self.workflow.name) in self.outlets:
            tell_finished(context, self.workflow, covered(self.workflow, context))

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """OpenLineage's datasets and facets of the report; none of a task that failed, for None is warned of."""
        from ropewalk_airflow.lineage import lineage_of, nothing

        return lineage_of(self.report, str(task_instance.dag_id)) if self.report else nothing()


def told_before(
    context: Any, step: Step, direct: Collection[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What the tasks whose data a step reads have left, and the key of every task before it.

    An XCom is a round trip to Airflow (8 ms); so each holds the keys of the tasks before its own, and of those that
    a step waits for only the ``direct`` ones are asked.
    """
    asked = dict.fromkeys((*step.needs, *(task for task in step.after if task in direct)))
    told = {task: _left(context, task) for task in asked}
    keys: dict[str, str] = {}
    for value in told.values():
        keys |= value.get("before", {})
    keys |= {task: value["key"] for task, value in told.items()}
    keys |= {task: _left(context, task)["key"] for task in step.after if task not in keys}
    return told, keys


def _left(context: Any, task: str) -> dict[str, Any]:
    """What an earlier task left in XCom."""
    value = context["ti"].xcom_pull(task_ids=task, map_indexes=None)
    if not isinstance(value, dict) or "key" not in value:
        raise FatalError(f"task {task!r} left nothing that this step can read", code="no_xcom")
    return value


def _leave_failure(error: RopewalkError, context: Any) -> None:
    """Leave what failed, and which partitions of a batch, for who asked for it."""
    told = {"error": str(error)[:2000], "partitions": error.partitions}
    context["ti"].xcom_push(key="failed", value=told)


def run_info(context: Any, workflow: Workflow) -> RunInfo:
    """The run that asks. ``requested`` is when it was started, or started again by a clear: later wins.

    All runs of one ``ropewalk backfill`` were requested at one moment, which it has put into their ``conf``.
    """
    run, ti = context["dag_run"], context["ti"]
    started = run.start_date or run.run_after
    asked = None if run.clear_number else (run.conf or {}).get("requested")
    return RunInfo(
        id=run.run_id,
        requested=int(asked or started.timestamp() * 1_000_000),
        title=workflow.title,
        attempt=str(ti.id),
    )


def partition_for(workflow: Workflow, context: Any) -> Partition | None:
    """The partition of a run: of its form's day, of what it follows, else of its data interval or its moment.

    A form left as it was names the first day of a workflow whose last day is past; then a date of the run
    that lies within the workflow's days is what the user has chosen. A run by hand of no date at all, as the command
    line makes it, is what the form as it was would have made.
    """
    run, header = context["dag_run"], workflow.header
    if header.partition is None:
        return partition_of(workflow, run.run_after)
    dated = partition_of(workflow, run.data_interval_start or run.logical_date or run.run_after)
    conf = {name: value for name, value in (run.conf or {}).items() if value}
    asked = str(conf.get("date") or "")[:10]
    if not asked and run.logical_date is None and run.run_type == "manual":
        asked = str(context["params"].get("date") or "")
    untouched = (
        "to" not in conf
        and asked == str(header.start)
        and dated is not None
        and covers(workflow, dated)
    )
    if not asked:
        return next(iter(followed(workflow, context)), dated)
    if moments := _moments(workflow, conf):
        return partition_of(workflow, datetime.fromisoformat(moments[0]))
    if untouched:
        return dated
    return partition_on(workflow, date.fromisoformat(asked))


def batch_for(workflow: Workflow, context: Any) -> list[Partition]:
    """The partitions of a run whose form names a last day, or that follows several; none where it is one alone."""
    conf = context["dag_run"].conf or {}
    if workflow.header.partition is None:
        return []
    if not conf.get("to"):
        found = [] if conf.get("date") else followed(workflow, context)
        return found if len(found) > 1 else []
    if not conf.get("date"):
        raise ConfigError("a run with a last day needs the first one too", code="bad_param")
    first, last = (date.fromisoformat(str(conf[name])[:10]) for name in ("date", "to"))
    if last < first:
        raise ConfigError(f"the last day {last} is before the first, {first}", code="bad_param")
    found = list(islice(partitions(workflow, first, last), MOST_BATCHED + 1))
    if len(found) > MOST_BATCHED:
        raise ConfigError(
            f"from {first} to {last} there are more than {MOST_BATCHED:,} partitions",
            code="bad_param",
            hint=f"an earlier last day, or ropewalk backfill {workflow.name}, which makes several runs of it",
        )
    wanted = list(cut(found, _moments(workflow, conf)))
    if found and not wanted:
        raise ConfigError(
            f"from {conf['date']} to {conf['to']} no hour lies between the run's moments",
            code="bad_param",
            hint="leave out moments: they are of another run's days",
        )
    return wanted if len(wanted) > 1 else []


def _moments(workflow: Workflow, conf: Mapping[str, Any]) -> list[str] | None:
    """Between which moments a backfill wants a run's hours; None where it wants whole days."""
    found = conf.get("moments")
    return found if workflow.header.partition is Grain.HOUR and isinstance(found, list) else None


def covered(workflow: Workflow, context: Any) -> list[Partition]:
    """All partitions that a run covers."""
    alone = partition_for(workflow, context)
    return batch_for(workflow, context) or ([alone] if alone else [])


def generation(context: Any) -> str:
    """What makes a collect step read anew: a clear in its run, which a retry is not; or a refresh.

    Airflow counts the clears of a run, also while it goes on. A task's ``max_tries`` tells of its own clears
    alone, but only against the ``retries`` that the file had then, and not of a clear of a task that runs.
    """
    run = context["dag_run"]
    cleared = int(run.clear_number or 0)
    asked = bool((run.conf or {}).get("refresh"))
    return f"{run.run_id}/{cleared}" if asked or cleared else "0"


def _own(stage: str, step: Step | None) -> str | None:
    """The name of a stage that someone else wrote: the workflow's, or in a hand-written DAG its own."""
    if step is not None:
        return step.connection
    return stage if stage and stage not in STAGE_KIND else None


def _use(kind: str | None, given: Mapping[str, Any]) -> Use:
    """A plugin with its options, as a hand-written DAG gives them: ``{"files": {"path": …}}``."""
    ((name, options),) = given.items()
    if kind is None:
        return Use(plugin=name, version="", options=options or {})
    found = plugin(kind, name)
    return Use(plugin=name, version=found.version, options=found.mapping(options))
