"""Which key ring is the register's; releases that are recorded before they are published; who acted, and by
which rules."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "mlsec_ring",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("ring", sa.String(32), nullable=False),
        sa.Column("since", sa.String(32), nullable=False),
        sa.Column("by", sa.Text),
        sa.Column("reason", sa.Text),
    )
    op.create_table(
        "mlsec_ring_key",
        sa.Column("ring", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("ring", "name", "version", name="pk_mlsec_ring_key"),
    )
    outcome = sa.Column("outcome", sa.String(10), nullable=False, server_default="published")
    op.add_column("mlsec_evidence", outcome)
    op.add_column("mlsec_evidence", sa.Column("writer", sa.JSON))
    op.add_column("mlsec_evidence", sa.Column("after_run", _ID))
    op.add_column("mlsec_suppression", sa.Column("key_fingerprint", sa.String(32)))
    op.add_column("mlsec_legal_hold", sa.Column("key_version", sa.Integer))
    op.create_table(
        "mlsec_rule",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("set_at", sa.String(32), nullable=False),
        sa.Column("set_by", sa.Text, nullable=False),
        sa.Column("agreed_by", sa.Text),
    )
    for name, kind in (
        ("verified_by", sa.Text),
        ("changed_by", sa.Text),
        ("recipients", sa.JSON),
        ("exports", sa.JSON),
        ("approved", sa.JSON),
        ("four_eyes", sa.Boolean),
    ):
        op.add_column("mlsec_request", sa.Column(name, kind))
    op.add_column("mlsec_request_step", sa.Column("decided_by", sa.Text))
    op.add_column("mlsec_request_step", sa.Column("columns", sa.JSON))
