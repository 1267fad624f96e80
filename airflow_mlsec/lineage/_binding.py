"""Which policy binds for a dataset: the one that was applied last, until another takes its place.

A policy that protects less than the one before it binds only after its owner and a second person have approved that change
(`governance` records approvals): until then whoever applies it is refused. What changed is an act.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from airflow_mlsec.policy import EVERYTHING, Policy, is_pattern, loosened, matches, read_canonical
from airflow_mlsec.register import Register, lock_graph
from airflow_mlsec.register import tables as t

BOUND, APPROVED = "policy bound", "policy approved"
# The namespace of files of this machine that fsspec names.
_LOCAL = "local://"


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


@dataclass(frozen=True)
class Before:
    """The policy that binds for a dataset.

    :ivar digest: None if none does.
    :ivar policy: None if this version cannot read it; ``owner`` is stated even then, if anything can be read.
    :ivar since: When it was bound; empty if that was before bindings were recorded.
    """

    digest: str | None = None
    policy: Policy | None = None
    owner: str | None = None
    since: str = ""


def unit_of(policy: Policy, name: DatasetName) -> Asset:
    """What a change of a policy is approved for: the dataset, or all that a policy for several covers."""
    return Asset(AssetKind.DATASET, policy.dataset if is_pattern(policy.dataset) else str(name))


def policy_before(connection: sa.Connection, name: DatasetName) -> Before:
    """The policy that binds for a dataset: the one that was applied last to it, by the ledger; else to another one that a
    policy for several covers together with it, or to the folder or by the name of what it is a part of or a link to; else what
    the register says, from before bindings were recorded."""
    for known in _same(name):
        if found := acts(connection, Asset(AssetKind.DATASET, str(known)), BOUND):
            return _bound(connection, found[-1])
    patterns: dict[str, Act] = {}
    a = t.act.c
    # What a pattern is written with: of most datasets nothing need be read.
    marked = sa.or_(*(a.asset.contains(mark) for mark in ("*", "?", "[", "{")))
    for row in connection.execute(sa.select(a.asset).where(a.verb == BOUND, marked).distinct()):
        if is_pattern(row.asset) and any(matches(row.asset, str(known)) for known in _same(name)):
            patterns[row.asset] = acts(connection, Asset(AssetKind.DATASET, row.asset), BOUND)[-1]
    if patterns:
        # If several policies cover it, the most specific one.
        return _bound(connection, patterns[max(patterns, key=len)])
    d = t.dataset.c
    row_ = connection.execute(
        sa.select(d.id, d.policy_digest, d.stage).where(d.namespace == name.namespace, d.name == name.name)
    ).one_or_none()  # fmt: skip
    if row_ is None:
        return Before()
    if row_.policy_digest is None:
        document = declared_by_pattern(connection).get(row_.id)
        return Before() if document is None else _read(None, document, "")
    return kept_policy(connection, row_.policy_digest) if row_.stage == "source" else Before()


def _same(name: DatasetName) -> list[DatasetName]:
    """A dataset, what its path leads to if it is a link, and the folders that it is in."""
    found = [name]
    if name.namespace in ("file", _LOCAL):
        path = Path(name.name if name.namespace == "file" else f"/{name.name}")
        real = Path(os.path.realpath(path))
        for place in dict.fromkeys([path, real, *path.parents, *real.parents]):
            found += [DatasetName("file", str(place)), DatasetName(_LOCAL, str(place).lstrip("/"))]
    return list(dict.fromkeys(found))


def _bound(connection: sa.Connection, act: Act) -> Before:
    return kept_policy(connection, str(act.evidence.get("policy")), act.at)


def kept_policy(connection: sa.Connection, digest: str, since: str = "") -> Before:
    """A policy as the register keeps it, by its digest."""
    query = sa.select(t.policy.c.document).where(t.policy.c.digest == digest)
    return _read(digest, connection.execute(query).scalar_one_or_none(), since)


def _read(digest: str | None, document: Any, since: str) -> Before:
    owner = document.get("owner") if isinstance(document, dict) else None
    try:
        policy = read_canonical(document)
    except (ValueError, TypeError):
        return Before(digest or "", None, owner, since)
    # Whoever changes the document in the register does not change the policy.
    if digest is not None and policy.digest != digest:
        return Before(digest, None, owner, since)
    return Before(policy.digest, policy, policy.owner, since)


def looser_than_before(
    connection: sa.Connection, policy: Policy, name: DatasetName
) -> tuple[Before, tuple[str, ...]]:
    """The policy that binds for a dataset, and what another one loosens."""
    before = policy_before(connection, name)
    if before.digest is None or before.digest == policy.digest:
        return before, ()
    return before, (EVERYTHING,) if before.policy is None else loosened(before.policy, policy)


def approvals(
    connection: sa.Connection, unit: Asset, policy: str, instead_of: str | None, since: str = ""
) -> list[Act]:
    """The approvals of a change of a policy, by digests, since the one before was bound: an approval is for one change, and not
    for the same one later."""
    found = acts(connection, unit, APPROVED)
    return [
        a for a in found
        if a.evidence.get("policy") == policy and a.evidence.get("instead_of") == instead_of and a.at >= since
    ]  # fmt: skip


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


def _require(connection: sa.Connection, policy: Policy, name: DatasetName) -> tuple[Before, tuple[str, ...]]:  # fmt: skip
    before, looser = looser_than_before(connection, policy, name)
    if looser and not is_approved(
        approvals(connection, unit_of(policy, name), policy.digest, before.digest, before.since)
    ):
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
    # Two tasks that bind at the same time would both compare with what was before.
    lock_graph(connection)
    before, looser = (_require if needed else looser_than_before)(connection, policy, name)
    mine = acts(connection, Asset(AssetKind.DATASET, str(name)), BOUND)
    if mine and before.digest == policy.digest:
        return
    instead_of = before.digest if before.digest != policy.digest else None
    why = PolicyBound(policy.digest[:12], instead_of and instead_of[:12], ", ".join(looser) or None)
    evidence = {"policy": policy.digest, "instead_of": instead_of, "loosened": list(looser)}
    units = {Asset(AssetKind.DATASET, str(name)), unit_of(policy, name)}
    record(
        connection, [Act(unit, BOUND, (why,), by, now, evidence) for unit in sorted(units, key=str)]
    )
