"""Partitions: half-open ranges of time that begin and end by the workflow's own calendar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import Partition, Scalar
from ropewalk.workflow.model import Grain, Workflow

LAST = date.max - timedelta(days=2)  # after which there is no midnight in every zone
NAMES = {Grain.DAY: "%Y-%m-%d", Grain.WEEK: "%G-W%V", Grain.MONTH: "%Y-%m"}


def partition_of(workflow: Workflow, moment: datetime) -> Partition | None:
    """The partition that a moment lies in; of a workflow without, its whole range, or None where it has none."""
    grain = workflow.header.partition
    if grain is None:
        return whole(workflow)
    if grain is Grain.HOUR:
        start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        name = start.astimezone(workflow.zone).strftime("%Y-%m-%dT%H%z")
        return Partition(start=start, end=start + timedelta(hours=1), name=name)
    return _days(workflow, grain, moment.astimezone(workflow.zone).date())


def partition_on(workflow: Workflow, day: date) -> Partition | None:
    """The partition that a day of the workflow's calendar lies in (of hours: the day's first)."""
    return partition_of(workflow, midnight(workflow, day))


def partitions(workflow: Workflow, first: date, last: date) -> Iterator[Partition]:
    """The partitions of the days from ``first`` to ``last``, both included, in order."""
    if workflow.header.partition is None:
        raise ConfigError(
            f"{workflow.name} has no partitions", code="no_partition", hint="partition: day"
        )
    moment, end = midnight(workflow, first), midnight(workflow, min(last, LAST) + timedelta(days=1))
    while moment < end:
        found = partition_of(workflow, moment)
        if found is None:
            return
        yield found
        moment = found.end


def cut(found: Iterable[Partition], moments: object) -> Iterator[Partition]:
    """Those that lie between two ``moments``, where there are any.

    A run is asked for by days. A backfill by hours that goes on before and after a bad hour adds the moments.
    """
    if not isinstance(moments, list):
        yield from found
        return
    start, end = map(datetime.fromisoformat, moments)
    yield from (one for one in found if start <= one.start and one.end <= end)


def touched(workflow: Workflow, start: datetime, end: datetime) -> Iterator[Partition]:
    """The partitions that have a part of a range of time, in order, and begin within the workflow's days."""
    moment = start
    while moment < end:
        found = partition_of(workflow, moment)
        if found is None:
            return
        if covers(workflow, found):
            yield found
        moment = found.end


def span(batch: Sequence[Partition]) -> Partition:
    """The range from the first to the last of some partitions."""
    first, last = batch[0], batch[-1]
    return Partition(start=first.start, end=last.end, name=f"{first.name}_{last.name}")


def whole(workflow: Workflow) -> Partition | None:
    """All that lies between the workflow's start and its end, as one partition."""
    start, end = workflow.header.start, workflow.header.end
    if start is None or end is None:
        return None
    return Partition(
        start=midnight(workflow, start),
        end=midnight(workflow, end + timedelta(days=1)),
        name=f"{start}_{end}",
    )


def covers(workflow: Workflow, partition: Partition) -> bool:
    """Whether a partition begins within the workflow's days; one without a start or an end has no bound there."""
    day = partition.start.astimezone(workflow.zone).date()
    first, last = workflow.header.start, workflow.header.end
    return (first is None or first <= day) and (last is None or day <= last)


def midnight(workflow: Workflow, day: date) -> datetime:
    """The moment at which a day of the workflow's calendar begins, in UTC."""
    return datetime.combine(day, time(), workflow.zone).astimezone(UTC)


def values_of(workflow: Workflow, partition: Partition | None) -> dict[str, Scalar]:
    """What ``{{ partition.… }}`` means."""
    if partition is None:
        return {}
    local = partition.start.astimezone(workflow.zone)
    return {
        "partition.start": partition.start.astimezone(UTC).isoformat(),
        "partition.end": partition.end.astimezone(UTC).isoformat(),
        "partition.name": partition.name,
        "partition.date": local.date().isoformat(),
        "partition.month": local.strftime("%Y-%m"),
        "partition.year": local.strftime("%Y"),
    }


def _days(workflow: Workflow, grain: Grain, day: date) -> Partition:
    if grain is Grain.WEEK:
        day -= timedelta(days=day.weekday())
    elif grain is Grain.MONTH:
        day = day.replace(day=1)
    following = {
        Grain.DAY: day + timedelta(days=1),
        Grain.WEEK: day + timedelta(days=7),
        Grain.MONTH: (day.replace(day=28) + timedelta(days=4)).replace(day=1),
    }[grain]
    return Partition(
        start=midnight(workflow, day),
        end=midnight(workflow, following),
        name=day.strftime(NAMES[grain]),
    )
