"""What DuckDB says of a query before it runs: its columns, or why it cannot; sqlglot says where."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.optimizer.scope import Scope, traverse_scope

from ropewalk.contracts.errors import ConfigError, DataError, FatalError, RetryableError, nearest
from ropewalk.process.relations import fold

if TYPE_CHECKING:
    from ropewalk.process.relations import Relations

KIND = re.compile(r"^[A-Za-z ]+ Error: ")


def describe(relations: Relations, query: exp.Query, written: str | None) -> dict[str, str]:
    """The columns of a query and their DuckDB types; ``written`` is the SQL that a user wrote for it."""
    import duckdb

    text, parameters = relations.statement(query)
    try:
        rows = relations.connection.execute(f"DESCRIBE {text}", parameters).fetchall()
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        if written is not None:
            _explain(relations, query, written)
        raise relations.place.error(sentence(error), code="sql") from None
    except duckdb.Error as error:
        raise relations.place.error(sentence(error), code="sql") from None
    _distinct(relations, [row[0] for row in rows])
    return {row[0]: row[1] for row in rows}


@contextmanager
def running() -> Iterator[None]:
    """Turn what DuckDB raises while a query runs into the errors of this product."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise FatalError(
            f"the query needs more memory than its limit: {sentence(error)}",
            code="memory",
            hint="raise ROPEWALK_MEMORY_LIMIT",
        ) from error
    except (duckdb.IOException, duckdb.InterruptException) as error:
        raise RetryableError(sentence(error), code="disk") from error
    except (duckdb.DataError, duckdb.InvalidInputException) as error:
        raise DataError(sentence(error), code="query") from error
    except duckdb.Error as error:
        raise FatalError(sentence(error), code="query") from error


def sentence(error: Exception) -> str:
    """What DuckDB says, without the excerpt of a query that the user did not write."""
    head = str(error).split("\n\nLINE ", maxsplit=1)[0]
    first = KIND.sub("", head).strip().splitlines()
    return first[0].rstrip(".!") if first else type(error).__name__


def _distinct(relations: Relations, names: list[str]) -> None:
    counts = Counter(fold(name) for name in names)
    doubled = next((name for name in names if counts[fold(name)] > 1), None)
    if doubled is not None:
        raise relations.place.error(
            f"two columns of the result are named {doubled!r}",
            code="duplicate_column",
            hint="name the columns one by one, or join with USING",
        )


def _explain(relations: Relations, query: exp.Query, written: str) -> None:
    """Raise for the first column that none of its relations has, where that can be told."""
    columns = {r.name: (r.label, list(r.columns)) for r in relations.known().values()}
    for scope in traverse_scope(query):
        for column in scope.columns:
            error = _unknown(column, scope, columns, relations, written)
            if error is not None:
                raise error


def _unknown(
    column: exp.Column,
    scope: Scope,
    columns: dict[str, tuple[str, list[str]]],
    relations: Relations,
    written: str,
) -> ConfigError | None:
    if column.table and column.table in scope.sources:
        names = [column.table]
    elif not column.table:
        names = list(scope.sources)
    else:
        return _unknown_alias(column, scope, relations, written)
    offered = [_offers(scope.sources[name], name, columns) for name in names]
    if not offered or any(found is None for found in offered):
        return None
    valid = {each for found in offered if found for each in found[1]}
    selects = scope.expression.selects if isinstance(scope.expression, exp.Query) else []
    own = {each.alias for each in selects if each.alias}
    if fold(column.name) in {fold(each) for each in valid | own}:
        return None
    who = " or ".join(found[0] for found in offered if found)
    verb = "has no column" if len(offered) == 1 else "have no column"
    return relations.place.error_in(
        written,
        column.this.meta.get("start", 0),
        f"{who} {verb} {column.name!r}",
        code="unknown_column",
        hint=nearest(column.name, valid),
    )


def _unknown_alias(
    column: exp.Column, scope: Scope, relations: Relations, written: str
) -> ConfigError | None:
    outer = scope.parent
    if outer is not None and column.table in outer.sources:
        return None
    return relations.place.error_in(
        written,
        column.parts[0].meta.get("start", 0),
        f"there is no table or column {column.table!r} in FROM",
        code="unknown_table",
        hint=nearest(column.table, scope.sources),
    )


def _offers(
    source: exp.Table | Scope, name: str, columns: dict[str, tuple[str, list[str]]]
) -> tuple[str, list[str]] | None:
    """What a source is called and which columns it has, where that can be told."""
    if isinstance(source, exp.Table):
        found = columns.get(source.name)
        return found and (found[0], found[1])
    expression = source.expression
    if not isinstance(expression, exp.Query) or expression.is_star:
        return None
    return name, expression.named_selects
