"""Alembic's entry: runs inside the transaction that `migrate` opened."""

from alembic import context

from shared.adapters.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
