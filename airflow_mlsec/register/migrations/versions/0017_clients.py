"""What a client that sends events over HTTP may send, how much it sent, and which client reported which run."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("mlsec_api_key") as table:
        table.add_column(sa.Column("namespaces", sa.JSON))
        table.add_column(sa.Column("expires_at", sa.String(32)))
        table.add_column(sa.Column("events_per_hour", sa.BigInteger))
    with op.batch_alter_table("mlsec_quarantine") as table:
        table.add_column(sa.Column("client", sa.Text))
    op.create_table(
        "mlsec_client_hour",
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("hour", sa.String(13), nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("client", "hour"),
    )
    op.create_table(
        "mlsec_run_client",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("first_at", sa.String(32), nullable=False),
        sa.Column("last_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "client"),
    )
    op.create_index("ix_mlsec_run_client_client", "mlsec_run_client", ["client"])
