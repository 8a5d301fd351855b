"""What is loaded, and what the tables must hold then, by the source's rows alone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg
from ropewalk.contracts.models import DatasetRef, RunInfo, TaskRequest, Use
from ropewalk.testing.sinks import day

from tests.chaos.world import Row

MODES = ("append", "replace_partition", "upsert", "replace")
TABLES = ("one", "two")  # each load publishes two tables, which are seen together or not at all
Sums = frozenset[tuple[str, int, int, int]]
Table = frozenset[tuple[Row, int]]  # the rows and how often each is there


@dataclass(frozen=True)
class Load:
    """One request: rows of a day, of a version, into both tables of a schema."""

    schema: str
    mode: str
    day: int
    version: int
    requested: int
    rows: int = 40

    @property
    def source(self) -> list[Row]:
        """The source's rows: those of two versions overlap by half."""
        first = 1000 * self.day + self.version * self.rows // 2
        name = day(self.day).name
        return [(n, name, self.version) for n in range(first, first + self.rows)]

    def request(self, ref: DatasetRef) -> TaskRequest:
        """The request for the store stage, of a dataset with the rows."""
        options = {"schema": self.schema, "mode": self.mode}
        return TaskRequest(
            workflow=self.schema,
            step="publish",
            stage="store",
            do=[
                Use(
                    plugin="postgres",
                    options=options | ({"key": ["n"]} if self.mode == "upsert" else {}),
                )
            ],
            partition=day(self.day),
            inputs=dict.fromkeys(TABLES, ref),
            generation=f"run-{self.requested}:{self.requested}",
            run=RunInfo(id=f"run-{self.requested}", requested=self.requested),
        )


def expected(loads: Iterable[Load]) -> Table:
    """What a table holds after these loads, done one after the other in the order of their requests."""
    rows: list[Row] = []
    for load in sorted(loads, key=lambda one: one.requested):
        name = day(load.day).name
        if load.mode == "replace":
            rows = load.source
        elif load.mode == "upsert":
            keys = {row[0] for row in load.source}
            rows = [row for row in rows if row[0] not in keys] + load.source
        else:
            rows = [row for row in rows if row[1] != name] + load.source
    return counted(rows)


def counted(rows: Iterable[Row]) -> Table:
    """Rows as a bag."""
    return frozenset(Counter(rows).items())


def read(session: psycopg.Connection[Any], schema: str) -> tuple[Table, ...]:
    """Both tables as they are in one moment."""
    query = " UNION ALL ".join(
        f"SELECT {number}, n, day, v FROM {schema}.{name}" for number, name in enumerate(TABLES)
    )
    rows = session.execute(query.encode()).fetchall()
    return tuple(
        counted(row[1:] for row in rows if row[0] == number) for number in range(len(TABLES))
    )


def sums(table: Table) -> Sums:
    """What `Reader` sees of a table: per day and version the rows, and the sum of their numbers."""
    found: dict[tuple[str, int], list[int]] = {}
    for (n, name, version), times in table:
        one = found.setdefault((name, version), [0, 0])
        one[0] += times
        one[1] += n * times
    return frozenset((name, version, one[0], one[1]) for (name, version), one in found.items())


@dataclass
class Reader:
    """Reads a schema's tables all the while, and keeps what it saw that no order of the loads explains."""

    dsn: str
    schema: str
    allowed: set[Sums]
    seen: int = 0
    wrong: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read_on(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(self.dsn, autocommit=True) as session:
                    while not self._stop.wait(0.02):
                        self._look(session)
            except psycopg.OperationalError:  # the server has been stopped
                self._stop.wait(0.05)

    def _look(self, session: psycopg.Connection[Any]) -> None:
        query = " UNION ALL ".join(
            f"SELECT {number}, day, v, count(*), sum(n) FROM {self.schema}.{name} GROUP BY day, v"
            for number, name in enumerate(TABLES)
        )
        rows = session.execute(query.encode()).fetchall()
        tables = [
            frozenset(
                (name, v, count, int(total))
                for which, name, v, count, total in rows
                if which == number
            )
            for number in range(len(TABLES))
        ]
        self.seen += 1
        if len(set(tables)) > 1 or tables[0] not in self.allowed:
            self.wrong.append(str([sorted(one) for one in tables]))
