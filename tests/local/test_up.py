"""``make up`` and ``make down`` as their user meets them, with Postgres as the one service."""

from __future__ import annotations

import json
import os
import signal
import socket
from itertools import chain

import psycopg
import pytest
from rich.console import Console
from ropewalk.contracts.errors import ConfigError, RetryableError
from ropewalk.local import processes
from ropewalk.local.databases import STAGES
from ropewalk.local.down import down
from ropewalk.local.environment import environment
from ropewalk.local.home import Home
from ropewalk.local.installation import Installation
from ropewalk.local.remove import remove
from ropewalk.local.services import Service
from ropewalk.local.status import states
from ropewalk.local.up import ensure, up

POSTGRES = ["postgres"]


def test_up_again_starts_nothing_and_a_killed_service_comes_back(
    home: Home, console: Console
) -> None:
    first = _pid(home, up(home, console, POSTGRES))
    assert _pid(home, up(home, console, POSTGRES)) == first
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    installation = up(home, console, POSTGRES)
    assert _pid(home, installation) != first
    with psycopg.connect(installation.databases.stage("store")) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert "started again: it had ended" in _shown(console)


def test_a_taken_port_moves_what_wanted_it_and_stays_moved(home: Home, console: Console) -> None:
    wanted = Installation.settle(home)[0].ports["postgres"]
    with socket.create_server(("127.0.0.1", wanted)):
        moved = up(home, console, POSTGRES).ports["postgres"]
    assert moved != wanted
    assert f"port {wanted} is taken: postgres listens on {moved}" in _shown(console)
    down(home, console)
    assert up(home, console, POSTGRES).ports["postgres"] == moved


def test_two_installations_run_side_by_side(home: Home, console: Console) -> None:
    second = Home(home.path.parent / "second", home.port_base)
    one = up(home, console, POSTGRES)
    try:
        other = up(second, console, POSTGRES)
        assert set(one.ports.values()).isdisjoint({other.ports["postgres"]})
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(other.cluster.dsn("airflow", one.secrets["airflow"], "airflow"))
    finally:
        down(second, console)
        remove(second)


def test_down_stops_what_runs_and_says_when_nothing_does(home: Home, console: Console) -> None:
    pid = _pid(home, up(home, console, POSTGRES))
    down(home, console)
    assert processes.birth(pid) is None
    assert not any(state.running for state in states(home))
    down(home, console)
    assert "nothing runs" in _shown(console)


def test_status_knows_pid_port_and_memory(running: Installation) -> None:
    home = running.home
    state = next(state for state in states(home) if state.name == "postgres")
    assert (state.running, state.pid) == (True, _pid(home, running))
    assert state.port == running.ports["postgres"]
    assert state.processes > 1
    assert state.pss > 1024**2


def test_endpoints_are_as_documented_and_private(running: Installation) -> None:
    home = running.home
    assert home.endpoints.stat().st_mode & 0o777 == 0o600
    found = json.loads(home.endpoints.read_text())
    assert set(found) == {"airflow", "stages", "postgres", "present"}
    assert set(found["airflow"]) == {"url", "username", "password"}
    assert set(found["stages"]) == set(STAGES)
    for stage in STAGES:
        assert set(found["stages"][stage]) == {"url", "flight", "token"}
    assert set(found["present"]) == {"url"}
    with psycopg.connect(found["postgres"]["results"]) as session:
        row = session.execute("SELECT current_user, current_database()").fetchone()
    assert row == ("ropewalk_reader", "ropewalk")
    assert found["airflow"]["url"] == f"http://127.0.0.1:{running.ports['airflow']}"


def test_no_secret_is_readable_by_others_or_stands_in_a_command_line(
    running: Installation,
) -> None:
    home, values = running.home, set(running.secrets.values())
    for path in (path for path in home.path.rglob("*") if path.is_file()):
        if any(value in path.read_text(errors="replace") for value in values):
            assert path.stat().st_mode & 0o077 == 0, path
    record = processes.read(home, "postgres")
    assert record is not None
    lines = chain.from_iterable(process.cmdline() for process in processes.members(record))
    assert not values & set(lines)


def test_data_sources_are_known_to_their_stage_alone(home: Home) -> None:
    installation, _ = Installation.settle(home)
    for stage in STAGES:
        text = installation.write_stage_secrets(stage)
        assert ("fleet_reader" in text) == (stage == "collect")
        assert (installation.secrets["ropewalk_store"] in text) == (stage == "store")
    text = installation.write_airflow_settings() + json.dumps(installation.airflow_environment())
    for name in ("fleet_reader", "weather_token", "ropewalk_collect", "ropewalk_store"):
        assert installation.secrets[name] not in text


def test_the_shell_environment_lets_psql_in(running: Installation) -> None:
    home = running.home
    variables = environment(home)
    assert os.access(f"{running.cluster.install}/bin/psql", os.X_OK)
    dsn = (
        f"passfile={variables['PGPASSFILE']} host={variables['PGHOST']} port={variables['PGPORT']}"
    )
    dsn += f" user={variables['PGUSER']} dbname={variables['PGDATABASE']}"
    with psycopg.connect(dsn) as session:
        assert session.execute("SELECT current_user").fetchone() == ("ropewalk_reader",)


def test_the_shell_environment_needs_an_installation(home: Home) -> None:
    with pytest.raises(ConfigError, match=r"nothing has been set up in .* yet \(make up\)"):
        environment(home)


def test_a_service_that_ends_at_once_is_an_error_with_its_last_words(home: Home) -> None:
    home.make()
    broken = Service("broken", ("sh", "-c", "echo no such thing; exit 3"), {}, lambda _: False)
    with pytest.raises(RetryableError, match="broken ended at once; its log says:\nno such thing"):
        ensure(home, broken)


def test_changed_settings_start_a_service_again(home: Home) -> None:
    home.make()
    one = Service("sleeper", ("sleep", "600"), {"A": "1"}, lambda _: True)
    assert ensure(home, one) == "started"
    assert ensure(home, one) is None
    other = Service("sleeper", ("sleep", "600"), {"A": "2"}, lambda _: True)
    assert ensure(home, other) == "started again: its settings have changed"


def _pid(home: Home, installation: Installation) -> int:
    record = processes.read(home, "postgres")
    assert record is not None
    assert record.alive
    assert installation.cluster.data.exists()
    return record.pid


def _shown(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]
