"""What a client can take back: names of datasets, changes of their lifecycle, facets. Which alerts are over."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("mlsec_alias", "mlsec_lifecycle", "mlsec_facet"):
        # Not a batch operation: SQLite would copy the table.
        op.add_column(table, sa.Column("client", sa.Text))
        op.add_column(table, sa.Column("client_at", sa.String(32)))
    op.add_column("mlsec_alert", sa.Column("task", sa.Text))
    op.add_column("mlsec_alert", sa.Column("recovered_at", sa.String(32)))
