"""The names of types that options may use: plain words, and DuckDB's own names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.errors import SqlglotError

from ropewalk.contracts.errors import nearest
from ropewalk.process.relations import DIALECT, Relations

if TYPE_CHECKING:
    import pyarrow as pa

WORDS = {
    "string": "VARCHAR",
    "text": "VARCHAR",
    "integer": "BIGINT",
    "int": "BIGINT",
    "bigint": "BIGINT",
    "int64": "BIGINT",
    "int32": "INTEGER",
    "int16": "SMALLINT",
    "smallint": "SMALLINT",
    "number": "DOUBLE",
    "float": "DOUBLE",
    "double": "DOUBLE",
    "float64": "DOUBLE",
    "float32": "REAL",
    "boolean": "BOOLEAN",
    "bool": "BOOLEAN",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMPTZ",
    "timestamptz": "TIMESTAMPTZ",
    "local_timestamp": "TIMESTAMP",
    "binary": "BLOB",
}
DECIMAL = re.compile(r"decimal\(\s*\d+\s*,\s*\d+\s*\)", re.IGNORECASE)

UNTYPED = '"NULL"'
"""DuckDB's name of the type of a column that holds nothing but nulls; no value can be cast to it."""

OUT = {
    "HUGEINT": "BIGINT",
    "UHUGEINT": "UBIGINT",
    "BIGNUM": "VARCHAR",
    "UUID": "VARCHAR",
    "BIT": "VARCHAR",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_NS": "TIMESTAMP",
    "TIMESTAMPTZ_NS": "TIMESTAMPTZ",
}
"""DuckDB's types that datasets do not have, and what they become: a value that does not fit is an error."""


def data_type(word: str, relations: Relations) -> exp.DataType:
    """The SQL type that a word in an option means: ``timestamp`` is an instant, ``integer`` has 64 bits."""
    name = WORDS.get(word.strip().lower())
    if name is None and DECIMAL.fullmatch(word.strip()) is None:
        raise relations.place.error(
            f"there is no type {word!r}",
            code="unknown_type",
            hint=nearest(word.lower(), WORDS),
            field=word,
        )
    try:
        return exp.DataType.build(name or word, dialect=DIALECT)
    except SqlglotError:
        raise relations.place.error(f"there is no type {word!r}", code="unknown_type") from None


def kind_of(word: str) -> str | None:
    """DuckDB's name of the type that a word in an option of any stage means; None where it means none."""
    name = word.strip().lower().replace("datetime", "timestamp")
    return WORDS.get(name) or (name.upper() if DECIMAL.fullmatch(name) else None)


def typed(value: exp.Expr, kind: str) -> exp.Expr:
    """A value in a column's type; as it is where the column has none."""
    return value if UNTYPED in kind else exp.cast(value, kind, dialect=DIALECT)


def arrow_schema(columns: Mapping[str, exp.DataType], relations: Relations) -> pa.Schema:
    """The Arrow schema of columns with these types."""
    made = [
        exp.alias_(exp.cast(exp.null(), kind), name, quoted=True) for name, kind in columns.items()
    ]
    text = exp.select(*made).limit(0).sql(DIALECT)
    return relations.connection.sql(text).to_arrow_table().schema


def plain(column: str, kind: str) -> exp.Expr:
    """A column as datasets hold it."""
    own = exp.column(column, quoted=True)
    if kind not in OUT:
        return own
    return exp.alias_(exp.cast(own, OUT[kind], dialect=DIALECT), column, quoted=True)
