"""Whom a search belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Searches that were there before belong to whoever runs the server."""
    op.add_column("searches", sa.Column("owner", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("searches", sa.Column("shared", sa.Boolean(), nullable=False, server_default=sa.false()))
