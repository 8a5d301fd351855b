"""Column-level lineage: from which columns of the step's inputs each column of a query is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope
from sqlglot.schema import MappingSchema

from ropewalk.contracts.columns import fold
from ropewalk.process.relations import DIALECT, Relation, Source

NOTHING: frozenset[Source] = frozenset()


def trace(
    query: exp.Query, relations: Mapping[str, Relation], columns: Sequence[str]
) -> dict[str, frozenset[Source]]:
    """The sources of each output column; ``relations`` go by the names that the query selects from.

    Where sqlglot cannot tell, a column is taken to come from those of its name.
    """
    scope = _scope(query, relations)
    if scope is None or len(_selects(scope)) != len(columns):
        return {column: _namesakes(query, relations, column) for column in columns}
    tracer = _Tracer(scope, relations)
    return {column: tracer.output(scope, index) for index, column in enumerate(columns)}


def used(query: exp.Query, relations: Mapping[str, Relation], name: str) -> set[str]:
    """The columns of one relation that a query reads; all of them where sqlglot cannot tell."""
    relation, scope = relations[name], _scope(query, relations)
    if scope is None:
        return set(relation.columns)
    found: set[str] = set()
    for inner in scope.traverse():
        for column in inner.columns:
            source = inner.sources.get(column.table)
            if isinstance(source, exp.Table) and source.name == name:
                found |= {relation.find(column.name) or column.name} & set(relation.columns)
        if any(isinstance(star.parent, exp.Struct) for star in inner.find_all(exp.Star)):
            return set(relation.columns)
    return found


def _scope(query: exp.Query, relations: Mapping[str, Relation]) -> Scope | None:
    schema: dict[str, object] = {
        name: {fold(column): "unknown" for column in relation.columns}
        for name, relation in relations.items()
    }
    try:
        qualified = qualify(
            query.copy(),
            dialect=DIALECT,
            schema=MappingSchema(schema, dialect=DIALECT, normalize=False),  # names as they are
            validate_qualify_columns=False,
            quote_identifiers=False,
            identify=False,
        )
    except SqlglotError:
        return None
    return build_scope(qualified)


def _selects(scope: Scope) -> list[str]:
    """The names of a scope's output columns; none where it is no query (``unnest``)."""
    return scope.expression.named_selects if isinstance(scope.expression, exp.Query) else []


def _namesakes(
    query: exp.Query, relations: Mapping[str, Relation], column: str
) -> frozenset[Source]:
    tables = {table.name for table in query.find_all(exp.Table)} & relations.keys()
    found = (relations[table].sources.get(column, NOTHING) for table in tables)
    return NOTHING.union(*found)


class _Tracer:
    """Follows columns through the scopes of one qualified query, each once."""

    def __init__(self, root: Scope, relations: Mapping[str, Relation]) -> None:
        self.relations = relations
        self.known: dict[tuple[int, int], frozenset[Source]] = {}
        self.owners: dict[int, Scope] = {}
        for scope in root.traverse():
            for column in scope.columns:
                if column.table in scope.sources:
                    self.owners[id(column)] = scope

    def output(self, scope: Scope, index: int) -> frozenset[Source]:
        """The sources of a scope's output column."""
        key = (id(scope), index)
        if key not in self.known:
            self.known[key] = NOTHING  # a recursive query meets itself here
            self.known[key] = self._output(scope, index)
        return self.known[key]

    def _output(self, scope: Scope, index: int) -> frozenset[Source]:
        if scope.set_operation_scopes:
            return NOTHING.union(*(self.output(part, index) for part in scope.set_operation_scopes))
        if not isinstance(scope.expression, exp.Query):
            return self._made_from(scope.expression)
        selects = scope.expression.selects
        return self._made_from(selects[index]) if index < len(selects) else NOTHING

    def _made_from(self, expression: exp.Expr) -> frozenset[Source]:
        columns = expression.find_all(exp.Column)
        return NOTHING.union(*(self._column(column) for column in columns))

    def _column(self, column: exp.Column) -> frozenset[Source]:
        owner = self.owners.get(id(column))
        source = owner.sources[column.table] if owner else None
        if isinstance(source, exp.Table):
            return self._leaf(source, column.name)
        if source is None:
            return NOTHING
        names = _selects(source)
        return self.output(source, names.index(column.name) if column.name in names else 0)

    def _leaf(self, table: exp.Table, column: str) -> frozenset[Source]:
        relation = self.relations.get(table.name)
        own = relation.find(column) if relation else None
        return relation.sources.get(own, NOTHING) if relation and own else NOTHING
