"""Which policy binds for a dataset: the one that was applied last, until another takes its place.

A policy that protects less than the one before it binds only after its owner and a second person have approved that change
(`governance` records approvals): until then whoever applies it is refused. What changed is an act.
"""

from __future__ import annotations

import sqlalchemy as sa

from airflow_mlsec.actors import keys_of
from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.errors import Refused
from airflow_mlsec.ledger import (
    Act,
    Asset,
    AssetKind,
    Reason,
    acts,
    record,
    rules_in_force,
)
from airflow_mlsec.lineage.tracing._state import declared_by_pattern
from airflow_mlsec.policy import EVERYTHING, Policy, loosened, read_canonical
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

BOUND, APPROVED = "policy bound", "policy approved"


class PolicyBound(
    Reason,
    en="policy {policy} binds{instead_of: in place of {}}{looser: with less protection: {}}",
    de="Richtlinie {policy} gilt{instead_of: anstelle von {}}{looser: mit weniger Schutz: {}}",
):
    """Another policy was applied than before. Digests are shortened; ``looser`` has the keys that protect less."""

    policy: str
    instead_of: str | None = None
    looser: str | None = None


class PolicyApproved(
    Reason,
    en="policy {policy}{instead_of: in place of {}}: {why}{looser: (protects less: {})}",
    de="Richtlinie {policy}{instead_of: anstelle von {}}: {why}{looser: (schützt weniger: {})}",
):
    """Somebody stands for a policy that protects less, or claims that releases are anonymous."""

    policy: str
    why: str
    instead_of: str | None = None
    looser: str | None = None


def policy_before(connection: sa.Connection, name: DatasetName) -> tuple[str | None, Policy | None]:
    """The digest of the policy that binds for a dataset, and the policy; None if there is none. A policy that this version
    cannot read has a digest alone."""
    d, p = t.dataset.c, t.policy.c
    row = connection.execute(
        sa.select(d.id, d.policy_digest, d.stage, p.document)
        .outerjoin(t.policy, p.digest == d.policy_digest)
        .where(d.namespace == name.namespace, d.name == name.name)
    ).one_or_none()
    if row is None:
        return (None, None)
    if row.policy_digest is None:
        digest, document = None, declared_by_pattern(connection).get(row.id)
    elif row.stage == "source":
        digest, document = row.policy_digest, row.document
    else:
        digest, document = None, None
    if document is None:
        return (digest, None)
    try:
        found = read_canonical(document)
    except ValueError:
        return (digest or "", None)
    return (found.digest, found)


def looser_than_before(
    connection: sa.Connection, policy: Policy, name: DatasetName
) -> tuple[str | None, tuple[str, ...]]:
    """The digest of the policy that binds for a dataset, and what another one loosens."""
    digest, before = policy_before(connection, name)
    if digest is None or digest == policy.digest:
        return digest, ()
    return digest, (EVERYTHING,) if before is None else loosened(before, policy)


def approvals(
    connection: sa.Connection, name: DatasetName, policy: str, instead_of: str | None
) -> list[Act]:
    """The approvals of a change of a dataset's policy, by digests."""
    found = acts(connection, Asset(AssetKind.DATASET, str(name)), APPROVED)
    return [a for a in found if a.evidence.get("policy") == policy and a.evidence.get("instead_of") == instead_of]  # fmt: skip


def is_approved(given: list[Act]) -> bool:
    """Whether one of the owner's team has approved, and another person who may approve. Who that was, was judged when each
    approval was recorded."""
    return any(
        owner.evidence.get("as_owner") and other.evidence.get("as_approver") and not _whose(owner) & _whose(other)
        for owner in given
        for other in given
    )  # fmt: skip


def _whose(act: Act) -> frozenset[str]:
    """Under which keys and as which persons somebody has approved."""
    return keys_of(act.by) | frozenset(f"person {name}" for name in act.evidence.get("persons") or ())  # fmt: skip


def needs_approval(register: Register) -> bool:
    """Whether the rules in force ask for a second person at all."""
    return rules_in_force(register).rules.four_eyes != "none"


def require_binding(register: Register, policy: Policy, name: DatasetName) -> None:
    """Check that a policy may be applied to a dataset: it protects no less than the one before, or people have approved that.

    :raises Refused: otherwise; the message says what it loosens and who has to approve it.
    """
    if needs_approval(register):
        register.read(lambda c: _require(c, policy, name))


def _require(connection: sa.Connection, policy: Policy, name: DatasetName) -> tuple[str | None, tuple[str, ...]]:  # fmt: skip
    before, looser = looser_than_before(connection, policy, name)
    if looser and not is_approved(approvals(connection, name, policy.digest, before)):
        what = "everything: the policy before cannot be read" if EVERYTHING in looser else ", ".join(looser)  # fmt: skip
        raise Refused(
            f"{policy.source}: it protects {name} less than the policy before ({what}); one of the team that owns the data "
            "and another person have to approve it (mlsec policy approve)"
        )
    return before, looser


def bind(
    connection: sa.Connection, policy: Policy, name: DatasetName, needed: bool, by: str, now: str
) -> None:
    """Record that a policy binds for a dataset from now on, before the register says so.

    :param needed: Whether a change that loosens needs approval (`needs_approval`).
    :raises Refused: if it needs approval and has none.
    """
    before, looser = (_require if needed else looser_than_before)(connection, policy, name)
    if before == policy.digest:
        return
    why = PolicyBound(policy.digest[:12], before and before[:12], ", ".join(looser) or None)
    evidence = {"policy": policy.digest, "instead_of": before, "loosened": list(looser)}
    record(connection, [Act(Asset(AssetKind.DATASET, str(name)), BOUND, (why,), by, now, evidence)])
