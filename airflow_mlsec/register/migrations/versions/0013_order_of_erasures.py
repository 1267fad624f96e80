"""Since which release somebody is left out, for which request a file was left, and which process erases from a place."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("mlsec_suppression") as table:
        table.add_column(sa.Column("after_evidence", sa.BigInteger))
    with op.batch_alter_table("mlsec_left") as table:
        table.add_column(sa.Column("request_id", sa.BigInteger))
    with op.batch_alter_table("mlsec_request_step") as table:
        table.add_column(sa.Column("writer", sa.JSON))
