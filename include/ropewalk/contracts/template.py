"""``{{ … }}``: values of the partition, the parameters and the run, put into options and never into SQL text.

A text that is one reference alone takes the value with its type; in a longer text the value is
written out. In SQL (fields of type ``SqlText``) a reference becomes a bound parameter instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, get_args

from pydantic import BaseModel

from ropewalk.contracts.errors import ConfigError, nearest

REFERENCE = re.compile(r"\{\{\s*([a-z_]+(?:\.[A-Za-z_][A-Za-z0-9_]*)?)\s*\}\}")
ANY_BRACES = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{\{", re.DOTALL)


class Sql:
    """Marks a field of ``Options`` whose text is SQL: references in it are bound, not written."""


class Condition(Sql):
    """Marks a field whose SQL is a condition over the columns that the plugin gives."""


class Code(Sql):
    """Marks a field whose text is of another language: braces in it are its own, and no references."""


SqlText = Annotated[str, Sql()]
SqlCondition = Annotated[str, Condition()]


def references(value: Any) -> Iterator[str]:
    """Every name that ``{{ … }}`` refers to in a value and in all that it holds."""
    if isinstance(value, str):
        for braces in ANY_BRACES.findall(value):
            match = REFERENCE.fullmatch(braces)
            if match is None:
                raise ConfigError(
                    f"{braces!r} is not a reference", hint="write {{ params.name }}: no expressions"
                )
            yield match.group(1)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def render(value: Any, values: Mapping[str, Any]) -> Any:
    """A value with its references replaced by ``values``; ConfigError for a name that is not there."""
    if isinstance(value, str):
        return _render_text(value, values)
    if isinstance(value, Mapping):
        return {key: render(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render(item, values) for item in value]
    return value


def render_options(
    cls: type[BaseModel], options: Mapping[str, Any], values: Mapping[str, Any]
) -> Any:
    """Options with references replaced, but for the fields of ``cls`` that hold SQL."""
    sql = sql_fields(cls)
    return {key: item if key in sql else render(item, values) for key, item in options.items()}


def sql_fields(cls: type[BaseModel]) -> frozenset[str]:
    """The fields of a model that hold SQL: ``SqlText``, or ``SqlText | None``."""
    return _marked(cls, Sql)


def code_fields(cls: type[BaseModel]) -> frozenset[str]:
    """The fields of a model whose text is of another language."""
    return _marked(cls, Code)


def condition_fields(cls: type[BaseModel]) -> frozenset[str]:
    """The fields of a model that hold a condition over what the plugin gives."""
    return _marked(cls, Condition)


@cache
def _marked(cls: type[BaseModel], mark: type[Sql]) -> frozenset[str]:
    return frozenset(
        name
        for name, field in cls.model_fields.items()
        if any(isinstance(one, mark) for one in field.metadata) or _holds(field.annotation, mark)
    )


def _holds(annotation: Any, mark: type[Sql]) -> bool:
    return isinstance(annotation, mark) or any(_holds(part, mark) for part in get_args(annotation))


def bind(sql: str, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """SQL with each reference as a parameter ``$name``, and the parameters: ``("… >= $partition_start", {…})``."""
    parameters: dict[str, Any] = {}

    def parameter(match: re.Match[str]) -> str:
        name = match.group(1).replace(".", "_")
        parameters[name] = _lookup(match.group(1), values)
        return f"${name}"

    list(references(sql))
    return REFERENCE.sub(parameter, sql), parameters


def _render_text(text: str, values: Mapping[str, Any]) -> Any:
    names = list(references(text))
    whole = REFERENCE.fullmatch(text.strip())
    if whole:
        return _lookup(names[0], values)
    return REFERENCE.sub(lambda match: str(_lookup(match.group(1), values)), text)


def _lookup(name: str, values: Mapping[str, Any]) -> Any:
    if name not in values:
        raise ConfigError(
            f"unknown value {{{{ {name} }}}}", code="unknown_value", hint=nearest(name, values)
        )
    return values[name]
