"""Doing a process task: enter the inputs, compile, call what is Python, count what is dropped, pass the rows on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import ColumnSource
from ropewalk.kernel.task import Task
from ropewalk.process.audit import audited
from ropewalk.process.binding import running
from ropewalk.process.chain import STEADY, Call, Chain, compiled, enter
from ropewalk.process.passing import Pass
from ropewalk.process.relations import Relation, Relations

if TYPE_CHECKING:
    import duckdb


def process(task: Task, connection: duckdb.DuckDBPyConnection) -> None:
    """Do the task; all that a user can have written wrongly is refused before a row is read."""
    connection.begin()  # so that now() is one moment, however many queries there are
    relations = Relations(connection, task.values, task.request.origin)
    for name, dataset in task.inputs.items():
        enter(relations, name, dataset.table())
    uses = [task.use("transform", index) for index in range(len(task.request.do))]
    chain = compiled(relations, uses)
    result = chain.result
    audit = audited(relations, result, task.check_uses(), task.request.step)
    _lineage(task, result)
    for call in chain.calls:
        _call(task, relations, call)
    task.accounts(result.cardinality, result.root)
    _drop(task, chain, _Counts(task, relations), result)
    Pass(task, relations, audit).run()


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
    made = call.made.function(table)
    task.info(f"{call.name}: {table.num_rows} rows in, {made.num_rows} out")
    relations.connection.register(call.name, made)


class _Counts:
    """How many rows a relation has: known of the inputs, asked of the others, each once."""

    def __init__(self, task: Task, relations: Relations) -> None:
        self.relations = relations
        self.known = {name: dataset.rows for name, dataset in task.inputs.items()}

    def of(self, query: exp.Query) -> int:
        """The rows of a query."""
        counted = exp.select(exp.Count(this=exp.Star())).from_(query.subquery("counted"))
        text, parameters = self.relations.statement(counted)
        with running():
            rows = self.relations.connection.execute(text, parameters).fetchall()
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
