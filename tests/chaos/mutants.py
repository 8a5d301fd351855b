"""``python -m tests.chaos.mutants [name …]``: switches each guard off in a copy of the sources; a test must go red.

A mutant that lives is a test that is missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("include", "plugins", "dags", "tests")
SOURCES = Path("include", "ropewalk")
OFF = "if False:"


@dataclass(frozen=True)
class Mutant:
    """A guard: where it stands, what stands there without it, and the test that must notice."""

    edits: tuple[
        tuple[str, str, str], ...
    ]  # file under include/ropewalk, text, and what takes its place
    test: str
    only: str = ""  # of the file's tests


def _one(file: str, text: str, instead: str, test: str, only: str = "") -> Mutant:
    return Mutant(((file, text, instead),), test, only)


SINK = "tests/store/sinks/test_postgres.py"
FILES = "tests/store/sinks/test_files.py"
SERVICE = "tests/kernel/test_service.py"
GARBAGE = "tests/kernel/test_garbage.py"
CURRENT = "tests/store/test_current.py"
IN_DOUBT = "tests/store/test_in_doubt.py"
MUTANTS = {
    "lease that holds": _one(
        "kernel/ledger.py", "(state = 'running' AND lease_until < clock_timestamp()))\n        AND",
        "state = 'running')\n        AND", "tests/chaos/test_ledger_machine.py",
    ),
    "seat of an attempt": _one(
        "kernel/objects.py", "                seat.unlink(missing_ok=True)", "                pass",
        "tests/chaos/test_ledger_machine.py",
    ),
    "fence": _one(
        "kernel/child.py", 'self._down.recv_bytes() == b"yes"', 'self._down.recv_bytes() != b"?"', SERVICE,
        "stopped_by_the_fence",
    ),
    "ledger of loads": Mutant(
        (
            ("store/ledger.py", "if found.state is not None:", OFF),
            ("store/ledger.py", "    UNIQUE (task, target)\n", "    CHECK (true)\n"),
            ("store/ledger.py", 'return "unchanged" if found.same', 'return "unchanged" if not found'),
        ),
        SINK,
        "report_was_lost",
    ),
    "attempt number of a lease": _one(
        "kernel/ledger.py",
        "WHERE key = %(key)s AND attempt = %(attempt)s AND state = 'running'\nRETURNING key",
        "WHERE key = %(key)s AND state = 'running'\nRETURNING key",
        "tests/chaos/test_ledger_machine.py",
    ),
    "end of work that nobody can vouch for": _one(
        "kernel/runner.py", "self.settings.lease_seconds * 2 / 3", "self.settings.lease_seconds * 200", SERVICE,
        "cannot_reach_the_ledger",
    ),
    "lock of a partition": _one("store/ledger.py", "    if not whole:\n", "    if False:\n", SINK, "same_part"),
    "what is seen after a lock": _one(
        "store/reaper.py", "TO 'read committed'", "TO DEFAULT", SINK, "same_part"
    ),
    "lock of a table": _one(
        "store/ledger.py", 'shared = "" if whole else "_shared"', 'shared = "_shared"', SINK, "same_part"
    ),
    "rows that the database took": _one(
        "store/postgres.py", "if cursor.rowcount != load.rows:", OFF, SINK, "loses_a_row"
    ),
    "silence in a transaction": _one(
        "store/postgres.py", "set_config('idle_in_transaction_session_timeout', %s, true)", "%s::text", SINK,
        "falls_silent",
    ),
    "answer to a commit": _one(
        "store/in_doubt.py", '.statusmessage == "ROLLBACK"', '.statusmessage == ""', IN_DOUBT, "failed_unheard"
    ),
    "order of requests": _one("store/ledger.py", "if found.later:", OFF, SINK, "older_request"),
    "order of rows in an upsert": _one(
        "store/postgres.py", "late = found.overtaken", "late = False", SINK, "upserts_that_come_late"
    ),
    "rows of upserts later than a replacement": _one(
        "store/postgres.py", 'if load.mode != "replace" or not found', "if load.mode or not found", SINK, "later_upsert"
    ),
    "order of a batch's partitions": _one(
        "kernel/batch.py", "requested = run.requested + self._places[name]", "requested = run.requested",
        "tests/kernel/test_batch.py", "whoever_ends_last",
    ),
    "key of every row": _one("store/postgres.py", "if without and without[0]:", OFF, SINK, "without_a_key"),
    "nothing else where a replacement is unchanged": _one(
        "store/ledger.py", "NOT (%(mode)s = 'replace' AND", "NOT (%(mode)s = '' AND", SINK, "unchanged_only"
    ),
    "commit on disk": _one("store/postgres.py", "WHEN 'off' THEN", "WHEN 'on' THEN", SINK, "waits_for_the_disk"),
    "order of requests of files": _one("store/files.py", "return bool(later)", "return False", FILES, "older_request"),
    "eviction of what is aside": _one(
        "store/files.py", "if name != mine and fits.fullmatch(name):", OFF, FILES, "before_its_first_file"
    ),
    "records looked at again": _one("store/files.py", "if folder.found() != found:", OFF, FILES, "after_the_look"),
    "a later load half-written": _one(
        "store/files.py", "(one for one in later if not one.content)", "iter(())", FILES, "half_written"
    ),
    "files as they were written": _one(
        "store/files.py", "for path in written}",
        "for path in written if filesystem.get_file_info(path).type == FileType.File}", FILES, "taken_for_none",
    ),
    "heartbeat": _one("kernel/runner.py", "due = time", "due = False and time", SERVICE, "outlives_its_lease"),
    "link, not rename": _one(
        "kernel/objects.py", "os.link(draft, path)", "draft.rename(path)", "tests/kernel/test_objects.py", "directory"
    ),
    "seat": _one(
        "kernel/objects.py", "                seat.unlink(missing_ok=True)", "                pass",
        "tests/kernel/test_objects.py", "directory and sit_down",
    ),
    "seat in a bucket": _one(
        "kernel/objects.py", '**({"IfMatch": seat} if seat else {"IfNoneMatch": "*"})', "",
        "tests/kernel/test_objects.py", "bucket",
    ),
    "checksum of a file": _one(
        "kernel/datasets.py", " or file_digest(path) != part.digest", "", "tests/kernel/test_datasets.py", "flipped_bit"
    ),
    "rows of a stream": _one(
        "kernel/flight.py", "if said != (digest.rows, digest.hexdigest()):", OFF, "tests/kernel/test_flight.py"
    ),
    "content of what was fetched": _one(
        "kernel/flight.py", "if (digest.rows, digest.hexdigest()) != (ref.rows, ref.fingerprint):", OFF,
        "tests/kernel/test_flight.py", "another_content",
    ),
    "seat of who comes later": _one(
        "kernel/datasets.py", 'error.code != "fenced"', "True",
        "tests/kernel/test_datasets.py", "comes_too_late",
    ),
    "files of an unknown commit": _one(
        "kernel/datasets.py", "if not (self._sent and self._visible()):", "if True:", "tests/kernel/test_datasets.py",
        "outcome_is_unknown",
    ),
    "reaper of older attempts": _one("store/reaper.py", "< attempt:", "< 0:", SINK, "earlier_attempt"),
    "reaper of frozen loads": _one("store/reaper.py", "if times >= FROZEN:", OFF, SINK, "frozen"),
    "readers of a table that is changed": _one("store/columns.py", '"200ms"', '"60s"', SINK, "behind_a_column"),
    "recovery of what is in doubt": _one(
        "store/in_doubt.py", "for gid, old in found:", "for gid, old in found[:0]:", IN_DOUBT, "next_attempt or starts"
    ),
    "decision in the transaction that it is about": _one(
        "store/in_doubt.py", "decider.session.execute(COMMITTED, [number])", "pass", IN_DOUBT, "next_attempt"
    ),
    "decision to give up": Mutant(
        (
            ("store/in_doubt.py", "if give_up:", OFF),
            ("store/in_doubt.py", "return None if row is None else bool(row[0])", "return row is not None and row[0]"),
        ),
        IN_DOUBT,
        "cannot_be_committed",
    ),
    "collector's tombstone": _one(
        "kernel/garbage.py", "            self._mark(key)\n", "            self._bury(key, ages)\n", GARBAGE, "marked"
    ),
    "collector's verdict": _one(
        "kernel/garbage.py",
        'if self.dry_run or self.store.objects.create(f"{folder(key)}/{VERDICT}", GONE)',
        "if True",
        GARBAGE, "at_once",
    ),
    "collector's seat before it removes": _one(
        "kernel/garbage.py", "seat = self.store.objects.seat(name)", 'seat = ""', GARBAGE, "commit_any_more"
    ),
    "files of a task that runs": _one(
        "kernel/garbage.py", "if state in LIVE or min", "if min", GARBAGE, "what_an_attempt_has_left"
    ),
    "files of a task that runs, beside a dataset": _one(
        "kernel/garbage.py", "if old and self._state(manifest.key) not in LIVE:", "if old:", GARBAGE,
        "while_a_task_runs",
    ),
    "grace of what an attempt has written": _one(
        "kernel/garbage.py", "if state in LIVE or min(ages.values()) < limit:", "if state in LIVE:", GARBAGE,
        "just_written_is_left",
    ),
    "grace of what lies beside a dataset": _one(
        "kernel/garbage.py", "for name in rest if ages[name] >= self.settings.grace_seconds", "for name in rest",
        GARBAGE, "just_been_written_beside",
    ),
    "grace of a tombstone": _one(
        "kernel/garbage.py", "elif ages[TOMBSTONE] >= self.settings.grace_seconds:", "else:", GARBAGE, "been_marked"
    ),
    "grace of a task's end": _one(
        "kernel/garbage.py", "greatest(%(grace)s, coalesce(", "greatest(0, coalesce(", GARBAGE, "has_just_ended"
    ),
    "what the collector holds": _one("kernel/garbage.py", "if key in self.held:", OFF, GARBAGE, "retention_hold"),
    "what the tables hold": _one(
        "kernel/garbage.py", "held = set(self._outside())", "held = set[str]()", CURRENT, "another_stage",
    ),
    "what tables of any connection hold": _one(
        "store/current.py", "in sessions.names()", 'in ("results",)', CURRENT, "every_database"
    ),
    "what an upsert has left in a table": _one(
        "store/current.py", "coalesce(greatest(whole, part) < requested, true)", "false", CURRENT, "held_while"
    ),
    "what a table holds of a load that could not say so": _one(
        "kernel/garbage.py", "return held | self._named_by(unsaid)", "return held", CURRENT, "say_so or said_so"
    ),
    "tombstones while a database is away": _one(
        "kernel/garbage.py", "in () if self.dry_run else folders.items():", "in ():", CURRENT, "is_away"
    ),
    "partitions that a live task reads": _one(
        "kernel/garbage.py", 'batches |= _batches(row["request"])', "pass", GARBAGE, "batches_that_it_reads"
    ),
    "what a cursor has read": _one(
        "kernel/garbage.py", "AND read_at IS NULL\n", "\n", GARBAGE, "reads_on_from"
    ),
    "the read that counts": _one(
        "kernel/reads.py", "generation = store.objects.read(told[-1]).decode()", "generation = FIRST",
        "tests/kernel/test_batch.py", "after_a_clear",
    ),
    "window of a lost attempt": _one(
        "kernel/perform.py", 'WINDOW = ("since", "until", "previous")', 'WINDOW = ("since",)', SERVICE, "lost_attempt"
    ),
    "one reader of a watermark": Mutant(
        (
            ("kernel/ledger.py", "AND NOT (cursor AND EXISTS (", "AND NOT (false AND EXISTS ("),
            (
                "kernel/migrations/versions/0002_windows.py",
                "CREATE UNIQUE INDEX task_cursor",
                "CREATE INDEX task_cursor",
            ),
        ),
        "tests/chaos/test_ledger_machine.py",
    ),
    "digits of a watermark": _one(
        "collect/marks.py", '        text = f"{value:f}"', '        text = f"{float(value):f}"',
        "tests/collect/sources/test_sql.py", "Decimals",
    ),
    "what a task to be done again has read": _one(
        "kernel/ledger.py", "'cancelled', report = NULL", "'cancelled', report = NULL, read_at = NULL",
        "tests/kernel/test_ledger.py", "collected",
    ),
    "order of what was read": _one(
        "kernel/ledger.py", "greatest(clock_timestamp(), (", "coalesce(clock_timestamp(), (",
        "tests/kernel/test_ledger.py", "jumps_back",
    ),
    "order of texts": Mutant(
        (
            ("collect/compare.py", 'f"{column} COLLATE BINARY"', "column"),
            ("collect/compare.py", "f'{column} COLLATE \"C\"'", "column"),
        ),
        "tests/collect/sources/test_sql.py",
        "TestTexts",
    ),
    "window of a cleared run": _one(
        "kernel/ledger.py", "CASE WHEN mine.key <> head.key", "CASE WHEN false",
        "tests/chaos/test_ledger_machine.py",
    ),
}  # fmt: skip


def notices(mutant: Mutant) -> bool:
    """Whether the test goes red once the guard is off."""
    return not passes(mutant)


def passes(mutant: Mutant) -> bool:
    """Whether the test is green in a copy of the sources that has the mutant's edits."""
    with tempfile.TemporaryDirectory(prefix="ropewalk-mutant-") as name:
        copy = Path(name)
        for folder in FOLDERS:
            shutil.copytree(
                ROOT / folder,
                copy / folder,
                ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
            )
        shutil.copy(ROOT / "pyproject.toml", copy)
        for file, text, instead in mutant.edits:
            _edit(copy / SOURCES / file, text, instead)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            mutant.test,
        ]
        env = {**os.environ, "PYTHONPATH": f"{copy / 'include'}:{copy}"}
        done = subprocess.run(
            [*command, *(["-k", mutant.only] if mutant.only else [])],
            cwd=copy,
            env=env,
            check=False,
            capture_output=True,
        )
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout.decode()[-2000:]}")
    return done.returncode == 0


def _edit(path: Path, text: str, instead: str) -> None:
    before = path.read_text(encoding="utf-8")
    if before.count(text) != 1:
        raise RuntimeError(
            f"{path.name} has {text!r} {before.count(text)} times: the mutant must be written anew"
        )
    path.write_text(before.replace(text, instead), encoding="utf-8")


def main() -> None:
    """Try all guards, or the named ones; exits with 1 where one can go and no test notices.

    First their tests are run with every guard in its place: one that is red anyway would notice everything.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MUTANTS, []], metavar="name")
    chosen = {name: MUTANTS[name] for name in parser.parse_args().names or MUTANTS}
    wrong = [*_red(chosen.values()), *_alive(chosen)]
    sys.exit(1 if wrong else 0)


def _red(mutants: Iterable[Mutant]) -> Iterator[str]:
    """The tests that are red though every guard is in its place."""
    for test, only in dict.fromkeys((one.test, one.only) for one in mutants):
        name = f"{test} -k {only!r}" if only else test
        green = passes(Mutant((), test, only))
        _say("green  " if green else "RED    ", name)
        if not green:
            yield name


def _alive(mutants: Mapping[str, Mutant]) -> Iterator[str]:
    """The guards that can go, and no test notices."""
    for name, mutant in mutants.items():
        noticed = notices(mutant)
        _say("noticed" if noticed else "LIVES  ", name)
        if not noticed:
            yield name


def _say(what: str, of: str) -> None:
    sys.stdout.write(f"{what}  {of}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
