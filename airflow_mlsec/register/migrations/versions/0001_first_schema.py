"""The first schema of the register."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "mlsec_alert",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_alert")),
        sa.UniqueConstraint("key", name=op.f("uq_mlsec_alert_key")),
    )
    op.create_table(
        "mlsec_job",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_job")),
        sa.UniqueConstraint("namespace", "name", name=op.f("uq_mlsec_job_namespace_name")),
    )
    op.create_table(
        "mlsec_policy",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("recorded_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_mlsec_policy")),
    )
    op.create_table(
        "mlsec_request",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("requested_at", sa.String(length=32), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=True),
        sa.Column("ledger", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_request")),
    )
    op.create_index(
        op.f("ix_mlsec_request_subject_digest"), "mlsec_request", ["subject_digest"], unique=False
    )
    op.create_table(
        "mlsec_review",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("opened_at", sa.String(length=32), nullable=False),
        sa.Column("due_at", sa.String(length=32), nullable=False),
        sa.Column("completed_at", sa.String(length=32), nullable=True),
        sa.Column("completed_by", sa.Text(), nullable=True),
        sa.Column("grants_digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_review")),
    )
    op.create_index(op.f("ix_mlsec_review_location"), "mlsec_review", ["location"], unique=False)
    op.create_table(
        "mlsec_dataset",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), server_default="table", nullable=False),
        sa.Column("uri", sa.Text(), nullable=True),
        sa.Column("policy_digest", sa.String(length=64), nullable=True),
        sa.Column("stage", sa.String(length=16), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("first_seen", sa.String(length=32), nullable=False),
        sa.Column("last_seen", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["policy_digest"], ["mlsec_policy.digest"], name=op.f("fk_mlsec_dataset_policy_digest")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_dataset")),
        sa.UniqueConstraint("namespace", "name", name=op.f("uq_mlsec_dataset_namespace_name")),
    )
    op.create_table(
        "mlsec_review_item",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column(
            "review_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("permission", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("decision", sa.String(length=8), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.String(length=32), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["review_id"], ["mlsec_review.id"], name=op.f("fk_mlsec_review_item_review_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_review_item")),
        sa.UniqueConstraint(
            "review_id",
            "principal",
            "permission",
            "origin",
            name=op.f("uq_mlsec_review_item_review_id_principal_permission_origin"),
        ),
    )
    op.create_index(
        op.f("ix_mlsec_review_item_review_id"), "mlsec_review_item", ["review_id"], unique=False
    )
    op.create_table(
        "mlsec_run",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.String(length=32), nullable=True),
        sa.Column("ended_at", sa.String(length=32), nullable=True),
        sa.Column("parent_uuid", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["mlsec_job.id"], name=op.f("fk_mlsec_run_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_run")),
        sa.UniqueConstraint("uuid", name=op.f("uq_mlsec_run_uuid")),
    )
    op.create_index(op.f("ix_mlsec_run_job_id"), "mlsec_run", ["job_id"], unique=False)
    op.create_table(
        "mlsec_check_result",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column(
            "dataset_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("policy_digest", sa.String(length=64), nullable=False),
        sa.Column("control", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("checked_at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["mlsec_dataset.id"], name=op.f("fk_mlsec_check_result_dataset_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_check_result")),
    )
    op.create_index(
        op.f("ix_mlsec_check_result_dataset_id"), "mlsec_check_result", ["dataset_id"], unique=False
    )
    op.create_table(
        "mlsec_column",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column(
            "dataset_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("role", sa.String(length=20), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["mlsec_dataset.id"], name=op.f("fk_mlsec_column_dataset_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_column")),
        sa.UniqueConstraint("dataset_id", "name", name=op.f("uq_mlsec_column_dataset_id_name")),
    )
    op.create_table(
        "mlsec_evidence",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column(
            "dataset_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("run_uuid", sa.String(length=36), nullable=True),
        sa.Column("predicate_type", sa.Text(), nullable=False),
        sa.Column("statement", sa.JSON(), nullable=False),
        sa.Column("envelope", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("issued_at", sa.String(length=32), nullable=False),
        sa.Column("recorded_at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["mlsec_dataset.id"], name=op.f("fk_mlsec_evidence_dataset_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_evidence")),
        sa.UniqueConstraint("digest", name=op.f("uq_mlsec_evidence_digest")),
    )
    op.create_index(
        op.f("ix_mlsec_evidence_dataset_id"), "mlsec_evidence", ["dataset_id"], unique=False
    )
    op.create_table(
        "mlsec_run_dataset",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "dataset_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("direction", sa.String(length=6), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["mlsec_dataset.id"], name=op.f("fk_mlsec_run_dataset_dataset_id")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["mlsec_run.id"], name=op.f("fk_mlsec_run_dataset_run_id")
        ),
        sa.PrimaryKeyConstraint(
            "run_id", "dataset_id", "direction", name=op.f("pk_mlsec_run_dataset")
        ),
    )
    op.create_index(
        op.f("ix_mlsec_run_dataset_dataset_id"), "mlsec_run_dataset", ["dataset_id"], unique=False
    )
    op.create_table(
        "mlsec_edge",
        sa.Column(
            "source_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "target_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("transformation", sa.Text(), nullable=True),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["mlsec_run.id"], name=op.f("fk_mlsec_edge_run_id")),
        sa.ForeignKeyConstraint(
            ["source_id"], ["mlsec_column.id"], name=op.f("fk_mlsec_edge_source_id")
        ),
        sa.ForeignKeyConstraint(
            ["target_id"], ["mlsec_column.id"], name=op.f("fk_mlsec_edge_target_id")
        ),
        sa.PrimaryKeyConstraint("source_id", "target_id", name=op.f("pk_mlsec_edge")),
    )
    op.create_index(op.f("ix_mlsec_edge_target_id"), "mlsec_edge", ["target_id"], unique=False)
