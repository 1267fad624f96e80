"""Writing down a release: policy, datasets, columns and the signed evidence, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.crypto import STATEMENT_TYPE, KeyKind, KeyRing, sign_payload
from airflow_mlsec.datasets import Dataset
from airflow_mlsec.lineage._evidence import record_evidence, release_statement
from airflow_mlsec.lineage._ingest import write_columns, write_edge
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register, enrich_columns, record_policy, set_dataset

SIGNING_KEY = "signing"


def record_release(
    register: Register,
    keys: KeyRing,
    policy: Policy,
    source: Dataset,
    target: Dataset,
    plan: Mapping[str, Any],
    plan_digest: str,
    numbers: Mapping[str, Any],
    checks: Sequence[Mapping[str, Any]],
    run: str | None,
    membership: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Sign how ``target`` came to be and keep it in the register; returns the DSSE envelope.

    ``plan`` is the plan as plain data, ``numbers`` its outcome (rows, released, suppressed …),
    ``checks`` what the independent checker found, ``membership`` the path and SHA-256 of the
    membership list.
    """
    now = register.now()
    statement = release_statement(
        policy, source.name, target.name, plan, plan_digest, numbers, checks, run, membership, now
    )
    signing = keys.ensure(SIGNING_KEY, KeyKind.SIGNING)
    envelope = sign_payload(statement, STATEMENT_TYPE, signing)
    trusted = keys.verification_keys()
    released = [(field.name, str(field.type)) for field in target.schema()]
    described = {column["name"]: column for column in plan["columns"]}

    def write(connection: sa.Connection) -> None:
        record_policy(connection, policy.digest, policy.source, policy.canonical(), now)
        of_source = _write_source(connection, policy, source, plan, numbers["rows"], now)
        dataset = set_dataset(
            connection,
            target.name.namespace,
            target.name.name,
            now,
            uri=target.uri,
            policy_digest=policy.digest,
            stage="release",
            rows=numbers["released"],
        )
        of_target = write_columns(connection, dataset, released)
        for name, _ in released:
            step = describe_action(described[name]["action"])
            write_edge(connection, of_source[name], of_target[name], "direct", step, None)
        enrich_columns(
            connection,
            dataset,
            [
                {
                    "name": name,
                    "role": described[name]["role"],
                    "category": described[name]["category"],
                }
                for name, _ in released
            ],
        )
        record_evidence(connection, dataset, envelope, trusted, None, now)

    register.write(write)
    return envelope


def _write_source(
    connection: sa.Connection,
    policy: Policy,
    source: Dataset,
    plan: Mapping[str, Any],
    rows: int,
    now: str,
) -> dict[str, int]:
    dataset = set_dataset(
        connection,
        source.name.namespace,
        source.name.name,
        now,
        uri=source.uri,
        policy_digest=policy.digest,
        stage="source",
        rows=rows,
    )
    columns = plan["columns"]
    ids = write_columns(connection, dataset, [(c["name"], c["type"]) for c in columns])
    declared = [{"name": c["name"], "role": c["role"], "category": c["category"]} for c in columns]
    enrich_columns(connection, dataset, declared)
    return ids


def describe_action(action: Mapping[str, Any]) -> str:
    """What a plan does to a column, as lineage says it. ``IDENTITY`` is OpenLineage's word."""
    method = str(action["method"])
    if method == "keep" or (method == "generalize" and action["level"] == 0):
        return "IDENTITY"
    if method == "pseudonymize":
        return f"pseudonymize with key {action['key']} version {action['version']}"
    if method == "generalize":
        return f"generalize to level {action['level']} of {action['hierarchy']['kind']}"
    return method
