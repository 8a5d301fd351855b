"""What a task reads from and up to, and how often it was lost."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    """
    ALTER TABLE task
        ADD COLUMN cursor boolean NOT NULL DEFAULT false,
        ADD COLUMN until jsonb,
        ADD COLUMN previous text,
        ADD COLUMN lost integer NOT NULL DEFAULT 0
    """,
    # Of the tasks of a step that reads on from a watermark one runs at a time.
    "CREATE UNIQUE INDEX task_cursor ON task (workflow, step) WHERE state = 'running' AND cursor",
    "DROP INDEX task_watermark",
    """
    CREATE INDEX task_watermark ON task (workflow, step, ended_at DESC)
        WHERE state = 'succeeded' AND until IS NULL AND report ->> 'watermark' IS NOT NULL
    """,
)


def upgrade() -> None:
    """Add the columns and their indexes."""
    for statement in STATEMENTS:
        op.execute(statement)
