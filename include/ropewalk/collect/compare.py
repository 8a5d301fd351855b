"""How a database is asked for the rows of a window: it must compare as we do, who find the highest of what it gives.

Texts we compare by their bytes. A database does so by its collation, in which ``B1`` may lie after ``a2``: rows would
come twice, or never. So it is told to compare by bytes, and a text is no cursor where we do not know how to tell it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ropewalk.collect.marks import number
from ropewalk.contracts.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

BY_BYTES = {"postgresql", "sqlite"}
NUMBERS = {20, 21, 23, 26, 1700}  # PostgreSQL's that have all their digits: bigint … numeric
TEXTS = {25, 1042, 1043}
OTHERS = {16, 17, 114, 700, 701, 1082, 1083, 1114, 1184, 2950, 3802}  # they compare as themselves


def compared(
    connection: sa.Connection, query: str, values: dict[str, Any], column: str
) -> tuple[str, Callable[[Any], Any]]:
    """A query's column as it is compared with a watermark, and what makes of that the value to bind."""
    dialect = connection.engine.dialect.name
    if dialect == "sqlite":
        return f"{column} COLLATE BINARY", _as_it_is  # which tells nothing of numbers
    if dialect != "postgresql":
        return column, _exact
    kind = _kind(connection, query, values, column)
    if kind in NUMBERS:
        return column, number
    if kind in TEXTS:
        return f'{column} COLLATE "C"', _as_it_is
    return (column if kind in OTHERS else f'CAST({column} AS text) COLLATE "C"'), _as_it_is


def _as_it_is(mark: Any) -> Any:
    return mark


def _exact(mark: Any) -> Any:
    """A number that is kept as a text as a decimal: bound as it is, a database might make a float of it."""
    return number(mark) if isinstance(mark, str) else mark


def check_order(dialect: str, values: pa.Array, column: str) -> None:
    """ConfigError where a database compares a cursor's values by an order that is not known."""
    if dialect in BY_BYTES or not pa.types.is_string(values.type):
        return
    if values.null_count < len(values):
        raise ConfigError(
            f"the cursor {column!r} has texts, and in which order {dialect} has them is not known",
            code="cursor",
            hint="name a column of numbers or of times, or CAST it in the query to one",
        )


def _kind(connection: sa.Connection, query: str, values: dict[str, Any], column: str) -> int:
    """The type of a query's column in PostgreSQL, which does not run what is to give no rows."""
    import sqlalchemy as sa

    found = connection.execute(
        sa.text(f"SELECT {column} FROM ({query}\n) AS source LIMIT 0"),  # noqa: S608 - quoted
        values,
    )
    code: int = found.cursor.description[0].type_code  # type: ignore[attr-defined]
    found.close()
    return code
