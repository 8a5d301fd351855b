"""The checks of a step, compiled: one query tags each row with the first check that sets it aside, and why.

A row is judged once. Rules of checks with ``on_fail: quarantine`` come first, in the order of the file, then
their keys; a flag per rule of the other checks comes along in the same query.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from ropewalk.contracts.plugins import Plugin
from ropewalk.process.chain import Used
from ropewalk.process.lineage import used
from ropewalk.process.relations import Check, Relation, Relations, Rule
from ropewalk.process.types import plain


@dataclass(frozen=True)
class Asked:
    """One check of the step."""

    name: str
    on_fail: str
    check: Check


@dataclass(frozen=True)
class Judge:
    """A rule of a check at its place in the pass: the tag's number, or the number of its flag."""

    asked: Asked
    rule: Rule


@dataclass(frozen=True)
class Audit:
    """What the pass over a result's rows carries besides its columns.

    The query gives the result's columns, then tag, reason and row where rows are set aside (``sets_aside``), then
    one flag per rule in ``flags``. A tag is the number of a rule in ``tags``, from 1.
    """

    asked: list[Asked]
    columns: list[str]
    tags: list[Judge]
    flags: list[Judge]
    query: exp.Query
    kept: list[str]
    """The columns of the rows that go on which the queries of ``later`` read."""

    @property
    def sets_aside(self) -> bool:
        """Whether any check sets rows aside."""
        return bool(self.tags)

    @property
    def later(self) -> list[Asked]:
        """The checks that judge the whole, when all rows that go on are there."""
        return [one for one in self.asked if one.on_fail != "quarantine" and one.check.query]


RESULT = "_result"
"""The relation that the checks of the whole read; no step can have this name."""


def audited(relations: Relations, result: Relation, checks: Iterable[Used], step: str) -> Audit:
    """The checks over a result: the query of its rows, and what is to be done with them."""
    final = _plain(relations, result)
    whole = Relation(RESULT, step, final.columns, final.sources)
    _enter(relations, final)
    asked = list(_ask(relations, whole, checks, step))
    tags, flags = list(_judges(asked, aside=True)), list(_judges(asked, aside=False))
    query = _tagged(final, tags, flags) if tags or flags else final.everything
    if not tags and not flags:
        query = relations.ctes.pop(final.name)
    kept = _kept(relations, whole, asked)
    return Audit(asked, list(final.columns), tags, flags, query, kept)


def _plain(relations: Relations, result: Relation) -> Relation:
    """The result with the types that datasets have."""
    made = [plain(column, kind) for column, kind in result.columns.items()]
    query = exp.select(*made).from_(result.table)
    name = relations.fresh("result")
    columns = relations.describe(query)
    relations.define(name, query)
    return Relation(
        name, result.label, columns, result.sources, result.root, result.cardinality, result.drops
    )


def _ask(
    relations: Relations, whole: Relation, checks: Iterable[Used], step: str
) -> Iterator[Asked]:
    relations.named[step] = relations.this = whole
    for index, (plugin, options) in enumerate(checks):
        relations.at(f"checks/{index}")
        check = ask(relations, whole, plugin, options)
        _try(relations, check, whole)
        yield Asked(plugin.name, options.on_fail, check)


def ask(relations: Relations, whole: Relation, plugin: Plugin, options: Any) -> Check:
    """What a check asks of a result; ConfigError where it can set no row aside and should."""
    check: Check = plugin.function(options, whole, relations)
    if options.on_fail == "quarantine" and not (check.rules or check.key):
        raise relations.place.error(
            f"check {plugin.name} judges the whole result and can set no row aside",
            code="quarantine",
            hint="use on_fail: fail or warn",
        )
    return check


def _enter(relations: Relations, final: Relation) -> None:
    """An empty table of the result's columns, so that the checks' SQL is refused before anything runs."""
    text, parameters = relations.statement(final.everything.limit(0))
    empty = relations.connection.sql(text, params=parameters).to_arrow_table()
    relations.connection.register(RESULT, empty)


def _try(relations: Relations, check: Check, whole: Relation) -> None:
    for rule in check.rules:
        relations.describe(exp.select(rule.fails, rule.reason).from_(whole.table))
    if check.query is not None:
        relations.describe(check.query)


def _judges(asked: Iterable[Asked], *, aside: bool) -> Iterator[Judge]:
    """Every rule, and for a key that sets rows aside a rule of its own after all others."""
    chosen = [one for one in asked if (one.on_fail == "quarantine") is aside]
    for one in chosen:
        yield from (Judge(one, rule) for rule in one.check.rules)
    for one in chosen if aside else []:
        if one.check.key:
            yield Judge(one, _key_rule(one.check))


def _key_rule(check: Check) -> Rule:
    names = ", ".join(check.key)
    column = check.key[0] if len(check.key) == 1 else None
    reason = exp.Literal.string(f"another row has the same {names}")
    return Rule(exp.false(), reason, column)


def _tagged(final: Relation, tags: list[Judge], flags: list[Judge]) -> exp.Query:
    """The rows, tagged step by step: rules in one expression, then one window per key."""
    tag, reason, row = (_unused(name, final) for name in ("rule", "reason", "row"))
    marks = [exp.column(_flag(i, final), quoted=True) for i in range(len(flags))]
    columns = [exp.column(name, quoted=True) for name in final.columns]
    flagged = [
        exp.alias_(flag.rule.fails.copy(), mark.name, quoted=True)
        for flag, mark in zip(flags, marks, strict=True)
    ]
    if not tags:
        return exp.select(*columns, *flagged).from_(final.table)
    first = exp.alias_(_first(tags), tag, quoted=True)
    inner = exp.select(*columns, first, *flagged).from_(final.table)
    for number, judge in enumerate(tags, start=1):
        if _is_key(judge):
            inner = _numbered(inner, judge.asked.check, number, tag, final)
    why = exp.alias_(_reasons(tags, tag), reason, quoted=True)
    text = exp.alias_(_json(final, tag), row, quoted=True)
    outer = exp.select(*columns, exp.column(tag, quoted=True), why, text, *marks)
    return outer.from_(inner.subquery("judged"))


def _is_key(judge: Judge) -> bool:
    return judge.rule not in judge.asked.check.rules


def _first(tags: list[Judge]) -> exp.Expr:
    """The number of the first rule that a row fails, null where it fails none."""
    case = exp.Case()
    for number, judge in enumerate(tags, start=1):
        if not _is_key(judge):
            case = case.when(judge.rule.fails.copy(), exp.Literal.number(number))
    if not case.args.get("ifs"):
        return exp.cast(exp.null(), "INTEGER")
    return exp.cast(case, "INTEGER")


def _numbered(
    inner: exp.Select, check: Check, number: int, tag: str, final: Relation
) -> exp.Select:
    """Tag what comes after the first of a key, among the rows that no rule has set aside yet."""
    key = [exp.column(name, quoted=True) for name in check.key]
    order = [exp.Ordered(this=exp.column(name, quoted=True)) for name in final.columns]
    own = exp.column(tag, quoted=True)
    place = exp.Window(
        this=exp.RowNumber(),
        partition_by=[own.copy().is_(exp.null()), *key],
        order=exp.Order(expressions=order),
    )
    known = [exp.not_(column.copy().is_(exp.null())) for column in key]
    again = exp.and_(own.copy().is_(exp.null()), *known, place > 1)
    case = exp.Case().when(again, exp.Literal.number(number)).else_(own.copy())
    replaced = exp.Star(replace=[exp.alias_(case, tag, quoted=True)])
    return exp.select(replaced).from_(inner.subquery(f"numbered_{number}"))


def _reasons(tags: list[Judge], tag: str) -> exp.Expr:
    case = exp.Case(this=exp.column(tag, quoted=True))
    for number, judge in enumerate(tags, start=1):
        case = case.when(exp.Literal.number(number), judge.rule.reason.copy())
    return case


def _json(final: Relation, tag: str) -> exp.Expr:
    """The row as JSON, made only for rows that are set aside."""
    pairs = [
        exp.PropertyEQ(this=exp.Literal.string(name), expression=exp.column(name, quoted=True))
        for name in final.columns
    ]
    text = exp.cast(exp.func("to_json", exp.Struct(expressions=pairs)), "VARCHAR")
    aside = exp.not_(exp.column(tag, quoted=True).is_(exp.null()))
    return exp.Case().when(aside, text)


def _kept(relations: Relations, whole: Relation, asked: list[Asked]) -> list[str]:
    readable = {each.name: each for each in relations.known().values()} | {RESULT: whole}
    queries = [one.check.query for one in asked if one.check.query and one.on_fail != "quarantine"]
    wanted = {column for query in queries for column in used(query, readable, RESULT)}
    if queries and not wanted:
        wanted = {next(iter(whole.columns))}  # a table of no columns has no rows to count
    return [name for name in whole.columns if name in wanted]


def _unused(name: str, relation: Relation) -> str:
    while relation.find(name) is not None:
        name = f"{name}_"
    return name


def _flag(index: int, relation: Relation) -> str:
    return _unused(f"fails_{index}", relation)
