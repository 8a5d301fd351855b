"""Makes a DAG of a workflow, or of a file that is none: a DAG that says what is wrong with it."""

from __future__ import annotations

import html
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import DAG, BaseOperator, Param
from ropewalk.contracts.errors import ConfigError
from ropewalk.workflow import Step, Workflow, WorkflowError, load
from ropewalk.workflow.model import After
from ropewalk.workflow.model import Param as Field

from ropewalk_airflow.assets import Finished, finished, published
from ropewalk_airflow.operator import StageOperator
from ropewalk_airflow.timetable import WorkflowTimetable

ACTIVE_RUNS = 8
MAX_DELAY = timedelta(minutes=10)
INVALID = "invalid"  # the tag and the one task of what is no workflow


def dag_of_file(path: Path, task: str | None = None) -> DAG:
    """The DAG of a workflow file; a bad file's is tagged ``invalid`` and says what is wrong.

    Where one ``task`` of it is to run, the columns of its steps have been told when Airflow took the file in.
    """
    try:
        dag = workflow_dag(load(path, foretold=task in {None, INVALID}))
        dag.timetable.validate()
    except WorkflowError as error:
        return invalid_dag(path, error)
    except Exception as error:  # noqa: BLE001 - whatever a file does, it must not hide the others
        wrong = ConfigError(f"Airflow refuses it: {error}", file=path.name)
        return invalid_dag(path, WorkflowError([wrong]))
    return dag


def workflow_dag(workflow: Workflow) -> DAG:
    """One task per step, each after those that it waits for."""
    header = workflow.header
    dag = DAG(
        dag_id=workflow.name,
        dag_display_name=workflow.name,
        description=workflow.title,
        doc_md=_text(workflow),
        schedule=_schedule(workflow),
        start_date=_midnight(workflow, header.start),
        catchup=header.catchup,
        max_active_runs=ACTIVE_RUNS,
        params=_params(workflow),
        tags={"ropewalk", *header.tags},
        default_args=_default_args(workflow),
    )
    tasks = {step.name: _task(workflow, step, dag) for step in workflow.order()}
    for name, direct in _direct(workflow).items():
        tasks[name].set_upstream([tasks[before] for before in direct])
    _mark_end(workflow, dag)
    return dag


def _direct(workflow: Workflow) -> dict[str, list[str]]:
    """The steps that each step waits for, without those that another of them waits for: a graph that can be read."""
    before: dict[str, set[str]] = {}
    for step in workflow.order():
        before[step.name] = set(step.after).union(*(before[name] for name in step.after))
    return {
        step.name: [
            name for name in step.after if not any(name in before[other] for other in step.after)
        ]
        for step in workflow.steps.values()
    }


def _mark_end(workflow: Workflow, dag: DAG) -> None:
    """Have the last task tell that the whole workflow has run, for those that are scheduled after it."""
    leaves = dag.leaves
    last = leaves[0] if len(leaves) == 1 else Finished(task_id="done", workflow=workflow, dag=dag)
    if len(leaves) > 1:
        last.set_upstream(leaves)
    last.outlets = [*last.outlets, finished(workflow.name)]


def invalid_dag(path: Path, error: WorkflowError) -> DAG:
    """A DAG of the file's name whose text and one failing task say what is wrong, and where."""
    lines = "\n".join("- `" + str(problem).replace("`", "'") + "`" for problem in error.problems)
    name = "".join(letter if letter.isalnum() or letter in "_-." else "_" for letter in path.stem)
    dag = DAG(
        dag_id=name,
        description=f"{path.name} is not a workflow",
        doc_md=f"### {html.escape(path.name)} cannot be run\n\n{lines}\n",
        schedule=None,
        tags={"ropewalk", INVALID},
    )
    Refused(task_id=INVALID, message=str(error), dag=dag)
    return dag


class Refused(BaseOperator):
    """Fails with what is wrong with a workflow's file."""

    def __init__(self, *, message: str, **more: Any) -> None:
        super().__init__(**{"retries": 0, **more})
        self.message = message

    def execute(self, context: Any) -> None:  # noqa: ARG002 - Airflow's signature
        """Fail."""
        raise ConfigError(self.message)


def _task(workflow: Workflow, step: Step, dag: DAG) -> StageOperator:
    return StageOperator(
        task_id=step.name,
        workflow=workflow,
        step=step,
        dag=dag,
        outlets=list(published(step).values()),
        doc_md=step.description or None,
        task_display_name=step.name,
    )


def _schedule(workflow: Workflow) -> Any:
    schedule = workflow.header.schedule
    if isinstance(schedule, After):
        return [finished(name) for name in schedule.after]
    if schedule is None or schedule in {"@once", "@continuous"}:
        return schedule
    end = _midnight(workflow, workflow.header.end)
    return WorkflowTimetable(schedule, workflow.header.timezone, end)


def _midnight(workflow: Workflow, day: date | None) -> pendulum.DateTime | None:
    """The beginning of a day of the workflow's calendar, as Airflow wants it: with a zone of pendulum's."""
    if day is None:
        return None
    return pendulum.datetime(day.year, day.month, day.day, tz=workflow.header.timezone)


def _default_args(workflow: Workflow) -> dict[str, Any]:
    retries = workflow.header.retries
    exponential = retries.backoff == "exponential"
    return {
        "owner": workflow.header.owner,
        "retries": retries.attempts,
        "retry_delay": retries.delay,
        **(
            {"retry_exponential_backoff": True, "max_retry_delay": max(MAX_DELAY, retries.delay)}
            if exponential
            else {}
        ),
    }


def _params(workflow: Workflow) -> dict[str, Param]:
    """The trigger form: what the file declares, and the day and the refresh that every workflow has."""
    header = workflow.header
    found = {}
    if header.partition is not None:
        past = header.end is not None and header.end < datetime.now(UTC).date()
        found["date"] = Param(
            str(header.start) if past else None,
            type=["null", "string"],
            format="date",
            title="Day",
            description=f"The {header.partition} to run; where it is empty, the one of the logical date.",
        )
        found["to"] = Param(
            None,
            type=["null", "string"],
            format="date",
            title="Last day",
            description=f"Runs every {header.partition} from the first to this one, as one batch.",
        )
    found |= {name: _param(field) for name, field in header.params.items()}
    found["refresh"] = Param(
        default=False,
        type="boolean",
        title="Read the sources again",
        description="Also what has been read before is read anew.",
    )
    return found


def _param(field: Field) -> Param:
    schema: dict[str, Any] = {"type": "string" if field.type == "date" else field.type}
    if field.type == "date":
        schema["format"] = "date"
    for name in ("title", "description", "minimum", "maximum", "enum", "pattern"):
        if (value := getattr(field, name)) is not None:
            schema[name] = value
    return Param(field.default, **schema) if field.default is not None else Param(**schema)


def _text(workflow: Workflow) -> str:
    header = workflow.header
    steps = "\n".join(
        f"| {step.name} | {step.stage} | {', '.join(use.plugin for use in step.do)} | {', '.join(step.needs)} |"
        for step in workflow.order()
    )
    return (
        f"### {html.escape(workflow.title)}\n\n{html.escape(header.description)}\n\n"
        f"From `{workflow.file.name}`.\n\n| step | stage | plugins | reads |\n|---|---|---|---|\n{steps}\n"
    )
