"""What a workflow tells those that run after it, and which partitions such a run covers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import (
    AssetEventDagRunReference,
    AssetReferenceAssetEventDagRun,
)
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult
from airflow.sdk.execution_time.context import OutletEventAccessors, TriggeringAssetEventsAccessor
from ropewalk.workflow import Workflow, loads
from ropewalk_airflow.assets import finished, followed, published, tell_finished
from ropewalk_airflow.dag import workflow_dag
from ropewalk_airflow.operator import batch_for, covered, partition_for

NOW = datetime(2026, 11, 27, 22, tzinfo=UTC)


def workflow(name: str = "other", **head: str) -> Workflow:
    """A workflow of two days' steps, each with a table of its own."""
    text = "".join(f"{key}: {value}\n" for key, value in head.items())
    return loads(
        text + "steps:\n"
        '  a: {collect: sql, with: {connection: fleet, query: "SELECT 1 AS n"}}\n'
        '  b: {collect: sql, with: {connection: fleet, query: "SELECT 2 AS n"}}\n'
        "  here: {store: postgres, from: a, with: {schema: s}}\n"
        "  there: {store: files, from: b, with: {path: 'data://kept/by us'}}\n",
        Path(f"{name}.yaml"),
    )


FIRST = workflow("first", partition="day", timezone="America/New_York", start="2013-01-01")
THEN = {"schedule": "{after: [first]}", "timezone": "America/New_York", "start": "2013-01-02"}


def context(events: list[dict[str, Any]], conf: dict[str, Any] | None = None) -> dict[str, Any]:
    """What Airflow tells a task of a run that such events have begun."""
    run = SimpleNamespace(
        run_id="run",
        run_type="asset_triggered",
        conf=conf or {},
        data_interval_start=None,
        logical_date=None,
        run_after=NOW,
    )
    return {
        "dag_run": run,
        "outlet_events": OutletEventAccessors(),
        "triggering_asset_events": TriggeringAssetEventsAccessor.build(event(e) for e in events),
    }


def event(extra: dict[str, Any]) -> AssetEventDagRunReferenceResult:
    """An event of the first workflow, as Airflow hands it on."""
    asset = finished("first")
    return AssetEventDagRunReferenceResult.from_asset_event_dag_run_reference(
        AssetEventDagRunReference(
            asset=AssetReferenceAssetEventDagRun(name=asset.name, uri=asset.uri, extra={}),
            extra=extra, source_dag_id="first", source_run_id="r", source_task_id="t",
            source_map_index=-1, source_aliases=[], timestamp=NOW,
        )
    )  # fmt: skip


def ran(*days: str) -> dict[str, Any]:
    """What the event of a run of the first workflow tells, that has covered these days."""
    found: dict[str, Any] = {}
    for day in days:
        end = day.split(":")[-1]
        conf = {"date": day.split(":")[0], "to": end}
        given = context([], conf)
        tell_finished(given, FIRST, covered(FIRST, given))
        told = given["outlet_events"][finished("first")].extra
        found["ranges"] = found.get("ranges", []) + told["ranges"]
    return found


@pytest.mark.parametrize(
    ("grain", "events", "names"),
    [
        ("day", [ran("2013-01-05")], ["2013-01-05"]),
        ("day", [ran("2013-01-05:2013-01-06")], ["2013-01-05", "2013-01-06"]),
        # days that were merged into one run: in order, each once, and none between them
        ("day", [ran("2013-01-09"), ran("2013-01-05"), ran("2013-01-09")], ["2013-01-05", "2013-01-09"]),
        ("day", [ran("2013-01-01:2013-01-02")], ["2013-01-02"]),  # none before its start
        ("week", [ran("2013-01-09"), ran("2013-01-10")], ["2013-W02"]),
        ("month", [ran("2013-02-28:2013-03-01")], ["2013-02", "2013-03"]),
        ("day", [{}], ["2026-11-27"]),  # an event by hand tells none: the day of the moment
    ],
)  # fmt: skip
def test_a_run_covers_what_those_that_it_follows_have_covered(
    grain: str, events: list[dict[str, Any]], names: list[str]
) -> None:
    found = covered(workflow(partition=grain, **THEN), context(events))
    assert [one.name for one in found] == names


def test_hours_follow_a_day_of_another_place() -> None:
    head = {**THEN, "timezone": "UTC"}
    found = covered(workflow(partition="hour", **head), context([ran("2013-03-10")]))
    assert len(found) == 23  # the clocks of New York went forward
    assert found[0].start == datetime(2013, 3, 10, 5, tzinfo=UTC)


def test_a_run_whose_form_names_a_day_does_that_one() -> None:
    then = workflow(partition="day", **THEN)
    given = context([ran("2013-01-05:2013-01-06")], {"date": "2013-01-20"})
    assert batch_for(then, given) == []
    alone = partition_for(then, given)
    assert alone is not None
    assert alone.name == "2013-01-20"


def test_a_run_that_follows_no_day_of_its_own_is_skipped() -> None:
    with pytest.raises(
        AirflowSkipException, match="has no day of what it follows: 2013-01-01 05:00"
    ):
        covered(workflow(partition="day", **THEN), context([ran("2013-01-01")]))


def test_a_workflow_without_partitions_tells_and_asks_nothing() -> None:
    whole = workflow(schedule="{after: [first]}")
    given = context([ran("2013-01-05")])
    assert followed(whole, given) == []
    tell_finished(given, whole, covered(whole, given))
    assert finished("other") not in list(given["outlet_events"])


def test_days_that_touch_are_one_range() -> None:
    (told,) = ran("2013-01-05:2013-03-05")["ranges"]
    assert told == ["2013-01-05T05:00:00+00:00", "2013-03-06T05:00:00+00:00"]


def test_a_workflow_of_several_ends_tells_at_the_last() -> None:
    dag = workflow_dag(FIRST)
    assert dag.get_task("done").upstream_task_ids == {"here", "there"}
    given = context([], {"date": "2013-01-05"})
    last: Any = dag.get_task("done")
    last.execute(given)
    assert given["outlet_events"][finished("first")].extra == ran("2013-01-05")
    assert last.outlets == [finished("first")]


def test_a_table_is_named_by_its_own_connection_and_a_folder_by_its_place() -> None:
    steps = FIRST.steps
    assert [one.uri for one in published(steps["here"]).values()] == ["ropewalk://results/s/a"]
    assert [one.uri for one in published(steps["there"]).values()] == [
        "ropewalk://data/kept/by%20us/b"
    ]
    two = loads(
        'steps:\n  a: {collect: sql, with: {connection: fleet, query: "SELECT 1 AS n"}}\n'
        "  out: {store: postgres, from: a, with: {schema: s, mode: replace, connections: {a: far}, tables: {a: t}}}\n",
        Path("two.yaml"),
    )
    assert {name: one.uri for name, one in published(two.steps["out"]).items()} == {
        "a": "ropewalk://far/s/t"
    }
