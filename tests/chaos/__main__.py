"""``python -m tests.chaos --n 1000 --seed 1``: does random schedules on real stages, and tells what was wrong."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.chaos.schedules import Tally, run_all

WORLDS = 4  # a schedule waits more than it works: for leases, and for what was stopped
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
    parser.add_argument(
        "--worlds", type=int, default=WORLDS, help="how many installations at once, one by a bucket"
    )
    chosen = parser.parse_args()
    begun = time.monotonic()
    total = Tally()
    parts = _parts(range(chosen.seed, chosen.seed + chosen.n), chosen.worlds)
    with ProcessPoolExecutor(chosen.worlds, mp_context=get_context("spawn")) as pool:
        asked = [
            pool.submit(run_all, seeds, time.time() + 60 * chosen.minutes, bucket=bucket)
            for seeds, bucket in parts
        ]
        for one in asked:
            total.add(one.result())
    sys.stdout.write(told(total, time.monotonic() - begun) + "\n")
    sys.exit(1 if total.wrong else 0)


def _parts(seeds: Iterable[int], worlds: int) -> list[tuple[list[int], bool]]:
    """Which seeds a world does, and whether its datasets are in a bucket."""
    bucket = [seed for seed in seeds if seed % BUCKETS == 0]
    rest = [seed for seed in seeds if seed % BUCKETS]
    folders = [rest[number :: max(1, worlds - 1)] for number in range(max(1, worlds - 1))]
    parts = [(bucket, True), *((mine, False) for mine in folders)]
    return [(mine, in_bucket) for mine, in_bucket in parts if mine]


def told(total: Tally, seconds: float) -> str:
    """A run's summary, as docs/exactly-once.md has it."""
    n = total.faults.total()
    kinds, points = Counter[str](), Counter[str]()
    for (kind, point), times in total.faults.items():
        kinds[kind] += times
        points[point] += times
    bound = (
        f"With none wrong in n = {n}, the rate is below 3/n = {3 / max(1, n):.3%} a fault (95 %)."
    )
    lines = [
        f"{total.schedules} schedules in {seconds / 60:.0f} minutes: {len(total.wrong)} wrong.",
        f"{n} faults met a live process; a reader looked {total.looks} times.",
        *([] if total.wrong else [bound]),
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
