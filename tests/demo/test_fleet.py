"""The fleet's database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
from demo import facts, fleet

from tests.conftest import Database


def test_tables_are_loaded_with_types_once_per_version(database: Database) -> None:
    assert fleet.prepare(database.superuser) is True
    assert fleet.prepare(database.superuser) is False

    with psycopg.connect(database.superuser) as session:
        counts = session.execute(
            "SELECT (SELECT count(*) FROM planes), (SELECT count(*) FROM airports),"
            " (SELECT count(*) FROM airlines)"
        ).fetchone()
        plane = session.execute("SELECT * FROM planes WHERE tailnum = 'N10156'").fetchone()
        airport = session.execute("SELECT * FROM airports WHERE faa = 'JFK'").fetchone()
    assert counts == (facts.PLANES, facts.AIRPORTS, facts.AIRLINES)
    assert plane == (
        "N10156", 2004, "Fixed wing multi engine", "EMBRAER", "EMB-145XR", 2, 55, None, "Turbo-fan",
    )  # fmt: skip
    assert airport == (
        "JFK", "John F Kennedy Intl", 40.639751, -73.778925, 13, -5, "A", "America/New_York",
    )  # fmt: skip


def test_an_older_version_is_replaced(database: Database) -> None:
    fleet.prepare(database.superuser)
    with psycopg.connect(database.superuser) as session:
        session.execute("DELETE FROM planes")
        session.execute("COMMENT ON TABLE planes IS 'older'")

    assert fleet.prepare(database.superuser) is True

    with psycopg.connect(database.superuser) as session:
        assert session.execute("SELECT count(*) FROM planes").fetchone() == (facts.PLANES,)


def test_the_command_prepares_both_and_says_so(database: Database, tmp_path: Path) -> None:
    env = {**os.environ, "DEMO_DATA": str(tmp_path), "DEMO_FLEET_URL": database.superuser}
    command = [sys.executable, "-m", "demo.prepare"]

    said = [
        subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]

    assert said == ["files written\nfleet loaded\n", "files in order\nfleet in order\n"]
