"""A key ring that is kept in the register."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mlsec_kept_ring",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("document", sa.LargeBinary),
        sa.Column("newest", sa.LargeBinary),
        sa.Column("root", sa.LargeBinary),
        sa.Column("changed_at", sa.String(32), nullable=False),
    )
