"""A step's columns are told before it runs where its plugins tell; a plugin that cannot is no mistake."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from ropewalk.contracts.columns import Columns
from ropewalk.contracts.plugins import Plugin, TransformOptions, plugin
from ropewalk.process.forecast import Mistake, forecast
from ropewalk.process.relations import Relation, Relations
from sqlglot import exp

Transform = Any


def made(name: str, options: Any) -> tuple[Plugin, Any, bool]:
    """A built-in transform."""
    found = plugin("transform", name)
    return found, found.parse(options), False


def own(function: Transform) -> tuple[Plugin, Any, bool]:
    """A transform that someone else wrote."""
    module = ModuleType("own")
    module.__dict__.update(Options=TransformOptions, transform=function)
    return Plugin("transform", "own", module), TransformOptions(), False


def told(*do: tuple[Plugin, Any, bool], **inputs: Columns) -> tuple[Columns, list[Mistake]]:
    """The columns that a step gives, and its mistakes."""
    return forecast("step", list(do), [], inputs, values={})


def reverse(_: Any, this: Relation, __: Relations) -> exp.Query:
    """All columns, the last first."""
    names = reversed(list(this.columns))
    return exp.select(*(exp.column(name, quoted=True) for name in names)).from_(this.table)


def conflict(_: Any, this: Relation, relations: Relations) -> exp.Query:
    """A column more, unless it is there."""
    if this.find("more") is not None:
        raise relations.place.error("more is there already", code="duplicate_column")
    return exp.select(exp.Star(), exp.alias_(exp.Literal.number(1), "more")).from_(this.table)


def broken(_: Any, this: Relation, __: Relations) -> exp.Query:
    """What needs an engine, or a library that is not here."""
    raise ImportError(this.name)


@pytest.mark.parametrize("function", [reverse, conflict, broken])
def test_a_plugin_that_cannot_tell_makes_columns_that_only_the_data_tells(
    function: Transform,
) -> None:
    assert told(own(function), made("filter", {"where": "anything > 1"}), a=None) == (None, [])


def test_a_plugin_that_can_tell_does() -> None:
    assert told(own(reverse), a=("x", "y")) == (("y", "x"), [])
    columns, mistakes = told(own(conflict), own(conflict), a=("x",))
    assert (columns, [(key, str(error)) for key, error in mistakes]) == (
        None, [("do/1", "more is there already")],
    )  # fmt: skip


def test_what_goes_on_after_a_mistake_is_not_refused_for_it() -> None:
    columns, mistakes = told(
        made("select", ["x", "z"]), made("filter", "q > 1"), made("select", ["r"]), a=("x", "y")
    )
    assert (columns, [key for key, _ in mistakes]) == (("r",), ["do/0"])


def test_options_that_hang_on_values_say_nothing_yet() -> None:
    found, options, _ = made("select", ["x"])
    assert told((found, options, True), a=("y",)) == (None, [])


def test_an_input_keeps_its_name_and_the_result_of_a_select_is_this() -> None:
    steps = (
        made("rename", {"columns": {"x": "z"}}),
        made("sql", "SELECT a.z, b.k FROM a JOIN b ON a.z = b.k"),
        made("sql", "SELECT this.k, a.z FROM this JOIN a ON a.z = this.k"),
    )
    assert told(made("deduplicate", {"of": "a"}), *steps, a=("x",), b=("k",)) == (("k", "z"), [])
