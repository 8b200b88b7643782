"""Alembic's entry: migrate over the connection, and in the transaction, that `database.py` hands in."""

from alembic import context

from kernelevolve.search.store.schema import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("Migrations run when a store is opened; to make a new one see CONTRIBUTING.md.")
# SQLite can't alter most things in place: batch mode copies the table.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
