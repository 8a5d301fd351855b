"""An index by which a task finds what its own run has read before, however many tasks of its step have ended."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make it."""
    op.execute(
        "CREATE INDEX task_read ON task (workflow, step, run_id, ended_at DESC)"
        " WHERE state = 'succeeded' AND until IS NULL AND report ->> 'watermark' IS NOT NULL"
    )
