"""A chain of transforms, compiled: each becomes a named query over the ones before it; nothing runs yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from ropewalk.contracts.plugins import Plugin
from ropewalk.process.lineage import trace
from ropewalk.process.relations import Computed, Filtered, Relation, Relations, Result
from ropewalk.process.sql import tables
from ropewalk.process.steady import ROWS, steady
from ropewalk.process.types import plain

if TYPE_CHECKING:
    import pyarrow as pa

Used = tuple[Plugin, Any]
"""A plugin, and its options."""

STEADY = {"1:1", "filter"}
"""Cardinalities that keep each row of the input at most once, and drop none but by a rule."""


@dataclass(frozen=True)
class Dropping:
    """A transform that drops rows: what it reads, and a query with one row for each that it keeps."""

    rule: str
    before: Relation
    kept: exp.Query


@dataclass(frozen=True)
class Call:
    """A function of a whole table between two queries; its result goes by ``name``."""

    name: str
    plugin: str
    query: exp.Query
    made: Computed
    place: str


@dataclass
class Chain:
    """What the transforms of a step come to."""

    relations: Relations
    droppings: list[Dropping] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def result(self) -> Relation:
        """What the step puts out."""
        if self.relations.this is None:
            raise self.relations.place.error("the chain makes nothing", code="empty_chain")
        return self.relations.this


def enter(relations: Relations, name: str, table: pa.Table) -> None:
    """Let queries read an Arrow table, without a copy, as an input of the step."""
    relations.connection.register(name, table)
    relations.rows += table.num_rows
    columns = relations.describe(exp.select(exp.Star()).from_(exp.table_(name, quoted=True)))
    sources = {column: frozenset({(name, column)}) for column in columns}
    relations.named[name] = Relation(name, name, columns, sources, root=name)


def compiled(relations: Relations, uses: Iterable[Used]) -> Chain:
    """The chain of these transforms over the inputs that have been entered."""
    steps = list(uses)
    chain = Chain(relations)
    relations.this = _start(relations, steps)
    for index, (plugin, options) in enumerate(steps):
        relations.at(f"do/{index}")
        _add(chain, plugin, options)
    return chain


def output(relation: Relation) -> exp.Query:
    """All columns of a relation as datasets hold them."""
    made = [plain(column, kind) for column, kind in relation.columns.items()]
    return exp.select(*made).from_(relation.table)


def _start(relations: Relations, steps: list[Used]) -> Relation | None:
    """The input that the chain begins with; None where only ``of`` or SQL can say."""
    names = list(relations.named)
    if len(names) == 1:
        return relations.named[names[0]]
    queries = [options.query for plugin, options in steps if plugin.name == "sql"]
    first = [name for name in tables(queries[0]) if name in names] if queries else []
    joined = {options.input for plugin, options in steps if plugin.name == "join"}
    rest = first or [name for name in names if name not in joined]
    return relations.named[rest[0]] if first or len(rest) == 1 else None


def _add(chain: Chain, plugin: Plugin, options: Any) -> None:
    relations = chain.relations
    subject = _subject(relations, plugin, options)
    made = plugin.function(options, subject, relations)
    cardinality = getattr(plugin.module, "CARDINALITY", "any")
    root = subject.root if cardinality in STEADY else None
    if isinstance(made, Computed):
        relations.keep(_called(chain, plugin, subject, made))
        return
    query = made.query if isinstance(made, Filtered | Result) else made
    relation = _defined(relations, plugin, subject, query, getattr(options, "query", None))
    if isinstance(made, Filtered):
        chain.droppings.append(Dropping(plugin.name, subject, made.kept))
    if isinstance(made, Result):
        relation = replace(relation, label="this")
    relations.keep(replace(relation, root=root))


def _subject(relations: Relations, plugin: Plugin, options: Any) -> Relation:
    if options.of is not None:
        return relations.get(options.of)
    if relations.this is None and plugin.name != "sql":
        names = ", ".join(sorted(relations.named))
        raise relations.place.error(
            f"the step reads {names}: which one does {plugin.name} apply to?",
            code="which_input",
            hint="say so with of: <input>",
        )
    return relations.this or Relation("", "this", {})


def _defined(
    relations: Relations, plugin: Plugin, subject: Relation, query: exp.Query, written: str | None
) -> Relation:
    columns = relations.describe(query, written)
    readable = {each.name: each for each in relations.known().values()}
    readable[subject.name] = subject
    sources = trace(query, readable, list(columns))
    if relations.rows <= ROWS:
        query = steady(query, readable.values())
    name = relations.fresh(plugin.name)
    relations.define(name, query)
    return Relation(name, subject.label, columns, sources)


def _called(chain: Chain, plugin: Plugin, subject: Relation, made: Computed) -> Relation:
    relations = chain.relations
    name = relations.fresh(plugin.name)
    chain.calls.append(Call(name, plugin.name, output(subject), made, relations.place.key))
    relations.connection.register(name, made.schema.empty_table())
    columns = relations.describe(exp.select(exp.Star()).from_(exp.table_(name, quoted=True)))
    every: frozenset[Any] = frozenset().union(*subject.sources.values())
    return Relation(name, subject.label, columns, dict.fromkeys(columns, every))
