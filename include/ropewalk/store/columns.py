"""Tables of PostgreSQL as datasets need them: made, widened, and refused where a value would not fit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from ropewalk.contracts.errors import ConfigError, DataError
from ropewalk.store.sessions import Statement

PARTITION, LOAD = "_ropewalk_partition", "_ropewalk_load"
OWN = {PARTITION: "text", LOAD: "bigint"}
RESERVED = ("_ropewalk_",)
SYSTEM = {"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "oid"}
IDLE = "5s"  # that a change stays open of which nothing is heard: it locks readers out
MOMENT = "200ms"  # that readers may be kept waiting by a change that has not begun
COLUMNS = """
SELECT attname, format_type(atttypid, NULL), CASE WHEN atttypmod >= 0 THEN format_type(atttypid, atttypmod) END
FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
MOST_COLUMNS, LONGEST_NAME, MOST_DIGITS = 1_598, 63, 16_383
WIDER = {
    "smallint": ("integer", "bigint", "numeric", "double precision"),
    "integer": ("bigint", "numeric", "double precision"),
    "bigint": ("numeric",),
    "real": ("double precision",),
    "date": ("timestamp with time zone",),
}
"""Which types a column of a type can become without a value being lost."""

Column = tuple[str, str, str | None]
"""A table's column: its name, its type, and its type with the length that it is limited to, where it is."""


@dataclass(frozen=True)
class Table:
    """A table by its schema and name."""

    schema: str
    name: str

    @property
    def identifier(self) -> sql.Identifier:
        """Its quoted name."""
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def postgres_types(schema: pa.Schema, table: Table) -> dict[str, str]:
    """The columns of a dataset in PostgreSQL's types; DataError for one that a table cannot have."""
    if len(schema) > MOST_COLUMNS:
        raise DataError(
            f"{table}: {len(schema)} columns; PostgreSQL has at most {MOST_COLUMNS}",
            code="too_many_columns",
        )
    found: dict[str, str] = {}
    for field in schema:
        check_name(field.name, table)
        found[field.name] = _type(field, table)
    return found


def check_name(name: str, table: Table) -> None:
    """DataError for a column's name that PostgreSQL would cut, or that is not ours to give."""
    if len(name.encode()) > LONGEST_NAME:
        raise DataError(
            f"{table}: the column name {name!r} is longer than {LONGEST_NAME} bytes",
            code="long_name",
            field=name,
        )
    if name.startswith(RESERVED) or name in SYSTEM or not name or "\0" in name:
        raise DataError(
            f"{table}: the column name {name!r} is reserved",
            code="reserved_name",
            field=name,
            hint="rename it",
        )


def ensure(
    connection: psycopg.Connection[Any], table: Table, wanted: Mapping[str, str], *, evolve: bool
) -> None:
    """Have the table with at least these columns, in a transaction of its own.

    LockNotAvailable where somebody reads it: whoever waits to change a table keeps new readers waiting behind.
    """
    with connection.transaction():
        connection.execute(
            "SELECT set_config('lock_timeout', %s, true),"
            " set_config('idle_in_transaction_session_timeout', %s, true)",
            [MOMENT, IDLE],
        )
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", [f"ddl {table}"]
        )
        present = connection.execute(*look(table)).fetchall()
        for statement in _missing(table, present, wanted, evolve=evolve):
            connection.execute(statement)


def look(table: Table) -> Statement:
    """Asks for the columns of a table; none where there is no such table."""
    return COLUMNS, [table.identifier.as_string()]


def refuse_rounding(table: Table, present: Sequence[Column], schema: pa.Schema) -> None:
    """DataError for a column that would round: ``numeric(10,2)`` of a table, and three digits in the data."""
    for name, _, here in present:
        if here and name in schema.names and _digits(schema.field(name).type) > _digits_of(here):
            raise DataError(
                f"{table}: column {name!r} is {here}, and would round the data, {schema.field(name).type}",
                code="narrowing",
                field=name,
                hint=f"round it in a process step, CAST({name} AS …), or change the table",
            )


def _digits(kind: pa.DataType) -> int:
    """The digits after the point that values of a type may have."""
    if pa.types.is_decimal(kind):
        return int(kind.scale)
    return 6 if pa.types.is_timestamp(kind) or pa.types.is_time(kind) else 0


def _digits_of(here: str) -> int:
    """The digits after the point that a column's type keeps."""
    found = re.match(r"(?:numeric\(\d+,(-?\d+)|time(?:stamp)?\((\d+))\)", here)
    return int(found[1] or found[2]) if found else MOST_DIGITS


def fits(present: Sequence[Column], wanted: Mapping[str, str]) -> bool:
    """Whether a table takes these columns as it is."""
    types = {name: kind for name, kind, _ in present}
    return all(_takes(types.get(name), kind) for name, kind in {**wanted, **OWN}.items())


def _takes(here: str | None, kind: str) -> bool:
    return here is not None and (here == kind or kind in _narrower(here))


def _missing(
    table: Table, present: Sequence[Column], wanted: Mapping[str, str], *, evolve: bool
) -> list[sql.Composed]:
    """What must be done so that the table can take the columns."""
    if not present:
        return _creation(table, wanted)
    types = {name: kind for name, kind, _ in present}
    statements: list[sql.Composed] = []
    for name, kind in {**wanted, **OWN}.items():
        here = types.get(name)
        if here is None:
            if not evolve and name not in OWN:
                raise DataError(
                    f"{table} has no column {name!r}",
                    code="frozen",
                    field=name,
                    hint="columns: evolve adds it",
                )
            statements.append(_alter(table, "ADD COLUMN {} {}", name, kind))
        elif _takes(here, kind):
            continue
        elif kind in WIDER.get(here, ()) and evolve:
            statements.append(_alter(table, "ALTER COLUMN {} TYPE {}", name, kind))
        else:
            raise DataError(
                f"{table}: column {name!r} is {here}, and the data is {kind}, which would not fit",
                code="narrowing",
                field=name,
                hint=f"cast it to {here} in a process step, or change the table",
            )
    return statements


def _creation(table: Table, wanted: Mapping[str, str]) -> list[sql.Composed]:
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
        for name, kind in {**wanted, **OWN}.items()
    ]
    index = sql.Identifier(f"{table.name[:40]}_ropewalk_partition")
    return [
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(table.schema)),
        sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(
            table.identifier, sql.SQL(", ").join(columns)
        ),
        sql.SQL(
            "CREATE INDEX IF NOT EXISTS {} ON {} USING brin ({}) WITH (autosummarize = on)"
        ).format(index, table.identifier, sql.Identifier(PARTITION)),
    ]


def _alter(table: Table, what: Any, name: str, kind: str) -> sql.Composed:
    change = sql.SQL(what).format(sql.Identifier(name), sql.SQL(kind))
    return sql.SQL("ALTER TABLE {} {}").format(table.identifier, change)


def _narrower(kind: str) -> set[str]:
    """The types whose values a column of this type takes as they are."""
    return {narrow for narrow, wide in WIDER.items() if kind in wide} - {"date"}


def plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves, however Arrow keeps them."""
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    return PLAIN.get(str(kind), kind)


PLAIN = {
    "large_string": pa.string(), "string_view": pa.string(), "large_binary": pa.binary(),
    "binary_view": pa.binary(),
}  # fmt: skip


def _type(field: pa.Field, table: Table) -> str:
    kind = plain(field.type)
    if pa.types.is_decimal(kind):
        return "numeric"
    if pa.types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp without time zone"
    found = TYPES.get(str(kind))
    if found is None:
        raise DataError(
            f"{table}: column {field.name!r} has the type {kind}, which PostgreSQL has no column for here",
            code="unsupported_type",
            field=field.name,
            hint="make it a text in a process step: to_json(column)",
        )
    return found


TYPES = {
    "bool": "boolean", "int8": "smallint", "uint8": "smallint", "int16": "smallint", "uint16": "integer",
    "int32": "integer", "uint32": "bigint", "int64": "bigint", "uint64": "numeric", "halffloat": "real",
    "float": "real", "double": "double precision", "string": "text", "binary": "bytea",
    "date32[day]": "date", "date64[ms]": "date", "time32[s]": "time without time zone",
    "time32[ms]": "time without time zone", "time64[us]": "time without time zone",
    "time64[ns]": "time without time zone", "null": "text",
}  # fmt: skip


def as_columns(schema: pa.Schema, present: Sequence[Column]) -> pa.Schema:
    """The schema with each column in the type of the table's, where that is a wider one."""
    wide = {
        "integer": pa.int32(), "bigint": pa.int64(), "double precision": pa.float64(),
        "timestamp with time zone": pa.timestamp("us", "UTC"), "numeric": pa.decimal128(38, 0),
    }  # fmt: skip
    types = {name: kind for name, kind, _ in present}
    fields = []
    for field in schema:
        here, kind = types.get(field.name, ""), plain(field.type)
        kept = pa.types.is_decimal(kind) or pa.types.is_timestamp(kind)
        narrow = not kept and here in wide and TYPES.get(str(kind)) != here
        fields.append(field.with_type(wide[here] if narrow else kind))
    return pa.schema(fields)


def need_key(columns: Mapping[str, str], key: list[str], table: Table) -> None:
    """ConfigError where a key names a column that is not there."""
    from ropewalk.contracts.errors import nearest

    for name in key:
        if name not in columns:
            raise ConfigError(
                f"{table}: the key names a column {name!r} that the data lacks",
                code="key",
                hint=nearest(name, columns),
            )
