"""The planes, airports and airlines in a Postgres database of their own, with types and keys."""

from __future__ import annotations

from typing import LiteralString

import psycopg
from psycopg import sql

from demo.package import NULL, data_file, package_version

LAYOUT = "1"  # of the tables: rises when they change
TABLES: dict[LiteralString, LiteralString] = {
    "planes": """
        tailnum text PRIMARY KEY, year smallint, type text NOT NULL, manufacturer text NOT NULL,
        model text NOT NULL, engines smallint NOT NULL, seats smallint NOT NULL, speed smallint,
        engine text NOT NULL""",
    "airports": """
        faa text PRIMARY KEY, name text NOT NULL, lat double precision NOT NULL,
        lon double precision NOT NULL, alt integer NOT NULL, tz smallint, dst text, tzone text""",
    "airlines": "carrier text PRIMARY KEY, name text NOT NULL",
}


def prepare(url: str) -> bool:
    """Loads the tables in one transaction, unless they are there in the present version; True if
    it did.
    """
    version = f"{package_version()}/{LAYOUT}"
    with psycopg.connect(url) as session:
        if all(_version(session, table) == version for table in TABLES):
            return False
        for table, columns in TABLES.items():
            _load(session, table, columns, version)
    return True


def _load(
    session: psycopg.Connection, table: LiteralString, columns: LiteralString, version: str
) -> None:
    name = sql.Identifier(table)
    session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    session.execute(sql.SQL("CREATE TABLE {} (" + columns + ")").format(name))
    copy = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER match, NULL {})")
    with session.cursor().copy(copy.format(name, NULL)) as stream:
        stream.write(data_file(f"{table}.csv").read_bytes())
    session.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(name, version))


def _version(session: psycopg.Connection, table: str) -> str | None:
    """The version that a table was loaded in: its comment."""
    row = session.execute(
        "SELECT obj_description(to_regclass(%s), 'pg_class')", (table,)
    ).fetchone()
    return None if row is None else row[0]
