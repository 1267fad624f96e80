"""What checks of connections found, for the controls that ask for it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "mlsec_transport_check",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("conn_id", sa.Text, nullable=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
        sa.Column("findings", sa.JSON, nullable=False),
        sa.Column("checked_at", sa.String(32), nullable=False),
    )
    op.create_index(op.f("ix_mlsec_transport_check_conn_id"), "mlsec_transport_check", ["conn_id"])
