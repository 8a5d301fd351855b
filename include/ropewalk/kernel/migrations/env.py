"""What Alembic runs: the versions, on the connection that `migrate` opened, in the stage's own schema."""

from __future__ import annotations

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    version_table_schema=attributes["schema"],
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
attributes["connection"].commit()
