"""A chain of transforms, compiled: each becomes a named query over the ones before it; nothing runs yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from ropewalk.contracts.models import Cardinality
from ropewalk.contracts.plugins import Plugin
from ropewalk.process.lineage import trace
from ropewalk.process.relations import Computed, Filtered, Made, Relation, Relations, Result
from ropewalk.process.sql import tables
from ropewalk.process.steady import ROWS, steady
from ropewalk.process.types import arrow_schema, plain

if TYPE_CHECKING:
    import pyarrow as pa

Used = tuple[Plugin, Any]
"""A plugin, and its options."""

STEADY = {"1:1", "filter"}
"""Cardinalities that keep each row of the input at most once, and drop none but by a rule."""
SINGLE = STEADY | {"n:1", "1:n"}
"""Cardinalities whose rows come from one relation."""


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
    schema: pa.Schema
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
    relations.this = start(relations, steps)
    for index, (plugin, options) in enumerate(steps):
        relations.at(f"do/{index}")
        _add(chain, plugin, options)
    return chain


def output(relation: Relation) -> exp.Query:
    """All columns of a relation as datasets hold them."""
    made = [plain(column, kind) for column, kind in relation.columns.items()]
    return exp.select(*made).from_(relation.table)


def start(relations: Relations, steps: list[Used]) -> Relation | None:
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
    subject = subject_of(relations, plugin, options)
    made = plugin.function(options, subject, relations)
    if isinstance(made, Computed):
        relations.keep(replace(_called(chain, plugin, subject, made), cardinality="any"))
        return
    query = made.query if isinstance(made, Filtered | Result) else made
    relation = _defined(relations, plugin, subject, query, getattr(options, "query", None))
    if isinstance(made, Result):
        relation = replace(relation, label="this")
    relations.keep(_accounted(chain, plugin, made, relation, subject))


def _accounted(
    chain: Chain, plugin: Plugin, made: Made, relation: Relation, subject: Relation
) -> Relation:
    """The relation, with how its rows come from an input's."""
    cardinality: Cardinality = getattr(plugin.module, "CARDINALITY", "any")
    source, drops = subject, frozenset[int]()
    if isinstance(made, Filtered):
        cardinality, drops = "filter", _dropping(chain, plugin.name, subject, made.kept)
    elif isinstance(made, Result):
        cardinality, source = made.cardinality, made.of or subject
        if made.rule is not None and source.cardinality in STEADY:
            drops = _dropping(chain, made.rule, source, made.query)
    return replace(
        relation,
        root=source.root if cardinality in SINGLE else None,
        cardinality=joined(source.cardinality, cardinality),
        drops=source.drops | drops,
    )


def _dropping(chain: Chain, rule: str, before: Relation, kept: exp.Query) -> frozenset[int]:
    chain.droppings.append(Dropping(rule, before, kept))
    return frozenset({len(chain.droppings) - 1})


def joined(first: Cardinality, then: Cardinality) -> Cardinality:
    """The cardinality of one transform after another."""
    if then in ("1:1", first):
        return first
    if then == "filter":
        return "filter" if first == "1:1" else first
    return then if first in STEADY else "any"


def subject_of(relations: Relations, plugin: Plugin, options: Any) -> Relation:
    """The relation that a transform applies to."""
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
    schema = arrow_schema(made.returns, relations)
    place = relations.place.key
    chain.calls.append(Call(name, plugin.name, output(subject), made, schema, place))
    relations.connection.register(name, schema.empty_table())
    columns = relations.describe(exp.select(exp.Star()).from_(exp.table_(name, quoted=True)))
    every: frozenset[Any] = frozenset().union(*subject.sources.values())
    return Relation(name, subject.label, columns, dict.fromkeys(columns, every))
