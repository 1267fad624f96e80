"""Access reviews: each grant is kept or revoked by a named person, on time.

A review covers the grants as they were when it was opened. It can be completed when every
grant was decided on and every revoked one is really gone. It counts as long as the grants stay
the same as those reviewed and it is not older than the requested maximum age.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from airflow_mlsec.access._grants import grants_digest, read_grants, spellings_of
from airflow_mlsec.actors import Actor
from airflow_mlsec.datasets import Connections, Grant
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.ledger import Act, Asset, AssetKind, Reason, Verb, record, require
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

Decision = Literal["keep", "revoke"]


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
    """One grant under review, and the decision about it."""

    number: int
    grant: Grant
    decision: str | None
    decided_by: str | None
    reason: str | None


@dataclass(frozen=True)
class Review:
    """A review of one location."""

    id: int
    location: str
    status: str
    opened_at: str
    due_at: str
    completed_at: str | None
    completed_by: str | None
    grants_digest: str
    items: tuple[ReviewItem, ...]

    @property
    def undecided(self) -> int:
        return sum(item.decision is None for item in self.items)

    def is_overdue(self, on: datetime) -> bool:
        """Whether it is still open after its due time."""
        return self.status == "open" and _read_time(self.due_at) < on


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
    due = _read_time(opened_at) + timedelta(days=days)

    def work(connection: sa.Connection) -> int:
        r = t.review.c
        query = sa.select(t.review).where(
            r.location.in_(spellings_of(location)), r.status == "open"
        )
        for row in connection.execute(query):
            if row.grants_digest == digest:
                return int(row.id)
            _set(connection, row.id, status="superseded")
        values = {
            "location": location,
            "status": "open",
            "opened_at": opened_at,
            "due_at": due.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
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

    return _load(register, register.write(work))


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
    review = _load(register, review_id)
    asset = Asset(AssetKind.LOCATION, review.location)
    who = require(register, reviewer, Verb.REVIEW, asset).who
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
        _require_open(connection, review_id)
        update = sa.update(t.review_item).where(t.review_item.c.id.in_(list(chosen)))
        connection.execute(update.values(values))
        record(connection, entries)

    register.write(work)
    return _load(register, review_id)


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
    review = _load(register, review_id)
    asset = Asset(AssetKind.LOCATION, review.location)
    who = require(register, reviewer, Verb.REVIEW, asset).who
    if review.status != "open":
        raise UsageError(
            f"review {review_id} is {review.status}; only an open one can be completed"
        )
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
        _require_open(connection, review_id)
        _set(
            connection,
            review_id,
            status="complete",
            completed_at=at,
            completed_by=who,
            grants_digest=digest,
        )
        record(connection, [entry])

    register.write(work)
    return _load(register, review_id)


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
        if _read_time(row.completed_at) + max_age >= on:
            return _load(register, row.id)
    return None


def reviews(register: Register, location: str | None = None) -> list[Review]:
    """All reviews, newest first."""
    query = sa.select(t.review.c.id).order_by(t.review.c.id.desc())
    if location is not None:
        query = query.where(t.review.c.location.in_(spellings_of(location)))
    return [_load(register, row.id) for row in register.rows(query)]


def _load(register: Register, review_id: int) -> Review:
    def work(connection: sa.Connection) -> Review | None:
        query = sa.select(t.review).where(t.review.c.id == review_id)
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        items = sa.select(t.review_item).where(t.review_item.c.review_id == review_id)
        found = connection.execute(items.order_by(t.review_item.c.id))
        return _review(row, [_item(item) for item in found])

    review = register.read(work)
    if review is None:
        raise UsageError(f"there is no access review {review_id}")
    return review


def _review(row: Any, items: list[ReviewItem]) -> Review:
    return Review(
        row.id,
        row.location,
        row.status,
        row.opened_at,
        row.due_at,
        row.completed_at,
        row.completed_by,
        row.grants_digest,
        tuple(items),
    )


def _item(row: Any) -> ReviewItem:
    grant = Grant(row.principal, row.permission, row.origin)
    return ReviewItem(row.id, grant, row.decision, row.decided_by, row.reason)


def _require_open(connection: sa.Connection, review_id: int) -> None:
    """Checks that nobody has completed it in the meantime."""
    query = sa.select(t.review.c.status).where(t.review.c.id == review_id).with_for_update()
    if (status := connection.execute(query).scalar_one()) != "open":
        raise UsageError(f"review {review_id} is {status}; only an open one can be decided")


def _set(connection: sa.Connection, review_id: int, **values: Any) -> None:
    connection.execute(sa.update(t.review).where(t.review.c.id == review_id).values(values))


def _read_time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
