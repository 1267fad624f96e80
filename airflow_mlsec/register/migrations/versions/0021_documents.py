"""Documents for an authority: their versions and files."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "mlsec_document",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("content", sa.String(64), nullable=False),
        sa.Column("declared", sa.String(64), nullable=False),
        sa.Column("gaps", sa.Integer, nullable=False),
        sa.Column("made_at", sa.String(32), nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("approved_at", sa.String(32)),
        sa.Column("approved_by", sa.Text),
        sa.Column("statement", sa.JSON),
        sa.UniqueConstraint("kind", "about", "version", name=op.f("uq_mlsec_document_kind_about_version")),
    )  # fmt: skip
    op.create_table(
        "mlsec_document_file",
        sa.Column("document_id", number, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("document_id", "name", name=op.f("pk_mlsec_document_file")),
        sa.ForeignKeyConstraint(
            ["document_id"], ["mlsec_document.id"], name=op.f("fk_mlsec_document_file_document_id")
        ),
    )  # fmt: skip
