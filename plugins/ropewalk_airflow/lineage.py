"""A report in OpenLineage's terms: datasets, schema, column lineage, row counts, and what checks found."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ropewalk.contracts.models import Report

STORE = "ropewalk"  # the namespace of datasets between steps: ``workflow.step``


def lineage_of(report: Report, workflow: str) -> Any:
    """The datasets that a task read and wrote, with their facets."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset, schema_dataset

    inputs = [InputDataset(STORE, f"{workflow}.{name}") for name in report.rows.inputs]
    inputs += [InputDataset(*outside(name)) for name in report.lineage.reads]
    outputs = []
    for name, columns in report.columns.items():
        if name == "partitions":  # a batch's list of them
            continue
        fields = [
            schema_dataset.SchemaDatasetFacetFields(column.name, column.type) for column in columns
        ]
        facets: dict[str, Any] = {"schema": schema_dataset.SchemaDatasetFacet(fields=fields)}
        if name == "data":
            facets |= _columns(report, workflow) | _checks(report)
        size = report.outputs.get(name)
        rows = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=size.rows if size else report.rows.out, size=size.bytes if size else None
        )
        suffix = "" if name == "data" else f".{name}"
        outputs.append(
            OutputDataset(
                STORE,
                f"{workflow}.{report.step}{suffix}",
                facets=facets,
                outputFacets={"outputStatistics": rows},
            )
        )
    outputs += [
        OutputDataset(
            *outside(target.target), outputFacets={"outputStatistics": _rows(target.rows)}
        )
        for target in report.published
    ]
    return OperatorLineage(inputs=inputs, outputs=outputs)


def nothing() -> Any:
    """What OpenLineage is told of a task that has left no report."""
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage()


def outside(name: str) -> tuple[str, str]:
    """OpenLineage's namespace and name of an outside dataset: ``postgres://host:port`` and ``db.schema.table``.

    A file that lies in a root itself, as ``data://days.csv``, has no folder to be named by.
    """
    parts = urlsplit(name)
    if not parts.path:
        return f"{parts.scheme}://", parts.netloc
    return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/") or "/"


def _rows(count: int) -> Any:
    from openlineage.client.facet_v2 import output_statistics_output_dataset

    return output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=count)


def _columns(report: Report, workflow: str) -> dict[str, Any]:
    """Column-level lineage, as it was derived from the SQL."""
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage

    fields = {
        column: lineage.Fields(
            inputFields=[
                lineage.InputField(STORE, f"{workflow}.{source.dataset}", source.column)
                for source in sources
            ]
        )
        for column, sources in report.lineage.columns.items()
        if sources
    }
    return {"columnLineage": lineage.ColumnLineageDatasetFacet(fields=fields)} if fields else {}


def _checks(report: Report) -> dict[str, Any]:
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

    found = [
        quality.Assertion(
            assertion=check.check,
            success=check.status == "passed",
            column=check.columns[0] if len(check.columns) == 1 else None,
        )
        for check in report.checks
    ]
    return (
        {"dataQualityAssertions": quality.DataQualityAssertionsDatasetFacet(assertions=found)}
        if found
        else {}
    )
