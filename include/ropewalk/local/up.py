"""``make up``: makes what is missing, starts what does not run, and waits until each part
answers.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import time
from collections.abc import Collection
from functools import partial

import httpx
import psycopg
from rich.console import Console
from rich.markup import escape

from ropewalk.contracts.errors import ConfigError, RetryableError
from ropewalk.local import postgres, processes, tls
from ropewalk.local.down import stop
from ropewalk.local.home import Home, write_private
from ropewalk.local.installation import Installation, common
from ropewalk.local.services import Service, port_names, services
from ropewalk.local.steps import Step, run

PATIENCE = 180  # seconds in which a process must answer


def up(home: Home, console: Console, only: Collection[str] = ()) -> Installation:
    """Brings up the installation, or the services that ``only`` names (``airflow`` means its
    four).
    """
    installation, plan = Installation.settle(home, _running_ports(home))
    for name, wanted, given in plan.moved:
        console.print(f"  [yellow]![/] port {wanted} is taken: {name} listens on {given}")
    tls.remember(home)
    every = services(installation)
    run(_steps(installation, [s for s in every if _chosen(s.name, only)]), console)
    installation.write_endpoints()
    return installation


def ensure(home: Home, service: Service) -> str | None:
    """Has the service running with its present settings, and ready; says what it did, None where
    nothing.
    """
    record, why = processes.read(home, service.name), "started"
    if record and record.alive and record.settings == service.settings:
        _wait(home, service, record, 0)
        return None
    if record:
        why = (
            "started again: its settings have changed"
            if record.alive
            else "started again: it had ended"
        )
        stop(home, service.name)
    started = time.time()
    record = processes.start(
        home,
        service.name,
        service.argv,
        service.env,
        settings=service.settings,
        account=service.account,
    )
    _wait(home, service, record, started)
    return why


def summarise(installation: Installation, console: Console) -> None:
    """Says where to look and how to stop; no line is broken: they are there to be copied."""
    found = installation.endpoints()
    lines = {
        "Airflow": found["airflow"]["url"],
        "user, password": f"{found['airflow']['username']}  {found['airflow']['password']}",
        "Report": found["present"]["url"],
        "Postgres": found["postgres"]["results"],
        "Stop": "make down",
    }
    console.print()
    for name, value in lines.items():
        console.print(f"  [bold]{name:<16}[/]{escape(value)}", soft_wrap=True)


def _steps(installation: Installation, chosen: list[Service]) -> list[Step]:
    """The start of the chosen services, and what must have been made before."""
    home = installation.home
    steps = [
        Step(
            service.name,
            _title(installation, service),
            partial(ensure, home, service),
            service.after,
        )
        for service in chosen
    ]
    names = {step.name for step in steps}
    if "postgres" in names:
        steps.append(Step("initdb", "Postgres: data folder", partial(_initialise, installation)))
        steps.append(
            Step(
                "databases",
                "Postgres: roles and databases",
                partial(_provision, installation),
                ("postgres",),
            )
        )
    if "weather" in names:
        steps.append(
            Step(
                "demo",
                "Demo: flights, weather, planes",
                partial(_demo, installation),
                ("databases",),
            )
        )
    if any(name.startswith("airflow-") for name in names):
        steps.append(
            Step("migrations", "Airflow: tables", partial(_migrate, installation), ("databases",))
        )
    return steps


def _chosen(name: str, only: Collection[str]) -> bool:
    return not only or name in only or name.partition("-")[0] in only


def _title(installation: Installation, service: Service) -> str:
    name = service.name.replace("-", ": ", 1).replace("-", " ").capitalize()
    return f"{name} on port {installation.ports[service.port]}" if service.port else name


def _initialise(installation: Installation) -> str | None:
    return "made" if postgres.initialise(installation.cluster) else None


def _provision(installation: Installation) -> str | None:
    installation.databases.provision()
    return "in order"


def _migrate(installation: Installation) -> str | None:
    """Brings Airflow's tables to its version, unless the last migration to that version was this
    one.
    """
    stamp = installation.home.path / "airflow" / "migrated"
    done = stamp.read_text(encoding="utf-8") if stamp.exists() else ""
    if done == _airflow_revision(installation):
        return None
    _command(
        [sys.executable, str(processes.BIN / "airflow"), "db", "migrate"],
        installation.airflow_environment(),
    )
    write_private(stamp, _airflow_revision(installation))
    return "migrated"


def _airflow_revision(installation: Installation) -> str:
    """Airflow's version and the revision that its tables have."""
    version = importlib.metadata.version("apache-airflow-core")
    with psycopg.connect(installation.databases.dsn("airflow", "airflow")) as session:
        found = session.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
        rows = (
            session.execute("SELECT version_num FROM alembic_version").fetchall()
            if found == (True,)
            else []
        )
    return f"{version} {rows}"


def _demo(installation: Installation) -> str | None:
    """Has the demo's files and its database made, once per version of the code that makes them."""
    env = {
        **common(),
        "DEMO_DATA": str(installation.home.folder("data")),
        "DEMO_FLEET_URL": installation.databases.dsn("fleet", "fleet"),
    }
    _command([sys.executable, "-m", "demo.prepare"], env)
    return "ready"


def _command(argv: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(
        argv,
        env={**processes.inherited(), **env},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigError(
            f"{' '.join(argv)} failed:\n{(done.stdout + done.stderr).strip()[-4000:]}"
        )


def _wait(home: Home, service: Service, record: processes.Record, started: float) -> None:
    """Returns when the service is ready; tells the end of its log where it ended or never becomes
    so.
    """
    deadline = time.monotonic() + PATIENCE
    while not _ready(service, started):
        if not record.alive:
            raise RetryableError(
                f"{service.name} ended at once; its log says:\n{_tail(home, service.name)}"
            )
        if time.monotonic() > deadline:
            raise RetryableError(
                f"{service.name} does not answer; its log says:\n{_tail(home, service.name)}"
            )
        time.sleep(0.1)


def _ready(service: Service, started: float) -> bool:
    try:
        return service.ready(started)
    except (httpx.HTTPError, psycopg.OperationalError, KeyError, TypeError):
        return False


def _tail(home: Home, name: str, lines: int = 15) -> str:
    text = processes.log_path(home, name).read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _running_ports(home: Home) -> list[str]:
    """The names of the ports that the installation's own processes hold now."""
    held: list[str] = []
    for service, names in port_names().items():
        record = processes.read(home, service)
        if record is not None and record.alive:
            held += names
    return held
