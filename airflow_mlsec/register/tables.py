"""The tables of the register. A change here needs a migration in ``migrations/versions``.

Every table is prefixed, so that a team may keep the register in a database that it shares.
Times are UTC, as ISO 8601 text, which sorts and compares alike on both databases.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

VERSION_TABLE = "mlsec_schema_version"


def _id() -> sa.Column[int]:
    # SQLite counts up only on INTEGER.
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", kind, primary_key=True, autoincrement=True)


def _to(table: str, name: str, nullable: bool = False, index: bool = True) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, sa.ForeignKey(f"{table}.id"), nullable=nullable, index=index)


policy = sa.Table(
    "mlsec_policy",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Column("recorded_at", sa.String(32), nullable=False),
)

dataset = sa.Table(
    "mlsec_dataset",
    metadata,
    _id(),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False, server_default="table"),
    sa.Column("uri", sa.Text),
    sa.Column("policy_digest", sa.String(64), sa.ForeignKey("mlsec_policy.digest")),
    # What the policy is to this dataset: its declaration, or what a release was made under.
    sa.Column("stage", sa.String(16)),
    sa.Column("rows", sa.BigInteger),
    sa.Column("first_seen", sa.String(32), nullable=False),
    sa.Column("last_seen", sa.String(32), nullable=False),
    sa.UniqueConstraint("namespace", "name"),
)

column = sa.Table(
    "mlsec_column",
    metadata,
    _id(),
    _to("mlsec_dataset", "dataset_id", index=False),
    # The empty name is the dataset as a whole: a model has no columns.
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("type", sa.Text),
    sa.Column("position", sa.Integer),
    sa.Column("role", sa.String(20)),
    sa.Column("category", sa.Text),
    sa.UniqueConstraint("dataset_id", "name"),
)

job = sa.Table(
    "mlsec_job",
    metadata,
    _id(),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.UniqueConstraint("namespace", "name"),
)

run = sa.Table(
    "mlsec_run",
    metadata,
    _id(),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    _to("mlsec_job", "job_id"),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("started_at", sa.String(32)),
    sa.Column("ended_at", sa.String(32)),
    sa.Column("parent_uuid", sa.String(36)),
)

run_dataset = sa.Table(
    "mlsec_run_dataset",
    metadata,
    _to("mlsec_run", "run_id", index=False),
    _to("mlsec_dataset", "dataset_id"),
    sa.Column("direction", sa.String(6), nullable=False),
    sa.PrimaryKeyConstraint("run_id", "dataset_id", "direction"),
)

edge = sa.Table(
    "mlsec_edge",
    metadata,
    _to("mlsec_column", "source_id", index=False),
    _to("mlsec_column", "target_id"),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("transformation", sa.Text),
    _to("mlsec_run", "run_id", nullable=True, index=False),
    sa.PrimaryKeyConstraint("source_id", "target_id"),
)

# A signed statement of ours about a dataset: how a release or an artifact came to be.
evidence = sa.Table(
    "mlsec_evidence",
    metadata,
    _id(),
    _to("mlsec_dataset", "dataset_id"),
    sa.Column("run_uuid", sa.String(36)),
    sa.Column("predicate_type", sa.Text, nullable=False),
    sa.Column("statement", sa.JSON, nullable=False),
    sa.Column("envelope", sa.JSON, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("issued_at", sa.String(32), nullable=False),
    sa.Column("recorded_at", sa.String(32), nullable=False),
)

check_result = sa.Table(
    "mlsec_check_result",
    metadata,
    _id(),
    _to("mlsec_dataset", "dataset_id"),
    sa.Column("run_id", sa.Text),
    sa.Column("policy_digest", sa.String(64), nullable=False),
    sa.Column("control", sa.Text, nullable=False),
    sa.Column("source", sa.Text),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("checked_at", sa.String(32), nullable=False),
)

review = sa.Table(
    "mlsec_review",
    metadata,
    _id(),
    sa.Column("location", sa.Text, nullable=False, index=True),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("opened_at", sa.String(32), nullable=False),
    sa.Column("due_at", sa.String(32), nullable=False),
    sa.Column("completed_at", sa.String(32)),
    sa.Column("completed_by", sa.Text),
    sa.Column("grants_digest", sa.String(64), nullable=False),
)

review_item = sa.Table(
    "mlsec_review_item",
    metadata,
    _id(),
    _to("mlsec_review", "review_id"),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("permission", sa.Text, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("decision", sa.String(8)),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", sa.String(32)),
    sa.Column("reason", sa.Text),
    sa.UniqueConstraint("review_id", "principal", "permission", "origin"),
)

request = sa.Table(
    "mlsec_request",
    metadata,
    _id(),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("subject_kind", sa.Text, nullable=False),
    # A keyed digest: the register never learns who asked.
    sa.Column("subject_digest", sa.String(64), nullable=False, index=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("requested_at", sa.String(32), nullable=False),
    sa.Column("requested_by", sa.Text),
    sa.Column("ledger", sa.JSON, nullable=False),
)

alert = sa.Table(
    "mlsec_alert",
    metadata,
    _id(),
    sa.Column("key", sa.String(64), nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("sent_at", sa.String(32), nullable=False),
)
