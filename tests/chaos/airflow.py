"""``python -m tests.chaos.airflow --runs 25 --seed 1``: whole runs under Airflow while its tasks and the stages die.

Each run does the first day of `flights_daily` under a name and into a schema of its own, so that all of it is done; its
tables must be those of the clean run that `make up` has done, and have the rows of the source. Each kill is of a step
that runs then: of its stage, of a child of that, or of a process of the Airflow task. A run that Airflow has given up
is cleared, as people do.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx
import psutil
import yaml
from ropewalk.local import processes
from ropewalk.local.free_ports import free_port
from ropewalk.local.home import Home
from ropewalk.local.ports import NAMES

from tests.chaos.world import ROOT, descendants
from tests.e2e.conftest import Stack

WORKFLOW, DAY = "flights_daily", "2013-01-01"
STAGES = ("collect", "process", "analyze", "store", "present")
PUBLISH = (
    "publish"  # the step whose death could lose or double a row: one of each run's kills is of it
)
AT_WORK = {"running", "deferred"}
PAST = {"success", "failed", "upstream_failed", "skipped", "removed"}
LINGER = 0.4  # seconds that a process has gone on for, at most, when it is killed
CLEARED = 5  # times that a run is cleared, at most
DIGEST = """
SELECT count(*), md5(string_agg(one, E'\n' ORDER BY one COLLATE "C")) FROM (
    SELECT (to_jsonb(whole_row) - '_ropewalk_load')::text AS one FROM {}.{} AS whole_row
) AS rows
"""
IN_DOUBT = "SELECT gid FROM pg_prepared_xacts"
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = '{}' ORDER BY 1"


Tally = Counter[tuple[str, str]]
"""Kills that met somebody, by what was killed and the step that ran."""


def main() -> None:
    """Do what the command line says; exits with 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.airflow", description=__doc__)
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    killed = Tally()
    names = [f"chaos_{number}" for number in range(chosen.seed, chosen.seed + chosen.runs)]
    with _stack(names) as stack:
        clean = _tables(stack, "flights")
        wrong = _not_the_sources(stack, "flights", clean)
        for name in names:
            begun = time.monotonic()
            wrong += _run(stack, name, random.Random(name), killed, clean)  # noqa: S311 - repeatable
            sys.stderr.write(f"{name}: {time.monotonic() - begun:.0f} s\n")
    sys.stdout.write(f"{chosen.runs} runs, {len(wrong)} wrong, {killed.total()} kills\n\n")
    sys.stdout.writelines(_table(killed))
    sys.stdout.writelines(f"WRONG {one}\n" for one in wrong)
    sys.exit(1 if wrong else 0)


def _run(
    stack: Stack, name: str, dice: random.Random, killed: Tally, clean: dict[str, object]
) -> list[str]:
    """One run among kills: what was wrong after it."""
    steps = _steps()
    drawn = {PUBLISH, *dice.sample(sorted(steps), 2)}
    run = stack.trigger(name, date=DAY)
    for step in (one for one in steps if one in drawn):
        kind = dice.choice(sorted(KINDS))
        victim = Victim(stack, name, run, step, steps[step])
        if _kill(victim, KINDS[kind], dice.uniform(0, LINGER)):
            killed[kind, step] += 1
            stack.local("up", "--no-run")  # what was killed runs again
    for _ in range(CLEARED):
        if stack.finish(name, run) == "success":
            break
        _clear(stack, name, run)
    return [f"{name}: {wrong}" for wrong in _wrong(stack, name, run, clean)]


def _wrong(stack: Stack, name: str, run: str, clean: dict[str, object]) -> list[str]:
    """What is not as after the clean run."""
    state, tables = stack.state(name, run), _tables(stack, name)
    wrong = [f"it has ended as {state}"] if state != "success" else []
    wrong += [
        f"{table} holds {tables.get(table)}, and clean is {rows}"
        for table, rows in clean.items()
        if tables.get(table) != rows
    ]
    wrong += [f"{gid} is in doubt" for (gid,) in stack.query(IN_DOUBT)]
    return [*wrong, *_not_the_sources(stack, name, tables)]


def _not_the_sources(stack: Stack, schema: str, tables: dict[str, object]) -> list[str]:
    """Whether the departures are as many as the source has, of which one may be there twice."""
    if not tables:
        return [f"there are no tables in {schema}"]
    ((rows,),) = stack.query(f"SELECT count(*) FROM {schema}.departures")
    expected = _departures(stack)
    return [f"{rows} departures, and the source has {expected}"] if rows != expected else []


def _departures(stack: Stack) -> int:
    """The flights of the day in the demo's file, each of which is there once."""
    path = stack.home.folder("data") / "flights" / f"{DAY[:7]}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        found = {
            (row["carrier"], row["flight"], row["time_hour"])
            for row in csv.DictReader(file)
            if _date(row["time_hour"]) == DAY
        }
    return len(found)


def _date(moment: str) -> str:
    return (
        datetime.fromisoformat(moment).astimezone(ZoneInfo("America/New_York")).date().isoformat()
    )


def _steps() -> dict[str, str]:
    """The stage of each step of the workflow, in their order."""
    text = (ROOT / "dags" / "workflows" / f"{WORKFLOW}.yaml").read_text(encoding="utf-8")
    steps = yaml.safe_load(text)["steps"]
    return {step: next(iter(said.keys() & {*STAGES})) for step, said in steps.items()}


@dataclass(frozen=True)
class Victim:
    """A step of a run that is to be hit while it runs."""

    stack: Stack
    name: str
    run: str
    step: str
    stage: str

    def instance(self) -> dict[str, str]:
        """What Airflow knows of the step's task: its id and its state; nothing where it does not say."""
        path = f"/dags/{self.name}/dagRuns/{quote(self.run)}/taskInstances/{self.step}"
        with suppress(httpx.TransportError), self.stack.session as session:
            answer = session.get(path)
            if answer.is_success:
                return {name: str(answer.json()[name]) for name in ("id", "state")}
        return {"id": "", "state": ""}

    def family(self, service: str) -> list[int]:
        """A service's process, and all that came of it; none where it does not run."""
        record = processes.read(self.stack.home, service)
        return descendants(record.pid) if record is not None and record.alive else []


def _kill(victim: Victim, find: Callable[[Victim], int | None], linger: float) -> bool:
    """Kill something with -9 once the step runs; whether it met somebody."""
    while (found := _found(victim, find)) is None:
        if victim.instance()["state"] in PAST:
            return False
        time.sleep(0.02)
    time.sleep(linger)
    with suppress(ProcessLookupError):
        os.kill(found, signal.SIGKILL)
        return True
    return False


def _found(victim: Victim, find: Callable[[Victim], int | None]) -> int | None:
    """The process to kill, if the step runs and has it."""
    return find(victim) if victim.instance()["state"] in AT_WORK else None


def _stage(victim: Victim) -> int | None:
    return next(iter(victim.family(victim.stage)), None)


def _child(victim: Victim) -> int | None:
    """The process of the stage that does a task: it leads a session, as the Flight server does, which listens."""
    for pid in victim.family(victim.stage)[1:]:
        with suppress(ProcessLookupError, psutil.Error):
            if os.getsid(pid) == pid and not _listens(pid):
                return pid
    return None


def _listens(pid: int) -> bool:
    found = psutil.Process(pid).net_connections("tcp")
    return any(one.status == psutil.CONN_LISTEN for one in found)


def _airflow_task(victim: Victim) -> int | None:
    """The last of the processes that are named after the task: what runs it, or what watches over that."""
    instance, found = victim.instance()["id"], None
    for pid in victim.family("airflow-scheduler"):
        with suppress(psutil.Error):
            if instance and instance in " ".join(psutil.Process(pid).cmdline()):
                found = pid
    return found


KINDS = {"stage": _stage, "child": _child, "airflow task": _airflow_task}


def _table(killed: Tally) -> list[str]:
    """The kills by step and kind."""
    head = f"{'step':16}" + "".join(f"{kind:>14}" for kind in KINDS) + "\n"
    return [head] + [
        f"{step:16}" + "".join(f"{killed[kind, step]:14}" for kind in KINDS) + "\n"
        for step in _steps()
    ]


def _clear(stack: Stack, name: str, run: str) -> None:
    with stack.session as session:
        body = {"dag_run_id": run, "only_failed": True, "dry_run": False}
        session.post(f"/dags/{name}/clearTaskInstances", json=body).raise_for_status()


def _tables(stack: Stack, schema: str) -> dict[str, object]:
    """Each table's rows: how many, and the digest of all of them in one order."""
    names = [name for (name,) in stack.query(TABLES.format(schema))]
    return {name: stack.query(DIGEST.format(schema, name))[0] for name in names}


@contextmanager
def _stack(names: list[str]) -> Iterator[Stack]:
    """An installation with the workflow under all these names."""
    folder = Path(tempfile.mkdtemp(prefix="ropewalk-chaos-airflow-"))
    folder.chmod(0o711)
    dags = folder / "dags"
    shutil.copytree(ROOT / "dags", dags)
    text = (dags / "workflows" / f"{WORKFLOW}.yaml").read_text(encoding="utf-8")
    for name in names:
        copy = text.replace("schema: flights", f"schema: {name}")
        (dags / "workflows" / f"{name}.yaml").write_text(copy, encoding="utf-8")
    base = int(os.environ.get("ROPEWALK_PORT_BASE") or free_port(len(NAMES)))
    stack = Stack(Home(folder / "home", base), dags, "")
    try:
        stack.local("up")
        yield stack
    finally:
        stack.local("down")
        stack.local("remove")
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
