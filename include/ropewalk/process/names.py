"""The columns that a query gives and those that it misses, told from its text: no engine, no rows.

What cannot be told for sure is let be: DuckDB has the last word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from ropewalk.contracts.columns import Columns, fold

ALWAYS = frozenset(
    {"all", "rowid", "current_catalog", "current_date", "current_role", "current_schema", "current_time"}
    | {"current_timestamp", "current_user", "localtime", "localtimestamp", "session_user", "user"}
    | {"excluded", "default"}
)  # fmt: skip
"""Words that are no columns, and look like them."""

SPREADING = (exp.Columns, exp.Explode, exp.Unnest, exp.Star, exp.Aliases, exp.Posexplode)


@dataclass(frozen=True)
class Known:
    """A relation that queries may name: what the user calls it, and its columns where they can be told."""

    label: str
    columns: Columns


@dataclass(frozen=True)
class Missing:
    """A name in a query that nothing there has; ``whose`` are those that could have had it."""

    node: exp.Expr
    whose: tuple[str, ...]
    valid: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """What a query selects from, under its name there."""

    name: str
    label: str
    columns: Columns


@dataclass
class Names:
    """A query over relations of which some have known columns."""

    query: exp.Query
    known: Mapping[str, Known]
    _given: dict[int, Columns] = field(default_factory=dict)
    _sources: dict[int, list[_Source]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.scopes = traverse_scope(self.query)
            for scope in self.scopes:
                self.sources(scope)
        except SqlglotError:  # two sources of one name, say
            self.scopes = []

    @property
    def given(self) -> Columns:
        """The columns of the result."""
        return self._of(self.scopes[-1]) if self.scopes else None

    def missing(self) -> Missing | None:
        """The first name in the text that nothing has."""
        found = [one for scope in self._read() for one in self._missing(scope)]
        return min(found, key=lambda one: one.node.meta.get("start", 0), default=None)

    # What a query gives

    def _of(self, scope: Scope) -> Columns:
        if id(scope) not in self._given:
            self._given[id(scope)] = None  # a recursive query meets itself here
            self._given[id(scope)] = self._told(scope)
        return self._given[id(scope)]

    def _told(self, scope: Scope) -> Columns:
        query = scope.expression
        if isinstance(query, exp.SetOperation):
            return self._set_operation(scope, query)
        if not isinstance(query, exp.Select):
            return None
        columns: list[str] = []
        for item in query.expressions:
            more = self._item(scope, item)
            if more is None:
                return None
            columns += more
        return tuple(columns)

    def _set_operation(self, scope: Scope, query: exp.SetOperation) -> Columns:
        parts = [self._of(part) for part in scope.set_operation_scopes]
        if not query.args.get("by_name"):
            return parts[0] if parts else None
        if len(parts) != 2 or None in parts:  # noqa: PLR2004 - a left side and a right one
            return None
        every = {fold(name): name for part in reversed(parts) for name in part or ()}
        order = dict.fromkeys(fold(name) for part in parts for name in part or ())
        return tuple(every[name] for name in order)

    def _item(self, scope: Scope, item: exp.Expr) -> Columns:
        """The columns that one expression of a SELECT makes; None where its name is DuckDB's own."""
        if isinstance(item, exp.Star):
            return _starred(item, self._everything(scope))
        if isinstance(item, exp.Column):
            if isinstance(item.this, exp.Star):
                source = self._source(scope, item.table)
                return _starred(item.this, source.columns if source else None)
            return (item.name,)
        if isinstance(item, exp.Alias) and not any(item.find_all(*SPREADING)):
            return (item.alias,)
        if isinstance(item, exp.Alias) and isinstance(item.this, exp.Count):
            return (item.alias,)
        return None

    def _everything(self, scope: Scope) -> Columns:
        """What ``*`` stands for: all columns of all sources, those that a join merges once."""
        joins = _joins(scope)
        columns: list[str] = []
        if not _is_whole(scope):
            return None
        for source in self.sources(scope):
            if source.columns is None:
                return None
            merged = _merged(joins.get(fold(source.name)), columns, source.columns)
            columns += [name for name in source.columns if fold(name) not in merged]
        return tuple(columns)

    # What a query selects from

    def sources(self, scope: Scope) -> list[_Source]:
        """All that a query selects from, in its order."""
        if id(scope) not in self._sources:
            self._sources[id(scope)] = [
                _Source(name, self._label(name, source), self._offered(node, source))
                for name, (node, source) in scope.selected_sources.items()
            ]
        return self._sources[id(scope)]

    def _label(self, name: str, source: exp.Table | Scope) -> str:
        known = self.known.get(source.name) if isinstance(source, exp.Table) else None
        return known.label if known else name or "the query in brackets"

    def _offered(self, node: exp.Expr, source: exp.Table | Scope) -> Columns:
        if node.args.get("pivots") or (node.parent and node.parent.args.get("pivots")):
            return None
        if isinstance(source, exp.Table):
            plain = isinstance(source.this, exp.Identifier) and not source.args.get("db")
            known = self.known.get(source.name) if plain else None
            return _renamed(known.columns if known else None, source.alias_column_names)
        outer = source.outer_columns
        if isinstance(source.expression, exp.Unnest | exp.Values):
            return tuple(source.expression.alias_column_names) or None
        if isinstance(node, exp.Table):  # a common table expression
            outer = node.alias_column_names or outer
        return _distinct(_renamed(self._of(source), outer))

    def _source(self, scope: Scope, name: str) -> _Source | None:
        found = (one for one in self.sources(scope) if fold(one.name) == fold(name))
        return next(found, None)

    # What a query misses

    def _read(self) -> Iterator[Scope]:
        """Every part of the query but common table expressions that nothing reads: DuckDB does not look at those."""
        waiting, seen = self.scopes[-1:], set[int]()
        while waiting:
            scope = waiting.pop()
            if id(scope) in seen:
                continue
            seen.add(id(scope))
            yield scope
            read = {name for name, _ in scope.references}
            named = [one for name, one in scope.sources.items() if name in read]
            waiting += [one for one in named if isinstance(one, Scope)]
            waiting += [*scope.subquery_scopes, *scope.set_operation_scopes, *scope.udtf_scopes]
            waiting += scope.derived_table_scopes

    def _missing(self, scope: Scope) -> Iterator[Missing]:
        if not isinstance(scope.expression, exp.Select) or not _is_whole(scope):
            return
        view = _View(scope, self)
        for column in scope.find_all(exp.Column):
            if isinstance(column.this, exp.Identifier) and not _is_in_window(column):
                yield from view.judged(column)
        yield from self._unmerged(scope)

    def _unmerged(self, scope: Scope) -> Iterator[Missing]:
        """Columns of USING that the joined side lacks, or all that stand before it."""
        sources = {fold(one.name): one for one in self.sources(scope)}
        before: list[_Source] = []
        joins = _joins(scope)
        for name, source in sources.items():
            join = joins.get(name)
            for node in join.args.get("using") or () if join else ():
                if isinstance(node, exp.Identifier):
                    yield from _absent(node, [source])
                    yield from _absent(node, before)
            before.append(source)


class _View:
    """What the expressions of one SELECT can see: its own sources, and those of the queries around it."""

    def __init__(self, scope: Scope, names: Names) -> None:
        self.own = names.sources(scope)
        self.around = list(_around(scope, names))
        self.words = {fold(word) for word in _own_words(scope)} | ALWAYS

    def judged(self, column: exp.Column) -> Iterator[Missing]:
        """The part of a column's name that nothing has, if any."""
        first = column.parts[0]
        if len(column.parts) == 1:
            yield from self._column(first)
            return
        sources = self._called(first.name)
        if not sources:
            yield from self._table(first)
        elif not self._has(first.name) and isinstance(column.parts[1], exp.Identifier):
            yield from _absent(column.parts[1], sources)

    def _column(self, node: exp.Expr) -> Iterator[Missing]:
        every = [*self.own, *self.around]
        if every and not self._has(node.name) and not self._called(node.name):
            yield from _absent(node, self.own or every)

    def _table(self, node: exp.Expr) -> Iterator[Missing]:
        if not self._has(node.name):
            yield Missing(node, (), tuple(one.name for one in self.own))

    def _has(self, name: str) -> bool:
        """Whether a name can be that of a column, or of something of the query's own."""
        if fold(name) in self.words:
            return True
        return any(
            one.columns is None or fold(name) in {fold(column) for column in one.columns}
            for one in (*self.own, *self.around)
        )

    def _called(self, name: str) -> list[_Source]:
        """The sources of a name: a query inside may use one that a query around it uses too."""
        return [one for one in (*self.own, *self.around) if fold(one.name) == fold(name)]


def _around(scope: Scope, names: Names) -> Iterator[_Source]:
    """The sources of the queries around: of a common table expression, those around the one that has it."""
    inner, outer = scope, scope.parent
    while outer is not None:
        if not inner.is_cte:
            yield from names.sources(outer)
        for join_table in outer.semi_or_anti_join_tables if not inner.is_cte else ():
            yield _Source(join_table, join_table, None)
        inner, outer = outer, outer.parent
    for join_table in scope.semi_or_anti_join_tables:
        yield _Source(join_table, join_table, None)


def _own_words(scope: Scope | None) -> Iterator[str]:
    """Names that the queries themselves make: aliases, and the variables of lambdas and comprehensions."""
    while scope is not None:
        for node in scope.find_all(exp.Alias, exp.Lambda, exp.Comprehension, exp.PropertyEQ):
            if isinstance(node, exp.Alias):
                yield node.alias
            elif isinstance(node, exp.Lambda):
                yield from (one.name for one in node.expressions)
            elif isinstance(node, exp.PropertyEQ):
                yield node.this.name
            else:
                yield from (one.name for one in node.args["expression"].find_all(exp.Identifier))
        scope = scope.parent


def _absent(node: exp.Expr, sources: list[_Source]) -> Iterator[Missing]:
    """That none of some sources has a column, where that is sure."""
    if not sources or any(one.columns is None for one in sources):
        return
    valid = tuple(dict.fromkeys(name for one in sources for name in one.columns or ()))
    if fold(node.name) not in {fold(name) for name in valid} | ALWAYS:
        yield Missing(node, tuple(one.label for one in sources), valid)


def _starred(star: exp.Expr, columns: Columns) -> Columns:
    """The columns that a star gives, with its EXCLUDE; a RENAME or a pattern is DuckDB's to tell."""
    if columns is None or star.args.get("rename"):
        return None
    if star.args.get("replace") and _distinct(columns) is None:
        return None  # of two of a name, one is gone
    excluded = {fold(one.name) for one in star.args.get("except_") or ()}
    return tuple(name for name in columns if fold(name) not in excluded)


def _merged(join: exp.Join | None, before: list[str], columns: tuple[str, ...]) -> set[str]:
    """The columns of a joined source that stand among those before it already."""
    if join is None:
        return set()
    if str(join.args.get("method") or "").upper() == "NATURAL":
        return {fold(name) for name in columns} & {fold(name) for name in before}
    return {fold(one.name) for one in join.args.get("using") or ()}


def _renamed(columns: Columns, names: list[str]) -> Columns:
    """Columns of which the first have got other names, as in ``AS t(a, b)``."""
    if columns is None or not names:
        return columns
    return (*names, *columns[len(names) :])


def _distinct(columns: Columns) -> Columns:
    """The columns of a source, unless two have one name: DuckDB gives the second another."""
    if columns is None or len({fold(name) for name in columns}) < len(columns):
        return None
    return columns


def _joins(scope: Scope) -> dict[str, exp.Join]:
    """The joins of a query by the names of what they join."""
    found: list[exp.Join] = scope.expression.args.get("joins") or []
    return {fold(join.this.alias_or_name): join for join in found}


def _is_whole(scope: Scope) -> bool:
    """Whether all that a query selects from is known by a name: a PIVOT, or joins in brackets, may not be."""
    query = scope.expression
    if any(one.args.get("pivots") for one in scope.find_all(exp.Table, exp.Subquery)):
        return False
    halves = [query.args.get("from_"), *(query.args.get("joins") or ())]
    written = sum(half is not None for half in halves) + len(query.args.get("laterals") or ())
    return written == len(scope.selected_sources) + len(scope.semi_or_anti_join_tables)


def _is_in_window(column: exp.Expr) -> bool:
    """Whether a column stands in a WINDOW clause, which DuckDB reads only where it is used."""
    node: exp.Expr | None = column
    while node is not None and not isinstance(node, exp.Select):
        if node.arg_key == "windows":
            return True
        node = node.parent
    return False
