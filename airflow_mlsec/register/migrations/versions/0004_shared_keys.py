"""The suppression list tells people apart who share a key; token vault."""

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
        table.create_primary_key(old, ["subject_kind", "beside", "token", "request_id"])
    op.create_table(
        "mlsec_token",
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("key_version", sa.Integer, nullable=False),
        sa.Column("added_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("domain", "digest", name=op.f("pk_mlsec_token")),
    )
