"""The timetable of a workflow: the run of a day covers that day, by the workflow's own calendar."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from pendulum import DateTime


class WorkflowTimetable(CronDataIntervalTimetable):
    """Data intervals by a cron expression; a bound that is a bare date means that date in the workflow's zone.

    ``airflow backfill create --from-date 2013-01-01 --to-date 2013-01-31`` reads its dates as midnights in
    UTC. Airflow gives such bounds their local meaning for partitioned timetables; for a zone west of UTC it
    would otherwise leave out the last day here, and for one east of it the first.

    ``end`` is the last moment at which an interval may begin. It stands here and not on the DAG, since Airflow
    makes no tasks for a run by hand that comes after a DAG's end.
    """

    def __init__(self, cron: str, timezone: Any, end: DateTime | None = None) -> None:
        super().__init__(cron, timezone)
        self._end = end

    def serialize(self) -> dict[str, Any]:
        """The timetable as the scheduler makes it again."""
        return {**super().serialize(), "end": self._end.isoformat() if self._end else None}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> WorkflowTimetable:
        """The timetable of what `serialize` gave."""
        end = pendulum.parse(data["end"]) if data.get("end") else None
        zone = CronDataIntervalTimetable.deserialize(data)._timezone  # type: ignore[attr-defined]  # noqa: SLF001
        return cls(data["expression"], zone, end if isinstance(end, DateTime) else None)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next run within the bounds."""
        local = replace_bounds(restriction, self._timezone)
        if self._end is not None:
            latest = min(local.latest, self._end) if local.latest else self._end
            local = local._replace(latest=latest)
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=local
        )

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """What a run triggered by hand covers: the interval that its date lies in, if that is over by now.

        Otherwise it is the last one that is over, as Airflow has it for every date.
        """
        start = self._align_to_prev(_local(run_after, self._timezone) or run_after)
        end = self._get_next(start)
        if end <= DateTime.utcnow():
            return DataInterval(start=start, end=end)
        return super().infer_manual_data_interval(run_after=run_after)


def replace_bounds(restriction: TimeRestriction, zone: Any) -> TimeRestriction:
    """The restriction with bare dates as midnights of the zone."""
    return TimeRestriction(
        earliest=_local(restriction.earliest, zone),
        latest=_local(restriction.latest, zone),
        catchup=restriction.catchup,
    )


def _local(moment: DateTime | None, zone: Any) -> DateTime | None:
    """A midnight in UTC as the same date's midnight in the zone; any other moment as it is."""
    if moment is None:
        return None
    read = moment.in_timezone("UTC")
    if (read.hour, read.minute, read.second, read.microsecond) != (0, 0, 0, 0):
        return moment
    return DateTime(read.year, read.month, read.day, tzinfo=zone).in_timezone("UTC")
