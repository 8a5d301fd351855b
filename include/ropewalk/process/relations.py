"""What a transform or a check sees: the relations that it may name, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from ropewalk.contracts.columns import fold
from ropewalk.contracts.errors import nearest
from ropewalk.contracts.models import Cardinality
from ropewalk.process.place import Place

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from ropewalk.contracts.models import Origin, Scalar

DIALECT = "duckdb"
Source = tuple[str, str]
"""An input of the step, and a column of it."""


class UnlistedError(Exception):
    """Somebody wants all columns of a relation whose columns only the data can tell."""


class Unlisted(Mapping[str, str]):
    """The columns of a relation before its data is there: any that a user names may exist, and none can be listed."""

    def __getitem__(self, name: str) -> str:
        return "VARCHAR"

    def __contains__(self, name: object) -> bool:
        raise UnlistedError

    def __iter__(self) -> Iterator[str]:
        raise UnlistedError

    def __len__(self) -> int:
        raise UnlistedError


@dataclass(frozen=True)
class Relation:
    """Rows with named columns: an input, or what a transform has made of one.

    ``name`` is what the compiled query selects from, ``label`` what the user calls it; ``columns`` are
    DuckDB's types by name; ``root`` is the one input that its rows come from, ``cardinality`` how, and ``drops``
    are the numbers of the transforms on the way that dropped some.
    Before anything runs, ``columns`` may be `Unlisted`.
    """

    name: str
    label: str
    columns: Mapping[str, str]
    sources: Mapping[str, frozenset[Source]] = field(default_factory=dict)
    root: str | None = None
    cardinality: Cardinality = "1:1"
    drops: frozenset[int] = frozenset()

    @property
    def table(self) -> exp.Table:
        """The relation in a query."""
        return exp.table_(self.name, quoted=True)

    @cached_property
    def everything(self) -> exp.Select:
        """All its columns."""
        return exp.select(exp.Star()).from_(self.table)

    def find(self, name: str) -> str | None:
        """A column's own spelling, whatever the case; None where there is none."""
        if name in self.columns:
            return name
        folded = fold(name)
        return next((column for column in self.columns if fold(column) == folded), None)


@dataclass(frozen=True)
class Filtered:
    """What drops rows: the query, and a query with one row for each row that is kept, cheap to count."""

    query: exp.Query
    kept: exp.Query


@dataclass(frozen=True)
class Result:
    """A query whose result is new: it goes by ``this``, and its inputs keep their names.

    ``of`` is the relation that its rows come from, where it is one, and ``rule`` what drops those that do not.
    """

    query: exp.Query
    cardinality: Cardinality = "any"
    of: Relation | None = None
    rule: str | None = None


@dataclass(frozen=True)
class Computed:
    """What is not a query: a function of the whole table, and the columns that it promises, with their types."""

    function: Callable[[pa.Table, pa.Schema], pa.Table]
    returns: Mapping[str, exp.DataType]


Made = exp.Query | Filtered | Result | Computed


@dataclass(frozen=True)
class Rule:
    """A condition that is true for the rows that fail, and SQL for the reason, one sentence for people."""

    fails: exp.Condition
    reason: exp.Condition
    column: str | None = None


@dataclass(frozen=True)
class Check:
    """What a check asks, said as ``claim``: of each row, of a key, or of the whole.

    ``rules`` judge each row; ``key`` names columns of which only one row may have the same values;
    ``query`` gives one row over the whole result: how many ``failed``, and a ``detail``.
    """

    claim: str
    columns: list[str] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    query: exp.Query | None = None


class Relations:
    """All relations of a step by the names that SQL may use, and the queries that have made them."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        values: Mapping[str, Scalar],
        origin: Origin | None = None,
    ) -> None:
        self.connection = connection
        self.values = values
        self.origin = origin
        self.place = Place(origin)
        self.named: dict[str, Relation] = {}
        self.this: Relation | None = None
        self.ctes: dict[str, exp.Query] = {}
        self.parameters: dict[str, Any] = {}
        self.rows = 0  # of all inputs together
        self.settled = False  # whether everything is compiled: then a query's text stays what it is
        self._texts: dict[int, tuple[exp.Query, str, list[str]]] = {}

    def bind(self, values: Mapping[str, Scalar]) -> None:
        """Let the queries run with other values bound."""
        self.values = values
        self.parameters = {name.replace(".", "_"): value for name, value in values.items()}

    def at(self, key: str) -> None:
        """Errors from now on are of the plugin at that place."""
        self.place = Place(self.origin, key)

    def known(self) -> dict[str, Relation]:
        """Every relation that SQL may name."""
        return {**self.named, **({"this": self.this} if self.this else {})}

    def get(self, name: str) -> Relation:
        """The relation of that name; ConfigError with the nearest name where there is none."""
        known = self.known()
        if name not in known:
            raise self.place.error(
                f"the step has no input {name!r}", code="unknown_input", hint=nearest(name, known)
            )
        return known[name]

    def column(self, relation: Relation, name: str) -> str:
        """The column's own spelling; ConfigError with the nearest name where there is none."""
        if isinstance(relation.columns, Unlisted):
            return name
        found = relation.find(name)
        if found is None:
            self.missed((relation.label,), name)
            raise self.place.error(
                f"{relation.label} has no column {name!r}",
                code="unknown_column",
                hint=nearest(name, relation.columns),
                field=name,
            )
        return found

    def missed(self, whose: Iterable[str], column: str) -> None:
        """Hear of a column that these have not got, before it is refused."""

    def columns(self, relation: Relation, names: Iterable[str]) -> list[str]:
        """The columns' own spellings."""
        return [self.column(relation, name) for name in names]

    def select(self, text: str) -> exp.Query:
        """A user's SELECT, checked, its references bound and its tables those of this moment."""
        from ropewalk.process.sql import select

        return select(text, self)

    def expression(self, text: str, relation: Relation) -> exp.Condition:
        """A user's condition or value over one relation's columns, checked and its references bound."""
        from ropewalk.process.sql import expression

        return expression(text, relation, self)

    def describe(self, query: exp.Query, written: str | None = None) -> dict[str, str]:
        """The columns of a query and their types; ConfigError where DuckDB refuses it."""
        from ropewalk.process.binding import describe

        return describe(self, query, written)

    def statement(self, query: exp.Query) -> tuple[str, dict[str, Any]]:
        """A query with all the queries that it builds upon, ready to run, and its parameters."""
        known = self._texts.get(id(query)) if self.settled else None
        if known is None:
            whole = self.whole(query)
            names = sorted({node.name for node in whole.find_all(exp.Placeholder)})
            known = query, whole.sql(DIALECT), names
            if self.settled:
                self._texts[id(query)] = known
        _, text, names = known
        return text, {name: self.parameters[name] for name in names}

    def whole(self, query: exp.Query) -> exp.Query:
        """A query with all the queries that it builds upon."""
        whole = query.copy()
        before = [_cte(name, self.ctes[name]) for name in self._needed(query)]
        if before:
            own = whole.args.get("with_") or exp.With(expressions=[])
            own.set("expressions", before + own.expressions)
            whole.set("with_", own)
        return whole

    def define(self, name: str, query: exp.Query) -> None:
        """Name a query, so that later ones may select from it."""
        self.ctes[name] = query

    def fresh(self, name: str) -> str:
        """A name that no relation has and no user's SQL mentions."""
        used = {*self.ctes, *self.named} | {
            node.name for query in self.ctes.values() for node in query.find_all(exp.Identifier)
        }
        number = len(self.ctes) + 1
        while f"{name}_{number}" in used:
            number += 1
        return f"{name}_{number}"

    def keep(self, relation: Relation) -> None:
        """The relation becomes the one at hand, and the one that its label names from now on."""
        if relation.label in self.named:
            self.named[relation.label] = relation
        self.this = relation

    def _needed(self, query: exp.Query) -> list[str]:
        wanted: set[str] = set()
        waiting = [query]
        while waiting:
            tables = {table.name for table in waiting.pop().find_all(exp.Table)}
            new = [name for name in tables if name in self.ctes and name not in wanted]
            wanted.update(new)
            waiting += [self.ctes[name] for name in new]
        return [name for name in self.ctes if name in wanted]


def _cte(name: str, query: exp.Query) -> exp.CTE:
    alias = exp.TableAlias(this=exp.to_identifier(name, quoted=True))
    return exp.CTE(this=query.copy(), alias=alias)
