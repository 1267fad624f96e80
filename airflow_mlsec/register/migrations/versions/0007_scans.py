"""What was found by a scan: another answer, and likeness."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("mlsec_request_step") as table:
        table.add_column(sa.Column("likeness", sa.Boolean))
        table.alter_column("status", type_=sa.String(16), existing_nullable=False)
