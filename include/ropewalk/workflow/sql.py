"""What the workflow needs to know of SQL: which steps a query reads, and whether two texts mean the same."""

from __future__ import annotations

import re
from functools import cache

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.template import REFERENCE

DIALECT = "duckdb"
THIS = "this"  # the result of the transform before
MARK = "ropewalk_value_"


@cache
def tables(sql: str) -> tuple[str, ...]:
    """The tables that a query reads, common table expressions not counted; ConfigError where it is no query."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    found = dict.fromkeys(
        source.name
        for scope in traverse_scope(_parsed(sql))
        for source in scope.sources.values()
        if isinstance(source, exp.Table)
    )
    return tuple(name for name in found if name and name != THIS)


@cache
def canonical(sql: str) -> str:
    """A query's text without what does not change its meaning: white space, comments, letters' case of keywords."""
    try:
        text: str = _parsed(sql).sql(dialect=DIALECT, comments=False)
    except ConfigError:
        return sql
    return re.sub(rf"\${MARK}([a-z]+)__(\w+)", r"{{ \1.\2 }}", text)


def _parsed(sql: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - sqlglot is imported where it is used
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, TokenError

    bound = REFERENCE.sub(lambda match: "$" + MARK + match.group(1).replace(".", "__"), sql)
    try:
        statements = [one for one in sqlglot.parse(bound, dialect=DIALECT) if one is not None]
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        place = f" on line {first['line']} of the query" if first.get("line") else ""
        near = f" near {first['highlight']!r}" if first.get("highlight") else ""
        raise ConfigError(
            f"this SQL cannot be read{place}{near}: {first.get('description')}", code="sql"
        ) from None
    except TokenError as error:
        raise ConfigError(f"this SQL cannot be read: {error}", code="sql") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise ConfigError(
            "this is not one SELECT",
            code="sql",
            hint="a step's SQL is one query that reads and changes nothing",
        )
    return statements[0]
