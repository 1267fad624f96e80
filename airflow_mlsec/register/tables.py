"""The tables of the register. A change here needs a migration in ``migrations/versions``.

Every table is prefixed, so that a team may keep the register in a database shared with others.
Times are UTC, as ISO 8601 text, which sorts and compares the same way on both databases.
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


# SQLite counts up only on INTEGER.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _id() -> sa.Column[int]:
    return sa.Column("id", _ID, primary_key=True, autoincrement=True)


def _ref(name: str, nullable: bool = False, index: bool = False) -> sa.Column[int]:
    """An id without a foreign key, for tables that grow with every event: checking keys would
    double the time to write them, and all of them are written by one module."""
    return sa.Column(name, _ID, nullable=nullable, index=index)


def _to(table: str, name: str, nullable: bool = False, index: bool = True) -> sa.Column[int]:
    return sa.Column(name, _ID, sa.ForeignKey(f"{table}.id"), nullable=nullable, index=index)


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
    # The policy's relation to this dataset: it declares it, or a release was made under it.
    sa.Column("stage", sa.String(16)),
    sa.Column("rows", sa.BigInteger),
    sa.Column("first_seen", sa.String(32), nullable=False),
    sa.Column("last_seen", sa.String(32), nullable=False),
    # Time and digest of the schema that the columns' types and positions come from.
    sa.Column("schema_at", sa.String(32)),
    sa.Column("schema_digest", sa.String(16)),
    sa.UniqueConstraint("namespace", "name"),
)

# The columns of a dataset, in one row: a JSON list of [name, type, position]. Item i permanently
# has ordinal i + 1. One row per column would cost four times the space and time. A
# column is node ``dataset_id << 20 | ordinal`` of the graph (see `register.graph`).
columns = sa.Table(
    "mlsec_columns",
    metadata,
    sa.Column("dataset_id", _ID, primary_key=True, autoincrement=False),
    sa.Column("document", sa.Text, nullable=False),
)

# What a policy declares about a column.
declared_column = sa.Table(
    "mlsec_declared_column",
    metadata,
    _ref("dataset_id"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.String(20)),
    sa.Column("category", sa.Text),
    sa.PrimaryKeyConstraint("dataset_id", "name"),
)

job = sa.Table(
    "mlsec_job",
    metadata,
    _id(),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.UniqueConstraint("namespace", "name"),
)

# A run, or what was declared without a run (job and dataset events; ``state`` says so).
run = sa.Table(
    "mlsec_run",
    metadata,
    _id(),
    sa.Column("uuid", sa.Text, nullable=False, unique=True),
    _ref("job_id", nullable=True, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("started_at", sa.String(32)),
    sa.Column("ended_at", sa.String(32)),
    sa.Column("parent_uuid", sa.Text),
    sa.Column("nominal_start", sa.String(32)),
    sa.Column("nominal_end", sa.String(32)),
    # Airflow's own identifier of the task instance, as a JSON list: DAG, run, task, map index, try.
    sa.Column("task_instance", sa.Text),
)
sa.Index(
    "ix_mlsec_run_task_instance",
    run.c.task_instance,
    sqlite_where=run.c.task_instance.is_not(None),
    postgresql_where=run.c.task_instance.is_not(None),
)

# The column edges that one run gave for one output, packed (see `register.graph`) and stored
# only once even if several runs gave the same edges.
flow = sa.Table(
    "mlsec_flow",
    metadata,
    _id(),
    sa.Column("digest", sa.LargeBinary(16), nullable=False, unique=True),
    sa.Column("edges", sa.LargeBinary, nullable=False),
)

run_dataset = sa.Table(
    "mlsec_run_dataset",
    metadata,
    _ref("run_id"),
    _ref("dataset_id", index=True),
    sa.Column("direction", sa.String(6), nullable=False),
    _ref("flow_id", nullable=True),
    sa.Column("version", sa.Text),
    sa.PrimaryKeyConstraint("run_id", "dataset_id", "direction"),
    sqlite_with_rowid=False,
)

transformation = sa.Table(
    "mlsec_transformation",
    metadata,
    _id(),
    sa.Column("digest", sa.LargeBinary(16), nullable=False, unique=True),
    # direct, indirect, assumed (a whole dataset into a whole dataset), renamed, same (symlink)
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("type", sa.Text),
    sa.Column("subtype", sa.Text),
    sa.Column("description", sa.Text),
    sa.Column("masking", sa.Boolean),
    sa.Column("inferred", sa.Boolean, nullable=False),
)

# Every edge that was ever reported. Source and target are nodes.
edge = sa.Table(
    "mlsec_edge",
    metadata,
    sa.Column("source_id", sa.BigInteger, nullable=False),
    sa.Column("target_id", sa.BigInteger, nullable=False),
    sa.Column("transformation_id", sa.Integer, nullable=False),
    sa.PrimaryKeyConstraint("source_id", "target_id", "transformation_id"),
    sqlite_with_rowid=False,
)
sa.Index("ix_mlsec_edge_target_id", edge.c.target_id, edge.c.source_id)

# Runs that ended without saying how an input reached an output: all of it is assumed to have.
assumed = sa.Table(
    "mlsec_assumed",
    metadata,
    _ref("source_id"),
    _ref("target_id"),
    _ref("run_id", index=True),
    sa.PrimaryKeyConstraint("source_id", "target_id", "run_id"),
    sqlite_with_rowid=False,
)

# Two names of one dataset (symlink), or its earlier and later name (rename).
alias = sa.Table(
    "mlsec_alias",
    metadata,
    _ref("dataset_id"),
    _ref("other_id", index=True),
    sa.Column("kind", sa.String(8), nullable=False),
    # The client that alone said so over HTTP, and when it did.
    sa.Column("client", sa.Text),
    sa.Column("client_at", sa.String(32)),
    sa.PrimaryKeyConstraint("dataset_id", "other_id", "kind"),
)

lifecycle = sa.Table(
    "mlsec_lifecycle",
    metadata,
    _ref("dataset_id"),
    sa.Column("change", sa.String(10), nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
    # The client that alone said so over HTTP, and when it did.
    sa.Column("client", sa.Text),
    sa.Column("client_at", sa.String(32)),
    sa.PrimaryKeyConstraint("dataset_id", "change", "at"),
)

# The newest facet of each name: ownership, tags, data quality and the like. Never values.
facet = sa.Table(
    "mlsec_facet",
    metadata,
    sa.Column("entity", sa.String(8), nullable=False),
    sa.Column("entity_id", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("digest", sa.String(32), nullable=False),
    sa.Column("document", sa.JSON, nullable=False),
    # The client that said so over HTTP, empty for anybody else: of several the newest holds. And when it was received.
    sa.Column("client", sa.Text, nullable=False, server_default=""),
    sa.Column("client_at", sa.String(32)),
    sa.PrimaryKeyConstraint("entity", "entity_id", "name", "client"),
)

run_dependency = sa.Table(
    "mlsec_run_dependency",
    metadata,
    _ref("run_id"),
    sa.Column("direction", sa.String(10), nullable=False),
    _ref("job_id"),
    # The other job's run, or an empty string if only the job is named.
    sa.Column("run_uuid", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("run_id", "direction", "job_id", "run_uuid"),
)

# Which clients reported a run over HTTP. An empty name stands for everybody else: tasks, files, the command line.
# Of a run without rows, nothing came from a client.
run_client = sa.Table(
    "mlsec_run_client",
    metadata,
    _ref("run_id"),
    sa.Column("client", sa.Text, nullable=False, index=True),
    sa.Column("first_at", sa.String(32), nullable=False),
    sa.Column("last_at", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("run_id", "client"),
)

# Events that could not be read or written, encrypted to the key ring, with the reason.
quarantine = sa.Table(
    "mlsec_quarantine",
    metadata,
    _id(),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("received_at", sa.String(32), nullable=False),
    # The client that sent it over HTTP.
    sa.Column("client", sa.Text),
)

# Who may send events over HTTP. Only a digest of the key is kept.
api_key = sa.Table(
    "mlsec_api_key",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("created_by", sa.Text),
    sa.Column("revoked_at", sa.String(32)),
    # What its events may be about: namespaces of jobs and datasets, with a star at the end for those that begin so;
    # None for any.
    sa.Column("namespaces", sa.JSON(none_as_null=True)),
    sa.Column("expires_at", sa.String(32)),
    sa.Column("events_per_hour", sa.BigInteger),
)

# How many events a client sent in which hour (UTC).
client_hour = sa.Table(
    "mlsec_client_hour",
    metadata,
    sa.Column("client", sa.Text, primary_key=True),
    sa.Column("hour", sa.String(13), primary_key=True),
    sa.Column("events", sa.BigInteger, nullable=False),
)

# A statement that we signed about a dataset: how a release or an artifact was made.
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
    # For a release: intended (recorded before it is published), published, withdrawn (never published),
    # superseded (another release replaced it before it was known whether it was published).
    sa.Column("outcome", sa.String(10), nullable=False, server_default="published"),
    # For an intended release: the process that was about to publish it.
    sa.Column("writer", sa.JSON),
    # The newest run that the register knew: it orders runs before or after, whatever clocks say.
    _ref("after_run", nullable=True),
    # When it was published or found to be published, and the newest run that was known then.
    sa.Column("published_at", sa.String(32)),
    sa.Column("published_after_run", sa.BigInteger),
)

# What was found about an asset, and what was decided about it or done with it (`ledger`). Rows are never changed.
finding = sa.Table(
    "mlsec_finding",
    metadata,
    _id(),
    sa.Column("asset_kind", sa.String(16), nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("control", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
    # The request for which the question was asked.
    _ref("request_id", nullable=True, index=True),
)
sa.Index("ix_mlsec_finding_asset", finding.c.asset, finding.c.control, finding.c.asset_kind)

act = sa.Table(
    "mlsec_act",
    metadata,
    _id(),
    sa.Column("asset_kind", sa.String(16), nullable=False),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("verb", sa.String(32), nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
    _ref("request_id", nullable=True, index=True),
)
sa.Index("ix_mlsec_act_asset", act.c.asset, act.c.verb, act.c.asset_kind)

# Who may do what on a system, as it said itself at a time (`access`): the signed statement, and what it is about by digest.
access_snapshot = sa.Table(
    "mlsec_access_snapshot",
    metadata,
    _id(),
    sa.Column("source", sa.Text, nullable=False, index=True),
    sa.Column("taken_at", sa.String(32), nullable=False),
    sa.Column("taken_by", sa.Text, nullable=False),
    sa.Column("accounts", sa.Integer, nullable=False),
    sa.Column("entitlements", sa.Integer, nullable=False),
    sa.Column("unread", sa.JSON, nullable=False),
    sa.Column("content", sa.String(64), nullable=False),
    sa.Column("statement", sa.JSON, nullable=False),
)

access_content = sa.Table(
    "mlsec_access_content",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    # Lines of JSON, compressed (zlib).
    sa.Column("lines", sa.LargeBinary, nullable=False),
)

# Versions of documents for an authority (`documents`): drafts, and those that somebody has approved, with what was signed.
document = sa.Table(
    "mlsec_document",
    metadata,
    _id(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    # SHA-256 of what it says, and of what policies and the organization's file declared when it was made.
    sa.Column("content", sa.String(64), nullable=False),
    sa.Column("declared", sa.String(64), nullable=False),
    # How much of what it asks for nobody has stated.
    sa.Column("gaps", sa.Integer, nullable=False),
    sa.Column("made_at", sa.String(32), nullable=False),
    sa.Column("made_by", sa.Text, nullable=False),
    sa.Column("approved_at", sa.String(32)),
    sa.Column("approved_by", sa.Text),
    sa.Column("statement", sa.JSON),
    sa.UniqueConstraint("kind", "about", "version"),
)

document_file = sa.Table(
    "mlsec_document_file",
    metadata,
    _to("mlsec_document", "document_id", index=False),
    sa.Column("name", sa.Text, nullable=False),
    # Compressed (zlib).
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("document_id", "name"),
)

# A review is of one location, or a campaign: of everybody who can reach what its scope says, in several systems.
review = sa.Table(
    "mlsec_review",
    metadata,
    _id(),
    # Of a campaign, ``campaign:`` and its name.
    sa.Column("location", sa.Text, nullable=False, index=True),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("opened_at", sa.String(32), nullable=False),
    sa.Column("due_at", sa.String(32), nullable=False),
    sa.Column("completed_at", sa.String(32)),
    sa.Column("completed_by", sa.Text),
    sa.Column("grants_digest", sa.String(64), nullable=False),
    sa.Column("opened_by", sa.Text),
    # Of a campaign: what it is about, the newest snapshot of each source, what could not be read.
    sa.Column("scope", sa.JSON),
    sa.Column("snapshots", sa.JSON),
    sa.Column("unread", sa.JSON),
    sa.Column("escalated_at", sa.String(32)),
    # What was signed when it was completed.
    sa.Column("statement", sa.JSON),
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
    # Of a campaign: where it is, what it comes down to, whose account it is, what stands out, when it was last used, which
    # datasets it reaches.
    sa.Column("source", sa.Text, nullable=False, server_default=""),
    sa.Column("resource", sa.Text, nullable=False, server_default=""),
    sa.Column("right", sa.String(16)),
    sa.Column("person", sa.Text),
    sa.Column("flags", sa.JSON),
    sa.Column("last_used", sa.String(40)),
    sa.Column("datasets", sa.JSON),
    # Who decides; None: whoever has the role of a reviewer.
    sa.Column("reviewers", sa.JSON),
    # Who was to decide at first.
    sa.Column("asked", sa.JSON),
    sa.Column("four_eyes", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("reduce_to", sa.Text),
    # How many were decided by the same command.
    sa.Column("together", sa.Integer),
    sa.Column("second_by", sa.Text),
    sa.Column("second_at", sa.String(32)),
    # Since when the system itself agrees with the decision.
    sa.Column("effective_at", sa.String(32)),
    sa.UniqueConstraint(
        "review_id",
        "source",
        "resource",
        "principal",
        "permission",
        "origin",
        name="uq_mlsec_review_item",
    ),
)

# A data-subject request. The person is stored as a keyed digest and, as long as the request is
# open, also sealed (age, to the key ring), since its steps need the person's keys.
request = sa.Table(
    "mlsec_request",
    metadata,
    _id(),
    sa.Column("law", sa.String(16), nullable=False, server_default="gdpr"),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("subject_kind", sa.Text, nullable=False),
    sa.Column("subject_digest", sa.String(64), nullable=False, index=True),
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("identity", sa.String(16), nullable=False, server_default="unverified"),
    sa.Column("requested_at", sa.String(32), nullable=False),
    sa.Column("requested_by", sa.Text),
    sa.Column("due_at", sa.String(32)),
    sa.Column("extended", sa.Boolean, nullable=False, server_default=sa.false()),
    # The day since which the deadline stands still.
    sa.Column("paused_on", sa.String(10)),
    sa.Column("verified_by", sa.Text),
    # Who made the description of the person more exact, or changed it.
    sa.Column("changed_by", sa.Text),
    # The age recipients that may receive the person's data, set when the identity was verified.
    sa.Column("recipients", sa.JSON),
    # What was handed over: digest, recipients, when, rows.
    sa.Column("exports", sa.JSON),
    sa.Column("approved_by", sa.Text),
    # What was approved: places, rows and how the rows are found.
    sa.Column("approved", sa.JSON),
    # Whether somebody other than those who opened and verified the request approved it.
    sa.Column("four_eyes", sa.Boolean),
    sa.Column("closed_at", sa.String(32)),
    sa.Column("receipt", sa.JSON),
    # What a look-up without a request found, as the first version kept it.
    sa.Column("ledger", sa.JSON),
    # Number of changes: a decision is only accepted from somebody who has seen the last change.
    sa.Column("version", sa.Integer, nullable=False, server_default="0"),
)

# The coverage ledger: what was done with the person's data in each place.
request_step = sa.Table(
    "mlsec_request_step",
    metadata,
    _id(),
    _to("mlsec_request", "request_id"),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    _ref("dataset_id", nullable=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("rows", sa.BigInteger),
    # How the person is found there, and why the place is in its state: reasons of the ledger, as codes.
    sa.Column("found_by", sa.JSON, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("changed_at", sa.String(32), nullable=False),
    # Who settled it by hand.
    sa.Column("decided_by", sa.Text),
    # The columns in which the person is found there.
    sa.Column("columns", sa.JSON),
    # Whether some of it was found only by likeness.
    sa.Column("likeness", sa.Boolean),
    # The last run known when this row last changed: runs that began earlier were known by then, whatever clocks say.
    sa.Column("after_run", sa.BigInteger),
    # The process that is erasing from this place.
    sa.Column("writer", sa.JSON),
    # Whether free text names the person there.
    sa.Column("free_text", sa.Boolean),
    sa.UniqueConstraint("request_id", "kind", "name"),
)

# Persons who must not come back with the next load, as pseudonyms under a separate key. Where
# several persons share a key value, ``beside`` is the JSON list of further columns whose values
# are in the pseudonym as well; for a foreign key it is a JSON object with the dataset and column
# that it refers to. Each request has its own entries: lifting one does not lift any other.
suppression = sa.Table(
    "mlsec_suppression",
    metadata,
    sa.Column("subject_kind", sa.Text, nullable=False),
    sa.Column("beside", sa.Text, nullable=False, server_default=""),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("key_version", sa.Integer, nullable=False),
    sa.Column("key_fingerprint", sa.String(32)),
    _ref("request_id"),
    sa.Column("added_at", sa.String(32), nullable=False),
    # The last statement about a release known then: releases announced later were read without the person.
    sa.Column("after_evidence", sa.BigInteger),
    sa.PrimaryKeyConstraint("subject_kind", "beside", "token", "request_id"),
)

# What retention erased from which dataset; ``erased`` is the number of rows, once it has finished.
retention = sa.Table(
    "mlsec_retention",
    metadata,
    _id(),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("began_at", sa.String(32), nullable=False),
    sa.Column("erased", sa.BigInteger),
)

# Counters that other processes check, such as how often requests have changed people's data.
counter = sa.Table(
    "mlsec_counter",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

# Which process is rewriting what, where a store does not keep concurrent writers apart.
writing = sa.Table(
    "mlsec_writing",
    metadata,
    sa.Column("uri", sa.Text, primary_key=True),
    sa.Column("writer", sa.JSON, nullable=False),
    sa.Column("began_at", sa.String(32), nullable=False),
)

# Files that an erasure is about to leave as a release, until evidence exists for them: with the evidence of the file
# that was erased from, and a seal by the key ring, because anyone who can write here could otherwise vouch for a file.
left = sa.Table(
    "mlsec_left",
    metadata,
    _ref("dataset_id"),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("evidence_at", sa.String(32), nullable=False),
    sa.Column("seal", sa.String(64), nullable=False),
    # The request for which rows were erased from the file.
    sa.Column("request_id", sa.BigInteger),
    sa.PrimaryKeyConstraint("dataset_id", "sha256", "evidence_at"),
)

# The token vault: which random code stands for which value, identified by a keyed digest.
token = sa.Table(
    "mlsec_token",
    metadata,
    sa.Column("domain", sa.Text, nullable=False),
    sa.Column("digest", sa.String(32), nullable=False),
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("key_version", sa.Integer, nullable=False),
    sa.Column("added_at", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("domain", "digest"),
)

# Data that must not be erased for now: one person's, or everybody's (no digest); in one
# dataset, or in all (no dataset).
legal_hold = sa.Table(
    "mlsec_legal_hold",
    metadata,
    _id(),
    sa.Column("subject_kind", sa.Text, nullable=False),
    sa.Column("subject_digest", sa.String(64)),
    sa.Column("key_version", sa.Integer),
    _ref("dataset_id", nullable=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("placed_by", sa.Text, nullable=False),
    sa.Column("placed_at", sa.String(32), nullable=False),
    sa.Column("released_at", sa.String(32)),
)

alert = sa.Table(
    "mlsec_alert",
    metadata,
    _id(),
    sa.Column("key", sa.String(64), nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("sent_at", sa.String(32), nullable=False),
    # The task over all of its runs, and when a notice said that it succeeded again.
    sa.Column("task", sa.Text),
    sa.Column("recovered_at", sa.String(32)),
)

# The key rings that the register has had; the newest is the current one.
ring = sa.Table(
    "mlsec_ring",
    metadata,
    _id(),
    sa.Column("ring", sa.String(32), nullable=False),
    sa.Column("since", sa.String(32), nullable=False),
    # For a ring that replaced another.
    sa.Column("by", sa.Text),
    sa.Column("reason", sa.Text),
)

# A key ring that is kept here instead of in a folder: its document of wrapped keys, a record of how far it has grown, and
# the root key as wrapped by a key service. One row.
kept_ring = sa.Table(
    "mlsec_kept_ring",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("document", sa.LargeBinary),
    sa.Column("newest", sa.LargeBinary),
    sa.Column("root", sa.LargeBinary),
    sa.Column("changed_at", sa.String(32), nullable=False),
)

# A fingerprint of every key version ever used: copies of a ring that were rotated separately differ.
ring_key = sa.Table(
    "mlsec_ring_key",
    metadata,
    sa.Column("ring", sa.String(32), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("fingerprint", sa.String(32), nullable=False),
    sa.Column("recorded_at", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("ring", "name", "version"),
)

# The rules for handling requests. The newest agreed rules are in force; rules without agreement are proposals.
rule = sa.Table(
    "mlsec_rule",
    metadata,
    _id(),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Column("set_at", sa.String(32), nullable=False),
    sa.Column("set_by", sa.Text, nullable=False),
    sa.Column("agreed_by", sa.Text),
)

# The audit log (`register._journal`): one row with the log's origin and its number of entries.
log = sa.Table(
    "mlsec_log",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("began_at", sa.String(32), nullable=False),
)

# Its entries. An entry without salt and text is erased; the tree stays valid.
log_entry = sa.Table(
    "mlsec_log_entry",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("commitment", sa.LargeBinary, nullable=False),
    sa.Column("salt", sa.LargeBinary),
    sa.Column("text", sa.Text),
)

# The tree over them, in tiles of 256 hashes (C2SP tlog-tiles).
log_tile = sa.Table(
    "mlsec_log_tile",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hashes", sa.LargeBinary, nullable=False),
)

# The state of the log when it was signed (C2SP tlog-checkpoint).
log_checkpoint = sa.Table(
    "mlsec_log_checkpoint",
    metadata,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("signed_at", sa.String(32), nullable=False),
)

# Rows that triggers have noted and that have no entry yet; on PostgreSQL with the transaction.
change = sa.Table(
    "mlsec_change",
    metadata,
    _id(),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("row_key", sa.Text, nullable=False),
    sa.Column("in_transaction", sa.Text),
)
