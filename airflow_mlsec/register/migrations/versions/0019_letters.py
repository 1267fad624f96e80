"""The deadline of a request stands still while the identity is asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mlsec_request", sa.Column("paused_on", sa.String(10)))
