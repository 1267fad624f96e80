"""Snapshots of who may do what on a system; reviews of several systems at once."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mlsec_access_snapshot",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("taken_at", sa.String(32), nullable=False),
        sa.Column("taken_by", sa.Text, nullable=False),
        sa.Column("accounts", sa.Integer, nullable=False),
        sa.Column("entitlements", sa.Integer, nullable=False),
        sa.Column("unread", sa.JSON, nullable=False),
        sa.Column("content", sa.String(64), nullable=False),
        sa.Column("statement", sa.JSON, nullable=False),
    )  # fmt: skip
    op.create_index("ix_mlsec_access_snapshot_source", "mlsec_access_snapshot", ["source"])
    op.create_table(
        "mlsec_access_content",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("lines", sa.LargeBinary, nullable=False),
    )
    for name, kind in (
        ("opened_by", sa.Text), ("scope", sa.JSON), ("snapshots", sa.JSON), ("unread", sa.JSON), ("escalated_at", sa.String(32)),
        ("statement", sa.JSON),
    ):  # fmt: skip
        op.add_column("mlsec_review", sa.Column(name, kind))
    old = op.f("uq_mlsec_review_item_review_id_principal_permission_origin")
    new = op.f("uq_mlsec_review_item")
    with op.batch_alter_table("mlsec_review_item") as table:
        for name in ("source", "resource"):
            table.add_column(sa.Column(name, sa.Text, nullable=False, server_default=""))
        for name, kind in (
            ("right", sa.String(16)), ("person", sa.Text), ("flags", sa.JSON), ("last_used", sa.String(40)), ("datasets", sa.JSON),
            ("reviewers", sa.JSON), ("asked", sa.JSON), ("reduce_to", sa.Text), ("together", sa.Integer), ("second_by", sa.Text),
            ("second_at", sa.String(32)), ("effective_at", sa.String(32)),
        ):  # fmt: skip
            table.add_column(sa.Column(name, kind))
        table.add_column(
            sa.Column("four_eyes", sa.Boolean, nullable=False, server_default=sa.false())
        )
        table.drop_constraint(old, type_="unique")
        table.create_unique_constraint(
            new, ["review_id", "source", "resource", "principal", "permission", "origin"]
        )
