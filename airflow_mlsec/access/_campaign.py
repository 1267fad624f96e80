"""Campaigns: everybody who can reach what a scope says, in several systems, is decided about; by those who answer for the
data, never by oneself, and by silence never.

A campaign is a review (`_review`) whose items are read from the systems themselves. It is complete when everything was
decided and every system, read again, agrees. It is in force as long as the systems stay as they were decided, and not
longer than asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.access._collector import collect
from airflow_mlsec.access._items import NOT_READ, Asked, Flag, items_of, rank, unread_in
from airflow_mlsec.access._model import Collected, Right
from airflow_mlsec.access._review import (
    CAMPAIGN,
    DEFAULT_DAYS_TO_REVIEW,
    GONE,
    UNDECIDED,
    Review,
    ReviewedGrants,
    ReviewItem,
    load_review,
    read_time,
    require_open,
    set_review,
    stored_review,
    write_time,
)
from airflow_mlsec.access._scope import Scope, resolve
from airflow_mlsec.access._snapshot import take_snapshot
from airflow_mlsec.actors import Actor
from airflow_mlsec.connections import Connections
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import (
    ChangedMeanwhile,
    CheckFailed,
    MlsecError,
    SignatureInvalid,
    UsageError,
)
from airflow_mlsec.ledger import (
    DEPLOYMENT,
    Act,
    Asset,
    AssetKind,
    Reason,
    ReviewStatement,
    Verb,
    record,
    require,
    sign_statement,
    signed_statement,
)
from airflow_mlsec.policy import Organization
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

# A campaign that nobody finishes within a year is none.
_LONGEST = 366
# What was not so when an item was decided, and makes it another one.
_ALARMING = {Flag.EVERYBODY, Flag.OUTSIDE, Flag.LEFT, Flag.TOXIC, Flag.NO_PASSWORD, Flag.NOBODYS}


class CampaignOpened(
    Reason,
    en="{items:item|items} to decide about, from {sources:system|systems}; systems not read: {unread}",
    de="{items:Punkt|Punkte} zu entscheiden, aus {sources:System|Systemen}; nicht gelesene Systeme: {unread}",
):
    """A campaign was opened."""

    items: int
    sources: int
    unread: int


class AccessReadAgain(
    Reason,
    en="read again: {effective} decisions are now in effect, {new:new item|new items}",
    de="erneut gelesen: {effective} Entscheidungen sind jetzt wirksam, {new:neuer Punkt|neue Punkte}",
):
    """The systems of a campaign were read again."""

    effective: int
    new: int


@dataclass(frozen=True)
class Reading:
    """What the systems of a campaign say at one time.

    :ivar failed: Systems that could not be read at all, each with the reason.
    :ivar datasets: What the scope means: names and places.
    """

    items: tuple[Asked, ...]
    snapshots: Mapping[str, int]
    failed: tuple[str, ...]
    datasets: tuple[tuple[str, str | None], ...]


def open_campaign(
    register: Register,
    ring: KeyRing,
    name: str,
    scope: Scope,
    actor: Actor,
    organization: Organization,
    connections: Connections,
    days: int = DEFAULT_DAYS_TO_REVIEW,
) -> Review:
    """Read every system in the scope, and open a campaign about what they say; or return the one of this name that is open.

    :param days: Until it is due.
    :raises Refused: if the actor may not open campaigns.
    :raises UsageError: if the scope means nothing that is known, or an open campaign of this name has another scope.
    """
    if not name.strip():
        raise UsageError("a campaign needs a name")
    if not 1 <= days <= _LONGEST:
        raise UsageError(f"a campaign is due in 1 to {_LONGEST} days, not in {days}")
    asset = Asset(AssetKind.LOCATION, CAMPAIGN + name)
    who = require(register, actor, Verb.SURVEY, asset).who
    open_now = _newest(register, name, "open")
    if open_now is not None:
        if open_now.scope != scope:
            raise UsageError(
                f"campaign '{name}' is open with another scope ({open_now.scope}); complete it, or name this one otherwise"
            )
        return open_now
    reading = read_systems(register, ring, scope, actor, organization, connections)
    if not reading.items and not reading.failed:
        raise UsageError(
            f"the register knows no data of this scope ({scope}): declare it with a policy (`mlsec check POLICY --record`), or "
            "name a system"
        )
    now = register.now()
    previous = _newest(register, name, "complete")
    known = {item.key for item in previous.items} if previous is not None else None
    values = {
        "location": CAMPAIGN + name, "status": "open", "opened_at": now, "opened_by": who,
        "due_at": write_time(read_time(now) + timedelta(days=days)), "grants_digest": "",
        "scope": _kept(scope, reading), "snapshots": dict(reading.snapshots),
        "unread": list(reading.failed),
    }  # fmt: skip
    why = CampaignOpened(len(reading.items), len(reading.snapshots), len(reading.failed))

    def work(connection: sa.Connection) -> int:
        made = sa.insert(t.review).values(values).returning(t.review.c.id)
        number = int(connection.execute(made).scalar_one())
        rows = [_row(number, asked, new=known is not None and asked.key not in known) for asked in reading.items]  # fmt: skip
        if rows:
            connection.execute(sa.insert(t.review_item), rows)
        record(
            connection,
            [Act(asset, "review opened", (why,), who, now, {"review": number, "snapshots": dict(reading.snapshots)})],
        )  # fmt: skip
        return number

    return load_review(register, register.write(work))


def _kept(scope: Scope, reading: Reading) -> dict[str, Any]:
    """The scope as the register keeps it: with what it meant, and what was not read then."""
    resolved = [[name, uri] for name, uri in reading.datasets]
    return {
        **scope.as_json(),
        "resolved": resolved,
        "unread": unread_in(reading.items),
    }


def _newest(register: Register, name: str, status: str) -> Review | None:
    r = t.review.c
    query = sa.select(r.id).where(r.location == CAMPAIGN + name, r.status == status)
    rows = register.rows(query.order_by(r.id.desc()).limit(1))
    return load_review(register, rows[0].id) if rows else None


def read_systems(
    register: Register,
    ring: KeyRing,
    scope: Scope,
    actor: Actor,
    organization: Organization,
    connections: Connections,
    before: Sequence[tuple[str, str | None]] = (),
) -> Reading:
    """What every system in a scope says now, kept as snapshots. A system that cannot be read is said to have failed.

    :param before: What the scope meant earlier (`resolve`).
    """
    require(register, actor, Verb.SURVEY, DEPLOYMENT)
    resolved = resolve(register, scope, connections, before)
    read: dict[str, Collected] = {}
    numbers, failed = {}, []
    for source in resolved.sources:
        try:
            snapshot, found = take_snapshot(register, ring, source, actor, connections)
        except MlsecError as error:
            failed.append(str(error))
            continue
        read[source], numbers[source] = found, snapshot.id
    on = date.fromisoformat(register.now()[:10])
    items = items_of(resolved, read, organization, on, connections)
    datasets = tuple((reach.name, reach.uri) for reach in resolved.reaches)
    return Reading(tuple(items), numbers, tuple(failed), datasets)


def _row(review: int, asked: Asked, new: bool) -> dict[str, Any]:
    flags = [*asked.flags, *([Flag.NEW] if new else [])]
    return {
        "review_id": review, "principal": asked.account, "permission": json.dumps(asked.permissions), "origin": asked.path,
        "source": asked.source, "resource": asked.resource, "right": asked.right.value, "person": asked.person,
        "flags": [flag.value for flag in flags], "last_used": asked.last_used, "datasets": list(asked.datasets),
        "reviewers": None if asked.reviewers is None else list(asked.reviewers), "asked": None if asked.reviewers is None else list(asked.reviewers), "four_eyes": asked.four_eyes,
    }  # fmt: skip


def read_again(
    register: Register,
    ring: KeyRing,
    review_id: int,
    actor: Actor,
    organization: Organization,
    connections: Connections,
) -> Review:
    """Read the systems of an open campaign again: which decisions are in effect, and what is new.

    What has appeared since is an item of its own, undecided. What was decided and has more permissions now is decided again.
    """
    review = load_review(register, review_id)
    asset = Asset(AssetKind.LOCATION, review.location)
    who = require(register, actor, Verb.SURVEY, asset).who
    if review.scope is None or review.status != "open":
        raise UsageError(
            f"review {review_id} is {review.status}; only an open campaign is read again"
            if review.scope is not None
            else f"review {review_id} is of one location, which is read when it is completed"
        )
    reading = read_systems(
        register, ring, review.scope, actor, organization, connections, review.covers
    )
    now = register.now()
    there = {asked.key: asked for asked in reading.items}
    known = {item.key: item for item in review.items}
    less = _tell_less(review, reading.items)
    effective: list[ReviewItem] = []
    changed: list[tuple[ReviewItem, dict[str, Any]]] = []
    for key, item in known.items():
        # What a system does not say now is not known to be gone.
        if item.source and item.source not in reading.snapshots:
            continue
        asked = there.get(key)
        if asked is None and item.source in less and item.resource != NOT_READ:
            continue
        has = frozenset() if asked is None else frozenset(asked.permissions)
        if asked is not None and item.decision != "revoke" and (_is_more(item, asked) or item.decision == GONE):  # fmt: skip
            values = {**_row(review_id, asked, new=True), **UNDECIDED}
            # To whom it was passed on, and who was asked at first, stays.
            if item.reviewers != item.asked:
                values |= {"reviewers": list(item.reviewers or ()) or None, "asked": list(item.asked or ()) or None}  # fmt: skip
            changed.append((item, values))
        elif asked is None and item.decision in (None, "keep"):
            # Nothing is left to decide about, or to keep.
            changed.append((item, {**UNDECIDED, "decision": GONE, "decided_at": now, "effective_at": now}))  # fmt: skip
        elif is_effective(item, has):
            effective.append(item)
    fresh = [asked for key, asked in there.items() if key not in known]
    newly = [
        item
        for item in effective
        if item.effective_at is None and item.decision in ("revoke", "reduce")
    ]
    why = AccessReadAgain(len(newly), len(fresh) + sum("principal" in v for _, v in changed))
    entry = Act(
        asset, "access read again", (why,), who, now,
        {"review": review_id, "snapshots": dict(reading.snapshots)},
    )  # fmt: skip

    def work(connection: sa.Connection) -> None:
        require_open(connection, review_id)
        keep = {item.number for item in effective}
        for item in review.items:
            at = (item.effective_at or now) if item.number in keep else None
            if item.source in reading.snapshots and at != item.effective_at:
                where = t.review_item.c.id == item.number
                connection.execute(sa.update(t.review_item).where(where).values(effective_at=at))
        for item, values in changed:
            where = t.review_item.c.id == item.number
            connection.execute(sa.update(t.review_item).where(where).values(values))
        if fresh:
            rows = [_row(review_id, asked, new=True) for asked in fresh]
            connection.execute(sa.insert(t.review_item), rows)
        failed = [*reading.failed, *(f"{source} tells less than when the campaign was opened" for source in sorted(less))]  # fmt: skip
        set_review(connection, review_id, snapshots=dict(reading.snapshots), unread=failed)  # fmt: skip
        record(connection, [entry])

    register.write(work)
    return load_review(register, review_id)


def _tell_less(review: Review, items: Sequence[Asked]) -> set[str]:
    """Systems that tell less than when a campaign was opened: that something is no longer listed there proves nothing."""
    before = review.unread_before
    return {
        source
        for source, texts in unread_in(items).items()
        if set(texts) - set(before.get(source, ()))
    }


def _is_more(item: ReviewItem, asked: Asked) -> bool:
    """Whether what is there now is more than what was asked about, or somebody else's, or worse."""
    return (
        bool(set(asked.permissions) - set(item.permissions))
        or item.right is None
        or rank(asked.right) > rank(Right(item.right))
        or asked.person != item.person
        or bool(_ALARMING & set(asked.flags) - set(item.flags))
    )


def is_effective(item: ReviewItem, has: frozenset[str]) -> bool:
    """Whether what somebody has now is what was decided."""
    if item.decision in ("revoke", GONE):
        return not has
    if item.decision == "reduce":
        return has <= frozenset(item.reduce_to or ())
    return item.decision == "keep" and has <= frozenset(item.permissions)


def complete_campaign(
    register: Register,
    ring: KeyRing,
    review_id: int,
    actor: Actor,
    organization: Organization,
    connections: Connections,
) -> Review:
    """Complete a campaign: the systems are read again first.

    :raises CheckFailed: if a system cannot be read, something is undecided, or a decision is not in effect.
    :raises Refused: if the actor may not review.
    """
    review = load_review(register, review_id)
    asset = Asset(AssetKind.LOCATION, review.location)
    who = require(register, actor, Verb.REVIEW, asset).who
    review = read_again(register, ring, review_id, actor, organization, connections)
    if review.unread:
        raise CheckFailed(f"review {review_id}: {review.unread[0]}")
    if review.undecided:
        waiting = [str(item.number) for item in review.items if item.awaits_second]
        open_now = [str(i.number) for i in review.items if i.is_undecided and not i.awaits_second]
        parts = [f"undecided: {', '.join(open_now[:20])}"] if open_now else []
        parts += [f"decided by one person, and in need of a second: {', '.join(waiting[:20])}"] if waiting else []  # fmt: skip
        raise CheckFailed(f"review {review_id} has {review.undecided} undecided items; {'; '.join(parts)}")  # fmt: skip
    if still := [
        i for i in review.items if i.effective_at is None and i.decision in ("revoke", "reduce")
    ]:
        example = still[0]
        raise CheckFailed(
            f"review {review_id}: {len(still)} decisions are not in effect, such as {example.grant.permission} of "
            f"{example.grant.principal} on {example.resource} ({example.grant.origin}); `mlsec access revoke {review_id}` "
            "shows what to do"
        )
    gone = sum(item.decision in ("revoke", "reduce") for item in review.items)
    now, digest = register.now(), review.decisions_digest
    said = _statement(replace(review, completed_at=now, completed_by=who))
    signed = sign_statement(ring, {_DECISIONS: digest}, said)
    why = ReviewedGrants(len(review.items), gone)
    evidence = {"review": review_id, "decisions": digest, "snapshots": dict(review.snapshots)}
    entry = Act(asset, "review completed", (why,), who, now, evidence)

    def work(connection: sa.Connection) -> None:
        require_open(connection, review_id)
        if stored_review(connection, review_id).decisions_digest != digest:
            raise ChangedMeanwhile(
                f"review {review_id} was decided otherwise meanwhile; complete it again"
            )
        done = {"status": "complete", "completed_at": now, "completed_by": who, "statement": signed}
        set_review(connection, review_id, **done, grants_digest=digest)
        record(connection, [entry])

    register.write(work)
    return load_review(register, review_id)


# The subject of the statement about a completed campaign.
_DECISIONS = "decisions"


def _statement(review: Review) -> ReviewStatement:
    scope = review.scope or Scope()
    return ReviewStatement(
        name=review.name, scope={name: tuple(values) for name, values in scope.as_json().items()}, covers=review.covers,
        completed_at=str(review.completed_at), completed_by=str(review.completed_by), items=len(review.items),
        snapshots=dict(review.snapshots),
    )  # fmt: skip


def campaign_in_force(
    register: Register,
    name: str,
    max_age: timedelta,
    on: datetime,
    organization: Organization,
    connections: Connections,
    scope: Scope | None = None,
) -> Review | None:
    """The completed campaign of a name that counts: not older than ``max_age``, and every system, read now, has nothing but
    what was kept. None if there is none, or a system cannot be read.

    :param scope: What it has to be about; by default whatever it was.
    """
    review = _newest(register, name, "complete")
    if review is None or review.completed_at is None or review.scope is None:
        return None
    if scope is not None and review.scope != scope:
        return None
    age = on - read_time(review.completed_at)
    # A review from the future was written by a clock that is wrong, or by somebody.
    if not timedelta(minutes=-5) <= age <= max_age:
        return None
    holds = is_unchanged(register, review) and still_holds(register, review, organization, connections)  # fmt: skip
    return review if holds else None


def is_unchanged(register: Register, review: Review) -> bool:
    """Whether a completed campaign is what a trusted key has signed: its scope, its day, and every decision."""
    if register.trusted is None or review.statement is None:
        return False
    try:
        signed = signed_statement(dict(review.statement), register.trusted(), ReviewStatement)
    except SignatureInvalid:
        return False
    return signed.predicate == _statement(review) and signed.subjects == {_DECISIONS: review.decisions_digest}  # fmt: skip


def still_holds(
    register: Register, review: Review, organization: Organization, connections: Connections
) -> bool | None:
    """Whether nobody can do anything now that was not decided to be kept; None if a system cannot be read."""
    if review.scope is None:
        raise UsageError(f"review {review.id} is not a campaign")
    resolved = resolve(register, review.scope, connections, review.covers)
    read = {}
    for source in resolved.sources:
        try:
            read[source] = collect(source, connections)
        except MlsecError:
            return None
    on = date.fromisoformat(register.now()[:10])
    items = items_of(resolved, read, organization, on, connections)
    if _tell_less(review, items):
        return None
    known = {item.key: item for item in review.items}
    for asked in items:
        item = known.get(asked.key)
        if item is None or _is_more(item, asked) or not is_effective(item, frozenset(asked.permissions)):  # fmt: skip
            return False
    return True
