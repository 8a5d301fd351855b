"""The embedded Postgres where its folder is deep, closed, or somebody else's."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from ropewalk.contracts.errors import ConfigError
from ropewalk.local.free_ports import free_port
from ropewalk.local.home import Home
from ropewalk.local.postgres import SUN_PATH, cluster, throwaway
from ropewalk.local.remove import remove

from tests.conftest import Postgres

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change accounts")


def test_the_settings_that_the_product_needs_hold(postgres: Postgres) -> None:
    with psycopg.connect(postgres.superuser) as session:
        assert _setting(session, "server_version").startswith("18.")
        assert int(_setting(session, "max_prepared_transactions")) >= 64
        assert _setting(session, "password_encryption") == "scram-sha-256"
        assert _setting(session, "listen_addresses") == "localhost"
        assert _setting(session, "timezone") == "UTC"


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every account may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="ropewalk-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_the_socket_of_a_deep_folder_is_elsewhere_and_closed_to_others(reachable: Path) -> None:
    deep = reachable / ("deep" * 20) / ("deeper" * 10)
    deep.mkdir(parents=True)
    made = cluster(deep, free_port())
    try:
        assert len(f"{made.sockets}/.s.PGSQL.65535.lock") <= SUN_PATH
        assert made.sockets.parent == Path("/tmp")  # noqa: S108
        assert made.sockets.stat().st_mode & 0o777 == 0o700
        assert made.sockets.stat().st_uid == made.account.uid
    finally:
        _remove(deep)
    assert not made.sockets.exists()


def test_a_folder_that_leads_elsewhere_is_refused(reachable: Path) -> None:
    (reachable / "postgres").mkdir()
    (reachable / "postgres" / "run").symlink_to("/tmp")  # noqa: S108
    with pytest.raises(ConfigError, match="postgres/run belongs to somebody else"):
        cluster(reachable, free_port())


@as_root
def test_root_hands_the_server_to_an_account_without_rights() -> None:
    with throwaway() as made:
        assert made.account.uid != 0
        assert made.data.stat().st_uid == made.account.uid
        assert made.data.stat().st_mode & 0o777 == 0o700


@as_root
def test_a_home_that_the_account_cannot_reach_keeps_its_modes(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    made = cluster(closed, free_port())
    assert (closed / "postgres").is_symlink()
    assert made.folder == (closed / "postgres").resolve()
    assert made.account.reaches(made.folder.parent)
    assert closed.stat().st_mode & 0o777 == 0o700
    assert cluster(closed, made.port) == made
    _remove(closed)
    assert not made.folder.exists()


def _setting(session: psycopg.Connection, name: str) -> str:
    row = session.execute("SELECT current_setting(%s)", [name]).fetchone()
    return str(row[0]) if row else ""


def _remove(home: Path) -> None:
    remove(Home(home))
