"""The assets of a workflow: the tables that it publishes, and the workflow itself, for those that run after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowSkipException
from ropewalk.contracts.models import Partition, Report
from ropewalk.workflow import Step, Workflow, touched
from ropewalk.workflow.model import After

from ropewalk_airflow.lineage import outside

RANGES = "ranges"  # of time, in the extra of a workflow's event: what its run has covered


def finished(name: str) -> Asset:
    """The asset that stands for a run of a workflow."""
    return Asset(name=f"workflow.{name}", uri=f"ropewalk://workflow/{name}", group="ropewalk")


def published(step: Step) -> dict[str, Asset]:
    """An asset per step whose rows a store step publishes, by the names of its connection, schema and table.

    Where a connection leads only the stages know; what the table is called in OpenLineage its events say.
    """
    if step.stage != "store":
        return {}
    options = step.do[0].options
    return {name: _asset(_place(name, options, step.do[0].plugin)) for name in step.needs}


def _place(name: str, options: Mapping[str, Any], plugin: str) -> str:
    if "path" in options:  # folders of a root
        root, _, folder = str(options["path"]).rpartition("://")
        return "/".join(part for part in (root, folder.strip("/"), name) if part)
    connection = _named(options.get("connections"), name, options.get("connection", "results"))
    table = _named(options.get("tables"), name, name)
    return f"{connection}/{options.get('schema', plugin)}/{table}"


def _named(names: Any, step: str, otherwise: str) -> str:
    return str(names.get(step, otherwise)) if isinstance(names, Mapping) else otherwise


def _asset(place: str) -> Asset:
    return Asset(name=place.replace("/", "."), uri=f"ropewalk://{quote(place)}", group="ropewalk")


class Finished(BaseOperator):
    """The last task of a workflow that has several ends: says that all of it has run."""

    def __init__(self, *, workflow: Workflow, **more: Any) -> None:
        super().__init__(**more)
        self.workflow = workflow

    def execute(self, context: Any) -> None:
        """Tell what the run has covered."""
        from ropewalk_airflow.operator import covered

        tell_finished(context, self.workflow, covered(self.workflow, context))


def tell_finished(context: Any, workflow: Workflow, covered: Sequence[Partition]) -> None:
    """Leave with the workflow's asset which ranges of time the run has covered."""
    if workflow.header.partition is not None:
        extra = context["outlet_events"][finished(workflow.name)].extra
        extra[RANGES] = [[start.isoformat(), end.isoformat()] for start, end in _ranges(covered)]


def tell_published(context: Any, step: Step, report: Report) -> None:
    """Leave with each table's asset how many rows were published, and its name in OpenLineage."""
    assets = published(step)
    for target in report.published:
        if target.step in assets:
            namespace, name = outside(target.target)
            context["outlet_events"][assets[target.step]].extra.update(
                rows=target.rows, openlineage={"namespace": namespace, "name": name}
            )


def followed(workflow: Workflow, context: Any) -> list[Partition]:
    """The partitions of what a run follows, in order; none where it follows nothing that has any."""
    if not isinstance(workflow.header.schedule, After) or workflow.header.partition is None:
        return []
    ranges = list(_told(context))
    found = {one.start: one for start, end in ranges for one in touched(workflow, start, end)}
    if ranges and not found:
        told = ", ".join(f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}" for start, end in ranges)
        raise AirflowSkipException(f"{workflow.name} has no day of what it follows: {told} (UTC)")
    return [found[start] for start in sorted(found)]


def _told(context: Any) -> Iterator[tuple[datetime, datetime]]:
    """The ranges of the events that a run follows."""
    for events in context["triggering_asset_events"].values():
        for event in events:
            for start, end in event.extra.get(RANGES, ()):
                yield datetime.fromisoformat(start), datetime.fromisoformat(end)


def _ranges(covered: Sequence[Partition]) -> list[tuple[datetime, datetime]]:
    """The ranges of time that some partitions are, those that touch as one."""
    found: list[tuple[datetime, datetime]] = []
    for one in covered:
        if found and found[-1][1] == one.start:
            found[-1] = (found[-1][0], one.end)
        else:
            found.append((one.start, one.end))
    return found
