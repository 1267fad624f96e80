"""The suppression list tells people apart who share a key."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    old = op.f("pk_mlsec_suppression")
    with op.batch_alter_table("mlsec_suppression") as table:
        table.add_column(sa.Column("beside", sa.Text, nullable=False, server_default=""))
        table.drop_constraint(old, type_="primary")
        table.create_primary_key(old, ["subject_kind", "beside", "token"])
