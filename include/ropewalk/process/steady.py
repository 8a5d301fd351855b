"""Sums of floating-point numbers that do not depend on the order of the rows.

Rows have no order, and the last digits of a sum do: so a step that runs again would make another content. Up to
``ROWS`` input rows, such an aggregate adds its values in their own order; beyond, that would take memory
without bound, and the digits are let be. Whole numbers and decimals add exactly in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp

from ropewalk.contracts.columns import fold
from ropewalk.process.relations import Relation

ROWS = 5_000_000
ADDING = (exp.Sum, exp.Avg)
SQUARING = (
    exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop,
    exp.Corr, exp.CovarPop, exp.CovarSamp,
)  # fmt: skip
EXACT = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
         "UBIGINT", "UHUGEINT", "DECIMAL", "BOOLEAN")  # fmt: skip
KEEPING = (
    exp.Identifier, exp.Add, exp.Sub, exp.Mul, exp.Neg, exp.Paren, exp.Case, exp.If, exp.Coalesce,
    exp.Predicate, exp.Connector, exp.Not, exp.Null, exp.Boolean,
)  # fmt: skip


def steady(query: exp.Query, relations: Iterable[Relation]) -> exp.Query:
    """The query, its floating-point aggregates ordered by their own values."""
    types = _types(relations)
    for alias in query.find_all(exp.Alias):
        types.pop(fold(alias.alias), None)  # the query's own name for something else
    for node in query.find_all(*ADDING, *SQUARING):
        if not _is_ordered_already(node) and not _is_exact(node, types):
            _order(node)
    return query


def _types(relations: Iterable[Relation]) -> dict[str, bool]:
    """Whether every column of a name holds exact numbers."""
    found: dict[str, bool] = {}
    for relation in relations:
        for column, kind in relation.columns.items():
            name = fold(column)
            found[name] = found.get(name, True) and kind.startswith(EXACT)
    return found


def _is_ordered_already(node: exp.Expr) -> bool:
    """Whether the aggregate has an order, or goes over a window, which is one."""
    parent = node.parent.parent if isinstance(node.parent, exp.Filter) else node.parent
    parts = [node.this, node.args.get("expression")]
    return isinstance(parent, exp.Window) or any(
        isinstance(part, exp.Order | exp.Distinct) for part in parts
    )


def _is_exact(node: exp.Expr, types: Mapping[str, bool]) -> bool:
    if isinstance(node, SQUARING):
        return False
    return all(_keeps_exact(part, types) for part in node.this.walk())


def _keeps_exact(part: exp.Expr, types: Mapping[str, bool]) -> bool:
    if isinstance(part, exp.Column):
        return types.get(fold(part.name), False)
    if isinstance(part, exp.Literal):
        return part.is_int
    return isinstance(part, KEEPING)


def _order(node: exp.Expr) -> None:
    """Make ``avg(x)`` of it ``avg(x ORDER BY x)``."""
    second = node.args.get("expression")
    values = [node.this, *([second] if isinstance(second, exp.Expr) else [])]
    by = [exp.Ordered(this=value.copy(), nulls_first=False) for value in values]
    last = values[-1]
    node.set(
        "expression" if len(values) > 1 else "this", exp.Order(this=last.copy(), expressions=by)
    )
