"""What DuckDB says of a query before it runs: its columns, or why it cannot; sqlglot says where."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlglot import exp

from ropewalk.contracts.columns import fold
from ropewalk.contracts.errors import (
    DataError,
    FatalError,
    RetryableError,
    RopewalkError,
    nearest,
)
from ropewalk.process.names import Known, Names
from ropewalk.process.relations import Unlisted

if TYPE_CHECKING:
    import duckdb

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
            refuse_missing(relations, query, written)
        raise relations.place.error(sentence(error), code="sql") from None
    except duckdb.Error as error:
        raise relations.place.error(sentence(error), code="sql") from None
    distinct(relations, [row[0] for row in rows])
    return {row[0]: row[1] for row in rows}


@contextmanager
def running() -> Iterator[None]:
    """Turn what DuckDB raises while a query runs into the errors of this product."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        from ropewalk.kernel.perform import disk_is_full  # Airflow reads this module, without Arrow

        if disk_is_full(error):
            raise
        raise _as_ours(error) from error


def _as_ours(error: duckdb.Error) -> RopewalkError:
    import duckdb

    if isinstance(error, duckdb.OutOfMemoryException):
        return FatalError(
            f"the query needs more memory than its limit: {sentence(error)}",
            code="memory",
            hint="raise ROPEWALK_MEMORY_LIMIT",
        )
    if isinstance(error, duckdb.IOException | duckdb.InterruptException):
        return RetryableError(sentence(error), code="disk")
    if isinstance(error, duckdb.DataError | duckdb.InvalidInputException):
        return DataError(sentence(error), code="query")
    return FatalError(sentence(error), code="query")


def sentence(error: Exception) -> str:
    """What DuckDB says, without the excerpt of a query that the user did not write."""
    head = str(error).split("\n\nLINE ", maxsplit=1)[0]
    first = KIND.sub("", head).strip().splitlines()
    return first[0].rstrip(".!") if first else type(error).__name__


def distinct(relations: Relations, names: list[str]) -> None:
    """ConfigError where two columns have one name."""
    counts = Counter(fold(name) for name in names)
    doubled = next((name for name in names if counts[fold(name)] > 1), None)
    if doubled is not None:
        raise relations.place.error(
            f"two columns of the result are named {doubled!r}",
            code="duplicate_column",
            hint="name the columns one by one, or join with USING",
        )


def refuse_missing(relations: Relations, query: exp.Query, written: str) -> None:
    """ConfigError for the first column that none of its relations has, where that can be told."""
    missing = Names(query, readable(relations)).missing()
    if missing is None:
        return
    who = " or ".join(dict.fromkeys(missing.whose))
    verb = "has no column" if len(missing.whose) == 1 else "have no column"
    name = missing.node.name
    relations.missed(missing.whose, name)
    raise relations.place.error_in(
        written,
        missing.node.meta.get("start", 0),
        f"{who} {verb} {name!r}" if who else f"there is no table or column {name!r} in FROM",
        code="unknown_column" if who else "unknown_table",
        hint=nearest(name, missing.valid),
    )


def readable(relations: Relations) -> dict[str, Known]:
    """What queries may select from, by the names that they select from."""
    return {
        one.name: Known(
            one.label, None if isinstance(one.columns, Unlisted) else tuple(one.columns)
        )
        for one in relations.known().values()
    }
