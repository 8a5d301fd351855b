"""Compiles a step of a workflow, for one run and one partition, to what a stage is asked to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import DatasetRef, Partition, RunInfo, Scalar, Slice, TaskRequest
from ropewalk.contracts.plugins import STAGE_KIND, plugin
from ropewalk.contracts.template import code_fields, references
from ropewalk.workflow.model import Step, Workflow
from ropewalk.workflow.partitions import span, values_of


def task_request(
    workflow: Workflow,
    step: Step,
    *,
    run: RunInfo,
    partition: Partition | None,
    batch: Sequence[Partition] = (),
    params: Mapping[str, Scalar] | None = None,
    inputs: Mapping[str, DatasetRef] | None = None,
    upstream: Mapping[str, str] | None = None,
    generation: str = "",
) -> TaskRequest:
    """The request; ``inputs`` holds at least what the step needs, ``generation`` is a collect step's.

    A step that reads the outside world or changes it has a generation: collect reads anew when a user
    clears it, and in each run of a schedule where no partition tells runs apart; store writes anew for each request,
    since another may have written the same place in between; a page is of one run. A stage of the user's own
    reads the outside world where it reads no step. A batch of reads is of one run, too: each of its partitions may
    have been read anew since the last.

    With a ``batch`` of partitions the step does each of them, and ``partition`` does not matter.
    """
    named = set(_named(step))
    slices = _slices(workflow, step, batch, named, generation)
    if batch:
        partition = slices[0].partition if len(slices) == 1 else span(batch)
    values = {
        **({} if slices else values_of(workflow, partition)),
        **{f"params.{name}": value for name, value in workflow.params(params).items()},
        "run.id": run.id,
    }
    whole_run = step.stage == "present"
    return TaskRequest(
        workflow=workflow.name,
        step=step.name,
        stage=step.stage,
        do=list(step.do),
        checks=list(step.checks),
        max_quarantined=step.max_quarantined,
        partition=partition,
        batch=slices,
        values={name: value for name, value in values.items() if name in named},
        inputs={name: ref for name, ref in (inputs or {}).items() if name in step.needs},
        upstream=dict(upstream or {}) if whole_run else {},
        generation=_generation(
            step, run, generation, shared=_is_of_a_partition(workflow, partition) and not slices
        ),
        timeout=_seconds(workflow, step, max(1, len(slices))),
        retention=_retention(workflow),
        run=run,
        origin=step.origin,
    )


def _slices(
    workflow: Workflow, step: Step, batch: Sequence[Partition], named: set[str], generation: str
) -> list[Slice]:
    """The partitions that a step of a batch does: all; of a page the last; none where all read the same.

    A source that names no partition gives every partition the same rows, and is read once. One with a cursor gives
    each run what has come since the one before: that is no partition's.
    """
    if batch and any(use.options.get("cursor") for use in step.do):
        raise ConfigError(
            f"step {step.name!r} reads on from run to run by a cursor: its partitions cannot be run as a batch",
            code="batch_cursor",
            hint="run them one by one: airflow backfill create",
        )
    chosen = batch[-1:] if step.stage == "present" else batch
    mine = {name for name in named if name.startswith("partition.")}
    if step.stage == "collect" and not mine:
        return []
    values = ((one, values_of(workflow, one)) for one in chosen)
    own = generation if _reads(step) else ""
    return [
        Slice(partition=one, values={name: all_of[name] for name in sorted(mine)}, generation=own)
        for one, all_of in values
    ]


def _named(step: Step) -> Iterator[str]:
    """The values that a step's options name."""
    for kind, uses in ((STAGE_KIND.get(step.stage), step.do), ("check", step.checks)):
        for use in uses:
            code = code_fields(plugin(kind, use.plugin).options) if kind else set()
            yield from references({k: v for k, v in use.options.items() if k not in code})


def _reads(step: Step) -> bool:
    """Whether a step reads the outside world."""
    return step.stage == "collect" or bool(step.connection and not step.needs)


def _is_of_a_partition(workflow: Workflow, partition: Partition | None) -> bool:
    """Whether what is read is the same in every run; all runs of a schedule without partitions have one range."""
    header = workflow.header
    return partition is not None and (header.partition is not None or header.schedule is None)


def _generation(step: Step, run: RunInfo, given: str, *, shared: bool) -> str:
    if _reads(step):
        return given if shared else f"{given}:{run.id}"
    if step.stage == "store":
        return f"{run.id}:{run.requested}"
    return run.id if step.stage == "present" else ""


def _retention(workflow: Workflow) -> float | None:
    kept = workflow.header.retention
    return kept.total_seconds() if kept else None


def _seconds(workflow: Workflow, step: Step, times: int) -> float | None:
    timeout = step.timeout or workflow.header.timeout
    return timeout.total_seconds() * times if timeout else None
