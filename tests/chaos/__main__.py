"""``python -m tests.chaos --n 1000 --seed 1``: does random schedules on real stages, and tells what was wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.schedules import Tally, run
from tests.chaos.world import World, world

STAGES = {"collect": 2, "store": 2}
BUCKETS = 6  # one of so many schedules has its datasets in a bucket


def main() -> None:
    """Do what the command line says; exits with 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="how many schedules")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first; the others count on from it"
    )
    parser.add_argument(
        "--minutes", type=float, default=1e9, help="end after so long, and say how many were done"
    )
    chosen = parser.parse_args()
    begun = time.monotonic()
    seeds = range(chosen.seed, chosen.seed + chosen.n)
    total = Tally()
    for bucket in (True, False):
        mine = [seed for seed in seeds if (seed % BUCKETS == 0) == bucket]
        until = begun + 60 * chosen.minutes * (0.2 if bucket else 1)
        if mine:
            with tempfile.TemporaryDirectory(prefix="ropewalk-chaos-") as home:
                Path(home).chmod(0o711)
                with world(Path(home), bucket=bucket, stages=STAGES) as made:
                    total.add(_run_all(made, mine, until))
    sys.stdout.write(told(total, time.monotonic() - begun) + "\n")
    sys.exit(1 if total.wrong else 0)


def _run_all(made: World, seeds: list[int], until: float) -> Tally:
    total = Tally()
    for seed in seeds:
        if time.monotonic() > until:
            break
        begun = time.monotonic()
        found = run(made, seed)
        total.add(found)
        faults = ", ".join(f"{kind} at {point}" for kind, point in found.faults)
        sys.stderr.write(f"seed {seed}: {time.monotonic() - begun:.1f} s; {faults or 'no fault'}\n")
        for wrong in found.wrong:
            sys.stderr.write(f"  WRONG {wrong}\n")
        sys.stderr.flush()
    return total


def told(total: Tally, seconds: float) -> str:
    """A run's summary, as docs/exactly-once.md has it."""
    n = total.faults.total()
    kinds, points = Counter[str](), Counter[str]()
    for (kind, point), times in total.faults.items():
        kinds[kind] += times
        points[point] += times
    lines = [
        f"{total.schedules} schedules in {seconds / 60:.0f} minutes: {len(total.wrong)} wrong.",
        f"{n} faults met a live process; a reader looked {total.looks} times.",
        f"With none wrong in n = {n}, the rate is below 3/n = {3 / max(1, n):.3%} a fault (95 %).",
        "",
        "| fault | times | | phase | times |",
        "|---|---:|---|---|---:|",
    ]
    columns = [sorted(each.items()) for each in (kinds, points)]
    for number in range(max(map(len, columns))):
        left, right = (("", 0) if number >= len(c) else c[number] for c in columns)
        lines.append(f"| {left[0]} | {left[1] or ''} | | {right[0]} | {right[1] or ''} |")
    return "\n".join([*lines, *total.wrong])


if __name__ == "__main__":
    main()
