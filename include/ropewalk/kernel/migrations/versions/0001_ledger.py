"""The ledger: tasks, who asked for them, and their log lines."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

TASK = """
CREATE TABLE task (
    key text PRIMARY KEY,
    workflow text NOT NULL,
    step text NOT NULL,
    partition text,
    run_id text NOT NULL,
    requested bigint NOT NULL,
    request jsonb NOT NULL,
    asker text NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    attempt integer NOT NULL DEFAULT 0,
    owner text,
    lease_until timestamptz,
    since jsonb,
    progress jsonb,
    report jsonb,
    error jsonb,
    queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    ended_at timestamptz
);
CREATE INDEX task_queue ON task (queued_at) WHERE state = 'queued';
CREATE INDEX task_lease ON task (lease_until) WHERE state = 'running';
CREATE INDEX task_watermark ON task (workflow, step, requested DESC, ended_at DESC)
    WHERE state = 'succeeded';
"""
ASKED = """
CREATE TABLE asked (
    workflow text NOT NULL,
    run_id text NOT NULL,
    step text NOT NULL,
    key text NOT NULL REFERENCES task ON DELETE CASCADE,
    requested bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workflow, run_id, step)
);
CREATE INDEX asked_key ON asked (key);
"""
LOG = """
CREATE TABLE log (
    key text NOT NULL REFERENCES task ON DELETE CASCADE,
    n bigint GENERATED ALWAYS AS IDENTITY,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    level text NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (key, n)
);
"""


def upgrade() -> None:
    """Make the three tables."""
    for statement in (TASK, ASKED, LOG):
        op.execute(statement)
