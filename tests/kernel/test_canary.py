"""A canary is every secret of two running stages: whatever goes well or wrong, it is found nowhere after.

It is looked for, in all its forms, in the tasks' logs and the tasks' rows in Postgres, in every file of the dataset
store, in the services' logs, and in the command lines of the services and all that they start.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from ropewalk.contracts.errors import RopewalkError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import Report, RunInfo, TaskRequest, Use
from ropewalk.contracts.tokens import new_signing_key
from ropewalk.local.free_ports import free_port
from ropewalk.testing.bench import TaskBench
from ropewalk.testing.services import StageService

from tests.collect.sources.test_rest import Answer, Api
from tests.conftest import Database, Postgres

CANARY = "c4nary/of+the=mine"
KEY = new_signing_key()
NUMBERS = itertools.count()
FORMS = {
    CANARY.encode(),
    quote(CANARY, safe="").encode(),
    quote(CANARY).encode(),
    *(base64.b64encode(bytes(n) + CANARY.encode())[4:-4] for n in range(3)),
}
ROLE = "canary"


class Mine:
    """Two stages with connections, the page of what they did, a server that tells what it was sent, and a database."""

    def __init__(self, folder: Path, database: Database, port: int, api: Api) -> None:
        self.folder, self.database, self.api = folder, database, api
        self.db = f"127.0.0.1:{port}/{database.name}"
        self.commands: set[bytes] = set()
        secrets = folder / "secrets"
        secrets.mkdir()
        for name, value in self._connections().items():
            (secrets / f"ropewalk_connection_{name}").write_text(value)
        (secrets / "ropewalk_view_token").write_text(CANARY)
        env = {"ROPEWALK_SECRETS_DIR": str(secrets), "ROPEWALK_PRIVATE_HOSTS": "127.0.0.1",
               "ROPEWALK_LOG_LEVEL": "DEBUG", "ROPEWALK_ROOT_DATA": str(folder)}  # fmt: skip
        self.stages = {
            name: StageService(name, database.stage(name), folder, env, key=KEY)
            for name in ("collect", "store")
        }

    def _connections(self) -> dict[str, str]:
        coded, db = quote(CANARY, safe=""), self.db
        api = {"url": self.api.url}
        found: dict[str, Any] = {
            "bearer": {**api, "token": CANARY},
            "header": {**api, "token": CANARY, "header": "X-Key"},
            "basic": {**api, "user": "me", "password": CANARY},
            "oauth": {**api, "user": "me", "password": CANARY, "token_url": f"{self.api.url}/token"},
            "inside": {"url": self.api.url.replace("//", f"//me:{coded}@")},
            "away": {"url": f"http://me:{coded}@127.0.0.1:{free_port()}", "token": CANARY},
            "db": f"postgresql://{ROLE}:{coded}@{db}",
            "wrong": f"postgresql://{ROLE}:{coded}x@{db}",
            "down": f"postgresql://{ROLE}:{coded}@127.0.0.1:{free_port()}/x",
            "broken": f"postgresql://{ROLE}:{CANARY}@{db}",
            "no_driver": f"nothing://{ROLE}:{coded}@{db}",
            "no_library": f"mssql+pyodbc://{ROLE}:{coded}@{db}",
            "no_option": f"postgresql://{ROLE}@{db}?passwordx={coded}",
            "no_port": f"postgresql://{ROLE}:{coded}@127.0.0.1:port/x",
            "no_json": f'{{"url": "{self.api.url}", "token": "{CANARY}"',
        }  # fmt: skip
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in found.items()}

    def do(self, stage: str, plugin: str, options: dict[str, Any], **more: Any) -> Report:
        """Do a task of a stage."""
        service = self.stages[stage]
        step = f"{stage}_{next(NUMBERS)}"
        request = TaskRequest(
            workflow="mine", step=step, stage=stage, do=[Use(plugin=plugin, options=options)],
            run=RunInfo(id="run-1"), **more,
        )  # fmt: skip
        self.last = task_key(request)
        return service.do(request)

    def fails(self, stage: str, plugin: str, options: dict[str, Any], **more: Any) -> str:
        """Do a task that fails: what is said of it."""
        with pytest.raises(RopewalkError) as caught:
            self.do(stage, plugin, options, **more)
        log = "\n".join(line.text for line in self.stages[stage].lines(self.last))
        return f"{caught.value}\n{log}"

    def look(self) -> None:
        """Remember the command line of every process of the stages, as they are now."""
        for service in self.stages.values():
            if service.process is not None:
                self.commands |= set(_commands(service.process.pid))

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """All that is left, by where it is."""
        for number, command in enumerate(self.commands):
            yield f"command line {number}", command
        secrets = self.folder / "secrets"
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and secrets not in path.parents:
                yield path.name, path.read_bytes()
        yield from _rows(self.database.superuser)


def _commands(pid: int) -> Iterator[bytes]:
    """The command lines of a process and its children's."""
    try:
        yield Path(f"/proc/{pid}/cmdline").read_bytes()
        threads = Path(f"/proc/{pid}/task").iterdir()
        children = [one for thread in threads for one in (thread / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from _commands(int(child))


def _rows(dsn: str) -> Iterator[tuple[str, bytes]]:
    """Every row of every table that is not the system's own, as text."""
    with psycopg.connect(dsn) as session:
        tables = session.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p')"
            " AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for (table,) in tables:
            for (row,) in session.execute(f"SELECT it::text FROM {table} AS it"):
                yield f"row of {table}", str(row).encode()


def leaks(places: Iterator[tuple[str, bytes]]) -> list[str]:
    """Where a form of the canary stands."""
    return [where for where, data in places if any(form in data for form in FORMS)]


@pytest.fixture(scope="module")
def mine(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mine]:
    """The stages, running; the role that the canary lets in."""
    database, api = postgres.database(), Api()
    thread = threading.Thread(target=api.server.serve_forever, args=(0.02,))
    thread.start()
    with psycopg.connect(database.superuser, autocommit=True) as session:
        session.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{CANARY}'")
        session.execute(f"GRANT CONNECT, CREATE ON DATABASE {database.name} TO {ROLE}")
        session.execute("CREATE TABLE public.ores AS SELECT n FROM generate_series(1, 3) AS n")
        session.execute(
            f"GRANT USAGE ON SCHEMA public TO {ROLE}; GRANT SELECT ON public.ores TO {ROLE}"
        )
        with ExitStack() as stack:
            one = Mine(tmp_path_factory.mktemp("mine"), database, postgres.cluster.port, api)
            for service in one.stages.values():
                service.launch()
                stack.callback(service.stop)
            for service in one.stages.values():
                service.wait_ready()
            yield one
        session.execute(f"DROP OWNED BY {ROLE} CASCADE; DROP ROLE {ROLE}")
    api.server.shutdown()
    thread.join()
    api.server.server_close()


def repeated(mine: Mine, status: int, **headers: str) -> Any:
    """An answer that repeats all that was sent, as servers that are to be debugged do."""

    def answer(path: str, _: object, sent: Any) -> Answer:
        mine.look()
        if path == "/token":
            return 200, {}, {"access_token": CANARY}
        words = [*sent.values(), quote(CANARY, safe=""), base64.b64encode(CANARY.encode()).decode()]
        told = {name: value.replace("CANARY", CANARY) for name, value in headers.items()}
        return status, {"content-type": "text/plain", **told}, " ".join(words).encode()

    return answer


def test_a_canary_is_found_nowhere(mine: Mine) -> None:
    said = [
        *_with_servers(mine),
        *_with_databases(mine),
        *_with_sinks(mine),
    ]
    assert leaks((text[:60], text.encode()) for text in said) == []
    assert sum("***" in text for text in said) >= 5, "none of it was ever about to be told"
    mine.look()
    found = {where.rpartition("-")[2] for where, _ in mine.everything()}
    assert {"collect.log", "store.log", "manifest.json", "index.html", "0.arrow"} <= found
    assert {
        "row of collect.task",
        "row of collect.log",
        "row of store.task",
        "row of dug.ores",
    } <= found
    assert len(mine.commands) > 4
    assert leaks(mine.everything()) == []


def good(path: str, *_: object) -> Answer:
    """The answer of a server that accepts what it was sent."""
    return 200, {}, {"access_token": CANARY} if path == "/token" else [{"n": 1}]


def _with_servers(mine: Mine) -> Iterator[str]:
    """What is said of servers that accept a secret, refuse it, or give it back."""
    names = ("bearer", "header", "basic", "oauth", "inside")
    for name in names:
        mine.api.answer = good
        mine.do("collect", "rest", {"connection": name})
    for name, status in itertools.product(names, (200, 400, 401)):
        mine.api.answer = repeated(mine, status)
        yield mine.fails("collect", "rest", {"connection": name, "attempts": 1})
    away = f"http://127.0.0.1:{free_port()}/?token=CANARY"
    for status, headers in (
        (302, {"location": away}),
        (500, {}),
        (200, {"content-encoding": "gzip"}),
    ):
        mine.api.answer = repeated(mine, status, **headers)
        yield mine.fails("collect", "rest", {"connection": "bearer", "attempts": 1})
    for name in ("away", "no_json"):
        yield mine.fails("collect", "rest", {"connection": name, "attempts": 1})
    yield mine.fails(
        "collect", "rest", {"connection": "bearer", "headers": {"bad name": "x"}, "attempts": 1}
    )


def _with_databases(mine: Mine) -> Iterator[str]:
    """What is said of databases to read."""
    assert mine.do("collect", "sql", {"connection": "db", "table": "public.ores"}).rows.out == 3
    for name in (
        "wrong",
        "down",
        "broken",
        "no_driver",
        "no_library",
        "no_option",
        "no_port",
        "bearer",
    ):
        yield mine.fails("collect", "sql", {"connection": name, "query": "SELECT 1 AS n"})
    yield mine.fails("collect", "sql", {"connection": "db", "query": "SELECT nothing"})


def _with_sinks(mine: Mine) -> Iterator[str]:
    """What is said of databases to write, and the report of what was read."""
    read = mine.do("collect", "sql", {"connection": "db", "table": "public.ores"})
    inputs = {"ores": read.output}
    options = {"connection": "db", "schema": "dug", "mode": "replace"}
    mine.do("store", "postgres", options, inputs=inputs)
    for name in ("wrong", "down", "broken", "no_driver", "no_option", "no_port", "bearer"):
        yield mine.fails("store", "postgres", {**options, "connection": name}, inputs=inputs)
    TaskBench(mine.folder, pictures="kept").run(
        "present", [("report", {"title": "Ores", "charts": [{"table": {"of": "ores"}}]})],
        inputs=inputs, upstream={"ores": read.key},
    )  # fmt: skip
