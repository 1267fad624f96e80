"""One ledger: findings take the place of results of checks."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    identifier = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    for name, word in (("finding", ("control", sa.Text)), ("act", ("verb", sa.String(32)))):
        columns = [
            sa.Column("id", identifier, primary_key=True, autoincrement=True),
            sa.Column("asset_kind", sa.String(16), nullable=False),
            sa.Column("asset", sa.Text, nullable=False),
            sa.Column(*word, nullable=False),
        ]
        if name == "finding":
            columns.append(sa.Column("outcome", sa.String(16), nullable=False))
        op.create_table(
            f"mlsec_{name}",
            *columns,
            sa.Column("reasons", sa.JSON, nullable=False),
            sa.Column("evidence", sa.JSON, nullable=False),
            sa.Column("by", sa.Text, nullable=False),
            sa.Column("at", sa.String(32), nullable=False),
            sa.Column("request_id", identifier),
        )
        op.create_index(f"ix_mlsec_{name}_asset", f"mlsec_{name}", ["asset", word[0], "asset_kind"])
        op.create_index(f"ix_mlsec_{name}_request_id", f"mlsec_{name}", ["request_id"])
    _carry_checks(connection)
    for table in ("check_result", "transport_check"):
        op.drop_table(f"mlsec_{table}")


def _imported(text: str) -> list[dict[str, str]]:
    return [{"code": "imported", "text": text}]


def _table(name: str, *columns: str) -> sa.TableClause:
    json_columns = ("reasons", "evidence")
    return sa.table(
        f"mlsec_{name}",
        *(sa.column(c, sa.JSON) if c in json_columns else sa.column(c) for c in columns),
    )


def _carry_checks(connection: sa.Connection) -> None:
    finding = _table("finding", "asset_kind", "asset", "control", "outcome", "reasons", "evidence", "by", "at")  # fmt: skip
    rows = connection.execute(
        sa.text(
            "SELECT d.namespace, d.name, c.run_id, c.policy_digest, c.control, c.passed, c.detail, c.checked_at "
            "FROM mlsec_check_result c JOIN mlsec_dataset d ON d.id = c.dataset_id ORDER BY c.id"
        )
    ).all()
    for r in rows:
        connection.execute(
            sa.insert(finding).values(
                asset_kind="dataset",
                asset=r.name if r.namespace in ("file", "sqlite") else f"{r.namespace}/{r.name}",
                control=r.control,
                outcome="pass" if r.passed else "fail",
                reasons=_imported(r.detail),
                evidence={"policy": r.policy_digest},
                by=f"task:{r.run_id}" if r.run_id else "unknown",
                at=r.checked_at,
            )
        )
    rows = connection.execute(
        sa.text(
            "SELECT conn_id, passed, live, findings, checked_at FROM mlsec_transport_check ORDER BY id"
        )
    ).all()
    for r in rows:
        told = json.loads(r.findings) if isinstance(r.findings, str) else r.findings
        bad = [f["outcome"] for f in told if f["outcome"] != "passed"]
        outcome = "pass" if r.passed else "fail" if "failed" in bad else "unknown"
        connection.execute(
            sa.insert(finding).values(
                asset_kind="connection",
                asset=r.conn_id,
                control="encrypted-in-transit",
                outcome=outcome,
                reasons=[{"code": "transport-checked", **f} for f in told],
                evidence={
                    "live": bool(r.live),
                    "not_passed": [f["check"] for f in told if f["outcome"] != "passed"],
                },
                by="unknown",
                at=r.checked_at,
            )
        )
