"""(c) A table into Postgres: by the store stage, by psql's copy from a ready binary file, by pandas; and by the
sink in this process with and without all that has the rows there once: ledgers, lease, fence, locks and manifest.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.clock import alternate
from bench.data import sample
from bench.options import Options
from bench.protocol import Fence, Guard, guarded
from bench.stack import Stack, stack
from bench.table import Figure
from bench.transfer import written

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from ropewalk.contracts.models import DatasetRef, Report, TaskRequest

TITLE = "(c) a table of ten columns into Postgres"
PART = 20  # to_sql loads a part of the rows: one of so many
SCHEMA = "bench"


def run(options: Options) -> Iterator[Figure]:
    """Measures all, each into an empty table."""
    with stack(options.folder, ("store",)) as running, guarded(running) as guard:
        load = Load(running, guard, sample(options.rows))
        load.by_stage("sample")  # the table that psql's file is taken from
        load.prepare()
        rivals = {
            "stage": load.by_stage,
            "psql": load.by_psql,
            "pandas": load.by_pandas,
            "guarded": load.by_sink,
            "encoder": load.by_encoder,
        }
        taken = alternate(options.console, rivals, options.rounds)
    note = (
        f"{options.rows:,} rows; to_sql loads {load.part.num_rows:,} of them,"
        f" and its time is taken {PART}-fold"
    )
    for name, what, times, target in (
        ("psql", "psql \\copy, binary", 1, 0.45),
        ("pandas", "DataFrame.to_sql", PART, 10),
    ):
        other = taken[name] * times
        yield Figure("store", taken["stage"], what, other, target, sense="at least", note=note)
    yield Figure("its sink, here", taken["guarded"], "its encoder alone", taken["encoder"], 1.05)


@dataclass
class Load:
    """The table, and the ways of loading it."""

    stack: Stack
    guard: Guard
    table: pa.Table
    ref: DatasetRef = field(init=False)
    frame: pd.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        from ropewalk.contracts.models import DatasetRef

        self.ref = DatasetRef.model_validate_json(written(self.stack.store, self.table))
        self.frame = self.part.to_pandas()

    @property
    def part(self) -> pa.Table:
        """What pandas loads."""
        return self.table.slice(0, max(1, self.table.num_rows // PART))

    def prepare(self) -> None:
        """The ready file: a binary COPY of the loaded table, and a table of its own for psql."""
        self._psql(
            f"CREATE TABLE {SCHEMA}.by_psql (LIKE {SCHEMA}.sample)",
            f"\\copy {SCHEMA}.sample TO '{self._file}' (FORMAT binary)",
        )

    def by_stage(self, table: str | None = None) -> None:
        """A task of the store stage, over HTTP, into a table that is not there yet."""
        self.stack.stages["store"].do(self._request(table or f"by_stage_{secrets.token_hex(4)}"))

    def by_sink(self) -> None:
        """The same task in this process, from its entry in a ledger to its report there."""
        from ropewalk.kernel.perform import perform
        from ropewalk.kernel.settings import Settings
        from ropewalk.kernel.stage import built_in
        from ropewalk.kernel.stage import load as load_stage

        os.environ["ROPEWALK_CONNECTION_RESULTS"] = self.stack.dsn
        store, scratch = self.stack.store, self.stack.folder / "sink-scratch"
        settings = Settings(store_url=(self.stack.folder / "store").as_uri(), scratch_dir=scratch)
        request = self._request(f"by_sink_{secrets.token_hex(4)}")

        def work(_: str, attempt: int, fence: Fence) -> Report:
            stage = load_stage(built_in("store"))
            return perform(
                stage, request, store=store, settings=settings, attempt=attempt, fence=fence
            )

        self.guard.do(request, work)

    def _request(self, table: str) -> TaskRequest:
        from ropewalk.contracts.models import RunInfo, TaskRequest, Use

        options = {"schema": SCHEMA, "mode": "replace", "tables": {"sample": table}}
        return TaskRequest(
            workflow="bench",
            step="publish",
            stage="store",
            do=[Use(plugin="postgres", options=options)],
            inputs={"sample": self.ref},
            generation=secrets.token_hex(8),
            run=RunInfo(id="bench"),
        )

    def by_encoder(self) -> None:
        """The same rows into a table of the same kind, in one transaction that nothing guards."""
        import psycopg
        from psycopg import sql
        from ropewalk.store.columns import OWN, Table, ensure, postgres_types
        from ropewalk.store.encode import encoded
        from ropewalk.store.postgres import ahead

        table = Table(SCHEMA, f"by_encoder_{secrets.token_hex(4)}")
        reader = self.stack.store.dataset(self.ref).reader()
        names = sql.SQL(", ").join(map(sql.Identifier, [*reader.schema.names, *OWN]))
        copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(table.identifier, names)
        with psycopg.connect(self.stack.dsn) as session:
            ensure(session, table, postgres_types(reader.schema, table), evolve=True)
            session.commit()  # into a table of its own transaction PostgreSQL writes without its log
            with session.cursor().copy(copy) as sent, ahead(encoded(reader, 1, "*")) as blocks:
                for block in blocks:
                    sent.write(block)

    def by_psql(self) -> None:
        """The table emptied and filled in one transaction, which is the fastest that Postgres
        has.
        """
        self._psql(
            "BEGIN",
            f"TRUNCATE {SCHEMA}.by_psql",
            f"\\copy {SCHEMA}.by_psql FROM '{self._file}' (FORMAT binary)",
            "COMMIT",
        )

    def by_pandas(self) -> None:
        """Pandas, as it is used."""
        import sqlalchemy

        url = self.stack.dsn.replace("postgresql://", "postgresql+psycopg://")
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as session:
            self.frame.to_sql(
                "by_pandas",
                session,
                schema=SCHEMA,
                if_exists="replace",
                index=False,
            )
        engine.dispose()

    @property
    def _file(self) -> str:
        return str(self.stack.folder / "sample.bin")

    def _psql(self, *commands: str) -> None:
        program = self.stack.cluster.install / "bin" / "psql"
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
        each = [f"--command={command}" for command in commands]
        subprocess.run([str(program), *options, *each, self.stack.dsn], check=True)
