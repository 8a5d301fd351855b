"""What OpenLineage is told of a report."""

from __future__ import annotations

from datetime import UTC, datetime

from ropewalk.contracts.models import (
    CheckResult,
    Column,
    ColumnSource,
    DatasetRef,
    Lineage,
    Published,
    Report,
    RowCounts,
)
from ropewalk_airflow.lineage import lineage_of

NOW = datetime(2013, 1, 1, tzinfo=UTC)
REPORT = Report(
    key="a" * 64,
    workflow="flights",
    step="by_carrier",
    stage="process",
    plugins=["sql"],
    run="run",
    outputs={"data": DatasetRef(id="a/data", fingerprint="f", rows=16, bytes=512)},
    columns={"data": [Column(name="mean", type="double")]},
    rows=RowCounts(inputs={"departures": 842}, out=16),
    checks=[
        CheckResult(check="not_null", columns=["mean"], status="passed"),
        CheckResult(check="between", columns=["mean"], status="quarantined", failed=1),
    ],
    lineage=Lineage(
        reads=["postgres://db:5432/fleet.public.planes"],
        columns={"mean": [ColumnSource(dataset="departures", column="dep_delay")]},
    ),
    published=[
        Published(step="x", target="postgres://db:5432/ropewalk.f.t", mode="append", rows=3)
    ],
    started=NOW,
    ended=NOW,
)


def test_datasets_inside_and_outside_have_one_name_each() -> None:
    found = lineage_of(REPORT, "flights")
    assert [(one.namespace, one.name) for one in found.inputs] == [
        ("ropewalk", "flights.departures"),
        ("postgres://db:5432", "fleet.public.planes"),
    ]
    assert [(one.namespace, one.name) for one in found.outputs] == [
        ("ropewalk", "flights.by_carrier"),
        ("postgres://db:5432", "ropewalk.f.t"),
    ]


def test_an_output_tells_its_columns_rows_checks_and_where_each_column_comes_from() -> None:
    output = lineage_of(REPORT, "flights").outputs[0]
    assert output.outputFacets["outputStatistics"].rowCount == 16
    assert [(one.name, one.type) for one in output.facets["schema"].fields] == [("mean", "double")]
    (source,) = output.facets["columnLineage"].fields["mean"].inputFields
    assert (source.namespace, source.name, source.field) == (
        "ropewalk", "flights.departures", "dep_delay",
    )  # fmt: skip
    assert [(one.assertion, one.success) for one in output.facets["dataQualityAssertions"].assertions] == [
        ("not_null", True),
        ("between", False),
    ]  # fmt: skip
