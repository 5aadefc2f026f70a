"""What Alembic runs around the revisions, on the connection and in the transaction of `crm/store/migrations.py`.

Connects to nothing by itself: `python server.py migrate` is the way to upgrade.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    transactional_ddl=True,  # on SQLite too: the whole upgrade happens or nothing does
)
with context.begin_transaction():
    context.run_migrations()
