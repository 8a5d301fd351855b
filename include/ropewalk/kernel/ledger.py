"""The ledger of a stage: its tasks in its own schema of Postgres, so that any replica answers for any task.

A replica takes a task with a lease and an attempt number, the fencing token: every later statement of it
names both, and changes nothing once another attempt has begun; what an attempt says is in its log all the same. All
time is the database's. Every statement may be sent twice (its answer was lost): no more than a line of a log is then
there twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from pydantic import BaseModel, ValidationError

from ropewalk.contracts.errors import ContractError, NotFoundError, Problem
from ropewalk.contracts.models import (
    Asked,
    LogLine,
    Progress,
    Report,
    State,
    TaskRequest,
    TaskStatus,
)
from ropewalk.contracts.reasons import reasons

Row = dict[str, Any]
Line = tuple[datetime, str, str]
"""A line of a task's log: when it was said, its level, and its text."""
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # as JSON writes it

SUBMIT = """
WITH submitted AS (
    INSERT INTO task AS old
        (key, workflow, step, partition, run_id, requested, request, asker, state, cursor)
    VALUES (%(key)s, %(workflow)s, %(step)s, %(partition)s, %(run)s, %(requested)s, %(request)s,
            %(asker)s, 'queued', %(cursor)s)
    ON CONFLICT (key) DO UPDATE SET asker = excluded.asker
    RETURNING *
), asked AS (
    INSERT INTO asked AS old (workflow, run_id, step, key, requested)
    SELECT workflow, %(run)s, step, key, %(requested)s FROM submitted
    ON CONFLICT (workflow, run_id, step)
        DO UPDATE SET key = excluded.key, requested = excluded.requested, at = excluded.at
)
SELECT *, CASE state WHEN 'queued' THEN pg_notify(%(channel)s, 'queued') END FROM submitted
"""
AGAIN = """
UPDATE task SET state = 'queued', request = %(request)s, run_id = %(run)s, requested = %(requested)s,
    error = NULL, progress = NULL, owner = NULL, lease_until = NULL, queued_at = clock_timestamp(),
    started_at = NULL, ended_at = NULL, lost = 0
WHERE key = %(key)s AND state IN ('failed', 'cancelled')
RETURNING *, pg_notify(%(channel)s, 'queued')
"""
# `head` is the task that has read furthest; `mine` what this run itself has read before it was cleared, or another of
# its partition: it reads that again, and no further than where another run went on from. Both are told by `read`,
# which stays when a task is to be done again, and while it is.
CLAIM = """
WITH next AS (
    SELECT key, workflow, step, partition, run_id, state FROM task AS it
    WHERE (state = 'queued' OR (state = 'running' AND lease_until < clock_timestamp()))
        AND NOT (cursor AND EXISTS (
            SELECT FROM task AS other WHERE other.workflow = it.workflow AND other.step = it.step
                AND other.cursor AND other.state = 'running' AND other.key <> it.key))
    ORDER BY queued_at LIMIT 1 FOR UPDATE SKIP LOCKED
), head AS (
    SELECT found.* FROM next CROSS JOIN LATERAL (
        SELECT key, read -> 'watermark' AS watermark FROM task
        WHERE workflow = next.workflow AND step = next.step
            AND read_at IS NOT NULL AND read ->> 'until' IS NULL
        ORDER BY read_at DESC LIMIT 1
    ) AS found
), mine AS (
    SELECT found.* FROM next CROSS JOIN LATERAL (
        (SELECT key, read, read_at FROM task
        WHERE workflow = next.workflow AND step = next.step AND run_id = next.run_id AND read_at IS NOT NULL
        ORDER BY read_at DESC LIMIT 1)
        UNION ALL
        (SELECT key, read, read_at FROM task
        WHERE workflow = next.workflow AND step = next.step AND coalesce(partition, '') = next.partition
            AND read_at IS NOT NULL
        ORDER BY read_at DESC LIMIT 1)
        ORDER BY read_at DESC LIMIT 1
    ) AS found
), span AS (
    SELECT next.key, next.state,
        CASE WHEN mine.key IS NULL THEN head.watermark ELSE nullif(mine.read -> 'since', 'null') END AS since,
        CASE WHEN mine.key IS NULL THEN head.key ELSE mine.read ->> 'previous' END AS previous,
        CASE WHEN mine.key <> head.key
            THEN coalesce(nullif(mine.read -> 'until', 'null'), mine.read -> 'watermark') END AS until
    FROM next LEFT JOIN head ON true LEFT JOIN mine ON true
)
UPDATE task SET state = 'running', attempt = attempt + 1, owner = %(owner)s, progress = NULL,
    started_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
    lost = lost + (span.state = 'running')::int,
    since = span.since, previous = span.previous, until = span.until
FROM span WHERE task.key = span.key
RETURNING task.*,
    (SELECT request FROM task AS other
        WHERE other.workflow = task.workflow AND other.step = task.step
            AND coalesce(other.partition, '') = coalesce(task.partition, '')
            AND other.state = 'succeeded' AND other.key <> task.key
        ORDER BY ended_at DESC LIMIT 1) AS before,
    EXISTS (SELECT FROM task AS other WHERE other.key <> span.key AND (other.state = 'queued'
        OR (other.state = 'running' AND other.lease_until < clock_timestamp()))) AS more
"""
RENEW = """
UPDATE task SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
    progress = coalesce(%(progress)s, progress)
WHERE key = %(key)s AND attempt = %(attempt)s AND state = 'running'
RETURNING key
"""
SAY = """
INSERT INTO log (key, attempt, at, level, text)
SELECT %(key)s, %(attempt)s, * FROM unnest(%(at)s::timestamptz[], %(level)s::text[], %(text)s::text[])
RETURNING n
"""
# A clock that jumps back changes nothing in the order of what was read.
END = """
WITH said AS (
    INSERT INTO log (key, attempt, at, level, text)
    SELECT %(key)s, %(attempt)s, * FROM unnest(%(at)s::timestamptz[], %(level)s::text[], %(text)s::text[])
    WHERE NOT EXISTS (SELECT FROM task WHERE key = %(key)s AND attempt = %(attempt)s
        AND state IN ('succeeded', 'failed'))
)
UPDATE task SET state = %(state)s, report = %(report)s, error = %(error)s,
    progress = coalesce(%(progress)s, progress), ended_at = clock_timestamp(),
    owner = NULL, lease_until = NULL,
    read = CASE WHEN %(moved)s THEN jsonb_build_object('since', since, 'until', until, 'previous', previous,
        'watermark', %(report)s::jsonb -> 'watermark') ELSE read END,
    read_at = CASE WHEN %(moved)s THEN greatest(clock_timestamp(), (
        SELECT other.read_at + interval '1 microsecond' FROM task AS other
        WHERE other.workflow = task.workflow AND other.step = task.step
            AND other.read_at IS NOT NULL AND other.read ->> 'until' IS NULL
        ORDER BY other.read_at DESC LIMIT 1)) ELSE read_at END
WHERE key = %(key)s AND attempt = %(attempt)s AND state = 'running'
RETURNING pg_notify(%(channel)s, 'ended ' || key)
"""
CANCEL = """
UPDATE task SET state = 'cancelled', ended_at = clock_timestamp(), owner = NULL, lease_until = NULL
WHERE key = %(key)s AND state IN ('queued', 'running') AND (%(asker)s = '' OR asker = %(asker)s)
RETURNING pg_notify(%(channel)s, 'ended ' || key)
"""
REQUEUE = """
UPDATE task SET state = 'queued', owner = NULL, lease_until = NULL, lost = lost + 1
WHERE state = 'running' AND split_part(owner, '#', 1) = %(place)s AND owner <> %(owner)s
RETURNING key
"""

WAITS = """
SELECT (SELECT count(*) FROM task WHERE state = 'running') AS running,
    (SELECT count(*) FROM task WHERE state = 'queued' AND queued_at < it.queued_at) AS before,
    it.cursor AND EXISTS (SELECT FROM task AS other WHERE other.workflow = it.workflow
        AND other.step = it.step AND other.cursor AND other.state = 'running') AS same
FROM task AS it WHERE key = %(key)s AND state = 'queued'
"""
QUEUED = "SELECT count(*) AS n FROM task WHERE state = 'queued'"
FORGET = """
UPDATE task SET state = 'cancelled', report = NULL WHERE key = %(key)s AND state = 'succeeded'
RETURNING key
"""
ASKED = """
SELECT t.*, a.run_id AS asked_by, a.at, NULL AS parts
FROM asked a JOIN task t USING (key)
WHERE (%(workflow)s::text IS NULL OR a.workflow = %(workflow)s)
    AND (%(run)s::text IS NULL OR a.run_id = %(run)s)
    AND (NOT %(quarantined)s OR (t.report -> 'rows' ->> 'quarantined')::bigint > 0)
ORDER BY a.at DESC LIMIT %(limit)s
"""
# A batch is as many partitions: of each the run counts that has asked for it last, whether in a batch or alone.
LATEST = """
WITH part AS (
    SELECT DISTINCT ON (a.workflow, a.step, name) a.key, a.run_id, a.at, name
    FROM asked a JOIN task t USING (key) CROSS JOIN LATERAL (
        SELECT one #>> '{partition,name}' FROM jsonb_array_elements(t.request -> 'batch') AS one
        UNION ALL SELECT coalesce(t.partition, '')
        WHERE coalesce(jsonb_array_length(t.request -> 'batch'), 0) = 0
    ) AS parts (name)
    WHERE (%(workflow)s::text IS NULL OR a.workflow = %(workflow)s)
        AND (%(run)s::text IS NULL OR a.run_id = %(run)s)
    ORDER BY a.workflow, a.step, name, a.requested DESC, a.at DESC
), last AS (
    SELECT key, run_id, at, array_agg(name ORDER BY name) AS parts FROM part GROUP BY key, run_id, at
)
SELECT t.*, last.run_id AS asked_by, last.at, last.parts
FROM last JOIN task t USING (key)
WHERE NOT %(quarantined)s OR ((t.report -> 'rows' ->> 'quarantined')::bigint > 0
    AND (coalesce(t.report -> 'aside', '{}') = '{}' OR t.report -> 'aside' ?| last.parts))
ORDER BY last.at DESC LIMIT %(limit)s
"""


class Ledger:
    """The tasks of one stage."""

    def __init__(self, pool: AsyncConnectionPool[Any], channel: str) -> None:
        self.pool = pool
        self.channel = channel

    @classmethod
    def at(cls, database_url: str, schema: str) -> Ledger:
        """The ledger in a schema; its pool is still closed."""
        pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            database_url,
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "options": f"-c search_path={schema}",
                "application_name": f"ropewalk:{schema}",
                "connect_timeout": 10,
                "tcp_user_timeout": 10_000,  # milliseconds that a silent network is believed
                "keepalives_idle": 5,
            },
            min_size=1,
            max_size=8,
            timeout=10,
            open=False,
        )
        return cls(pool, f"ropewalk_{schema}")

    async def submit(self, key: str, request: TaskRequest) -> TaskStatus:
        """Enter a task, or find it; one that failed or was cancelled is queued for a new attempt.

        ContractError where a text of the request has a NUL in it: it would be kept as another, with another key.
        """
        if NUL.search(request.model_dump_json()):
            raise ContractError("a text of the request has a NUL character in it", code="nul")
        values = {
            "key": key,
            "workflow": request.workflow,
            "step": request.step,
            "partition": request.partition.name if request.partition else None,
            "run": request.run.id,
            "requested": request.run.requested,
            "request": _json(request),
            "asker": request.run.attempt,
            "cursor": any(use.options.get("cursor") is not None for use in request.do),
        }
        row = await self._one(SUBMIT, values)
        if row["state"] in {State.FAILED, State.CANCELLED}:
            row = await self._maybe(AGAIN, values) or await self._one(
                "SELECT * FROM task WHERE key = %(key)s", values
            )
        return status_of(row, run=request.run.id)

    async def read(self, key: str) -> TaskStatus:
        """How a task stands; NotFoundError where it was never submitted."""
        row = await self._maybe("SELECT * FROM task WHERE key = %(key)s", {"key": key})
        if row is None:
            raise NotFoundError(f"this stage has no task {key}")
        return status_of(row)

    async def asked(
        self,
        *,
        workflow: str | None,
        run: str | None,
        latest: bool,
        quarantined: bool,
        limit: int,
    ) -> list[Asked]:
        """What runs have asked for, the newest first: of each step and partition the ``latest`` only, or all."""
        values = {
            "workflow": workflow, "run": run, "quarantined": quarantined, "limit": limit,
        }  # fmt: skip
        return [
            Asked(
                workflow=row["workflow"],
                step=row["step"],
                run=row["asked_by"],
                partition=row["partition"],
                partitions=row["parts"] or [] if row["request"].get("batch") else [],
                status=status_of(row, run=row["asked_by"]),
            )
            for row in await self.rows(LATEST if latest else ASKED, values)
        ]

    async def waits(self, key: str) -> str:
        """What a task waits for; nothing where it waits no more."""
        row = await self._maybe(WAITS, {"key": key})
        if row is None:
            return ""
        if row["same"]:
            return "another task of this step runs, from whose watermark it will read on"
        return f"{row['running']} tasks run at this stage, and {row['before']} wait before it"

    async def forget(self, key: str) -> None:
        """Let a task that has succeeded be done again: what it made is no longer there."""
        await self._maybe(FORGET, {"key": key})

    async def cancel(self, key: str, asker: str) -> TaskStatus:
        """Cancel a task that has not ended, unless another than ``asker`` has asked for it since."""
        await self._maybe(CANCEL, {"key": key, "asker": asker})
        return await self.read(key)

    async def claim(self, owner: str, lease: float) -> Row | None:
        """Take the oldest task that waits, or whose lease has run out; None where there is none.

        A task that reads on from a watermark waits for the one of its step that runs.
        """
        try:
            return await self._maybe(CLAIM, {"owner": owner, "lease": lease})
        except psycopg.errors.UniqueViolation:  # two replicas at once: the other one's runs
            return None

    async def requeue(self, owner: str) -> int:
        """Queue again what an earlier process at this owner's place left running; how many."""
        place = owner.partition("#")[0]
        return len(await self.rows(REQUEUE, {"owner": owner, "place": place}))

    async def renew(self, key: str, attempt: int, lease: float, progress: Progress | None) -> bool:
        """Renew a lease; False where the task is no longer this attempt's."""
        values = {
            "key": key,
            "attempt": attempt,
            "lease": lease,
            "progress": progress and _json(progress),
        }
        return await self._maybe(RENEW, values) is not None

    async def end(
        self,
        key: str,
        attempt: int,
        outcome: Report | Problem,
        progress: Progress | None = None,
        lines: Sequence[Line] = (),
    ) -> bool:
        """Record how an attempt ended, and what it said last; False where the task is no longer this attempt's.

        What it said is in the log even then.
        """
        report = _json(outcome) if isinstance(outcome, Report) else None
        error = _json(outcome) if isinstance(outcome, Problem) else None
        state = State.SUCCEEDED if report else State.FAILED
        values = {"key": key, "attempt": attempt, "state": state, "report": report, "error": error}
        values |= _columns(lines)
        values["progress"] = progress and _json(progress)
        values["moved"] = isinstance(outcome, Report) and outcome.watermark is not None
        return await self._maybe(END, values) is not None

    async def add_lines(self, key: str, attempt: int, lines: Sequence[Line]) -> None:
        """Add lines to a task's log."""
        values = {"key": key, "attempt": attempt, **_columns(lines)}
        await self.rows(SAY, values)

    async def lines(self, key: str, after: int, limit: int = 1000) -> list[LogLine]:
        """A task's log lines after line ``after``."""
        rows = await self.rows(
            "SELECT n, at, level, text FROM log WHERE key = %(key)s AND n > %(after)s"
            " ORDER BY n LIMIT %(limit)s",
            {"key": key, "after": after, "limit": limit},
        )
        return [LogLine.model_validate(row) for row in rows]

    async def ready(self) -> None:
        """Returns when the database answers."""
        await self._one("SELECT EXISTS (SELECT FROM task)", {})

    async def queued(self) -> int:
        """How many tasks wait; of those that have ended, however many, none is looked at."""
        return int((await self._one(QUEUED, {}))["n"])

    async def counts(self) -> dict[str, int]:
        """How many tasks wait and run."""
        rows = await self.rows(
            "SELECT state, count(*) AS n FROM task WHERE state IN ('queued', 'running') GROUP BY 1",
            {},
        )
        return {row["state"]: row["n"] for row in rows}

    async def rows(self, query: str, values: Row) -> list[Row]:
        """Every row; once more where the connection was a dead one, as after a restart of the database."""
        try:
            return await self._read(query, values)
        except PoolTimeout:
            raise
        except (psycopg.OperationalError, psycopg.InterfaceError):
            await self.pool.check()
            return await self._read(query, values)

    async def _read(self, query: str, values: Row) -> list[Row]:
        kept = {name: _kept(value) for name, value in values.items()}
        async with self.pool.connection() as connection:
            cursor = await connection.execute(query, {"channel": self.channel, **kept})
            rows: list[Row] = await cursor.fetchall()
            return rows

    async def _maybe(self, query: str, values: Row) -> Row | None:
        rows = await self.rows(query, values)
        return rows[0] if rows else None

    async def _one(self, query: str, values: Row) -> Row:
        return (await self.rows(query, values))[0]


def status_of(row: Row, *, run: str | None = None) -> TaskStatus:
    """A task's row as the contract tells it; ``run`` is the run that asks, where one does."""
    done = row["state"] == State.SUCCEEDED
    return TaskStatus(
        key=row["key"],
        state=row["state"],
        attempt=row["attempt"],
        progress=row["progress"] or Progress(),
        report=row["report"],
        error=row["error"],
        reused=row["run_id"] if done and run is not None and row["run_id"] != run else None,
        queued=row["queued_at"],
        started=row["started_at"],
        ended=row["ended_at"],
    )


def why(row: Row) -> list[str]:
    """Why a claimed task is not one that was done before; nothing where an earlier version's request cannot be read."""
    with suppress(ValidationError):
        before = TaskRequest.model_validate(row["before"]) if row["before"] else None
        return reasons(TaskRequest.model_validate(row["request"]), before)
    return []


def window_of(row: Row) -> dict[str, Any]:
    """What the task reads on from: ``since``, ``until``, and the key of the ``previous`` task."""
    return {name: row[name] for name in ("since", "until", "previous")}


def _columns(lines: Sequence[Line]) -> Row:
    """Lines of a log by columns."""
    return {
        "at": [at for at, _, _ in lines],
        "level": [level for _, level, _ in lines],
        "text": [storable(text) for _, _, text in lines],
    }


def _kept(value: Any) -> Any:
    """A value as it is bound: what an asker names is stored, and looked for, as Postgres can keep it."""
    return storable(value) if isinstance(value, str) else value


def storable(text: str) -> str:
    """A text as Postgres can keep it: without NUL, and without halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _json(model: BaseModel) -> Jsonb:
    return Jsonb(model.model_dump(mode="json"), dumps=_dumps)


def _dumps(value: Any) -> str:
    """JSON as Postgres can keep it: it has no NUL, no halves of surrogate pairs, and no number that is none."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
        text = json.dumps(finite, ensure_ascii=False)
    return storable(NUL.sub("\\1\ufffd", text))
