"""Rows that a request removed from a release: the release continues, under evidence of its own.

The earlier evidence is about a file that no longer exists. The new statement is the earlier one
with what changed: how many rows are left, what an independent check of them found, and the digest
of the file. When people are removed, a class can become too small; then the statement says that
the guarantee no longer holds, and the state of the release follows from that.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.ledger import Check, ReleasedColumn, ReleaseStatement, sign_statement
from airflow_mlsec.lineage.evidence._evidence import (
    INTENDED,
    PUBLISHED,
    RELEASE,
    record_evidence,
    trusted_by,
    verified_release,
)
from airflow_mlsec.register import Register, lock_graph
from airflow_mlsec.register import tables as t


def record_removal(
    register: Register,
    keys: KeyRing,
    dataset_id: int,
    digest: str | None,
    before: ReleaseStatement,
    left: tuple[int, int | None],
    checks: tuple[Check, ...],
    request: int,
) -> bool:
    """Sign and record that a release (``before`` is its newest statement) lost rows to a request, and what
    an independent check of the rest found: how many rows are ``left``, and the size of the smallest class, None if
    that is not known; ``digest`` is the SHA-256 of its file. Returns False and records nothing if another statement
    was recorded since: what is there may be that other release."""
    now = register.now()
    rows_left, smallest = left
    numbers = before.numbers
    each = numbers.persons == numbers.released  # everybody has one row
    counted = {
        "persons": rows_left if each else None,
        "released": rows_left,
        "subjects": None,
        "removed": (numbers.removed or 0) + numbers.released - rows_left,
        "k_anonymity": smallest,
    }
    changed = {
        "target": before.target.model_copy(update={"sha256": digest}),
        "numbers": numbers.model_copy(update=counted),
        "checks": checks,
        "columns": _columns(before, all(check.passed for check in checks)),
        "removed_by_request": request,
        "issued_at": now,
    }
    envelope = sign_statement(keys, {"plan": before.plan}, before.model_copy(update=changed))

    def work(connection: sa.Connection) -> bool:
        lock_graph(connection)  # as a release does before it is published
        if not _is_newest(connection, dataset_id, before):
            return False
        record_evidence(connection, dataset_id, envelope, keys.verification_keys(), None, now)
        update = sa.update(t.dataset).where(t.dataset.c.id == dataset_id)
        connection.execute(update.values(rows=rows_left))
        return True

    return register.write(work)


def _is_newest(connection: sa.Connection, dataset_id: int, before: ReleaseStatement) -> bool:
    e = t.evidence.c
    query = (
        sa.select(e.envelope)
        .where(e.dataset_id == dataset_id, e.predicate_type == RELEASE)
        .where(e.outcome.in_((INTENDED, PUBLISHED)))
        .order_by(e.id.desc())
        .limit(1)
    )
    envelope = connection.execute(query).scalar_one_or_none()
    return envelope is not None and verified_release(envelope, trusted_by(connection)) == before


def policy_of(register: Register, digest: str) -> dict[str, Any] | None:
    """The document of a policy that the register knows, as it was declared."""
    query = sa.select(t.policy.c.document).where(t.policy.c.digest == digest)
    for row in register.rows(query):
        found: dict[str, Any] = json.loads(json.dumps(row.document))
        return found
    return None


def _columns(before: ReleaseStatement, holds: bool) -> dict[str, ReleasedColumn]:
    if holds:
        return before.columns
    # An unproven release counts as what it was made from.
    as_before = {"state": "identified"}
    return {n: column.model_copy(update=as_before) for n, column in before.columns.items()}
