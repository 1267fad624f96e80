"""Who acted on a request before it is approved."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("mlsec_request_entry") as table:
        table.add_column(sa.Column("acted", sa.Boolean))
