"""Approvals of policies."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from airflow_mlsec.access import People
from airflow_mlsec.actors import Actor, keys_of, names_of
from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.errors import Refused, UsageError
from airflow_mlsec.ledger import (
    Act,
    Asset,
    AssetKind,
    Permission,
    Verb,
    acts,
    may,
    means,
    record,
)
from airflow_mlsec.lineage import (
    APPROVED,
    BOUND,
    PolicyApproved,
    approvals,
    is_approved,
    kept_policy,
    looser_than_before,
    unit_of,
)
from airflow_mlsec.policy import Organization, Policy
from airflow_mlsec.register import Register


@dataclass(frozen=True)
class Change:
    """What applying a policy to a dataset would change.

    :ivar looser: The keys that protect less; and whether it ``claims`` that releases are anonymous.
    :ivar instead_of: The digest of the policy that binds; None if there is none.
    :ivar owner: The team that has to approve: the owner in the policy before, so that nobody becomes the owner by the change.
    :ivar given: Who has approved it so far.
    """

    looser: tuple[str, ...]
    claims: bool
    instead_of: str | None
    owner: str
    given: tuple[str, ...]
    approved: bool

    @property
    def needs_approval(self) -> bool:
        """Whether people have to stand for it."""
        return bool(self.looser) or self.claims


def change_of(register: Register, policy: Policy, name: DatasetName) -> Change:
    """What applying a policy to a dataset would change, and who has approved that."""

    def look(connection: sa.Connection) -> Change:
        before, looser = looser_than_before(connection, policy, name)
        instead_of, since, owner = before.digest, before.since, before.owner
        if instead_of == policy.digest:
            # It binds already: what is approved is that it did.
            last = acts(connection, Asset(AssetKind.DATASET, str(name)), BOUND)
            said = last[-1].evidence if last else {}
            instead_of, looser, since = (
                said.get("instead_of"),
                tuple(said.get("loosened") or ()),
                "",
            )
            owner = kept_policy(connection, instead_of).owner if instead_of else None
        given = approvals(connection, unit_of(policy, name), policy.digest, instead_of, since)
        claims = policy.anonymity is not None
        return Change(
            looser,
            claims,
            instead_of,
            owner or policy.owner,
            tuple(a.by for a in given),
            is_approved(given),
        )

    return register.read(look)


def approve_policy(
    register: Register,
    organization: Organization,
    policy: Policy,
    name: DatasetName,
    by: Actor,
    why: str,
) -> Change:
    """Stand for a policy that protects a dataset less than the one before, or that claims anonymity.

    :raises Refused: if the actor is no person, or neither of the team that owns the data nor an approver.
    :raises UsageError: if no approval is needed, no reason is given, or the actor has approved before.
    """
    change = change_of(register, policy, name)
    if not change.needs_approval:
        raise UsageError(f"{policy.source}: it protects {name} no less than before, and needs no approval")  # fmt: skip
    if not why.strip():
        raise UsageError("say why: an auditor will ask")
    asset = unit_of(policy, name)
    found = may(register, by, Verb.APPROVE, asset)
    team = next((found for found in organization.teams if found.name == change.owner), None)
    owns = by.kind.is_person and team is not None and any(means(m, by) for m in team.members)
    if not isinstance(found, Permission) and not owns:
        raise Refused(
            f"{by} is neither one of the team '{change.owner}' (`teams` in organization.yaml), which owns {name}, nor may approve: "
            f"{found.reason.words()}"
        )
    who = found.who if isinstance(found, Permission) else str(by)
    keys = found.keys if isinstance(found, Permission) else frozenset({by.key})
    people = People(organization)
    persons = people.persons_of(keys | names_of(who))
    for before in change.given:
        if keys & keys_of(before) or persons & people.persons_of(names_of(before)):
            raise UsageError(
                f"{by} has approved this policy before, as {before}: another person has to"
            )
    evidence = {
        "policy": policy.digest, "instead_of": change.instead_of, "loosened": list(change.looser), "as_owner": owns,
        "as_approver": isinstance(found, Permission), "persons": sorted(persons),
    }  # fmt: skip
    reason = PolicyApproved(
        policy.digest[:12], why, change.instead_of and change.instead_of[:12], ", ".join(change.looser) or None
    )  # fmt: skip
    entry = Act(asset, APPROVED, (reason,), who, register.now(), evidence)
    register.write(lambda c: record(c, [entry]))
    return change_of(register, policy, name)
