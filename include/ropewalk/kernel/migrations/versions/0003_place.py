"""An index by which a task finds the one before it."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make it."""
    op.execute(
        "CREATE INDEX task_place ON task (workflow, step, (coalesce(partition, '')), ended_at DESC)"
        " WHERE state = 'succeeded'"
    )
