"""``ropewalk plan``: what a run of a workflow would do, step by step, told from its file alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from graphlib import TopologicalSorter
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from ropewalk.contracts.errors import ConfigError, nearest
from ropewalk.contracts.models import Partition, RunInfo, Scalar, TaskRequest
from ropewalk.contracts.plan import Given, Plan, PlannedCheck, PlannedColumn
from ropewalk.contracts.plugins import KINDS, STAGE_KIND, Plugin, plugin
from ropewalk.contracts.template import render, render_options
from ropewalk.workflow import Step, Workflow, covers, partition_on, partitions, task_request
from ropewalk.workflow.partitions import whole

RUN = RunInfo(id="(known when it runs)")
LATER = "known when it runs"
UNKNOWN = "?"
OUTSIDE = {"store", "present"}  # stages that give no data
ON_FAIL = {
    "fail": "else the step fails, and nothing after it runs",
    "warn": "else a warning",
    "quarantine": "else such rows are set aside",
}


@dataclass(frozen=True)
class Planned:
    """What one step would do: ``options`` with the values of the run, ``batch`` how a batch of partitions does it."""

    step: Step
    options: list[dict[str, Any]]
    checks: list[PlannedCheck]
    batch: str
    batched: bool
    columns: list[PlannedColumn]
    whole: bool
    plan: Plan | None = None
    targets: Mapping[str, str] = field(default_factory=dict)
    mode: str | None = None


@dataclass(frozen=True)
class Whole:
    """What a run would do: its steps in their order, and those that can run side by side."""

    workflow: Workflow
    partition: Partition | None
    params: Mapping[str, Scalar]
    steps: list[Planned]
    waves: list[list[str]]


def planned(workflow: Workflow, day: date | None, params: Mapping[str, Scalar]) -> Whole:
    """The plan of a run for a day's partition, or for the first; nothing is read but the file itself."""
    partition = _partition(workflow, day)
    planner = _Planner(workflow, partition, params)
    steps = [planner.step(step) for step in workflow.order()]
    return Whole(workflow, partition, workflow.params(params), steps, _waves(workflow))


def _partition(workflow: Workflow, day: date | None) -> Partition | None:
    if workflow.header.partition is None:
        return whole(workflow)
    chosen = day or workflow.header.start
    return partition_on(workflow, chosen) if chosen else None


def _waves(workflow: Workflow) -> list[list[str]]:
    """The steps by how many others, one after the other, must be done before."""
    graph = TopologicalSorter({step.name: step.after for step in workflow.steps.values()})
    graph.prepare()
    found = []
    while graph.is_active():
        ready = list(graph.get_ready())
        found.append(sorted(ready, key=list(workflow.steps).index))
        graph.done(*ready)
    return found


class _Planner:
    """Plans the steps of a run, each after those that it reads."""

    def __init__(
        self, workflow: Workflow, partition: Partition | None, params: Mapping[str, Scalar]
    ) -> None:
        self.workflow, self.partition, self.params = workflow, partition, params
        self.given: dict[str, Given] = {}
        self.compiler = KINDS["transform"].compiled()

    def step(self, step: Step) -> Planned:
        """The plan of one step."""
        request = task_request(
            self.workflow, step, run=RUN, partition=self.partition, params=self.params
        )
        kind = STAGE_KIND.get(step.stage)
        found = plugin(kind, step.do[0].plugin) if kind and kind != "transform" else None
        options = [_rendered(kind, use.plugin, use.options, request.values) for use in step.do]
        plan = self._plan(step, request)
        if plan and not plan.untold:
            columns, complete = plan.columns, plan.whole
        else:
            columns, complete = self._columns(step, found, options)
        types = {column.name: column.type for column in columns}
        self.given[step.name] = Given(types=types, whole=complete)
        batched, batch = self._batch(step)
        parsed = found.parse(options[0]) if found else None
        return Planned(
            step, options, _checks(step, plan), batch, batched, columns, complete, plan,
            targets=found.targets(parsed, step.needs) if found and kind == "sink" else {},
            mode=getattr(parsed, "mode", None) if kind == "sink" else None,
        )  # fmt: skip

    def _plan(self, step: Step, request: TaskRequest) -> Plan | None:
        """The query of a process step."""
        if step.stage != "process":
            return None
        inputs = {name: self.given[name] for name in step.needs}
        found: Plan = self.compiler.planned(request, inputs)
        return found

    def _columns(
        self, step: Step, found: Plugin | None, options: list[dict[str, Any]]
    ) -> tuple[list[PlannedColumn], bool]:
        """The columns that the file tells of, and whether there are no others."""
        types = found.types(found.parse(options[0])) if found else {}
        names = self.workflow.columns.get(step.name)
        told = [
            PlannedColumn(name=name, type=self.compiler.kind_of(types.get(name, "")))
            for name in (types if names is None else names)
        ]
        return told, names is not None

    def _batch(self, step: Step) -> tuple[bool, str]:
        """Whether a batch of partitions can do the step, and how it would, as backfill asks for it."""
        if self.workflow.header.partition is None or self.partition is None:
            return False, "no: a run covers everything, since the workflow has no partitions"
        last = self.partition.end.astimezone(self.workflow.zone).date()
        first = self.partition.start.astimezone(self.workflow.zone).date()
        several = list(partitions(self.workflow, first, last))
        try:
            asked = task_request(
                self.workflow, step, run=RUN, partition=None, batch=several, params=self.params
            )
        except ConfigError as error:
            return False, f"no: {error}"
        if not asked.batch:
            return True, "yes: once for all of it, since it names no partition"
        if len(asked.batch) < len(several):
            return True, "yes: the last partition alone"
        return True, "yes: each partition by itself, in one task"


def _rendered(
    kind: str | None, name: str, options: Mapping[str, Any], values: Mapping[str, Scalar]
) -> dict[str, Any]:
    """Options with their values put in; SQL stays as it is, since values are bound there."""
    found: dict[str, Any] = (
        render_options(plugin(kind, name).options, options, values)
        if kind
        else render(options, values)
    )
    return found


def _checks(step: Step, plan: Plan | None) -> list[PlannedCheck]:
    """The checks of a step, with what they claim where that is known."""
    if plan and plan.checks:
        return plan.checks
    return [
        PlannedCheck(
            check=use.plugin,
            on_fail=str(use.options.get("on_fail", "fail")),
            claim=", ".join(
                f"{name}: {value}" for name, value in use.options.items() if name != "on_fail"
            ),
        )
        for use in step.checks
    ]


def chosen(found: Whole, name: str | None) -> list[Planned]:
    """The steps that are to be shown; ConfigError with the nearest name where there is none of that."""
    if name is not None and name not in found.workflow.steps:
        raise ConfigError(
            f"{found.workflow.name} has no step {name!r}",
            code="unknown_step",
            hint=nearest(name, found.workflow.steps),
        )
    return [one for one in found.steps if name in (None, one.step.name)]


def json_of(found: Whole, steps: list[Planned]) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "workflow": found.workflow.name,
        "partition": found.partition and found.partition.model_dump(mode="json"),
        "params": dict(found.params),
        "waves": found.waves,
        "steps": [_step_as_json(one) for one in steps],
    }


def _step_as_json(one: Planned) -> dict[str, Any]:
    step = one.step
    told: dict[str, Any] = {
        "step": step.name,
        "stage": step.stage,
        "plugins": [use.plugin for use in step.do],
        "options": one.options,
        "inputs": list(step.needs),
        "after": list(step.after),
        "checks": [check.model_dump() for check in one.checks],
        "max_quarantined": step.max_quarantined,
        "batch": {"possible": one.batched, "how": one.batch},
    }
    if step.stage not in OUTSIDE:
        told["columns"] = [column.model_dump() for column in one.columns]
        told["all_columns_known"] = one.whole
    if one.plan is not None:
        told["queries"] = [query.model_dump() for query in one.plan.queries]
        told |= {"assumed": one.plan.assumed, "untold": one.plan.untold}
    if step.stage == "store":
        told |= {"targets": dict(one.targets), "mode": one.mode}
    return told


def show(found: Whole, steps: list[Planned], console: Console) -> None:
    """Print the plan for people: the whole, then each step."""
    for line in [*_head(found), *(line for one in steps for line in _lines(one))]:
        console.print(line, soft_wrap=True)


def _head(found: Whole) -> Iterator[str]:
    workflow, header = found.workflow, found.workflow.header
    yield f"[bold]{escape(workflow.name)}[/]: {escape(workflow.title)}"
    if found.partition is not None:
        start, end = (
            moment.astimezone(workflow.zone).isoformat()
            for moment in (found.partition.start, found.partition.end)
        )
        yield f"partition {found.partition.name}: from {start} to before {end}"
        if header.partition and not covers(workflow, found.partition):
            yield f"[yellow]?[/] it lies outside of the workflow's days, {header.start} to {header.end or '…'}"
    for name, value in found.params.items():
        yield escape(f"parameter {name} = {value!r}")
    yield ""
    for number, names in enumerate(found.waves, start=1):
        yield f"  {number}  {escape(' · '.join(names))}"
    yield f"\n  {UNKNOWN} is {LATER}"


def _lines(one: Planned) -> Iterator[str]:
    step = one.step
    plugins = " → ".join(use.plugin for use in step.do)
    yield f"\n[bold]{step.name}[/]  {step.stage}: {plugins}"
    if step.description:
        yield f"  {escape(step.description)}"
    told = list(_told(one))
    width = max(len(label) for label, _ in told)
    last = None
    for label, text in told:
        yield f"  {'' if label == last else label:<{width}}  {escape(text)}"
        last = label
    yield from _queries(one)


def _told(one: Planned) -> Iterator[tuple[str, str]]:
    """What is said of a step, by its label."""
    step = one.step
    if step.needs:
        yield "reads", ", ".join(step.needs)
    if step.stage in {"collect", "analyze"} or step.connection:
        for name, value in one.options[0].items():
            if name != "columns":
                yield name, _option(value)
    yield "batch", one.batch
    for check in one.checks:
        yield "check", f"{check.check}: {check.claim}; {ON_FAIL.get(check.on_fail, check.on_fail)}"
    if step.max_quarantined is not None:
        yield "check", f"at most {step.max_quarantined} set aside; {ON_FAIL['fail']}"
    for source, target in one.targets.items():
        yield "writes", f"{source} → {target} ({one.mode})" if one.mode else f"{source} → {target}"
    if step.stage not in OUTSIDE:
        yield from (("columns", line) for line in _columns(one))
    if one.plan is not None:
        yield from (("query", line) for line in _doubts(one.plan))


def _option(value: Any) -> str:
    """An option in one line."""
    return (
        " ".join(value.split()) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )


def _columns(one: Planned) -> Iterator[str]:
    """The columns: one line each where it is told what they are made of, else one for all."""
    others = [] if one.whole else [f"{'others' if one.columns else 'all'}: {UNKNOWN}"]
    made = [f"{column.name} {column.type or UNKNOWN}" for column in one.columns]
    if not any(column.sources for column in one.columns):
        yield ", ".join([*made, *others])
        return
    for line, column in zip(made, one.columns, strict=True):
        sources = ", ".join(f"{source.dataset}.{source.column}" for source in column.sources)
        yield f"{line} ← {sources}" if sources else line
    yield from others


def _doubts(plan: Plan) -> Iterator[str]:
    """What of the query is known when it runs."""
    if plan.untold:
        yield f"{UNKNOWN}: {plan.untold}"
    for name in plan.assumed:
        yield f"if {name} has other columns than these, it names them too"


def _queries(one: Planned) -> Iterator[str]:
    """The SQL, so that it can be copied."""
    for query in one.plan.queries if one.plan else ():
        yield ""
        yield escape(query.sql) + ";"
        for name, value in query.parameters.items():
            yield escape(f"-- ${name} = {value!r}")
        if query.name is not None:
            made = ", ".join(f"{column} {kind}" for column, kind in query.returns.items())
            yield escape(f"-- {query.name} is what {query.function} makes of these rows: {made}")


def show_plan(
    workflow: Workflow,
    step: str | None,
    day: date | None,
    params: Mapping[str, Scalar],
    *,
    console: Console,
    as_json: bool,
) -> None:
    """The command: the plan for people, or for programs."""
    found = planned(workflow, day, params)
    steps = chosen(found, step)
    if as_json:
        typer.echo(json.dumps(json_of(found, steps), indent=2, ensure_ascii=False))
    else:
        show(found, steps, console)
