"""The ledger's tables: brought to the newest version, and let be where they are of it."""

from __future__ import annotations

import subprocess
import sys

import psycopg
from alembic.config import Config
from alembic.script import ScriptDirectory
from ropewalk.kernel.migrations import FOLDER, migrate, newest
from ropewalk.kernel.service import PRELOAD

from tests.conftest import Postgres

AGAIN = """
import sys
from ropewalk.kernel.migrations import migrate
migrate(*sys.argv[1:])
assert "alembic" not in sys.modules
assert "sqlalchemy" not in sys.modules
"""
BACK_TO_3 = (
    "UPDATE alembic_version SET version_num = '0003'",
    "DROP INDEX task_watermark, task_read, task_read_place",
    "ALTER TABLE task DROP COLUMN read, DROP COLUMN read_at",
    "CREATE INDEX task_watermark ON task (workflow)",
    """
    INSERT INTO task (key, workflow, step, run_id, requested, request, asker, state, since, previous, report, ended_at)
    SELECT n, 'w', 's', 'r', 1, '{}', '', 'succeeded', '1', 'p', report, now()
    FROM (VALUES ('1', '{"watermark": 5}'::jsonb), ('2', '{"watermark": null}')) AS one (n, report)
    """,
)
LOADED = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print([name for name in ("fastapi", "uvicorn", "alembic", "sqlalchemy", "pandas") if name in sys.modules])
"""


def test_the_newest_version_is_the_one_that_alembic_goes_to() -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    assert ScriptDirectory.from_config(config).get_current_head() == newest()


def test_tables_of_an_older_version_are_brought_to_the_newest(postgres: Postgres) -> None:
    url = postgres.database().stage("store")
    migrate(url, "store")
    with psycopg.connect(url, autocommit=True, options="-c search_path=store") as connection:
        for statement in BACK_TO_3:
            connection.execute(statement)
        migrate(url, "store")
        found = connection.execute(
            "SELECT version_num, to_regclass('task_read') FROM alembic_version"
        )
        assert found.fetchall() == [(newest(), "task_read")]
        known = connection.execute("SELECT read, read_at = ended_at FROM task ORDER BY key")
        window = {"since": 1, "until": None, "previous": "p", "watermark": 5}
        assert known.fetchall() == [(window, True), (None, None)]


def test_nothing_is_loaded_to_see_that_the_tables_are_there(postgres: Postgres) -> None:
    url = postgres.database().stage("store")
    migrate(url, "store")
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, url, "store"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_task_forks_from_what_has_no_web_server_in_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *PRELOAD], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
