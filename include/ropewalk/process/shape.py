"""How the rows of a user's SELECT come from those that it reads, as far as its form tells."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from ropewalk.contracts.models import Cardinality
from ropewalk.process.relations import Relation, Relations, Result

SEVERAL = ("with_", "joins", "laterals", "pivots", "sample")  # then rows are not those of one table
GROUPINGS = (exp.Cube, exp.Rollup, exp.GroupingSets)  # that give more than one row for a row
AGGREGATES = (exp.AggFunc, exp.JSONArrayAgg, exp.JSONObjectAgg)
SEVERAL_ROWS = exp.Explode | exp.Unnest | exp.GenerateSeries
DROPPING = ("where", "qualify", "limit", "offset")


def result_of(query: exp.Query, relations: Relations) -> Result:
    """The query, and how its rows come from a relation's where that is certain."""
    of = _source(query, relations)
    if of is None or not isinstance(query, exp.Select):
        return Result(query, "join" if query.find(exp.Join) else "any")
    cardinality = _cardinality(query)
    rule = " and ".join(word for word in DROPPING if query.args.get(word))
    if cardinality == "1:1" and rule:
        return Result(query, "filter", of, rule)
    return Result(query, cardinality, of)


def _source(query: exp.Query, relations: Relations) -> Relation | None:
    """The one relation that a plain SELECT reads from."""
    if not isinstance(query, exp.Select) or any(query.args.get(part) for part in SEVERAL):
        return None
    found = query.args["from_"].this if query.args.get("from_") else None
    if not isinstance(found, exp.Table) or any(found.args.get(part) for part in SEVERAL):
        return None
    return next((each for each in relations.known().values() if each.name == found.name), None)


def _cardinality(query: exp.Select) -> Cardinality:
    group = query.args.get("group")
    if group is not None and group.find(*GROUPINGS):
        return "any"
    found = [own for one in query.selects for own in _own_functions(query, one)]
    if any(isinstance(one, exp.Anonymous | exp.UDTF | SEVERAL_ROWS) for one in found):
        return "any"  # what the parser does not know may be an aggregate, or give several rows
    grouped = group is not None or query.args.get("distinct") or query.args.get("having")
    return "n:1" if grouped or any(isinstance(one, AGGREGATES) for one in found) else "1:1"


def _own_functions(query: exp.Select, selected: exp.Expr) -> Iterator[exp.Expr]:
    """The functions that are the query's own, not a subquery's, and not over a window."""
    for one in selected.find_all(exp.Func, exp.UDTF):
        if one.parent_select is query and not _over_window(one):
            yield one


def _over_window(function: exp.Expr) -> bool:
    """Whether a function is itself over a window: one in its arguments is not."""
    parent = function.parent
    if isinstance(parent, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        return _over_window(parent)
    return isinstance(parent, exp.Window) and parent.this is function
