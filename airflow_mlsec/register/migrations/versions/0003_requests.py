"""Data-subject requests with their ledger, suppression list and legal holds."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _big() -> sa.types.TypeEngine:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("mlsec_request") as table:
        table.add_column(sa.Column("law", sa.String(16), nullable=False, server_default="gdpr"))
        table.add_column(sa.Column("sealed", sa.LargeBinary))
        table.add_column(
            sa.Column("identity", sa.String(16), nullable=False, server_default="unverified")
        )
        table.add_column(sa.Column("due_at", sa.String(32)))
        table.add_column(
            sa.Column("extended", sa.Boolean, nullable=False, server_default=sa.false())
        )
        table.add_column(sa.Column("approved_by", sa.Text))
        table.add_column(sa.Column("closed_at", sa.String(32)))
        table.add_column(sa.Column("receipt", sa.JSON))
        table.alter_column("ledger", existing_type=sa.JSON(), nullable=True)
    op.create_table(
        "mlsec_request_step",
        sa.Column("id", _big(), autoincrement=True, nullable=False),
        sa.Column("request_id", _big(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("dataset_id", _big()),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("rows", sa.BigInteger),
        sa.Column("locator", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("changed_at", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["mlsec_request.id"], name=op.f("fk_mlsec_request_step_request_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_request_step")),
        sa.UniqueConstraint(
            "request_id", "kind", "name", name=op.f("uq_mlsec_request_step_request_id_kind_name")
        ),
    )
    op.create_index(op.f("ix_mlsec_request_step_request_id"), "mlsec_request_step", ["request_id"])
    op.create_table(
        "mlsec_request_entry",
        sa.Column("id", _big(), autoincrement=True, nullable=False),
        sa.Column("request_id", _big(), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["mlsec_request.id"], name=op.f("fk_mlsec_request_entry_request_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_request_entry")),
    )
    op.create_index(
        op.f("ix_mlsec_request_entry_request_id"), "mlsec_request_entry", ["request_id"]
    )
    op.create_table(
        "mlsec_suppression",
        sa.Column("subject_kind", sa.Text, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("key_version", sa.Integer, nullable=False),
        sa.Column("request_id", _big(), nullable=False),
        sa.Column("added_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("subject_kind", "token", name=op.f("pk_mlsec_suppression")),
    )
    op.create_table(
        "mlsec_legal_hold",
        sa.Column("id", _big(), autoincrement=True, nullable=False),
        sa.Column("subject_kind", sa.Text, nullable=False),
        sa.Column("subject_digest", sa.String(64)),
        sa.Column("dataset_id", _big()),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("placed_by", sa.Text, nullable=False),
        sa.Column("placed_at", sa.String(32), nullable=False),
        sa.Column("released_at", sa.String(32)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_legal_hold")),
    )
