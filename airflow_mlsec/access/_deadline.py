"""The time that reviewers have: reminders, what happens when it is over, and how fast they decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from statistics import median

import sqlalchemy as sa

from airflow_mlsec.access._review import (
    CAMPAIGN,
    Review,
    ReviewItem,
    load_review,
    read_time,
    set_review,
)
from airflow_mlsec.actors import Actor
from airflow_mlsec.ledger import (
    DEPLOYMENT,
    Act,
    Asset,
    AssetKind,
    Reason,
    Verb,
    record,
    require,
)
from airflow_mlsec.policy import Organization
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

# More keeps by one person within a minute than can have been thought about: said beside the review.
HASTY = 10
# Reminders begin so long before a review is due.
_REMIND_BEFORE = timedelta(days=7)


class Escalated(
    Reason,
    en="due on {day}, {items:item|items} undecided: now for {to}",
    de="fällig am {day}, {items:Punkt|Punkte} unentschieden: jetzt für {to}",
):
    """A review was not finished in time. Silence approves nothing."""

    day: str
    items: int
    to: str


class Reminded(Reason, en="{reviewer} has {items:item|items} to decide until {day}", de="{reviewer} hat bis {day} über {items:Punkt|Punkte} zu entscheiden"):  # fmt: skip
    """A reviewer was reminded."""

    reviewer: str
    items: int
    day: str


@dataclass(frozen=True)
class Pace:
    """How somebody has decided.

    :ivar kept_in_a_minute: The most keeps within any minute.
    :ivar together: The most decided by one command.
    :ivar seconds: The usual time from one decision to the next; None with fewer than two.
    """

    reviewer: str
    kept: int
    revoked: int
    reduced: int
    kept_in_a_minute: int
    together: int
    seconds: float | None

    @property
    def is_hasty(self) -> bool:
        """Whether more was kept in a minute than somebody can have thought about."""
        return self.kept_in_a_minute > HASTY


@dataclass(frozen=True)
class Reminder:
    """Somebody who has something to decide."""

    review: int
    name: str
    reviewer: str
    open: int
    due_at: str
    contact: str | None


def escalate_overdue(register: Register, actor: Actor, organization: Organization) -> list[Review]:
    """Hand what is undecided after its day to those who stand above, and say so: silence approves nothing."""
    who = require(register, actor, Verb.SURVEY, DEPLOYMENT).who
    now = register.now()
    to = organization.escalation_members()
    found = []
    for review in open_campaigns(register):
        late = [item.number for item in review.items if item.is_undecided]
        if review.escalated_at is None and late and review.is_overdue(read_time(now)):
            why = Escalated(
                review.due_at[:10], len(late), ", ".join(to) or "nobody: `escalation` is not stated"
            )
            asset = Asset(AssetKind.LOCATION, review.location)
            entry = Act(asset, "review escalated", (why,), who, now, {"review": review.id})
            register.write(partial(_escalate, review.id, late, to, entry))
            found.append(load_review(register, review.id))
    return found


def _escalate(
    review: int, items: Sequence[int], to: Sequence[str], entry: Act, connection: sa.Connection
) -> None:
    where = t.review_item.c.id.in_(items)
    if to:
        # Who is asked now is as good as who was asked at first.
        values = {"reviewers": list(to), "asked": list(to)}
        connection.execute(sa.update(t.review_item).where(where).values(values))
    set_review(connection, review, escalated_at=entry.at)
    record(connection, [entry])


def reminders(register: Register, organization: Organization, on: datetime) -> list[Reminder]:
    """Who has something to decide in campaigns that are due within a week, or are late."""
    found = []
    contacts = {
        account: team.contact for team in organization.teams for account in reversed(team.members)
    }
    for review in open_campaigns(register):
        if read_time(review.due_at) - on > _REMIND_BEFORE:
            continue
        open_by: dict[str, int] = defaultdict(int)
        for item in review.items:
            if item.is_undecided:
                for reviewer in item.reviewers or ("every reviewer",):
                    open_by[reviewer] += 1
        found += [
            Reminder(review.id, review.name, who, count, review.due_at, contacts.get(who))
            for who, count in sorted(open_by.items())
        ]
    return found


def record_reminders(register: Register, sent: Sequence[Reminder], actor: Actor) -> None:
    """Keep that somebody was reminded."""
    who = require(register, actor, Verb.SURVEY, DEPLOYMENT).who
    now = register.now()
    entries = [
        Act(
            Asset(AssetKind.LOCATION, CAMPAIGN + reminder.name), "reviewer reminded",
            (Reminded(reminder.reviewer, reminder.open, reminder.due_at[:10]),), who, now, {"review": reminder.review},
        )
        for reminder in sent
    ]  # fmt: skip
    register.write(lambda connection: record(connection, entries))


def open_campaigns(register: Register) -> list[Review]:
    """Campaigns that are not complete."""
    r = t.review.c
    query = sa.select(r.id).where(r.status == "open", r.scope.is_not(None)).order_by(r.id)
    return [load_review(register, row.id) for row in register.rows(query)]


def pace_of(review: Review) -> list[Pace]:
    """How each reviewer has decided, by what the register's clock says."""
    by: dict[str, list[ReviewItem]] = defaultdict(list)
    for item in review.items:
        if item.decided_by is not None and item.decided_at is not None:
            by[item.decided_by].append(item)
    found = []
    for reviewer, items in sorted(by.items()):
        at = sorted(read_time(str(item.decided_at)) for item in items)
        kept = sorted(read_time(str(i.decided_at)) for i in items if i.decision == "keep")
        between = [(later - earlier).total_seconds() for earlier, later in pairwise(at)]  # fmt: skip
        found.append(
            Pace(
                reviewer, len(kept), sum(i.decision == "revoke" for i in items), sum(i.decision == "reduce" for i in items),
                _most_within_a_minute(kept), max(item.together or 1 for item in items), median(between) if between else None,
            )
        )  # fmt: skip
    return found


def _most_within_a_minute(moments: Sequence[datetime]) -> int:
    most, first = 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= timedelta(minutes=1):
            first += 1
        most = max(most, last - first + 1)
    return most
