"""What a client can take back: names of datasets, changes of their lifecycle, facets. Which alerts are over."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("mlsec_alias", "mlsec_lifecycle"):
        # Not a batch operation: SQLite would copy the table.
        op.add_column(name, sa.Column("client", sa.Text))
        op.add_column(name, sa.Column("client_at", sa.String(32)))
    key = op.f("pk_mlsec_facet")
    with op.batch_alter_table("mlsec_facet") as table:
        table.add_column(sa.Column("client", sa.Text, nullable=False, server_default=""))
        table.add_column(sa.Column("client_at", sa.String(32)))
        table.drop_constraint(key, type_="primary")
        table.create_primary_key(key, ["entity", "entity_id", "name", "client"])
    op.add_column("mlsec_alert", sa.Column("task", sa.Text))
    op.add_column("mlsec_alert", sa.Column("recovered_at", sa.String(32)))
