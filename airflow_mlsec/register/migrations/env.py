"""Alembic's entry point: migrates over the connection that `Register.upgrade` hands over."""

from alembic import context

from airflow_mlsec.register.tables import VERSION_TABLE, metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
