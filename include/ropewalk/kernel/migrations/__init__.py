"""The tables of a stage's schema, brought to the version of the code by Alembic."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql

FOLDER = Path(__file__).parent
LOCK = 0x726F7065  # of the advisory lock under which replicas that start at once migrate one by one


def migrate(database_url: str, schema: str) -> None:
    """Bring the ledger's tables in a stage's schema to the newest version; it can be called at any time."""
    if _version(database_url, schema) != newest():
        _upgrade(database_url, schema)


def newest() -> str:
    """The version of the code: the number that the last file in ``versions`` begins with."""
    return max(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))


def _version(database_url: str, schema: str) -> str | None:
    """The version of the tables that are there, without Alembic: to load it was a fifth of a stage's start."""
    table = sql.Identifier(schema, "alembic_version")
    with psycopg.connect(database_url) as connection:
        try:
            row = connection.execute(sql.SQL("SELECT version_num FROM {}").format(table)).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
    return str(row[0]) if row else None


def _upgrade(database_url: str, schema: str) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    engine = create_engine(
        database_url.replace("postgresql://", "postgresql+psycopg://", 1),
        connect_args={"options": f"-c search_path={schema}"},
    )
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
            connection.commit()
            config.attributes["connection"] = connection
            config.attributes["schema"] = schema
            command.upgrade(config, "head")
    finally:
        engine.dispose()
