"""What is loaded, and what the tables must hold then, by the source's rows alone."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Self

import psycopg
import pyarrow.parquet as pq
from ropewalk.contracts.models import DatasetRef, RunInfo, TaskRequest, Use
from ropewalk.kernel.roots import root
from ropewalk.testing.sinks import day

from tests.chaos.world import APART, LAKE, Row

MODES = ("append", "replace_partition", "upsert", "replace")
FILE_MODES = ("append", "replace_partition", "replace")
TABLES = ("one", "two")  # each load publishes two tables, which are seen together or not at all
Sums = frozenset[tuple[str, int, int, int]]
Table = frozenset[tuple[Row, int]]  # the rows and how often each is there


@dataclass(frozen=True)
class Load:
    """One request: rows of a day, of a version, into both tables of a schema; ``apart`` in two databases.

    ``sink`` is ``postgres`` or ``files``: then a table is a folder. With ``to`` it is a batch, of all days until that.
    """

    schema: str
    mode: str
    day: int
    version: int
    requested: int
    rows: int = 40
    apart: bool = False
    sink: str = "postgres"
    to: int = 0

    @property
    def days(self) -> list[Load]:
        """Each of its days by itself, in the order of their requests: the next is asked for a moment later."""
        last = max(self.to, self.day)
        return [
            replace(self, day=one, to=0, requested=self.requested + place)
            for place, one in enumerate(range(self.day, last + 1))
        ]

    @property
    def source(self) -> list[Row]:
        """The source's rows: those of two versions overlap by half."""
        first = 1000 * self.day + self.version * self.rows // 2
        name = day(self.day).name
        return [(n, name, self.version) for n in range(first, first + self.rows)]

    def request(self, ref: DatasetRef) -> TaskRequest:
        """The request for the store stage, of a dataset with the rows."""
        return TaskRequest(
            workflow=self.schema,
            step="publish",
            stage="store",
            do=[Use(plugin=self.sink, options=self.options)],
            partition=day(self.day),
            inputs=dict.fromkeys(TABLES, ref),
            generation=f"run-{self.requested}:{self.requested}",
            run=RunInfo(id=f"run-{self.requested}", requested=self.requested),
        )

    @property
    def options(self) -> dict[str, Any]:
        """The sink's."""
        if self.sink == "files":
            return {"path": f"{LAKE}://{self.schema}", "mode": self.mode}
        options: dict[str, Any] = {"schema": self.schema, "mode": self.mode}
        options |= {"connections": {"two": APART}} if self.apart else {}
        return options | ({"key": ["n"]} if self.mode == "upsert" else {})


def expected(loads: Iterable[Load]) -> Table:
    """What a table holds after these loads, done one after the other in the order of their requests."""
    rows: list[Row] = []
    each = (one for load in loads for one in load.days)
    for load in sorted(each, key=lambda one: one.requested):
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


def read(places: Mapping[str, str], schema: str) -> tuple[Table, ...]:
    """Both tables as they are; in one moment, where they are in one database."""
    found: dict[str, list[Row]] = {name: [] for name in TABLES}
    for dsn, names in _by_database(places):
        with psycopg.connect(dsn) as session:
            query = _union(f"SELECT '{{name}}', n, day, v FROM {schema}.{{name}}", names)
            for name, *row in session.execute(query):
                found[name].append((row[0], row[1], row[2]))
    return tuple(counted(found[name]) for name in TABLES)


def _by_database(places: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    return [
        (dsn, [name for name in TABLES if places[name] == dsn])
        for dsn in dict.fromkeys(places.values())
    ]


def _union(query: str, names: Iterable[str]) -> bytes:
    return " UNION ALL ".join(query.format(name=name) for name in names).encode()


UNBALANCED = """
SELECT l.id, l.state, l.rows, t.rows FROM (
    SELECT _ropewalk_load AS id, count(*) AS rows FROM {schema}.{name} GROUP BY 1
) AS t FULL JOIN (
    SELECT * FROM ropewalk.load WHERE target = '{schema}.{name}' AND (state = 'current' OR mode = 'upsert')
) AS l USING (id)
WHERE CASE WHEN l.mode = 'upsert' THEN l.state = 'superseded' AND t.id IS NOT NULL OR t.rows > l.rows
    ELSE l.rows IS DISTINCT FROM t.rows END
"""


def unbalanced(places: Mapping[str, str], schema: str) -> list[str]:
    """Where a table and the ledger of loads disagree: each row is of a load that counts, and each such has its rows.

    Of an upsert's rows later ones may have taken some over.
    """
    found = []
    for name in TABLES:
        with psycopg.connect(places[name]) as session:
            rows = session.execute(UNBALANCED.format(schema=schema, name=name).encode()).fetchall()
        found += [f"{schema}.{name}: load {row}" for row in rows]
    return found


def read_files(schema: str) -> tuple[Table, ...]:
    """Both folders as a glob finds them."""
    return tuple(_read_folder(f"{schema}/{name}") for name in TABLES)


def _read_folder(path: str) -> Table:
    lake = root(LAKE)
    names = [lake.path(name) for name in lake.find(f"{path}/*.parquet")]
    found = pq.read_table(names, filesystem=lake.filesystem).to_pydict() if names else {"n": ()}
    return counted(zip(found["n"], found.get("day", ()), found.get("v", ()), strict=True))


def other_files(schema: str) -> list[str]:
    """What lies beside the files and the records of a schema's folders: nothing, but while something is written."""
    fits = re.compile(rf"{schema}/[^/.]+/(_ropewalk/[^/.][^/]*\.json|[^/.][^/]*\.parquet)")
    return [name for name in root(LAKE).find(f"{schema}/**/*") if not fits.fullmatch(name)]


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

    places: Mapping[str, str]
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
        databases = _by_database(self.places)
        while not self._stop.is_set():
            try:
                with ExitStack() as stack:
                    sessions = [
                        (stack.enter_context(psycopg.connect(dsn, autocommit=True)), names)
                        for dsn, names in databases
                    ]
                    while not self._stop.wait(0.02):
                        for session, names in sessions:
                            self._look(session, names)
            except psycopg.OperationalError:  # the server has been stopped
                self._stop.wait(0.05)
            except Exception as error:  # noqa: BLE001 - a reader that has ended would see nothing wrong any more
                self.wrong.append(f"the reader could not read: {type(error).__name__}: {error}")
                self._stop.wait(0.05)

    def _look(self, session: psycopg.Connection[Any], names: list[str]) -> None:
        """Look at the tables of one database: each is as some of the loads explain it, and all are so together."""
        query = f"SELECT '{{name}}', day, v, count(*), sum(n) FROM {self.schema}.{{name}} GROUP BY day, v"
        rows = session.execute(_union(query, names)).fetchall()
        tables = [
            frozenset(
                (day, v, count, int(total)) for name, day, v, count, total in rows if name == one
            )
            for one in names
        ]
        self.seen += 1
        if len(set(tables)) > 1 or tables[0] not in self.allowed:
            self.wrong.append(str([sorted(one) for one in tables]))


@dataclass
class FileReader(Reader):
    """Reads a schema's folders all the while; each by itself, since folders do not change together."""

    def _read_on(self) -> None:
        while not self._stop.wait(0.02):
            try:
                tables = read_files(self.schema)
            except Exception as error:  # noqa: BLE001 - as above
                self.wrong.append(f"the reader could not read: {type(error).__name__}: {error}")
                continue
            for table in tables:
                self.seen += 1
                if sums(table) not in self.allowed:
                    self.wrong.append(str(sorted(sums(table))))
