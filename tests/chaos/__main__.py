"""``python -m tests.chaos --n 1000 --seed 1``: does random schedules on real stages, and tells what was wrong."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.chaos.schedules import FAULTS, FILE_POINTS, POINTS, POINTS_APART, Tally, run_all

WORLDS = 4  # a schedule waits more than it works: for leases, and for what was stopped
KINDS, BUCKET, FAR = (
    6,
    0,
    3,
)  # by the rest of a seed: in a bucket, far, or in a folder that all share
MANY = 500  # schedules, after which every fault and every point must have been


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
            pool.submit(run_all, seeds, time.time() + 60 * chosen.minutes, **kind)
            for seeds, kind in parts
        ]
        for one in asked:
            total.add(one.result())
    sys.stdout.write(told(total, time.monotonic() - begun) + "\n")
    never = unmet(total) if total.schedules >= MANY else []
    sys.stdout.writelines(f"never met: {one}\n" for one in never)
    sys.exit(1 if total.wrong or never else 0)


def _parts(seeds: Sequence[int], worlds: int) -> list[tuple[list[int], dict[str, bool]]]:
    """Which seeds a world does, and what kind of world that is: a seed is always done in one of its kind.

    The most are done in more worlds than run at once, so that to the end as many run as may.
    """
    kinds = {BUCKET: {"bucket": True, "far": False}, FAR: {"bucket": False, "far": True}}
    parts = [([s for s in seeds if s % KINDS == of], kind) for of, kind in kinds.items()]
    rest, others = [s for s in seeds if s % KINDS not in kinds], 2 * max(1, worlds - len(kinds))
    parts += [(rest[n::others], {"bucket": False, "far": False}) for n in range(others)]
    return [(mine, kind) for mine, kind in parts if mine]


def unmet(total: Tally) -> list[str]:
    """The faults and the points that no schedule has had."""
    kinds, points = ({one[place] for one in total.faults} for place in (0, 1))
    everywhere = {*POINTS, *POINTS_APART, *FILE_POINTS}
    return sorted((FAULTS.keys() - kinds) | (everywhere - points))


def told(total: Tally, seconds: float) -> str:
    """A run's summary, as docs/exactly-once.md has it."""
    n = total.faults.total()
    kinds, points = Counter[str](), Counter[str]()
    for (kind, point), times in total.faults.items():
        kinds[kind] += times
        points[point] += times
    bound = (
        f"With none wrong, the rate is below 3/n (95 %): {3 / max(1, total.schedules):.2%} a schedule,"
        f" {3 / max(1, n):.3%} a fault."
    )
    lines = [
        f"{total.schedules} schedules in {seconds / 60:.0f} minutes: {len(total.wrong)} wrong.",
        f"{n} faults met somebody; a reader looked {total.looks} times.",
        f"Schedules: {_listed(total.chains)}. Faults by stage: {_listed(total.stages)}.",
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


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(counts.items()))


if __name__ == "__main__":
    main()
