"""Access reviews: each grant is kept or revoked by a named person, on time. Of one location; campaigns are in `_campaign`.

A review covers the grants as they were when it was opened. It can be completed when every
grant was decided on and every revoked one is really gone. It counts as long as the grants stay
the same as those reviewed and it is not older than the requested maximum age.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from airflow_mlsec.access._grants import grants_digest, read_grants, spellings_of
from airflow_mlsec.access._scope import Scope
from airflow_mlsec.actors import Actor, keys_of
from airflow_mlsec.datasets import Connections, Grant
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.ledger import Act, Asset, AssetKind, Reason, Verb, record, require
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

Decision = Literal["keep", "revoke", "reduce"]
# What a campaign's location begins with; its name follows.
CAMPAIGN = "campaign:"
# Of an item that was there when a campaign was opened, and was gone before anybody decided about it.
GONE = "gone"
# What is known of an item about which nobody has decided.
UNDECIDED = dict.fromkeys(
    ("decision", "decided_by", "decided_at", "reason", "reduce_to", "together", "second_by", "second_at", "effective_at")
)  # fmt: skip


class GrantDecided(
    Reason, en="{permission} of {principal}: {why}", de="{permission} von {principal}: {why}"
):
    """A reviewer has decided about a grant."""

    principal: str
    permission: str
    why: str


class ReviewedGrants(
    Reason,
    en="{grants:grant|grants} reviewed, {revoked} of them gone",
    de="{grants:Recht|Rechte} geprüft, {revoked} davon entzogen",
):
    """Every grant was decided on, and the revoked grants are gone."""

    grants: int
    revoked: int


DEFAULT_DAYS_TO_REVIEW = 14


@dataclass(frozen=True)
class ReviewItem:
    """One grant under review, and the decision about it. The rest is known of campaigns only.

    :ivar right: What the permissions come down to (`Right`).
    :ivar flags: What stands out (`Flag`).
    :ivar reviewers: Who decides; None if that is whoever has the role.
    :ivar reduce_to: The permissions that remain.
    :ivar together: How many were decided by the same command.
    :ivar effective_at: When the system was first seen to agree with the decision.
    """

    number: int
    grant: Grant
    decision: str | None
    decided_by: str | None
    reason: str | None
    decided_at: str | None = None
    source: str = ""
    resource: str = ""
    right: str | None = None
    person: str | None = None
    flags: tuple[str, ...] = ()
    last_used: str | None = None
    datasets: tuple[str, ...] = ()
    reviewers: tuple[str, ...] | None = None
    four_eyes: bool = False
    reduce_to: tuple[str, ...] | None = None
    together: int | None = None
    second_by: str | None = None
    second_at: str | None = None
    effective_at: str | None = None
    # As the system calls them, in order; of a campaign.
    permissions: tuple[str, ...] = ()
    # Who was to decide when it was first asked about.
    asked: tuple[str, ...] | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it the same one when the systems are read again."""
        return self.source, self.resource, self.grant.principal, self.grant.origin

    @property
    def awaits_second(self) -> bool:
        """Whether one person has decided, and another has to."""
        return self.four_eyes and self.decision in ("keep", "reduce") and self.second_by is None

    @property
    def is_about_who_decided(self) -> bool:
        """Whether whoever kept it may be the one whose access it is: by name, without letter case."""
        if self.decision != "keep" or self.decided_by is None:
            return False
        called = re.search(r"\((.+?)\)", self.decided_by)
        names = {key.partition(":")[2] for key in keys_of(self.decided_by)} | ({called[1]} if called else set())  # fmt: skip
        bare = self.grant.principal.removeprefix("uid ").casefold()
        return bool({bare, bare.partition("@")[0]} & {name.casefold() for name in names})

    @property
    def is_undecided(self) -> bool:
        """Whether somebody still has to decide."""
        return self.decision is None or self.awaits_second


@dataclass(frozen=True)
class Review:
    """A review of one location, or a campaign.

    :ivar scope: Of a campaign, what it is about; and ``covers``, the datasets which that meant, and where they were.
    :ivar unread_before: By system, what it did not tell when the campaign was opened.
    :ivar statement: Of a completed campaign, what was signed about it.
    :ivar snapshots: Of a campaign, the newest snapshot of each system.
    :ivar unread: Of a campaign, systems that could not be read at all, each with the reason.
    """

    id: int
    location: str
    status: str
    opened_at: str
    due_at: str
    completed_at: str | None
    completed_by: str | None
    grants_digest: str
    items: tuple[ReviewItem, ...]
    scope: Scope | None = None
    covers: tuple[tuple[str, str | None], ...] = ()
    snapshots: Mapping[str, int] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    opened_by: str | None = None
    escalated_at: str | None = None
    unread_before: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    statement: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Of a campaign its name, otherwise the location."""
        return self.location.removeprefix(CAMPAIGN) if self.scope is not None else self.location

    @property
    def undecided(self) -> int:
        return sum(item.is_undecided for item in self.items)

    @property
    def decisions_digest(self) -> str:
        """SHA-256, hexadecimal, of what was decided about what, and by whom."""
        decided = sorted(
            json.dumps([*i.key, i.permissions, i.right, i.person, i.four_eyes, i.decision, i.reduce_to, i.decided_by, i.second_by])
            for i in self.items
        )  # fmt: skip
        return hashlib.sha256(json.dumps(decided).encode()).hexdigest()

    def is_overdue(self, on: datetime) -> bool:
        """Whether it is still open after its due time."""
        return self.status == "open" and read_time(self.due_at) < on


def open_review(
    register: Register,
    location: str,
    connections: Connections | None = None,
    days: int = DEFAULT_DAYS_TO_REVIEW,
) -> Review:
    """Open a review of the grants as they are now, or return the one that is open for them.

    An open review of grants that have changed since is closed as superseded.
    """
    grants = read_grants(location, connections)
    digest = grants_digest(grants)
    opened_at = register.now()
    due = read_time(opened_at) + timedelta(days=days)

    def work(connection: sa.Connection) -> int:
        r = t.review.c
        query = sa.select(t.review).where(
            r.location.in_(spellings_of(location)), r.status == "open"
        )
        for row in connection.execute(query):
            if row.grants_digest == digest:
                return int(row.id)
            set_review(connection, row.id, status="superseded")
        values = {
            "location": location,
            "status": "open",
            "opened_at": opened_at,
            "due_at": write_time(due),
            "grants_digest": digest,
        }
        review = connection.execute(sa.insert(t.review).values(values).returning(r.id)).scalar_one()
        items = [
            {
                "review_id": review,
                "principal": grant.principal,
                "permission": grant.permission,
                "origin": grant.origin,
            }
            for grant in grants
        ]
        connection.execute(sa.insert(t.review_item), items)
        return int(review)

    return load_review(register, register.write(work))


def decide(
    register: Register,
    review_id: int,
    items: Sequence[int] | None,
    decision: Decision,
    reviewer: Actor,
    reason: str,
) -> Review:
    """Record what a reviewer decided about some grants (by number), or about all undecided ones.

    :raises UsageError: if the review is not open, a number does not exist, or the reason is empty.
    :raises Refused: if the actor may not decide about grants there.
    """
    if not reason.strip():
        raise UsageError("a decision needs a reason")
    review = load_review(register, review_id)
    asset = Asset(AssetKind.LOCATION, review.location)
    who = require(register, reviewer, Verb.REVIEW, asset).who
    if review.scope is not None or decision == "reduce":
        raise UsageError(
            f"what remains is decided in campaigns only; review {review_id} is of {review.name}"
        )
    if review.status != "open":
        raise UsageError(f"review {review_id} is {review.status}; only an open one can be decided")
    known = {item.number for item in review.items}
    if items is not None and (unknown := sorted(set(items) - known)):
        raise UsageError(f"review {review_id} has no grant number {unknown[0]}")
    chosen = (
        set(items) if items is not None else {i.number for i in review.items if i.decision is None}
    )
    now = register.now()
    values = {"decision": decision, "decided_by": who, "decided_at": now, "reason": reason}
    verb = "grant kept" if decision == "keep" else "grant revoked"
    entries = [
        Act(asset, verb, (GrantDecided(item.grant.principal, item.grant.permission, reason),), who, now, {"review": review_id, "grant": item.number})
        for item in review.items if item.number in chosen
    ]  # fmt: skip

    def work(connection: sa.Connection) -> None:
        require_open(connection, review_id)
        update = sa.update(t.review_item).where(t.review_item.c.id.in_(list(chosen)))
        connection.execute(update.values(values))
        record(connection, entries)

    register.write(work)
    return load_review(register, review_id)


def complete_review(
    register: Register,
    review_id: int,
    reviewer: Actor,
    connections: Connections | None = None,
) -> Review:
    """Complete a review.

    :raises CheckFailed: if a grant is undecided, a revoked one is still there, or the grants
        have changed since the review was opened in a way that nobody has reviewed.
    :raises UsageError: if the review is not open.
    :raises Refused: if the actor may not decide about grants there.
    """
    review = load_review(register, review_id)
    asset = Asset(AssetKind.LOCATION, review.location)
    who = require(register, reviewer, Verb.REVIEW, asset).who
    if review.status != "open":
        raise UsageError(
            f"review {review_id} is {review.status}; only an open one can be completed"
        )
    if review.scope is not None:
        raise UsageError(f"review {review_id} is a campaign, of several systems")
    if review.undecided:
        raise CheckFailed(f"review {review_id}: {review.undecided} grants are undecided")
    now = set(read_grants(review.location, connections))
    revoked = {item.grant for item in review.items if item.decision == "revoke"}
    if still := revoked & now:
        example = sorted(still)[0]
        raise CheckFailed(
            f"review {review_id}: {len(still)} revoked grants are still in force, such as "
            f"{example.principal} ({example.permission}); remove them at {review.location} first"
        )
    if new := now - {item.grant for item in review.items}:
        raise CheckFailed(
            f"review {review_id}: {len(new)} grants appeared since it was opened; open a new review"
        )

    at, digest = register.now(), grants_digest(now)
    why = ReviewedGrants(len(review.items), len(revoked))
    entry = Act(asset, "review completed", (why,), who, at, {"review": review_id, "grants": digest})

    def work(connection: sa.Connection) -> None:
        require_open(connection, review_id)
        set_review(
            connection,
            review_id,
            status="complete",
            completed_at=at,
            completed_by=who,
            grants_digest=digest,
        )
        record(connection, [entry])

    register.write(work)
    return load_review(register, review_id)


def review_status(
    register: Register,
    location: str,
    max_age: timedelta,
    on: datetime,
    connections: Connections | None = None,
) -> Review | None:
    """The completed review that is in force for ``location`` on a date, or None.

    In force: not older than ``max_age``, and the grants are those that were reviewed.
    """
    digest = grants_digest(read_grants(location, connections))
    r = t.review.c
    query = sa.select(r.id, r.completed_at).where(
        r.location.in_(spellings_of(location)), r.status == "complete", r.grants_digest == digest
    )
    for row in register.rows(query.order_by(r.completed_at.desc()).limit(1)):
        if read_time(row.completed_at) + max_age >= on:
            return load_review(register, row.id)
    return None


def reviews(register: Register, location: str | None = None) -> list[Review]:
    """All reviews, campaigns among them, newest first; or those of a location."""
    query = sa.select(t.review.c.id).order_by(t.review.c.id.desc())
    if location is not None:
        query = query.where(t.review.c.location.in_(spellings_of(location)))
    return [load_review(register, row.id) for row in register.rows(query)]


def load_review(register: Register, review_id: int) -> Review:
    """A review.

    :raises UsageError: if there is none of this number.
    """
    return register.read(lambda connection: stored_review(connection, review_id))


def stored_review(connection: sa.Connection, review_id: int) -> Review:
    """A review, as a transaction sees it.

    :raises UsageError: if there is none of this number.
    """
    query = sa.select(t.review).where(t.review.c.id == review_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UsageError(f"there is no access review {review_id}")
    items = sa.select(t.review_item).where(t.review_item.c.review_id == review_id)
    found = connection.execute(items.order_by(t.review_item.c.id))
    return _review(row, [_item(item) for item in found])


def _review(row: Any, items: list[ReviewItem]) -> Review:
    said = row.scope or {}
    return Review(
        row.id, row.location, row.status, row.opened_at, row.due_at, row.completed_at, row.completed_by, row.grants_digest,
        tuple(items), None if row.scope is None else Scope.of(said), tuple((name, uri) for name, uri in said.get("resolved", ())),
        row.snapshots or {}, tuple(row.unread or ()), row.opened_by, row.escalated_at,
        {source: tuple(texts) for source, texts in said.get("unread", {}).items()}, row.statement,
    )  # fmt: skip


def _item(row: Any) -> ReviewItem:
    # Of a campaign a list: any text may be part of a permission.
    permissions = _list(row.permission) if row.source or row.resource else ()
    grant = Grant(row.principal, ", ".join(permissions) or row.permission, row.origin)
    return ReviewItem(
        row.id, grant, row.decision, row.decided_by, row.reason, row.decided_at, row.source, row.resource, row.right,
        row.person, tuple(row.flags or ()), row.last_used, tuple(row.datasets or ()), _tuple(row.reviewers), row.four_eyes,
        None if row.reduce_to is None else _list(row.reduce_to), row.together, row.second_by, row.second_at,
        row.effective_at, permissions, _tuple(row.asked),
    )  # fmt: skip


def _list(text: str) -> tuple[str, ...]:
    """A list of texts; what is none was written by somebody else, and is one text."""
    try:
        found = json.loads(text)
    except ValueError:
        return (text,)
    return tuple(map(str, found)) if isinstance(found, list) else (text,)


def _tuple(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def require_open(connection: sa.Connection, review_id: int) -> None:
    """Check that nobody has completed a review in the meantime, and keep others from it until the transaction ends.

    :raises UsageError: if it is not open.
    """
    query = sa.select(t.review.c.status).where(t.review.c.id == review_id).with_for_update()
    if (status := connection.execute(query).scalar_one()) != "open":
        raise UsageError(f"review {review_id} is {status}; only an open one can be decided")


def set_review(connection: sa.Connection, review_id: int, **values: Any) -> None:
    """Change what the register keeps of a review."""
    connection.execute(sa.update(t.review).where(t.review.c.id == review_id).values(values))


def read_time(text: str) -> datetime:
    """A time of the register."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def write_time(moment: datetime) -> str:
    """A time as the register keeps it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
