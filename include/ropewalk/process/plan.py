"""The plan of a process step, for people to read: the SQL that its chain of transforms compiles to.

It is compiled as the stage does it, over tables without rows. An input of which not all columns are known has those
that are, and those that the step names; one whose type is not known is of no type, and whatever is made of it neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.errors import SqlglotError

from ropewalk.contracts.columns import fold
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import ColumnSource, TaskRequest
from ropewalk.contracts.plan import Given, Plan, PlannedCheck, PlannedColumn, PlannedQuery
from ropewalk.contracts.plugins import plugin
from ropewalk.contracts.template import render_options
from ropewalk.kernel.duck import duck_for_plans
from ropewalk.process.audit import audited
from ropewalk.process.chain import Call, Used, compiled, enter, output
from ropewalk.process.lineage import trace
from ropewalk.process.names import Known, Names
from ropewalk.process.relations import DIALECT, Relation, Relations
from ropewalk.process.types import OUT, UNTYPED

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SHORT = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
OTHERS = "… of "
"""How the name of a column begins that stands for all columns of an input that are not known."""


@dataclass(frozen=True)
class _Uses:
    """The transforms and the checks of a step, with their options."""

    do: list[Used]
    checks: list[Used]


def plan(request: TaskRequest, inputs: Mapping[str, Given]) -> Plan:
    """The queries of a task over inputs of which so much is known; ConfigError where it is wrong for certain."""
    open_ones = [name for name, given in inputs.items() if not given.whole]
    uses = _Uses(
        [_used(request, "transform", index) for index in range(len(request.do))],
        [_used(request, "check", index) for index in range(len(request.checks))],
    )
    with duck_for_plans() as connection:
        for assumed in ([], open_ones) if open_ones else ([],):
            known = {
                name: given if given.whole or name in assumed else _with_others(name, given)
                for name, given in inputs.items()
            }
            try:
                found = _told(request, uses, known, connection)
            except ConfigError as error:
                if not open_ones and _all_typed(inputs):
                    raise
                why = f"it depends on what is known when it runs: {error.detail}"
                continue
            if not any(OTHERS in query.sql for query in found.queries):
                return found.model_copy(update={"assumed": assumed})
            why = "it lists all columns of an input, which are known when it runs"
    return Plan(untold=why, whole=False)


def _with_others(name: str, given: Given) -> Given:
    return Given(types={**given.types, OTHERS + name: None}, whole=False)


def _all_typed(inputs: Mapping[str, Given]) -> bool:
    return all(kind is not None for given in inputs.values() for kind in given.types.values())


def _told(
    request: TaskRequest,
    uses: _Uses,
    inputs: Mapping[str, Given],
    connection: duckdb.DuckDBPyConnection,
) -> Plan:
    """The plan, where the inputs have what is known of them and what the step names."""
    known = dict(inputs)
    while True:
        try:
            return _compiled(_Relations(connection, request, known), uses, request.step)
        except _NamedError as named:
            given = known[named.root]
            types = {**given.types, named.column: None}
            known[named.root] = given.model_copy(update={"types": types})


class _NamedError(Exception):
    """The step names a column of an input that may have it."""

    def __init__(self, root: str, column: str) -> None:
        super().__init__(root, column)
        self.root, self.column = root, column


class _Relations(Relations):
    """Relations some of whose columns, or their types, are known only when it runs."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        request: TaskRequest,
        inputs: Mapping[str, Given],
    ) -> None:
        super().__init__(connection, request.values, request.origin)
        self.open = {name for name, given in inputs.items() if not given.whole}
        self.listed = {name: {*map(fold, given.types)} for name, given in inputs.items()}
        for name, given in inputs.items():
            enter(self, name, _table(given, connection, name))

    def missed(self, whose: Iterable[str], column: str) -> None:
        """Have a column that the one open input among those may have."""
        known = self.known()
        open_ones = [known[who] for who in whose if who in known and known[who].name in self.open]
        roots = {root for one in open_ones for root in _roots(one)}
        if len(roots) == 1 and fold(column) not in self.listed[min(roots)]:
            raise _NamedError(roots.pop(), column)

    def define(self, name: str, query: exp.Query) -> None:
        """Name a query; what has all columns of an open relation is open too."""
        super().define(name, query)
        readable = {
            one.name: Known(one.label, None if one.name in self.open else tuple(one.columns))
            for one in self.known().values()
        }
        read = {table.name for table in query.find_all(exp.Table)}
        if read & self.open and Names(query, readable).given is None:
            self.open.add(name)

    def keep(self, relation: Relation) -> None:
        """The relation, without the types of what is made of columns that have none."""
        query = self.ctes.get(relation.name)  # what a function makes has the types that it promises
        super().keep(relation if query is None else self._doubted(relation, query))

    def _doubted(self, relation: Relation, query: exp.Query) -> Relation:
        marked = {
            one.name: replace(
                one,
                sources={
                    column: frozenset({(one.name, column)} if UNTYPED in kind else ())
                    for column, kind in one.columns.items()
                },
            )
            for one in self.known().values()
        }
        untyped = trace(query, marked, list(relation.columns))
        columns = {
            column: UNTYPED if untyped[column] else kind
            for column, kind in relation.columns.items()
        }
        return replace(relation, columns=columns)


def _roots(relation: Relation) -> set[str]:
    """The inputs that a relation's columns come from."""
    return {name for sources in relation.sources.values() for name, _ in sources}


def _table(given: Given, connection: duckdb.DuckDBPyConnection, name: str) -> pa.Table:
    """A table of these columns, without rows."""
    if not given.types:
        raise ConfigError(f"no column of {name} is known")
    made = [exp.alias_(_null(kind), column, quoted=True) for column, kind in given.types.items()]
    return connection.sql(exp.select(*made).limit(0).sql(DIALECT)).to_arrow_table()


def _null(kind: str | None) -> exp.Expr:
    try:
        return exp.null() if kind is None else exp.cast(exp.null(), kind, dialect=DIALECT)
    except SqlglotError:  # a type of DuckDB's that the parser does not know
        return exp.null()


def _compiled(relations: _Relations, uses: _Uses, step: str) -> Plan:
    chain = compiled(relations, uses.do)
    result = chain.result
    whole = result.name not in relations.open
    queries = [_called(relations, call) for call in chain.calls]
    queries.append(_query(relations, output(result) if whole else result.everything))
    asked = audited(relations, result, uses.checks, step).asked
    return Plan(
        queries=queries,
        columns=list(_columns(result)),
        whole=whole,
        checks=[
            PlannedCheck(check=one.name, on_fail=one.on_fail, claim=one.check.claim)
            for one in asked
        ],
    )


def _columns(result: Relation) -> Iterator[PlannedColumn]:
    for name, kind in result.columns.items():
        if name.startswith(OTHERS):
            continue
        sources = sorted(result.sources.get(name, ()))
        yield PlannedColumn(
            name=name,
            type=None if UNTYPED in kind else OUT.get(kind, kind).replace(*SHORT),
            sources=[ColumnSource(dataset=of, column=column) for of, column in sources],
        )


def _called(relations: Relations, call: Call) -> PlannedQuery:
    returns = {field.name: str(field.type) for field in call.schema}
    update = {"name": call.name, "function": call.plugin, "returns": returns}
    return _query(relations, call.query).model_copy(update=update)


def _query(relations: Relations, query: exp.Query) -> PlannedQuery:
    _, parameters = relations.statement(query)
    return PlannedQuery(sql=relations.whole(query).sql(DIALECT, pretty=True), parameters=parameters)


def _used(request: TaskRequest, kind: str, index: int) -> Used:
    use = (request.do if kind == "transform" else request.checks)[index]
    found = plugin(kind, use.plugin)
    mapping = found.mapping(use.options)
    return found, found.parse(render_options(found.options, mapping, request.values))
