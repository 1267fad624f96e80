"""Deciding about the items of a campaign: by those who answer for the data, never about oneself."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from airflow_mlsec.access._items import NOT_READ
from airflow_mlsec.access._people import People
from airflow_mlsec.access._review import (
    Decision,
    Review,
    ReviewItem,
    load_review,
    require_open,
    stored_review,
)
from airflow_mlsec.actors import Actor, keys_of
from airflow_mlsec.errors import ChangedMeanwhile, Refused, UsageError
from airflow_mlsec.ledger import (
    Act,
    Asset,
    AssetKind,
    Permission,
    Reason,
    Role,
    Verb,
    means,
    record,
    require,
    rules_in_force,
)
from airflow_mlsec.policy import Organization
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t


class AccessDecided(
    Reason,
    en="{permission} on {resource} of {account}: {why}",
    de="{permission} auf {resource} von {account}: {why}",
):
    """A reviewer has decided about an item of a campaign."""

    permission: str
    resource: str
    account: str
    why: str


class PassedOn(Reason, en="{items:item|items} passed on to {to}: {why}", de="{items:Punkt|Punkte} weitergegeben an {to}: {why}"):  # fmt: skip
    """A reviewer has passed items on to somebody else."""

    items: int
    to: str
    why: str


def decide_items(
    register: Register,
    review_id: int,
    items: Collection[int],
    decision: Decision,
    reviewer: Actor,
    reason: str,
    organization: Organization,
    reduce_to: Sequence[str] = (),
) -> Review:
    """Record what a reviewer decides about some items of a campaign.

    Where four eyes are needed, a second person decides the same; until then an item is undecided. Who disagrees with a first
    person decides anew, and then it is the first who has to agree. Nobody has to agree to a revocation.

    :param reduce_to: For ``reduce``: the permissions that remain.
    :raises Refused: if the actor may not review, is not one of an item's reviewers, or it is about themselves.
    :raises UsageError: if the review is not open, or something that was said makes no sense.
    """
    if not reason.strip():
        raise UsageError("a decision needs a reason")
    if decision == "reduce" and not reduce_to:
        raise UsageError("`reduce` needs the permissions that remain (--to)")
    if decision != "reduce" and reduce_to:
        raise UsageError("which permissions remain (--to) goes with `reduce`")
    review = load_review(register, review_id)
    chosen = _chosen(review, items)
    permission = require(
        register, reviewer, Verb.REVIEW, Asset(AssetKind.LOCATION, review.location)
    )
    people = People(organization)
    for item in chosen:
        _require_decides(review, item, permission, people)
        if item.resource == NOT_READ and decision != "keep":
            raise UsageError(
                f"item {item.number} says what could not be read: keep it, with the reason why that is acceptable, or have "
                "it read"
            )
        if decision == "reduce":
            _require_less(item, reduce_to)
    now = register.now()
    changes = []
    for item in chosen:
        remains = _as_called(item, reduce_to)
        agreed = (
            item.four_eyes and decision != "revoke" and item.decision == decision and item.reduce_to == remains
            and item.decided_by is not None and not _same_person(permission, item.decided_by, people)
            and _one_was_asked(item, permission)
        )  # fmt: skip
        changes.append(
            {"second_by": permission.who, "second_at": now}
            if agreed
            else {
                "decision": decision, "decided_by": permission.who, "decided_at": now, "reason": reason,
                "reduce_to": None if remains is None else json.dumps(remains), "together": len(chosen), "second_by": None,
                "second_at": None, "effective_at": None,
            }
        )  # fmt: skip
    verbs = {"keep": "access kept", "revoke": "access revoked", "reduce": "access reduced"}
    entries = [
        Act(
            Asset(AssetKind.LOCATION, review.location), verbs[decision],
            (AccessDecided(item.grant.permission, item.resource, item.grant.principal, reason),), permission.who, now,
            {"review": review_id, "item": item.number, "together": len(chosen), **({"to": list(reduce_to)} if reduce_to else {})},
        )
        for item in chosen
    ]  # fmt: skip

    def work(connection: sa.Connection) -> None:
        require_open(connection, review_id)
        # What somebody has decided since this was looked at is not agreed to.
        there = {item.number: item for item in stored_review(connection, review_id).items}
        if any(there.get(item.number) != item for item in chosen):
            raise ChangedMeanwhile(
                f"somebody else has decided about an item of review {review_id} meanwhile; look again"
            )
        for item, values in zip(chosen, changes, strict=True):
            update = sa.update(t.review_item).where(t.review_item.c.id == item.number)
            connection.execute(update.values(values))
        record(connection, entries)

    register.write(work)
    return load_review(register, review_id)


def _one_was_asked(item: ReviewItem, permission: Permission) -> bool:
    """Whether one of the two who decide was asked at first: whoever passes items on does not choose both."""
    if item.asked is None:
        return True
    first = keys_of(item.decided_by or "")
    return _is_named(item.asked, permission) or any(named in _written(first, item.decided_by) for named in item.asked)  # fmt: skip


def _written(keys: frozenset[str], actor: str | None) -> frozenset[str]:
    """How an actor of the register may be named in a team: by key, and a user of an operating system by name."""
    called = re.search(r"\((.+?)\)", actor or "")
    names = {f"os:{called[1]}"} if called and (actor or "").startswith("os:") else set()
    return keys | names


def decidable(
    register: Register, review: Review, actor: Actor, organization: Organization
) -> list[ReviewItem]:
    """The undecided items of a campaign that somebody may decide about: not those of others, nor about themselves.

    :raises Refused: if the actor may not review at all.
    """
    asset = Asset(AssetKind.LOCATION, review.location)
    permission, people = require(register, actor, Verb.REVIEW, asset), People(organization)
    found = []
    for item in review.items:
        decided = item.decided_by is not None and _same_person(permission, item.decided_by, people)
        if item.is_undecided and not (item.awaits_second and decided):
            try:
                _require_decides(review, item, permission, people)
            except Refused:
                continue
            found.append(item)
    return found


def _chosen(review: Review, items: Collection[int]) -> list[ReviewItem]:
    if review.status != "open":
        raise UsageError(f"review {review.id} is {review.status}; only an open one can be decided")
    by_number = {item.number: item for item in review.items}
    if unknown := sorted(set(items) - by_number.keys()):
        raise UsageError(f"review {review.id} has no item number {unknown[0]}")
    if not items:
        raise UsageError("name the items that are decided")
    return [by_number[number] for number in sorted(set(items))]


def _require_decides(
    review: Review, item: ReviewItem, permission: Permission, people: People
) -> None:
    who = f"item {item.number} of review {review.id}"
    if is_about(item, permission, people):
        raise Refused(f"{who} is about your own access: somebody else decides about it")
    if item.reviewers is not None and not _is_named(item.reviewers, permission):
        raise Refused(f"{who} is for {', '.join(item.reviewers)} to decide")


def is_about(item: ReviewItem, permission: Permission, people: People) -> bool:
    """Whether an item is about the person who would decide, or about whoever lent them the role. What `organization.yaml`
    says now counts; and, whatever it says, an account of the same name may be theirs."""
    names = _names(permission)
    held = {holder.name for holder in people.holders_of(item.source, item.grant.principal)}
    if people.persons_of(names) & (held | {item.person}):
        return True
    mine = {part for name in names for part in _parts(name.partition(":")[2])}
    return bool(mine & _parts(item.grant.principal))


def _parts(name: str) -> set[str]:
    """A name without letter case; as a whole, and what stands before a host or a domain."""
    bare = name.removeprefix("user ").removeprefix("uid ").casefold()
    return {bare, bare.partition("@")[0]} - {""}


def _names(permission: Permission) -> frozenset[str]:
    """How whoever acts may be written: by key, and for a user of an operating system by name."""
    actor = permission.actor
    called = {f"{actor.kind.value}:{actor.called}"} if actor.called else set()
    return permission.keys | (called if actor.key.startswith("os:") else frozenset())


def _is_named(reviewers: Sequence[str], permission: Permission) -> bool:
    return any(means(named, permission.actor) or named in permission.keys for named in reviewers)


def _same_person(permission: Permission, other: str, people: People) -> bool:
    """Whether somebody is, or may be, the person who has decided already: the same account, the same person as
    `organization.yaml` has it, or the same name on another system, unless it says that they are two."""
    before = _written(keys_of(other), other)
    names = _names(permission)
    if permission.keys & keys_of(other):
        return True
    one, another = people.persons_of(names), people.persons_of(before)
    if one and another:
        return bool(one & another)
    mine = {name.partition(":")[2].casefold() for name in names}
    return bool(mine & {name.partition(":")[2].casefold() for name in before})


def _as_called(item: ReviewItem, reduce_to: Sequence[str]) -> tuple[str, ...] | None:
    """The permissions that remain, as the system calls them: letter case does not matter."""
    known = {name.casefold(): name for name in item.permissions}
    return tuple(sorted({known.get(name.casefold(), name) for name in reduce_to})) or None


def _require_less(item: ReviewItem, reduce_to: Sequence[str]) -> None:
    has, remains = set(item.permissions), set(_as_called(item, reduce_to) or ())
    if unknown := sorted(remains - has):
        raise UsageError(
            f"item {item.number} has no permission '{unknown[0]}'; it has: {'; '.join(sorted(has))}"
        )
    if remains == has:
        raise UsageError(f"item {item.number} would keep everything that it has: that is `keep`")


def pass_on(
    register: Register,
    review_id: int,
    items: Collection[int],
    to: str,
    reviewer: Actor,
    reason: str,
    organization: Organization,
) -> Review:
    """Let somebody else decide about some items: one of their reviewers asks for it, or an administrator.

    :param to: As a role mapping writes it: ``airflow:anna``, ``os:anna``.
    :raises Refused: if the actor may not decide about one of them.
    """
    if not reason.strip():
        raise UsageError("passing on needs a reason")
    if not to.startswith(("airflow:", "os:")) or to.endswith((":", "*")):
        raise UsageError("name a user, such as airflow:anna or os:anna")
    review = load_review(register, review_id)
    chosen = _chosen(review, items)
    asset = Asset(AssetKind.LOCATION, review.location)
    permission = require(register, reviewer, Verb.REVIEW, asset)
    people = People(organization)
    for item in chosen:
        if is_about(item, permission, people):
            raise Refused(
                f"item {item.number} of review {review.id} is about your own access: somebody else says who decides"
            )
        named = item.reviewers is None or _is_named(item.reviewers, permission)
        if not named and Role.ADMIN not in rules_in_force(register).roles_of(reviewer):
            raise Refused(f"item {item.number} of review {review.id} is not yours to pass on")
        held = {holder.name for holder in people.holders_of(item.source, item.grant.principal)}
        if (held | {item.person}) & people.persons_of(frozenset({to})) or _parts(to.partition(":")[2]) & _parts(item.grant.principal):  # fmt: skip
            raise UsageError(f"item {item.number} is about {to}: somebody else decides about it")
    now = register.now()
    entry = Act(asset, "review passed on", (PassedOn(len(chosen), to, reason),), permission.who, now, {"review": review_id})  # fmt: skip

    def work(connection: sa.Connection) -> None:
        require_open(connection, review_id)
        where = t.review_item.c.id.in_([item.number for item in chosen])
        connection.execute(sa.update(t.review_item).where(where).values(reviewers=[to]))
        record(connection, [entry])

    register.write(work)
    return load_review(register, review_id)
