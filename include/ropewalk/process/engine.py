"""Doing a process task: enter the inputs, compile, call what is Python, count what is dropped, pass the rows on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import ColumnSource
from ropewalk.kernel.task import Task
from ropewalk.process.audit import Audit, audited
from ropewalk.process.binding import running
from ropewalk.process.chain import STEADY, Call, Chain, Used, compiled, enter
from ropewalk.process.passing import Pass
from ropewalk.process.relations import Relation, Relations
from ropewalk.process.steady import ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb
    import pyarrow as pa

    from ropewalk.kernel.datasets import Dataset


@dataclass(frozen=True)
class Compiled:
    """A step's chain and checks, compiled for inputs of certain columns."""

    relations: Relations
    chain: Chain
    result: Relation
    audit: Audit


class Engine:
    """Does process tasks on one connection; those of the same columns and options share what is compiled."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._compiled: dict[Any, Compiled] = {}
        self._entered: dict[str, tuple[Dataset, pa.Table]] = {}

    def process(self, task: Task) -> None:
        """Do a task; all that a user can have written wrongly is refused before a row is read."""
        tables = self._enter(task.inputs)
        self._connection.begin()  # so that now() is one moment, however many queries there are
        try:
            self._process(task, tables)
        finally:
            self._connection.rollback()  # nothing of it is kept

    def _enter(self, inputs: Mapping[str, Dataset]) -> dict[str, pa.Table]:
        """Let queries read the inputs; one that was the task's before, too, stays as it is."""
        for name in self._entered.keys() - inputs.keys():
            self._connection.unregister(name)
            del self._entered[name]
        for name, dataset in inputs.items():
            if name not in self._entered or self._entered[name][0] is not dataset:
                table = dataset.table()
                self._connection.register(name, table)
                self._entered[name] = dataset, table
        return {name: self._entered[name][1] for name in inputs}

    def _process(self, task: Task, tables: Mapping[str, pa.Table]) -> None:
        compiled = self._of(task, tables)
        relations, result = compiled.relations, compiled.result
        _lineage(task, result)
        for call in compiled.chain.calls:
            _call(task, relations, call)
        task.accounts(result.cardinality, result.root)
        _drop(task, compiled.chain, _Counts(task, relations), result)
        Pass(task, relations, compiled.audit).run()

    def _of(self, task: Task, tables: Mapping[str, pa.Table]) -> Compiled:
        """The task's chain over its own inputs: compiled, or found among those before it."""
        uses = [task.use("transform", index) for index in range(len(task.request.do))]
        checks = task.check_uses()
        shape = _shape(tables, [*uses, *checks])
        known = self._compiled.get(shape)
        if known is None:
            self._compiled[shape] = known = self._compile(task, tables, uses, checks)
        else:
            known.relations.bind(task.values)
        return known

    def _compile(
        self, task: Task, tables: Mapping[str, pa.Table], uses: list[Used], checks: list[Used]
    ) -> Compiled:
        relations = Relations(self._connection, task.values, task.request.origin)
        for name, table in tables.items():
            enter(relations, name, table)
        chain = compiled(relations, uses)
        result = chain.result  # before the checks, which make themselves what is at hand
        audit = audited(relations, result, checks, task.request.step)
        relations.settled = True
        return Compiled(relations, chain, result, audit)


def _shape(tables: Mapping[str, pa.Table], uses: list[Used]) -> Any:
    """What a compiled chain depends on, but for the values that are bound in its SQL."""
    small = sum(table.num_rows for table in tables.values()) <= ROWS
    columns = tuple((name, table.schema) for name, table in tables.items())
    return columns, tuple((plugin.name, repr(options)) for plugin, options in uses), small


def _lineage(task: Task, result: Relation) -> None:
    columns = {
        column: [ColumnSource(dataset=name, column=of) for name, of in sorted(sources)]
        for column, sources in result.sources.items()
    }
    task.column_lineage(columns)


def _call(task: Task, relations: Relations, call: Call) -> None:
    if not task.settings.python_transforms:
        raise ConfigError(
            "this stage does not run python transforms",
            code="python_forbidden",
            hint="set ROPEWALK_PYTHON_TRANSFORMS=true for it, or use sql",
        )
    relations.at(call.place)
    text, parameters = relations.statement(call.query)
    with running():
        table = relations.connection.sql(text, params=parameters).to_arrow_table()
    made = call.made.function(table, call.schema)
    task.info(f"{call.name}: {table.num_rows} rows in, {made.num_rows} out")
    relations.connection.register(call.name, made)


class _Counts:
    """How many rows a relation has: known of the inputs, asked of the others, each once."""

    def __init__(self, task: Task, relations: Relations) -> None:
        self.relations = relations
        self.known = {name: dataset.rows for name, dataset in task.inputs.items()}

    def of(self, query: exp.Query) -> int:
        """The rows of a query."""
        text, parameters = self.relations.statement(query)
        counted = f"SELECT count(*) FROM ({text}) AS counted"  # noqa: S608 - compiled by us
        with running():
            rows = self.relations.connection.execute(counted, parameters).fetchall()
        return int(rows[0][0])

    def relation(self, relation: Relation) -> int:
        """The rows of a relation."""
        if relation.name not in self.known:
            self.known[relation.name] = self.of(relation.everything)
        return self.known[relation.name]


def _drop(task: Task, chain: Chain, counts: _Counts, result: Relation) -> None:
    """Account for what each transform drops, and of which input: on the way to the result, or beside it."""
    for number, dropping in enumerate(chain.droppings):
        before = dropping.before
        rows = counts.relation(before) - counts.of(dropping.kept)
        on_the_way = number in result.drops or before.root != result.root
        of = before.root if before.cardinality in STEADY and on_the_way else None
        task.drop(dropping.rule, rows, of)
