"""Data-subject requests: opened with a deadline, identity verified, extended, places settled, exports recorded. Every
action is recorded together with who did it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.actors import Actor
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import Refused, UsageError
from airflow_mlsec.ledger import (
    Asset,
    AssetKind,
    Verb,
    require,
    rules_in_force,
)
from airflow_mlsec.register import Register, keeps_open
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._identity import Person, seal, subject_digest
from airflow_mlsec.subjects.requests._changes import (
    NOT_APPROVED,
    change,
    require_open,
    reseal,
    set_step,
    write_act,
)
from airflow_mlsec.subjects.requests._clocks import Calendar, Deadline, deadlines
from airflow_mlsec.subjects.requests._location import BY_HAND, is_at_work
from airflow_mlsec.subjects.requests._request import (
    NEEDS_NO_PROOF,
    NO_PLACES,
    Request,
    asset_of,
    get_request,
    history,
)


@keeps_open
def open_request(
    register: Register,
    keys: KeyRing,
    law: str,
    kind: str,
    person: Person,
    by: Actor,
    calendar: Calendar,
    received: datetime | None = None,
) -> Request:
    """Open a request; its deadline is counted from ``received`` (default: now).

    :raises UsageError: if the law has no such request.
    :raises Refused: if the actor may not handle requests.
    """
    who = require(register, by, Verb.HANDLE, _ALL).who
    received = received or datetime.now(UTC)
    due = _respond(deadlines(law, kind, received, calendar))
    values = {
        "law": law,
        "kind": kind,
        "subject_kind": person.kind,
        "subject_digest": subject_digest(keys, person.kind, person.keys[0]),
        "sealed": seal(keys, person),
        "status": "open",
        "identity": "unverified",
        "requested_at": _text(received),
        "requested_by": who,
        "due_at": _text(due.at),
        "extended": False,
    }

    def work(connection: sa.Connection) -> int:
        made = connection.execute(sa.insert(t.request).values(values).returning(t.request.c.id))
        identifier = int(made.scalar_one())
        opened = reasons.RequestOpened(law, kind, str(due.day), due.article)
        write_act(connection, identifier, register.now(), who, opened)
        return identifier

    return get_request(register, register.write(work))


def change_person(
    register: Register, keys: KeyRing, request: Request, person: Person, by: Actor, evidence: str
) -> Request:
    """Say more exactly who a request is about. What was computed, found and approved before belonged to
    somebody else, so the request starts over with locating. ``evidence`` says how it is known, without personal data.

    :raises Refused: if the actor may not handle requests, or something is being erased.
    """
    who = require(register, by, Verb.HANDLE, asset_of(request.id)).who
    values: dict[str, Any] = {"sealed": seal(keys, person), "status": "open", **NOT_APPROVED}
    # The identity that was verified may be somebody else's; so may the suppression entries.
    values |= {"identity": "unverified", "verified_by": None, "recipients": None}
    values["changed_by"] = who
    # So may the data that was handed over.
    values["exports"] = sa.null()
    digest = subject_digest(keys, person.kind, person.keys[0])
    values["subject_digest"] = digest

    def start_over(connection: sa.Connection, now: Request) -> None:
        s = t.request_step.c
        query = sa.select(s.name, s.status, s.changed_at, s.writer)
        rows = connection.execute(query.where(s.request_id == now.id, s.status == "erasing")).all()
        if at_work := [row.name for row in rows if is_at_work(row, register.now())]:
            raise Refused(
                f"request {now.id}: {at_work[0]} is being erased from; change the person when that has ended "
                "(mlsec subject erase resumes an erasure that was killed)"
            )
        mine = t.suppression.c.request_id == now.id
        connection.execute(sa.delete(t.suppression).where(mine))
        for step in now.steps:
            if step.kind == "recipient":
                continue
            if step.kind in NO_PLACES:
                continue  # locating does not visit it
            before = None
            if step.status in ("erased", "rectified"):
                before = reasons.WasBefore(step.status, step.rows or 0)
            why = reasons.AboutAnother(before)
            now_ = register.now()
            set_step(connection, now.id, step, who, now_, "unknown", [why], decided_by=None)

    changed = reasons.PersonChanged(evidence)
    return change(register, request.id, who, changed, values, seen=request, also=start_over)


def add_key(
    register: Register, keys: KeyRing, request: Request, person: Person, by: str
) -> Request:
    """Add another key of the same person to a request."""
    reseal(register, keys, request.id, lambda known, targets: (person, targets))
    return change(register, request.id, by, reasons.KeyAdded(), {})


@keeps_open
def verify_identity(
    register: Register,
    identifier: int,
    verified: bool,
    evidence: str,
    by: Actor,
    recipients: Sequence[str] = (),
) -> Request:
    """Record whether the requester is the person (GDPR Art. 12(6), 11 CCR § 7060), and how it was verified.

    ``evidence`` says how it was verified, for example "log-in with second factor"; it should
    hold no personal data. ``recipients`` are the age recipients that the verified person chose for the
    data; it is handed over to no others.

    :raises Refused: if the actor may not handle requests, or other recipients are bound to the request.
    """
    who = require(register, by, Verb.HANDLE, asset_of(identifier)).who
    if not evidence.strip():
        raise UsageError("say how the identity was verified, or why it could not be")
    state = "verified" if verified else "refused"
    seen = get_request(register, identifier)
    bound, wanted = seen.recipients, list(dict.fromkeys(recipients))
    if bound and wanted and sorted(bound) != sorted(wanted):
        raise Refused(
            f"request {identifier}: other recipients are bound to it; to change them, specify the person again (mlsec "
            "subject person), which starts over"
        )
    values: dict[str, Any] = {"identity": state, "verified_by": who, **NOT_APPROVED}
    values["recipients"] = wanted or list(bound)
    if not verified:
        # No more is done with it, so its deadline has nothing to stand still for.
        values |= {"status": "refused", "paused_on": None}

    def off_the_list(connection: sa.Connection, request: Request) -> None:
        if not verified and request.kind not in NEEDS_NO_PROOF:
            mine = t.suppression.c.request_id == request.id
            connection.execute(sa.delete(t.suppression).where(mine))

    reason = (reasons.IdentityVerified if verified else reasons.IdentityRefused)(evidence)
    change(register, identifier, who, reason, values, seen=seen, also=off_the_list)
    return _resume(register, identifier, who)


def _resume(register: Register, identifier: int, who: str) -> Request:
    """Let the deadline run again, if it stands still: as much later as the pause was long."""
    request = get_request(register, identifier)
    calendar = calendar_of(register)
    last = request.last_day(calendar.zone)
    if request.paused_on is None or last is None:
        return request
    now = calendar.day_of(datetime.fromisoformat(register.now()))
    days = (now - date.fromisoformat(request.paused_on)).days
    due = later_by_pauses(last, days, calendar)
    values = {"paused_on": None, "due_at": _text(calendar.end_of(due))}
    resumed = reasons.ClockResumed(str(due), days)
    return change(register, identifier, who, resumed, values, seen=request)


def pauses_of(register: Register, identifier: int) -> int:
    """For how many days the deadline of a request stood still; a pause that has not ended is not counted."""
    acts = history(register, identifier)
    return sum(x.days for act in acts for x in act.reasons if isinstance(x, reasons.ClockResumed))


def later_by_pauses(day: date, days: int, calendar: Calendar) -> date:
    """A last day that is as many days later; if that is no working day, the next one."""
    if not days:
        return day
    later = day + timedelta(days=days)
    while not calendar.is_working_day(later):
        later += timedelta(days=1)
    return later


def calendar_of(register: Register) -> Calendar:
    """The controller's calendar: the time zone of the rules in force, and the holidays of this process's settings."""
    settings = register.settings
    zone = rules_in_force(register).rules.time_zone
    return Calendar(zone, settings.holidays if settings is not None else "")


def extend(
    register: Register, identifier: int, reason: str, by: Actor, calendar: Calendar
) -> Request:
    """Use the law's longer period, once, and give the person the reason.

    :raises Refused: if the actor may not handle requests.
    :raises UsageError: if the request was extended before or is overdue, or no reason is given.
    """
    who = require(register, by, Verb.HANDLE, asset_of(identifier)).who
    request = get_request(register, identifier)
    if request.extended:
        raise UsageError(f"request {identifier} was extended before; the law allows it once")
    if not reason.strip():
        raise UsageError("an extension needs a reason, which the person is told")
    received = datetime.fromisoformat(request.requested_at)
    due = _respond(deadlines(request.law, request.kind, received, calendar, extended=True))
    if request.is_overdue(datetime.fromisoformat(register.now())):
        raise UsageError(
            f"request {identifier} was due {request.due_at}: it is too late to extend it"
        )
    # As much later as the deadline stood still: the period is extended, not begun anew.
    last = later_by_pauses(due.day, pauses_of(register, identifier), calendar)
    values = {"extended": True, "due_at": _text(calendar.end_of(last))}
    extended = reasons.RequestExtended(str(last), due.article, reason)
    return change(register, identifier, who, extended, values)


# The asset of all requests, used before a request exists.
_ALL = Asset(AssetKind.DEPLOYMENT, "requests")


def record_export(
    register: Register, identifier: int, export: Mapping[str, Any], by: str
) -> Request:
    """Record that the person's data was handed over: ``sha256``, ``recipients``, ``rows`` and ``at``."""

    def more(connection: sa.Connection, request: Request) -> Mapping[str, Any]:
        del connection
        return {"exports": [*request.exports, dict(export)]}

    rows = sum(export["rows"].values())
    exported = reasons.DataExported(rows, len(export["rows"]), export["sha256"][:16])
    return change(register, identifier, by, exported, {}, also=more)


def not_handed_over(request: Request) -> list[str]:
    """Places in which the person was found, but whose rows are in no export and which no letter explains."""
    told: dict[str, int] = {}
    for export in request.exports:
        for name, rows in {**export.get("found", {}), **export["rows"]}.items():
            told[name] = max(told.get(name, 0), rows or 0)
        for name, rows in export.get("left_out_as_likeness", {}).items():
            told[name] = max(told.get(name, 0), rows or 0)
    found = (s for s in request.steps if s.status == "found" and s.kind not in NO_PLACES)
    return [s.name for s in found if s.name not in told or (s.rows or 0) > told[s.name]]


@keeps_open
def settle(
    register: Register, identifier: int, name: str, status: str, reason: str, by: Actor
) -> Request:
    """Settle one place by a person's decision: ``none``, ``rebuilt``, ``retained`` (with the legal
    reason) or ``manual`` (done by hand).

    :raises UsageError: if the request has no such place, or no reason is given.
    :raises Refused: if the actor may not decide about places, or the place is being erased from.
    """
    who = require(register, by, Verb.SETTLE, asset_of(identifier)).who
    if status not in BY_HAND:
        raise UsageError(f"a place is settled by hand as one of {', '.join(BY_HAND)}")
    if not reason.strip():
        raise UsageError("say why: an auditor will ask")
    request = require_open(get_request(register, identifier))
    fitting = [s for s in request.steps if s.name == name or s.name.endswith(f"/{name}")]
    if len(fitting) != 1:
        names = ", ".join(step.name for step in request.open_steps())
        raise UsageError(
            f"'{name}' names {len(fitting)} places of request {identifier}; open are: {names}"
        )
    step = fitting[0]
    s = t.request_step.c

    def work(connection: sa.Connection) -> None:
        query = sa.select(s.status, s.changed_at, s.writer).where(s.id == step.id)
        now = connection.execute(query.with_for_update()).one()
        if now.status == "erasing" and is_at_work(now, register.now()):
            raise Refused(
                f"{step.name} is being erased from: decide about it when that has ended (mlsec subject erase resumes an "
                "erasure that was killed)"
            )
        why = reasons.SettledByHand(reason, str(by))
        given = (identifier, step, who, register.now())
        set_step(connection, *given, status, [why], decided_by=who)

    register.write(work)
    return get_request(register, identifier)


def _respond(found: list[Deadline]) -> Deadline:
    return next(deadline for deadline in found if deadline.step == "respond")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
