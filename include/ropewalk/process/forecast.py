"""The columns of a process step, told before anything runs: its transforms and checks, over relations without rows.

A plugin compiles to a query; of the query, sqlglot tells the columns where it can. Where it cannot, the columns are
`Unlisted`, and nothing that reads them is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from ropewalk.contracts.columns import Columns
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import Origin, Scalar, TaskRequest
from ropewalk.contracts.plan import Given, Plan
from ropewalk.contracts.plugins import Plugin
from ropewalk.process.audit import RESULT, ask
from ropewalk.process.binding import distinct, readable, refuse_missing
from ropewalk.process.chain import start, subject_of
from ropewalk.process.names import Names
from ropewalk.process.relations import (
    Computed,
    Filtered,
    Made,
    Relation,
    Relations,
    Result,
    Unlisted,
    UnlistedError,
)
from ropewalk.process.sql import canonical
from ropewalk.process.types import kind_of

__all__ = ["canonical", "forecast", "kind_of", "misses", "planned"]

Used = tuple[Plugin, Any, bool]
"""A plugin, its options, and whether they hang on a run's values: then they say nothing yet."""

Mistake = tuple[str, ConfigError]
"""A plugin's place in the step (``do/0``), and what is wrong there."""

ANY = "VARCHAR"


def forecast(
    step: str,
    do: Sequence[Used],
    checks: Sequence[Used],
    inputs: Mapping[str, Columns],
    *,
    values: Mapping[str, Scalar],
    origin: Origin | None = None,
) -> tuple[Columns, list[Mistake]]:
    """The columns that a step gives, and what is wrong with the names in it, each plugin's first mistake."""
    relations = _Relations(values, origin)
    relations.named = {name: _relation(name, name, columns) for name, columns in inputs.items()}
    errors = [*_chained(relations, do), *_checked(relations, checks, step)]
    result = relations.result
    return (None if result is None else _listed(result)), errors


def misses(
    text: str, columns: Columns, *, values: Mapping[str, Scalar], origin: Origin | None
) -> ConfigError | None:
    """The mistake of a condition over some columns that names another; whatever else it is, is let be."""
    relations = _Relations(values, origin)
    try:
        relations.expression(text, _relation("data", "what is read", columns))
    except ConfigError as error:
        return error if error.code == "unknown_column" else None
    return None


def planned(request: TaskRequest, inputs: Mapping[str, Given]) -> Plan:
    """The query that a step compiles to; ConfigError where it is wrong for certain."""
    from ropewalk.process.plan import plan

    try:
        return plan(request, inputs)
    except ModuleNotFoundError as error:  # who only asks the stages has no engine
        return Plan(untold=f"it takes {error.name}, which is not installed here", whole=False)


class _Relations(Relations):
    """Relations without an engine behind them."""

    def __init__(self, values: Mapping[str, Scalar], origin: Origin | None) -> None:
        super().__init__(None, values, origin)  # type: ignore[arg-type]  # nothing asks it
        self.result: Relation | None = None

    def describe(self, query: exp.Query, written: str | None = None) -> dict[str, str]:
        """The columns of a query; ConfigError for one that it misses, UnlistedError where nobody can tell."""
        if written is not None:
            refuse_missing(self, query, written)
        columns = Names(query, readable(self)).given
        if columns is None:
            raise UnlistedError
        distinct(self, list(columns))
        return dict.fromkeys(columns, ANY)


def _chained(relations: _Relations, do: Sequence[Used]) -> Iterator[Mistake]:
    """Compile one transform after the other; yields the mistakes."""
    relations.this = start(relations, [(plugin, options) for plugin, options, _ in do])
    for index, used in enumerate(do):
        relations.at(f"do/{index}")
        try:
            relations.keep(_next(relations, used))
        except ConfigError as error:
            yield relations.place.key, error
            relations.keep(_unlisted(relations, used))
        except Exception:  # noqa: BLE001 - what a plugin cannot do yet says nothing of the columns
            relations.keep(_unlisted(relations, used))
    relations.result = relations.this


def _next(relations: _Relations, used: Used) -> Relation:
    plugin, options, later = used
    if later:
        raise UnlistedError
    subject = subject_of(relations, plugin, options)
    made: Made = plugin.function(options, subject, relations)
    label = "this" if isinstance(made, Result) else subject.label
    name = relations.fresh(plugin.name)
    if isinstance(made, Computed):
        return _relation(name, label, tuple(made.returns))
    query = made.query if isinstance(made, Filtered | Result) else made
    columns = relations.describe(query, getattr(options, "query", None))
    relations.define(name, query)
    return _relation(name, label, tuple(columns))


def _unlisted(relations: _Relations, used: Used) -> Relation:
    """What a transform makes that does not tell."""
    plugin, options, _ = used
    of = getattr(options, "of", None)
    subject = relations.named.get(of) if of else relations.this
    label = "this" if plugin.name == "sql" or subject is None else subject.label
    name = relations.fresh(plugin.name)
    relations.define(name, exp.select(exp.Star()))
    return _relation(name, label, None)


def _checked(relations: _Relations, checks: Sequence[Used], step: str) -> Iterator[Mistake]:
    if relations.result is None:
        return
    whole = replace(relations.result, name=RESULT, label=step)
    relations.named[step] = relations.this = whole
    for index, (plugin, options, later) in enumerate(checks):
        relations.at(f"checks/{index}")
        try:
            if not later:
                ask(relations, whole, plugin, options)
        except ConfigError as error:
            yield relations.place.key, error
        except Exception:  # noqa: BLE001, S110 - as above
            pass


def _relation(name: str, label: str, columns: Columns) -> Relation:
    return Relation(name, label, Unlisted() if columns is None else dict.fromkeys(columns, ANY))


def _listed(relation: Relation) -> Columns:
    return None if isinstance(relation.columns, Unlisted) else tuple(relation.columns)
