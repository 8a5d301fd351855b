"""``python -m tests.chaos.airflow --runs 25 --seed 1``: whole runs under Airflow while its tasks and the stages die.

Each run does the first day of `flights_daily` under a name and into a schema of its own, so that all of it is done; its
tables must be those of the clean run that `make up` has done. A run that Airflow has given up is cleared, as people do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ropewalk.local import processes
from ropewalk.local.free_ports import free_port
from ropewalk.local.home import Home
from ropewalk.local.ports import NAMES

from tests.chaos.world import ROOT, descendants
from tests.e2e.conftest import Stack

WORKFLOW, DAY = "flights_daily", "2013-01-01"
STAGES = ("collect", "process", "analyze", "store", "present")
ENDED = {"success", "failed"}
CLEARED = 5  # times that a run is cleared, at most
DIGEST = """
SELECT count(*), md5(string_agg(one, E'\n' ORDER BY one COLLATE "C")) FROM (
    SELECT (to_jsonb(whole_row) - '_ropewalk_load')::text AS one FROM {}.{} AS whole_row
    WHERE _ropewalk_partition = '2013-01-01'
) AS rows
"""
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = '{}' ORDER BY 1"


def main() -> None:
    """Do what the command line says; exits with 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.airflow", description=__doc__)
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    killed: Counter[str] = Counter()
    names = [f"chaos_{number}" for number in range(chosen.seed, chosen.seed + chosen.runs)]
    wrong = []
    with _stack(names) as stack:
        clean = _tables(stack, "flights")
        for name in names:
            begun = time.monotonic()
            wrong += _run(stack, name, random.Random(name), killed, clean)  # noqa: S311 - repeatable
            sys.stderr.write(f"{name}: {time.monotonic() - begun:.0f} s\n")
    sys.stdout.write(f"{chosen.runs} runs, {len(wrong)} wrong; killed: {dict(killed)}\n")
    sys.stdout.writelines(f"WRONG {one}\n" for one in wrong)
    sys.exit(1 if wrong else 0)


def _run(
    stack: Stack, name: str, dice: random.Random, killed: Counter[str], clean: dict[str, object]
) -> list[str]:
    """One run among kills: what was wrong after it."""
    run = stack.trigger(name, date=DAY)
    for _ in range(3):
        time.sleep(dice.uniform(0.5, 3))
        if stack.state(name, run) in ENDED:
            break
        killed[_kill(stack, dice)] += 1
    stack.local("up")  # what was killed runs again
    for _ in range(CLEARED):
        if stack.finish(name, run) == "success":
            break
        _clear(stack, name, run)
    state, tables = stack.state(name, run), _tables(stack, name)
    wrong = [f"{name} has ended as {state}"] if state != "success" else []
    return wrong + [
        f"{name}.{table} holds {tables.get(table)}, and clean is {rows}"
        for table, rows in clean.items()
        if tables.get(table) != rows
    ]


def _kill(stack: Stack, dice: random.Random) -> str:
    """Kill something with -9: a stage, a child of one, or a process of an Airflow task; what it was."""
    kind = dice.choice(("stage", "child", "airflow task"))
    name = "airflow-scheduler" if kind == "airflow task" else dice.choice(STAGES)
    record = processes.read(stack.home, name)
    if record is None:
        raise RuntimeError(f"{name} was never started")
    family = descendants(record.pid)
    others = family[1:] or family
    pid = family[0] if kind == "stage" else dice.choice(others)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return kind


def _clear(stack: Stack, name: str, run: str) -> None:
    with stack.session as session:
        body = {"dag_run_id": run, "only_failed": True, "dry_run": False}
        session.post(f"/dags/{name}/clearTaskInstances", json=body).raise_for_status()


def _tables(stack: Stack, schema: str) -> dict[str, object]:
    """Each table's rows of the day: how many, and the digest of all of them in one order."""
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
