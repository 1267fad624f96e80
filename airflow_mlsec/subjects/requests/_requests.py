"""Data-subject requests: opened with a clock, identity verified, places settled, closed with a
receipt. Everything that is done with one is written down, with who did it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from airflow_mlsec.actors import Actor, keys_of
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import ChangedMeanwhile, CheckFailed, Refused, UsageError
from airflow_mlsec.ledger import (
    Asset,
    AssetKind,
    Question,
    Reason,
    Rules,
    Verb,
    Words,
    condition,
    require,
)
from airflow_mlsec.processes import has_ended
from airflow_mlsec.register import Register, keeps_open, requests_did_more, upsert
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._identity import Person, Targets, seal, subject_digest, unseal
from airflow_mlsec.subjects.requests._clocks import Calendar, Deadline, deadlines
from airflow_mlsec.subjects.search._airflow import AIRFLOW
from airflow_mlsec.subjects.search._copies import COPIES
from airflow_mlsec.subjects.search._finding import Finding
from airflow_mlsec.subjects.search._locate import Location
from airflow_mlsec.subjects.search._scan import ROOT

# What a step may be when its request is closed.
SETTLED = (
    "none",
    "none by scan",
    "same",
    "beyond reach",
    "erased",
    "rectified",
    "rebuilt",
    "retained",
    "manual",
    "notified",
)
ERASING = ("erasure", "delete")
CORRECTING = ("rectification", "correct")
RESTRICTING = ("restriction", "objection", "opt-out", "limit")
# The requester need not show who they are (11 CCR § 7060(b)).
NEEDS_NO_PROOF = ("opt-out", "limit")
# These hand the data over and change nothing.
ANSWERING = ("access", "portability", "know")
# What a database's integer holds.
_NUMBERS = 2**63
_BY_HAND = ("none", "rebuilt", "retained", "manual")


class Because(StrEnum):
    """Why a place is in its state, where what happens next depends on it. Its words for people are `Step.detail`."""

    HOLD = "legal hold"
    LAW = "duty to keep"
    MENTIONS = "only mentions"
    NOT_REMOVED = "not removed"
    WAITS = "waits"
    NOT_RECTIFIED = "not rectified"
    TO_BE_MADE_ANEW = "to be made anew"
    STILL_NAMED = "still named"


@dataclass(frozen=True)
class Step:
    """What became of the person's data in one place; a row of the coverage ledger."""

    id: int
    kind: str
    name: str
    dataset_id: int | None
    status: str
    rows: int | None
    locator: str
    detail: Words
    attempts: int
    changed_at: str
    decided_by: str | None = None
    # The columns by which the person is found there.
    columns: tuple[str, ...] = ()
    # Whether some of it was found by likeness alone, and nobody has confirmed it.
    likeness: bool = False
    # The last run that the register knew when it last changed.
    after_run: int | None = None
    because: Because | None = None
    # Whether free text names the person there.
    free_text: bool = False


@dataclass(frozen=True)
class Request:
    """A request as the register keeps it; it does not say who the person is."""

    id: int
    law: str
    kind: str
    subject_kind: str
    subject_digest: str
    status: str
    identity: str
    requested_at: str
    due_at: str | None
    extended: bool
    approved_by: str | None
    closed_at: str | None
    receipt: dict[str, Any] | None
    steps: tuple[Step, ...]
    opened_by: str | None = None
    verified_by: str | None = None
    recipients: tuple[str, ...] = ()
    exports: tuple[dict[str, Any], ...] = ()
    # What was approved: rows by place, and the places that were not.
    approved: Mapping[str, Any] | None = None
    four_eyes: bool | None = None
    changed_by: str | None = None
    # How often it was changed.
    version: int = 0

    def open_steps(self) -> list[Step]:
        """Steps that keep the request open."""
        # Where nothing is to be changed it is enough to know what is there.
        left_as_it_is = self.kind in (*ANSWERING, *CORRECTING)
        fine = (*SETTLED, "found") if left_as_it_is else SETTLED
        return [step for step in self.steps if step.status not in fine]

    def last_day(self, time_zone: str) -> date | None:
        """The last day on which it can be answered in time; ``due_at`` is when that has ended."""
        if self.due_at is None:
            return None
        due = datetime.fromisoformat(self.due_at) - timedelta(microseconds=1)
        return due.astimezone(ZoneInfo(time_zone)).date()

    def is_overdue(self, now: datetime) -> bool:
        """Whether the answer's deadline has passed and it is not closed."""
        late = self.due_at is not None and datetime.fromisoformat(self.due_at) <= now
        return late and self.closed_at is None


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
    """Open a request; its clock runs from ``received`` (default: now).

    :raises UsageError: if the law knows no such request.
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
        _note(
            connection,
            identifier,
            register.now(),
            who,
            f"opened: {law} {kind}, due {due.day} ({due.article})",
            acted=True,
        )
        return identifier

    return get_request(register, register.write(work))


def get_request(register: Register, identifier: int) -> Request:
    """A request with its ledger.

    :raises UsageError: if there is none of this number.
    """
    return register.read(lambda connection: read_request(connection, identifier))


def read_request(connection: sa.Connection, identifier: int) -> Request:
    """`get_request` within a transaction."""
    if not 0 < identifier < _NUMBERS:
        raise UsageError("there is no request of this number; `mlsec subject list` shows all")
    found = _read(connection, t.request.c.id == identifier)
    if not found:
        raise UsageError(f"there is no request {identifier}; `mlsec subject list` shows all")
    return found[0]


def list_requests(register: Register, only_open: bool = False) -> list[Request]:
    """All requests, the most urgent first."""
    where = t.request.c.closed_at.is_(None) if only_open else sa.true()
    return register.read(lambda connection: _read(connection, where))


def _read(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[Request]:
    r, s = t.request.c, t.request_step.c
    chosen = sa.and_(where, r.kind != "locate")
    query = sa.select(t.request).where(chosen).order_by(r.due_at, r.id)
    requests = list(connection.execute(query))
    steps: dict[int, list[Step]] = {row.id: [] for row in requests}
    of_chosen = sa.select(t.request_step).join(t.request, r.id == s.request_id).where(chosen)
    for x in connection.execute(of_chosen.order_by(s.id)):
        steps[x.request_id].append(
            Step(x.id, x.kind, x.name, x.dataset_id, x.status, x.rows, x.locator, Words(x.detail), x.attempts,
                 x.changed_at, x.decided_by, tuple(x.columns or ()), bool(x.likeness), x.after_run,
                 Because(x.because) if x.because else None, bool(x.free_text))
        )  # fmt: skip
    return [
        Request(
            x.id, x.law, x.kind, x.subject_kind, x.subject_digest, x.status, x.identity,
            x.requested_at, x.due_at, bool(x.extended), x.approved_by, x.closed_at, x.receipt,
            tuple(steps[x.id]), x.requested_by, x.verified_by, tuple(x.recipients or ()),
            tuple(x.exports or ()), x.approved, x.four_eyes, x.changed_by, x.version,
        )
        for x in requests
    ]  # fmt: skip


def person_of(register: Register, keys: KeyRing, request: Request) -> Person:
    """Who a request is about.

    :raises UsageError: if it was closed: then nobody needs to know any more.
    """
    return _unsealed(register, keys, request)[0]


def targets_of(register: Register, keys: KeyRing, request: Request) -> Targets | None:
    """What an erasure has worked out to erase; None before it has, and after the request closed."""
    return None if request.closed_at else _unsealed(register, keys, request)[1]


def _unsealed(register: Register, keys: KeyRing, request: Request) -> tuple[Person, Targets | None]:
    query = sa.select(t.request.c.sealed).where(t.request.c.id == request.id)
    [row] = register.rows(query)
    if row.sealed is None:
        raise UsageError(f"request {request.id} is closed, and whom it was about is erased")
    # An erasure seals what it is to erase beside the keys.
    return unseal(keys, request.subject_kind, bytes(row.sealed))


def change_person(
    register: Register, keys: KeyRing, request: Request, person: Person, by: Actor, what: str
) -> Request:
    """Say more exactly who a request is about. What was worked out, found and approved before was of
    somebody else: it starts over with locating.

    :raises Refused: if the actor may not handle requests, or something is being erased.
    """
    who = require(register, by, Verb.HANDLE, asset_of(request.id)).who
    values: dict[str, Any] = {"sealed": seal(keys, person), "status": "open", **NOT_APPROVED}
    # Whose identity was verified was perhaps somebody else's, and so was who is on the list.
    values |= {"identity": "unverified", "verified_by": None, "recipients": None}
    values["changed_by"] = who
    # So was what was handed over.
    values["exports"] = sa.null()
    digest = subject_digest(keys, person.kind, person.keys[0])
    values["subject_digest"] = digest

    def start_over(connection: sa.Connection, now: Request) -> None:
        s = t.request_step.c
        query = sa.select(s.name, s.status, s.changed_at, s.writer)
        rows = connection.execute(query.where(s.request_id == now.id, s.status == "erasing")).all()
        if at_work := [row.name for row in rows if is_at_work(row, register.now())]:
            raise Refused(
                f"request {now.id}: {at_work[0]} is being erased from; say who it is about when that has ended "
                "(mlsec subject erase takes up what was killed)"
            )
        mine = t.suppression.c.request_id == now.id
        connection.execute(sa.delete(t.suppression).where(mine))
        for step in now.steps:
            if step.kind == "recipient":
                continue
            if step.kind in NO_PLACES:
                continue  # looking does not come by it
            detail = "who it is about was said otherwise: look again"
            if step.status in ("erased", "rectified"):
                detail += f" (before that: {step.status}, {step.rows or 0} rows found)"
            set_step(
                connection,
                step.id,
                register.now(),
                status="unknown",
                detail=detail,
                decided_by=None,
            )

    given = (register, request.id, who, what, values)
    return change(*given, acted=True, seen=request, also=start_over)


def add_key(
    register: Register, keys: KeyRing, request: Request, person: Person, by: str
) -> Request:
    """Keep another key of the same person with a request."""
    what = "another key of the person"
    reseal(register, keys, request.id, lambda known, targets: (person, targets))
    return change(register, request.id, by, what, {})


def reseal(
    register: Register,
    keys: KeyRing,
    identifier: int,
    changed: Callable[[Person, Targets | None], tuple[Person, Targets | None]],
) -> None:
    """Change what is sealed with a request: the person, and what an erasure has worked out. One at a time: places
    are dealt with side by side."""
    r = t.request.c

    def work(connection: sa.Connection) -> None:
        query = sa.select(r.sealed, r.subject_kind).where(r.id == identifier, r.sealed.is_not(None))
        row = connection.execute(query.with_for_update()).first()
        if row is None:
            raise UsageError(f"request {identifier} is closed, and whom it was about is erased")
        now = seal(keys, *changed(*unseal(keys, row.subject_kind, bytes(row.sealed))))
        connection.execute(sa.update(t.request).where(r.id == identifier).values(sealed=now))

    register.write(work)


@keeps_open
def verify_identity(
    register: Register,
    identifier: int,
    verified: bool,
    evidence: str,
    by: Actor,
    recipients: Sequence[str] = (),
) -> Request:
    """Record whether the requester is the person (GDPR Art. 12(6), 11 CCR § 7060), and by what.

    ``evidence`` says how it was verified, for example "log-in with second factor"; it should
    hold no personal data. ``recipients`` are the age recipients to which the verified person wants the
    data; it is handed to no others.

    :raises Refused: if the actor may not handle requests, or other recipients are bound to it.
    """
    who = require(register, by, Verb.HANDLE, asset_of(identifier)).who
    if not evidence.strip():
        raise UsageError("say how the identity was verified, or why it could not be")
    state = "verified" if verified else "refused"
    seen = get_request(register, identifier)
    bound, wanted = seen.recipients, list(dict.fromkeys(recipients))
    if bound and wanted and sorted(bound) != sorted(wanted):
        raise Refused(
            f"request {identifier}: other recipients are bound to it; for others say anew who it is about (mlsec subject "
            "person), which starts over"
        )
    values: dict[str, Any] = {"identity": state, "verified_by": who, **NOT_APPROVED}
    values["recipients"] = wanted or list(bound)
    if not verified:
        values["status"] = "refused"

    def off_the_list(connection: sa.Connection, request: Request) -> None:
        if not verified and request.kind not in NEEDS_NO_PROOF:
            mine = t.suppression.c.request_id == request.id
            connection.execute(sa.delete(t.suppression).where(mine))

    what = f"identity {state}: {evidence}"
    given = (register, identifier, who, what, values)
    return change(*given, acted=True, seen=seen, also=off_the_list)


def extend(
    register: Register, identifier: int, reason: str, by: Actor, calendar: Calendar
) -> Request:
    """Use the law's longer period, once, for a reason that the person is told.

    :raises Refused: if the actor may not handle requests.
    :raises UsageError: if it was extended before or is overdue, or no reason is given.
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
    values = {"extended": True, "due_at": _text(due.at)}
    return change(
        register, identifier, who, f"extended to {due.day} ({due.article}): {reason}", values
    )


def record_location(
    register: Register, identifier: int, location: Location, by: str, seen: Request | None = None
) -> Request:
    """Write what was found into the ledger. A place that is settled stays so, unless the person
    was found there again.

    :param seen: The request whose person was looked for.
    :raises ChangedMeanwhile: if it was changed since: what was found may be another's.
    """
    r = t.request.c

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.select(r.id).where(r.id == identifier).with_for_update())
        request = _open(read_request(connection, identifier))
        if seen is not None:
            require_unchanged(request, seen)
        known = {(step.kind, step.name): step for step in request.steps}
        by_dataset = {(step.dataset_id, step.name): step for step in request.steps}
        for finding in location.findings:
            before = known.get((finding.kind, finding.dataset))
            if before is None and finding.dataset_id is not None:
                before = by_dataset.get((finding.dataset_id, finding.dataset))
            if before is None or _changes(request, before, finding):
                write_step(connection, identifier, finding, register.now())
        found = sum(finding.status == "found" for finding in location.findings)
        _note(
            connection,
            identifier,
            register.now(),
            by,
            f"located: found in {found} of {len(location.findings)} places",
        )
        update = sa.update(t.request).where(t.request.c.id == identifier)
        if request.status == "open":
            connection.execute(update.values(status="located"))
        if beyond := beyond_approval(read_request(connection, identifier)):
            connection.execute(update.values(status="located", **NOT_APPROVED))
            what = f"the approval does not cover what was found since: {', '.join(beyond)}; approve again"
            _note(connection, identifier, register.now(), by, what)

    register.write(work)
    return get_request(register, identifier)


def is_at_work(row: Any, now: str) -> bool:
    """Whether the process that erases from a place may still live."""
    if row.writer is not None and has_ended(row.writer):
        return False
    return datetime.fromisoformat(row.changed_at) > datetime.fromisoformat(now) - _AT_WORK


def _changes(request: Request, step: Step, finding: Finding) -> bool:
    if step.status == "erasing":
        return False  # who is at it says what became of it; what was killed is taken up
    # With its last rows its last object has gone, or the second look has read what a scan had no budget for.
    if (finding.absent or finding.beside) and step.status == "erased":
        return False
    if request.kind in RESTRICTING and step.status == "retained" and step.decided_by is None:
        return finding.status == "none"  # nothing stays stored that is not there
    if step.status == "failed" and step.because is Because.NOT_RECTIFIED:
        return False  # that it can be found does not put it right
    if step.status == "none" and finding.status == "none":
        return False  # since when it has not been there stays known
    if finding.kind == ROOT and step.status in _BY_HAND:
        # What somebody decided was of other files than these.
        return finding.status == "unknown" and finding.locator != step.locator
    if step.status in ("retained", "manual", "rectified", "rebuilt"):
        return False
    # What waits to be made anew is settled by lineage, or by a person.
    if step.because is Because.TO_BE_MADE_ANEW:
        return finding.status == "none"
    if finding.status not in ("none", "none by scan"):
        return True
    # What was erased, or is being, or could not be to its end, is not made "none" by not being found any
    # more: the ledger would forget that it was there, and bytes may be left.
    if step.status == "failed" and step.attempts:
        return step.because is Because.NOT_REMOVED
    # What a second look found is for a person, or erasure.
    left = step.because is Because.STILL_NAMED
    return step.status not in ("erased", "rebuilt", "erasing") and not left


def require_ready(request: Request, kinds: tuple[str, ...]) -> None:
    """:raises Refused: if the request asks for something else, is over, or the requester's identity
    is not verified where it must be.
    :raises CheckFailed: if nobody has looked where the person's data is.
    """
    if request.kind not in kinds:
        raise Refused(f"request {request.id} asks for {request.kind}, not for {' or '.join(kinds)}")
    if request.closed_at is not None:
        raise Refused(f"request {request.id} is closed")
    if request.identity != "verified" and request.kind not in NEEDS_NO_PROOF:
        raise Refused(
            f"request {request.id}: the requester's identity is {request.identity}; verify it first"
        )
    if not request.steps:
        raise CheckFailed(f"request {request.id}: locate the person's data first")


@keeps_open
def approve(
    register: Register,
    identifier: int,
    by: Actor,
    rules: Rules | None = None,
    named: Collection[str] = (),
) -> Request:
    """A person allows what a request asks for, in the places of its ledger as they are now: with other
    places, more rows, or rows that are found otherwise, it has to be allowed again.

    :param named: Places that only other programs' lineage names and that are allowed as well (by name, or
        ``"*"`` for all): none of them is by allowing the rest.
    :param rules: The rules that the caller asks for, if others than those of its settings.
    :raises Refused: if the identity is not verified, nobody has looked where the data is, the actor may not approve,
        or somebody else has to (`Rules.four_eyes`).
    """
    request = _open(get_request(register, identifier))
    if request.identity != "verified":
        raise Refused(
            f"request {identifier}: the requester's identity is {request.identity}; verify it first"
        )
    if not request.steps:
        raise Refused(f"request {identifier}: locate the person's data before it is approved")
    permission = require(register, by, Verb.APPROVE, asset_of(identifier), rules)
    who = permission.who
    other = not permission.keys & _acted(register, request)
    foreign = _foreign(register, request)
    named = {"*" if name == "*" else _named_place(request, name) for name in named}
    excluded = {name for name in foreign if name not in named and "*" not in named}
    approved: dict[str, Any] = {
        "places": {s.name: s.rows for s in request.steps if s.name not in excluded},
        "columns": {s.name: list(s.columns) for s in request.steps if s.name not in excluded},
        "excluded": sorted(excluded),
    }
    values = {
        "approved_by": who,
        "approved": approved,
        "four_eyes": other,
        "status": "approved",
    }
    what = f"approved: {len(approved['places'])} places, digest {approval_digest(approved)[:16]}"
    if excluded:
        what += (
            f"; not those that only other programs' lineage names: {', '.join(sorted(excluded))}"
        )
    # Who has acted was asked after it was read: whoever acts changes it.
    return change(register, identifier, who, what, values, seen=request)


class FourEyes(
    Reason,
    en="request {request} was opened, verified or changed by {actor}: somebody else has to approve it "
    "([mlsec] four_eyes = {rule})",
    de="Antrag {request} wurde von {actor} eröffnet, geprüft oder geändert: jemand anders muss ihn genehmigen "
    "([mlsec] four_eyes = {rule})",
):
    """Who has acted for a request would approve it."""

    request: int
    actor: str
    rule: str


@condition(Verb.APPROVE)
def four_eyes(question: Question) -> Reason | None:
    """Whoever opened a request, verified whose it is, or said which rows are the person's, does not approve it."""
    asset, rules = question.permission.asset, question.rules
    if asset.kind is not AssetKind.REQUEST:
        return None
    request = get_request(question.register, int(asset.name))
    if not rules.needs_four_eyes(request.kind in ERASING):
        return None
    if not question.permission.keys & _acted(question.register, request):
        return None
    return FourEyes(request.id, str(question.permission.actor), rules.four_eyes)


def _acted(register: Register, request: Request) -> set[str]:
    """Who opened a request, verified whose it is, or said which rows are the person's; also those whom a later one
    has taken the place of."""
    e = t.request_entry.c
    query = sa.select(e.by).where(e.request_id == request.id, e.acted.is_(True)).distinct()
    acted = [request.opened_by, request.verified_by, request.changed_by]
    acted += [row.by for row in register.rows(query)]
    return {key for who in acted if who for key in keys_of(who)}


# Of requests, before there is one.
_ALL = Asset(AssetKind.DEPLOYMENT, "requests")


def asset_of(identifier: int) -> Asset:
    """A request, as the ledger names it."""
    return Asset(AssetKind.REQUEST, str(identifier))


def _named_place(request: Request, name: str) -> str:
    """The place of a request that is called so, or whose name ends so."""
    fitting = [s.name for s in request.steps if s.name == name]
    fitting = fitting or [s.name for s in request.steps if s.name.endswith(f"/{name}")]
    if len(set(fitting)) != 1:
        raise UsageError(f"'{name}' names {len(set(fitting))} places of request {request.id}")
    return fitting[0]


NOT_APPROVED: dict[str, Any] = {"approved_by": None, "approved": sa.null(), "four_eyes": None}


def approval_digest(approved: Mapping[str, Any]) -> str:
    """SHA-256 of what was approved."""
    text = json.dumps(approved, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def beyond_approval(request: Request) -> list[str]:
    """Places that were found since a request was approved, or with more rows; the approval does not cover
    them."""
    if request.approved is None:
        return []
    places = request.approved["places"]
    beyond = []
    for step in request.steps:
        if step.kind in NO_PLACES or step.name in request.approved["excluded"]:
            continue
        if step.status == "found" and (
            step.name not in places or (step.rows or 0) > (places[step.name] or 0)
        ):
            beyond.append(step.name)
    return beyond


# Steps that are about no file or table.
NO_PLACES = ("recipient", "vault", ROOT, COPIES)
NO_FILES = (*NO_PLACES, AIRFLOW)


def covers(request: Request, step: Step) -> bool:
    """Whether the approval is of this place."""
    return request.approved is not None and step.name in request.approved["places"]


def take_back(register: Register, identifier: int, why: str, by: str) -> None:
    """An approval does not cover what is there: it has to be given again.

    :raises Refused: always.
    """
    what = f"the approval does not cover {why}; approve again"
    change(register, identifier, by, what, {"status": "located", **NOT_APPROVED})
    raise Refused(f"request {identifier}: {what}")


def _foreign(register: Register, request: Request) -> set[str]:
    """Places of a request of which no operator of ours has said where they are."""
    identifiers = [step.dataset_id for step in request.steps if step.dataset_id is not None]
    d = t.dataset.c
    query = sa.select(d.id).where(d.id.in_(identifiers), d.uri.is_(None))
    found = {row.id for row in register.rows(query)}
    return {step.name for step in request.steps if step.dataset_id in found}


def record_export(
    register: Register, identifier: int, export: Mapping[str, Any], by: str
) -> Request:
    """Keep that the person's data was handed over: ``sha256``, ``recipients``, ``rows`` and ``at``."""

    def more(connection: sa.Connection, request: Request) -> Mapping[str, Any]:
        del connection
        return {"exports": [*request.exports, dict(export)]}

    rows = sum(export["rows"].values())
    what = f"exported {rows} rows of {len(export['rows'])} places, sha256 {export['sha256'][:16]}"
    return change(register, identifier, by, what, {}, also=more)


def not_handed_over(request: Request) -> list[str]:
    """Places in which the person was found, and of which no export has the rows and no letter the reason."""
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
    """A person decides about one place: ``none``, ``rebuilt``, ``retained`` (with the legal reason)
    or ``manual`` (done by hand).

    :raises UsageError: if the request has no such place, or no reason is given.
    :raises Refused: if the actor may not decide about places, or it is being erased from.
    """
    who = require(register, by, Verb.SETTLE, asset_of(identifier)).who
    if status not in _BY_HAND:
        raise UsageError(f"a place is settled by hand as one of {', '.join(_BY_HAND)}")
    if not reason.strip():
        raise UsageError("say why: an auditor will ask")
    request = _open(get_request(register, identifier))
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
                f"{step.name} is being erased from: what becomes of it can be decided when that has ended (what was killed is "
                "taken up by mlsec subject erase)"
            )
        set_step(
            connection,
            step.id,
            register.now(),
            status=status,
            detail=f"{reason} ({by})",
            decided_by=who,
        )
        what = f"{step.name}: {status}: {reason}"
        _note(connection, identifier, register.now(), who, what)

    register.write(work)
    return get_request(register, identifier)


# --- what the other modules of this package write


def change(
    register: Register,
    identifier: int,
    by: str,
    what: str,
    values: dict[str, Any],
    acted: bool = False,
    seen: Request | None = None,
    also: Callable[[sa.Connection, Request], Mapping[str, Any] | None] = lambda c, request: None,
) -> Request:
    """Change a request that is not closed, and note it; ``acted`` if it says whose request it is, or which rows
    are the person's.

    :param seen: The request by which it was decided.
    :param also: Done in the same transaction, with the request as it is; may give further values.
    :raises ChangedMeanwhile: if somebody else has changed it since it was ``seen``.
    """
    r = t.request.c

    def work(connection: sa.Connection) -> None:
        # One at a time: on PostgreSQL transactions run side by side.
        connection.execute(sa.select(r.id).where(r.id == identifier).with_for_update())
        request = _open(read_request(connection, identifier))
        if seen is not None:
            require_unchanged(request, seen)
        more = also(connection, request) or {}
        given = {**values, **more, "version": request.version + 1}
        connection.execute(sa.update(t.request).where(r.id == identifier).values(given))
        _note(connection, identifier, register.now(), by, what, acted)

    register.write(work)
    return get_request(register, identifier)


def require_unchanged(request: Request, seen: Request) -> None:
    """:raises ChangedMeanwhile: if a request is not the one any more that was ``seen``."""
    if request.version != seen.version:
        raise ChangedMeanwhile(
            f"request {request.id} was changed by somebody else meanwhile; look at it again"
        )


def note(register: Register, identifier: int, by: str, what: str) -> None:
    """Write down that something was done."""
    register.write(lambda c: _note(c, identifier, register.now(), by, what))


# How long a place that is being erased from is somebody's, if nobody says that it has ended.
_AT_WORK = timedelta(hours=1)
_LAST_RUN = sa.select(sa.func.max(t.run.c.id))


def write_step(
    connection: sa.Connection, identifier: int, finding: Finding, now: str, status: str = ""
) -> None:
    """A finding as a step of the ledger, in its own status or another."""

    detail = finding.evidence + (f"; {finding.searched}" if finding.searched else "")
    values = {
        "status": status or finding.status,
        "rows": finding.rows,
        "locator": finding.locator,
        "detail": detail,
        "changed_at": now,
        "dataset_id": finding.dataset_id,
        "decided_by": None,
        "columns": list(finding.columns),
        "likeness": finding.likeness,
        "free_text": finding.free_text,
        "because": None,
        "after_run": connection.execute(_LAST_RUN).scalar_one(),
    }
    key = {"request_id": identifier, "kind": finding.kind, "name": finding.dataset}
    if finding.dataset_id is not None:
        # What a dataset is taken for may have changed: it is one place all the same.
        s = t.request_step.c
        mine = sa.and_(
            s.request_id == identifier,
            s.dataset_id == finding.dataset_id,
            s.name == finding.dataset,
        )
        kinds = list(connection.execute(sa.select(s.kind).where(mine)).scalars())
        # An earlier version made a step of each kind that it was taken for.
        if finding.kind in kinds:
            connection.execute(sa.delete(t.request_step).where(mine, s.kind != finding.kind))
        elif kinds:
            connection.execute(sa.delete(t.request_step).where(mine, s.kind != kinds[-1]))
            connection.execute(sa.update(t.request_step).where(mine).values(kind=finding.kind))
    upsert(connection, t.request_step, key, values, {"attempts": 0})


def set_step(connection: sa.Connection, step: int, now: str, **values: Any) -> None:
    """Change one step. What is said anew of it is said with its own `Because`, or none."""
    if "detail" in values:
        values.setdefault("because", None)
    if values.get("status") == "rectified":
        requests_did_more(connection)
    update = sa.update(t.request_step).where(t.request_step.c.id == step)
    after_run = _LAST_RUN.scalar_subquery()
    connection.execute(update.values(**values, changed_at=now, after_run=after_run))


def history(register: Register, identifier: int) -> list[tuple[str, str, str]]:
    """(when, by whom, what) of everything that was done with a request."""
    e = t.request_entry.c
    query = sa.select(e.at, e.by, e.what).where(e.request_id == identifier).order_by(e.id)
    return [(row.at, row.by, row.what) for row in register.rows(query)]


def _note(
    connection: sa.Connection, identifier: int, at: str, by: str, what: str, acted: bool = False
) -> None:
    values = {"request_id": identifier, "at": at, "by": by, "what": what, "acted": acted}
    connection.execute(sa.insert(t.request_entry).values(values))


def _open(request: Request) -> Request:
    if request.closed_at is not None:
        raise UsageError(f"request {request.id} was closed {request.closed_at[:19]}")
    if request.status == "refused":
        raise UsageError(f"request {request.id} was refused")
    return request


def _respond(found: list[Deadline]) -> Deadline:
    return next(deadline for deadline in found if deadline.step == "respond")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
