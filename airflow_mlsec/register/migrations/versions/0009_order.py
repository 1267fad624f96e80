"""What came before what, whatever clocks say: runs and places of requests, announced and published releases,
decisions about a request, and what retention erased."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("mlsec_request_step") as table:
        table.add_column(sa.Column("after_run", sa.BigInteger))
    with op.batch_alter_table("mlsec_request") as table:
        table.add_column(sa.Column("version", sa.Integer, nullable=False, server_default="0"))
    with op.batch_alter_table("mlsec_evidence") as table:
        table.add_column(sa.Column("published_at", sa.String(32)))
        table.add_column(sa.Column("published_after_run", sa.BigInteger))
    op.create_table(
        "mlsec_retention",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("began_at", sa.String(32), nullable=False),
        sa.Column("erased", sa.BigInteger),
    )
    op.create_table(
        "mlsec_counter",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "mlsec_writing",
        sa.Column("uri", sa.Text, primary_key=True),
        sa.Column("writer", sa.JSON, nullable=False),
        sa.Column("began_at", sa.String(32), nullable=False),
    )
