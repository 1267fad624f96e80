"""The lineage graph in integers: nodes without rows, flows, transformations, facets, history.

Earlier columns and edges are carried over; the ties between a dataset and its columns, which
were edges, now follow from the node's number.
"""

import hashlib
import json
from collections import defaultdict

import sqlalchemy as sa
from alembic import op

from airflow_mlsec.register.graph import FIRST_COLUMN, INTO, OUT_OF, node, pack_flow

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _big() -> sa.types.TypeEngine:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    connection = op.get_bind()
    old = {
        name: [tuple(r) for r in connection.execute(sa.text(f"SELECT {columns} FROM mlsec_{name}"))]  # noqa: S608
        for name, columns in {
            "column": "id, dataset_id, name, type, position, role, category",
            "edge": "source_id, target_id, kind, transformation, run_id",
            "run": "id, uuid, job_id, state, started_at, ended_at, parent_uuid",
            "run_dataset": "run_id, dataset_id, direction",
        }.items()
    }
    for name in ("edge", "run_dataset", "column", "run"):
        op.drop_table(f"mlsec_{name}")
    op.add_column("mlsec_dataset", sa.Column("schema_at", sa.String(32)))
    op.add_column("mlsec_dataset", sa.Column("schema_digest", sa.String(16)))
    _create()
    _carry_over(connection, old)


def _create() -> None:
    op.create_table(
        "mlsec_columns",
        sa.Column("dataset_id", _big(), autoincrement=False, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", name=op.f("pk_mlsec_columns")),
    )
    op.create_table(
        "mlsec_declared_column",
        sa.Column("dataset_id", _big(), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.String(20)),
        sa.Column("category", sa.Text),
        sa.PrimaryKeyConstraint("dataset_id", "name", name=op.f("pk_mlsec_declared_column")),
    )
    op.create_table(
        "mlsec_run",
        sa.Column("id", _big(), autoincrement=True, nullable=False),
        sa.Column("uuid", sa.Text, nullable=False),
        sa.Column("job_id", _big()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started_at", sa.String(32)),
        sa.Column("ended_at", sa.String(32)),
        sa.Column("parent_uuid", sa.Text),
        sa.Column("nominal_start", sa.String(32)),
        sa.Column("nominal_end", sa.String(32)),
        sa.Column("task_instance", sa.Text),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_run")),
        sa.UniqueConstraint("uuid", name=op.f("uq_mlsec_run_uuid")),
    )
    op.create_index(op.f("ix_mlsec_run_job_id"), "mlsec_run", ["job_id"])
    op.create_index(
        "ix_mlsec_run_task_instance",
        "mlsec_run",
        ["task_instance"],
        sqlite_where=sa.text("task_instance IS NOT NULL"),
        postgresql_where=sa.text("task_instance IS NOT NULL"),
    )
    op.create_table(
        "mlsec_flow",
        sa.Column("id", _big(), autoincrement=True, nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("edges", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_flow")),
        sa.UniqueConstraint("digest", name=op.f("uq_mlsec_flow_digest")),
    )
    op.create_table(
        "mlsec_run_dataset",
        sa.Column("run_id", _big(), nullable=False),
        sa.Column("dataset_id", _big(), nullable=False),
        sa.Column("direction", sa.String(6), nullable=False),
        sa.Column("flow_id", _big()),
        sa.Column("version", sa.Text),
        sa.PrimaryKeyConstraint(
            "run_id", "dataset_id", "direction", name=op.f("pk_mlsec_run_dataset")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_mlsec_run_dataset_dataset_id"), "mlsec_run_dataset", ["dataset_id"])
    op.create_table(
        "mlsec_transformation",
        sa.Column("id", _big(), autoincrement=True, nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("type", sa.Text),
        sa.Column("subtype", sa.Text),
        sa.Column("description", sa.Text),
        sa.Column("masking", sa.Boolean),
        sa.Column("inferred", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_transformation")),
        sa.UniqueConstraint("digest", name=op.f("uq_mlsec_transformation_digest")),
    )
    op.create_table(
        "mlsec_edge",
        sa.Column("source_id", sa.BigInteger, nullable=False),
        sa.Column("target_id", sa.BigInteger, nullable=False),
        sa.Column("transformation_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint(
            "source_id", "target_id", "transformation_id", name=op.f("pk_mlsec_edge")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_mlsec_edge_target_id", "mlsec_edge", ["target_id", "source_id"])
    op.create_table(
        "mlsec_assumed",
        sa.Column("source_id", _big(), nullable=False),
        sa.Column("target_id", _big(), nullable=False),
        sa.Column("run_id", _big(), nullable=False),
        sa.PrimaryKeyConstraint("source_id", "target_id", "run_id", name=op.f("pk_mlsec_assumed")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_mlsec_assumed_run_id"), "mlsec_assumed", ["run_id"])
    op.create_table(
        "mlsec_alias",
        sa.Column("dataset_id", _big(), nullable=False),
        sa.Column("other_id", _big(), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "other_id", "kind", name=op.f("pk_mlsec_alias")),
    )
    op.create_index(op.f("ix_mlsec_alias_other_id"), "mlsec_alias", ["other_id"])
    op.create_table(
        "mlsec_lifecycle",
        sa.Column("dataset_id", _big(), nullable=False),
        sa.Column("change", sa.String(10), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "change", "at", name=op.f("pk_mlsec_lifecycle")),
    )
    op.create_table(
        "mlsec_facet",
        sa.Column("entity", sa.String(8), nullable=False),
        sa.Column("entity_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("entity", "entity_id", "name", name=op.f("pk_mlsec_facet")),
    )
    op.create_table(
        "mlsec_run_dependency",
        sa.Column("run_id", _big(), nullable=False),
        sa.Column("direction", sa.String(10), nullable=False),
        sa.Column("job_id", _big(), nullable=False),
        sa.Column("run_uuid", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint(
            "run_id", "direction", "job_id", "run_uuid", name=op.f("pk_mlsec_run_dependency")
        ),
    )
    op.create_table(
        "mlsec_quarantine",
        sa.Column("id", _big(), autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("received_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mlsec_quarantine")),
        sa.UniqueConstraint("digest", name=op.f("uq_mlsec_quarantine_digest")),
    )
    op.create_table(
        "mlsec_api_key",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("created_by", sa.Text),
        sa.Column("revoked_at", sa.String(32)),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_mlsec_api_key")),
        sa.UniqueConstraint("digest", name=op.f("uq_mlsec_api_key_digest")),
    )


def _carry_over(connection: sa.Connection, old: dict[str, list[tuple]]) -> None:
    nodes, documents = {}, defaultdict(list)
    declared = []
    for identifier, dataset, name, kind, position, role, category in sorted(old["column"]):
        if name in ("", "*"):
            nodes[identifier] = node(dataset, INTO if name == "" else OUT_OF)
            continue
        nodes[identifier] = node(dataset, FIRST_COLUMN + len(documents[dataset]))
        documents[dataset].append([name, kind, position])
        if role or category:
            declared.append((dataset, name, role, category))
    rows = [(dataset, json.dumps(columns)) for dataset, columns in documents.items()]
    _insert(connection, "columns", "dataset_id document", rows)
    _insert(connection, "declared_column", "dataset_id name role category", declared)
    _insert(connection, "run", "id uuid job_id state started_at ended_at parent_uuid", old["run"])
    if connection.dialect.name == "postgresql" and old["run"]:
        connection.execute(
            sa.text(
                "SELECT setval(pg_get_serial_sequence('mlsec_run', 'id'), max(id)) FROM mlsec_run"
            )
        )
    transformations: dict[tuple, int] = {}
    edges, assumed, flows = set(), set(), defaultdict(set)
    for source, target, kind, text, run in old["edge"]:
        if kind == "whole":
            continue
        one, other = nodes[source], nodes[target]
        whole = one & OUT_OF == OUT_OF and other & OUT_OF == INTO
        key = ("assumed", None) if whole and run is not None else (kind, text)
        number = transformations.setdefault(key, len(transformations) + 1)
        edges.add((one, other, number))
        if key[0] == "assumed":
            assumed.add((one >> 20, other >> 20, run))
        elif run is not None:
            flows[run, other >> 20].add((one, other & OUT_OF, number))
    rows = [
        (number, _digest(kind, text), kind, kind.upper() if kind != "assumed" else None, None, text, None, False)
        for (kind, text), number in transformations.items()
    ]  # fmt: skip
    names = "id digest kind type subtype description masking inferred"
    _insert(connection, "transformation", names, rows)
    if connection.dialect.name == "postgresql" and rows:
        connection.execute(
            sa.text(
                "SELECT setval(pg_get_serial_sequence('mlsec_transformation', 'id'), max(id)) "
                "FROM mlsec_transformation"
            )
        )
    _insert(connection, "edge", "source_id target_id transformation_id", sorted(edges))
    _insert(connection, "assumed", "source_id target_id run_id", sorted(assumed))
    packed = {key: pack_flow(key[1], found) for key, found in flows.items()}
    kept = sorted(set(packed.values()))
    _insert(
        connection,
        "flow",
        "digest edges",
        [(hashlib.blake2b(edges, digest_size=16).digest(), edges) for edges in kept],
    )
    by_edges = {
        bytes(edges): identifier
        for identifier, edges in connection.execute(sa.text("SELECT id, edges FROM mlsec_flow"))
    }
    touched = [
        (run, dataset, direction, by_edges.get(packed.get((run, dataset), b"")) if direction == "output" else None)
        for run, dataset, direction in old["run_dataset"]
    ]  # fmt: skip
    _insert(connection, "run_dataset", "run_id dataset_id direction flow_id", touched)


def _digest(kind: str, text: str | None) -> bytes:
    named = [kind, None if kind == "assumed" else kind.upper(), None, text, None, False]
    return hashlib.blake2b(json.dumps(named).encode(), digest_size=16).digest()


def _insert(connection: sa.Connection, name: str, columns: str, rows: list[tuple]) -> None:
    names = columns.split()
    table = sa.table(f"mlsec_{name}", *(sa.column(n) for n in names))
    if rows:
        connection.execute(sa.insert(table), [dict(zip(names, row, strict=True)) for row in rows])
