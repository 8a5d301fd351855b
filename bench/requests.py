"""(i) How many requests a stage answers: 200 clients at once, each of which asks for new tasks and how they stand.

The stage does no task meanwhile: what is measured is its HTTP side with the tokens' check, and its ledger.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from statistics import quantiles

from ropewalk.testing.services import StageService, running

from bench.options import Options
from bench.stack import stack
from bench.table import Figure

TITLE = "(i) requests of 200 clients to one stage, a PUT and a GET of each new task"
CLIENTS = 200
SECONDS = 20.0


def run(options: Options, seconds: float = SECONDS) -> Iterator[Figure]:
    """Measures it once, for so many seconds."""
    with stack(options.folder, ()) as where:
        service = StageService(
            "process",
            where.databases.stage("process"),
            options.folder,
            env={"ROPEWALK_WORKERS": "0", "ROPEWALK_MAX_QUEUED": "1000000"},
        )
        with running(service) as (stage,), options.console.status("200 clients"):
            spent, times = asked(stage, seconds)
    hundredths = quantiles(times, n=100)
    note = f"{len(times):,} requests in {spent:.0f} s, none refused"
    yield Figure("requests", len(times) / spent, unit="/s", note=note)
    yield Figure("half of them within", hundredths[49] * 1000, unit="ms")
    yield Figure("99 % of them within", hundredths[98] * 1000, unit="ms")


def asked(stage: StageService, seconds: float) -> tuple[float, list[float]]:
    """How long it took, and the seconds of every request."""
    order = {
        "host": "127.0.0.1", "port": stage.port, "token": stage.token, "seconds": seconds, "number": CLIENTS,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "bench.clients"],
        input=json.dumps(order),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    return told["seconds"], told["times"]
