"""The conformance suite of transforms: inherit it, name the plugin, give it rows and what it makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import DatasetRef, Origin, Report, RunInfo, Scalar, TaskRequest, Use
from ropewalk.contracts.plan import Given, Plan
from ropewalk.contracts.plugins import KINDS, plugin
from ropewalk.kernel.perform import open_store, perform
from ropewalk.kernel.settings import Settings
from ropewalk.kernel.stage import load

if TYPE_CHECKING:
    import pyarrow as pa

Step = tuple[str, Any]
"""A plugin's name and its options, as in a workflow file."""


class ProcessBench:
    """A dataset store in a folder and the process stage over it, in this process."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        url = (folder / "store").as_uri()
        self.settings = Settings(store_url=url, scratch_dir=folder / "scratch", **settings)
        self.store = open_store(self.settings)
        self.count = 0

    def dataset(self, table: pa.Table) -> DatasetRef:
        """A committed dataset with these rows."""
        self.count += 1
        key = hashlib.sha256(str(self.count).encode()).hexdigest()
        draft, now = self.store.draft(key), datetime.now(UTC)
        draft.writer("data", table.schema).write(table)
        outputs = draft.finish()
        report = Report(
            key=key, workflow="w", step="made", stage="collect", plugins=[], run="r", outputs=outputs,
            started=now, ended=now,
        )  # fmt: skip
        draft.commit(report, before=lambda: None)
        return outputs["data"]

    def request(
        self,
        do: Sequence[Step],
        inputs: Mapping[str, pa.Table],
        *,
        checks: Sequence[Step] = (),
        values: Mapping[str, Scalar] | None = None,
        origin: Origin | None = None,
        max_quarantined: str | None = None,
    ) -> TaskRequest:
        """What a workflow would ask of the step ``made``."""
        return TaskRequest(
            workflow="w",
            step="made",
            stage="process",
            do=[_use("transform", step) for step in do],
            checks=[_use("check", step) for step in checks],
            inputs={name: self.dataset(table) for name, table in inputs.items()},
            values=dict(values or {}),
            origin=origin,
            max_quarantined=max_quarantined,
            run=RunInfo(id="r"),
        )

    def run(self, do: Sequence[Step], inputs: Mapping[str, pa.Table], **more: Any) -> Report:
        """The report of a step that does this."""
        request = self.request(do, inputs, **more)
        stage = load("ropewalk.process.stage")
        return perform(stage, request, store=self.store, settings=self.settings)

    def table(self, report: Report, output: str = "data") -> pa.Table:
        """An output's rows."""
        return self.store.dataset(report.outputs[output]).table()

    def rows(self, report: Report, output: str = "data") -> list[dict[str, Any]]:
        """An output's rows, in an order of their own."""
        return in_order(self.table(report, output).to_pylist())


class TransformSuite:
    """What every transform keeps. ``rows`` are the input's, ``made`` the output's, in any order.

    ``bad`` are options that name a column which does not exist, and ``error`` what is said of them.
    """

    name: ClassVar[str]
    options: ClassVar[Any]
    rows: ClassVar[list[dict[str, Any]]]
    made: ClassVar[list[dict[str, Any]]]
    others: ClassVar[dict[str, list[dict[str, Any]]]] = {}
    values: ClassVar[dict[str, Scalar]] = {}
    dropped: ClassVar[int] = 0
    bad: ClassVar[Any] = None
    error: ClassVar[str] = ""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> ProcessBench:
        """The stage, with a store of its own."""
        return ProcessBench(tmp_path)

    def inputs(self, rows: list[dict[str, Any]]) -> dict[str, pa.Table]:
        """The step's inputs."""
        return tables({"rows": rows} | self.others)

    def test_it_makes_what_it_says(self, bench: ProcessBench) -> None:
        """The rows are those expected."""
        report = bench.run([(self.name, self.options)], self.inputs(self.rows), values=self.values)
        assert bench.rows(report) == in_order(self.made)

    def test_every_dropped_row_is_accounted_for(self, bench: ProcessBench) -> None:
        """What is dropped is counted under the transform's name."""
        report = bench.run([(self.name, self.options)], self.inputs(self.rows), values=self.values)
        assert sum(report.rows.dropped.values()) == self.dropped
        assert set(report.rows.dropped) <= {self.name}
        assert report.rows.inputs["rows"] == len(self.rows)
        assert not report.rows.unexplained

    def test_the_order_of_the_rows_does_not_matter(self, bench: ProcessBench) -> None:
        """The same rows in another order give the same content."""
        do = [(self.name, self.options)]
        one = bench.run(do, self.inputs(self.rows), values=self.values)
        two = bench.run(do, self.inputs(self.rows[::-1]), values=self.values)
        assert one.output is not None
        assert two.output is not None
        assert one.output.fingerprint == two.output.fingerprint

    def test_no_rows_are_no_error(self, bench: ProcessBench) -> None:
        """An empty input gives the columns that a full one gives."""
        do = [(self.name, self.options)]
        full = bench.run(do, self.inputs(self.rows), values=self.values)
        inputs = self.inputs(self.rows)
        inputs["rows"] = inputs["rows"].slice(0, 0)
        empty = bench.run(do, inputs, values=self.values)
        assert empty.columns["data"] == full.columns["data"]

    def test_its_lineage_names_columns_that_exist(self, bench: ProcessBench) -> None:
        """Every output column has its sources, and they are the inputs' own."""
        inputs = self.inputs(self.rows)
        report = bench.run([(self.name, self.options)], inputs, values=self.values)
        assert list(report.lineage.columns) == [c.name for c in report.columns["data"]]
        for sources in report.lineage.columns.values():
            for source in sources:
                assert source.column in inputs[source.dataset].column_names

    @pytest.mark.parametrize("known", ["types", "names", "nothing"])
    def test_its_plan_does_what_it_does(self, bench: ProcessBench, known: str) -> None:
        """The query that people read gives the same rows, however much was known of the inputs."""
        inputs = self.inputs(self.rows)
        request = bench.request([(self.name, self.options)], inputs, values=self.values)
        given = {name: _given(table, known) for name, table in inputs.items()}
        plan: Plan = KINDS["transform"].compiled().planned(request, given)
        if len(plan.queries) > 1:
            pytest.skip("it is no query alone")
        if plan.untold is not None:
            assert known == "nothing"  # it lists all columns, and nobody knows them
            return
        assert run_plan(plan, inputs)[0] == in_order(self.made)

    def test_an_unknown_column_is_refused_with_the_nearest_name(self, bench: ProcessBench) -> None:
        """Before anything runs."""
        if self.bad is None:
            pytest.skip("it names no columns")
        with pytest.raises(ConfigError) as caught:
            bench.run([(self.name, self.bad)], self.inputs(self.rows), values=self.values)
        assert str(caught.value) == self.error

    def test_an_unknown_option_is_refused(self) -> None:
        """With the plugin's name."""
        found = plugin("transform", self.name)
        with pytest.raises(ConfigError, match=f"transform '{self.name}' has no option 'colour'"):
            found.parse({**found.mapping(self.options), "colour": 1})

    def test_it_says_what_it_is(self) -> None:
        """One line, and a schema of its options."""
        info = plugin("transform", self.name).info()
        assert info.description
        assert "of" in info.options["properties"]


def _given(table: pa.Table, known: str) -> Given:
    """What is known of a table's columns: with their types, by their names, or nothing of them."""
    import duckdb

    if known == "nothing":
        return Given(whole=False)
    with duckdb.connect() as connection:
        found = connection.from_arrow(table)
        types = dict(zip(found.columns, map(str, found.types), strict=True))
    return Given(types={name: kind if known == "types" else None for name, kind in types.items()})


def run_plan(
    plan: Plan, inputs: Mapping[str, pa.Table]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows of a plan's one query, in a DuckDB that knows nothing but the inputs, and its columns' types."""
    import duckdb

    (query,) = plan.queries
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in inputs.items():
            connection.register(name, table)
        made = connection.sql(query.sql, params=query.parameters)
        types = {
            name: str(kind).replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
            for name, kind in zip(made.columns, made.types, strict=True)
        }
        return in_order(made.to_arrow_table().to_pylist()), types


def in_order(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows in an order of their own, and their columns too."""
    return sorted((dict(sorted(row.items())) for row in rows), key=repr)


def tables(rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, pa.Table]:
    """Arrow tables of rows as Python has them."""
    import pyarrow as pa

    return {name: pa.Table.from_pylist(items) for name, items in rows.items()}


def _use(kind: str, step: Step) -> Use:
    found = plugin(kind, step[0])
    return Use(plugin=step[0], version=found.version, options=found.mapping(step[1]))
