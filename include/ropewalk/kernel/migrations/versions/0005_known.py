"""What a task has read by its cursor, and in which order: known for good, whatever becomes of the task."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    "ALTER TABLE task ADD COLUMN read jsonb, ADD COLUMN read_at timestamptz",
    """
    UPDATE task SET read_at = ended_at, read = jsonb_build_object('since', since, 'until', until,
        'previous', previous, 'watermark', report -> 'watermark')
    WHERE state = 'succeeded' AND report ->> 'watermark' IS NOT NULL
    """,
    "DROP INDEX task_watermark",
    "DROP INDEX task_read",
    # Of those that read to the source's end the last is what the next task reads on from.
    """
    CREATE INDEX task_watermark ON task (workflow, step, read_at DESC)
        WHERE read_at IS NOT NULL AND read ->> 'until' IS NULL
    """,
    "CREATE INDEX task_read ON task (workflow, step, run_id, read_at DESC) WHERE read_at IS NOT NULL",
    """
    CREATE INDEX task_read_place ON task (workflow, step, (coalesce(partition, '')), read_at DESC)
        WHERE read_at IS NOT NULL
    """,
)


def upgrade() -> None:
    """Add the columns, fill them from the reports, and make the indexes anew."""
    for statement in STATEMENTS:
        op.execute(statement)
