"""Writing a letter for a request, and recording that it was written and that it was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from airflow_mlsec.actors import Actor
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.ledger import Verb, require
from airflow_mlsec.policy import Controller
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects.letters._letters import About, Letter, Letters
from airflow_mlsec.subjects.letters._places import Labels, Named, controllers_of, why_kept
from airflow_mlsec.subjects.requests._changes import change, note
from airflow_mlsec.subjects.requests._clocks import Calendar, deadlines
from airflow_mlsec.subjects.requests._request import (
    CORRECTING,
    ERASING,
    NEEDS_NO_PROOF,
    RESTRICTING,
    Request,
    Step,
    asset_of,
    get_request,
    history,
)
from airflow_mlsec.subjects.requests._requests import calendar_of, later_by_pauses, pauses_of
from airflow_mlsec.subjects.search._copies import COPIES
from airflow_mlsec.subjects.search._places import Place, find_places

KINDS = (
    "acknowledgement", "identity", "extension", "fee", "refusal", "completion", "lifting",
)  # fmt: skip
# What somebody has to say for a letter of each kind, beyond what is known.
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "identity": ("reason", "needed"),
    "fee": ("reason", "ground", "amount"),
    "refusal": ("reason", "ground"),
    "lifting": ("reason", "on"),
}
_GROUNDS: Mapping[str, tuple[str, ...]] = {
    "fee": ("unfounded", "excessive"),
    "refusal": ("identity", "unfounded", "excessive", "other"),
    "completion": ("a", "b", "c", "d"),
}
# By a program, or by a person.
_TOLD = ("notified", "manual")
_RESTRICTED = ("restricted", "closed")
_DONE = ("erased", "rectified", "rebuilt")
# What a person has settled: by hand, or because nothing is there.
_BY_HAND = ("manual", "none")


@dataclass(frozen=True)
class Details:
    """What the writer of a letter says: the person reads it.

    :ivar ground: Of a fee or refusal: ``unfounded``, ``excessive``, ``identity`` or ``other``; of a restriction, the
        letter of GDPR Art. 18(1).
    :ivar on: When a restriction will be lifted.
    """

    reason: str | None = None
    needed: str | None = None
    ground: str | None = None
    amount: str | None = None
    channel: str | None = None
    on: date | None = None


def write_letter(
    register: Register,
    letters: Letters,
    identifier: int,
    kind: str,
    language: str,
    by: Actor,
    details: Details = Details(),
    controller: str | None = None,
) -> Letter:
    """Write a letter about a request, and record that it exists. It names nobody but the controller.

    :param controller: Which of several controllers writes; by default the one that the policies of this kind of
        subject name.
    :raises Refused: if the actor may not handle requests.
    :raises UsageError: if there is no such letter, or something is missing that only its writer can say.
    :raises CheckFailed: if what the letter would say is not so (yet).
    """
    who = require(register, by, Verb.HANDLE, asset_of(identifier)).who
    if kind not in KINDS:
        raise UsageError(f"letters are {', '.join(KINDS)}; not '{kind}'")
    request = get_request(register, identifier)
    calendar = calendar_of(register)
    today = calendar.day_of(datetime.fromisoformat(register.now()))
    _require(register, request, kind, details, today)
    places = _places(register, request)
    policies = [place.policy for place in places if place.policy]
    who_writes = _controllers(letters, policies, controller)
    facts: dict[str, Any] = {
        "reason": details.reason, "needed": details.needed, "ground": details.ground, "amount": details.amount,
        "channel": details.channel, "on": details.on,
    }  # fmt: skip
    template = kind
    last = request.last_day(calendar.zone)
    if kind == "extension":
        facts["reason"] = details.reason or _reason_of_extension(register, identifier)
        facts["first_due"] = first_due(register, request, calendar)
    elif kind == "identity":
        # Later, nothing stands still any more.
        facts["pauses"] = request.law == "gdpr" and last is not None and today <= last
    elif kind == "completion":
        template = _completion(request)
        corrected = letters_of(register, identifier, reasons.DataRectified)
        facts |= _outcome(request, places, language, letters, corrected)
        facts["checked"] = _day_of(request.closed_at, calendar)
        facts["since"] = _day_of(_restricted_at(register, identifier), calendar)
    written = letters.write(
        template, language, about(request, calendar), who_writes, today, **facts
    )
    announced = None if details.on is None else str(details.on)
    told = reasons.LetterWritten(kind, language, written.sha256, written.missing, announced)
    note(register, identifier, who, told)
    return written


def about(request: Request, calendar: Calendar) -> About:
    """What a letter says of its request; dates are those of the controller's time zone."""
    received = calendar.day_of(datetime.fromisoformat(request.requested_at))
    return About(request.law, request.kind, request.id, received, request.last_day(calendar.zone))


def mark_sent(
    register: Register, identifier: int, kind: str, day: date, channel: str, by: Actor
) -> Request:
    """Record that a letter was sent. When the identity is asked for under GDPR, the deadline stands still from that day
    until the identity is settled (Art. 12(6); EDPB Guidelines 01/2022).

    :raises Refused: if the actor may not handle requests.
    :raises UsageError: if no such letter was written, or the day is in the future or before the request.
    """
    who = require(register, by, Verb.HANDLE, asset_of(identifier)).who
    request = get_request(register, identifier)
    if not channel.strip():
        raise UsageError("say how it was sent (--by-channel)")
    calendar = calendar_of(register)
    now = calendar.day_of(datetime.fromisoformat(register.now()))
    received = calendar.day_of(datetime.fromisoformat(request.requested_at))
    if not received <= day <= now:
        raise UsageError(f"a letter about request {identifier} was sent between {received} and {now}, not {day}")  # fmt: skip
    known = {r.letter for r in letters_of(register, identifier, reasons.LetterWritten)}
    if kind not in known:
        raise UsageError(
            f"request {identifier}: no letter '{kind}' was written (mlsec subject letter); "
            f"written are {', '.join(sorted(known)) or 'none'}"
        )
    note(register, identifier, who, reasons.LetterSent(kind, str(day), channel))
    pauses = kind == "identity" and request.law == "gdpr" and request.identity == "unverified"
    last = request.last_day(calendar.zone)
    if pauses and request.closed_at is None and request.paused_on is None and last and day <= last:
        paused = reasons.ClockPaused(str(day))
        return change(register, identifier, who, paused, {"paused_on": str(day)}, seen=request)
    return get_request(register, identifier)


def letters_of(register: Register, identifier: int, kind: type[Any]) -> list[Any]:
    """What is recorded of a request's letters: `reasons.LetterWritten` or `reasons.LetterSent`."""
    acts = history(register, identifier)
    return [reason for act in acts for reason in act.reasons if isinstance(reason, kind)]


def letters_sent(register: Register, identifier: int) -> list[tuple[str, str]]:
    """The letters of a request that somebody has recorded as sent, and on which day (ISO 8601)."""
    return [(r.letter, r.day) for r in letters_of(register, identifier, reasons.LetterSent)]


def letters_due(register: Register, request: Request, calendar: Calendar) -> list[tuple[str, date]]:
    """Letters that the law asks for by a day and that nobody has recorded as sent: the acknowledgement (11 CCR
    § 7021(a)), and the notice of an extension (GDPR Art. 12(3), 11 CCR § 7021(b))."""
    if request.closed_at is not None:
        return []
    expected = letters_expected(register, request, calendar)
    return [(letter, day) for letter, day, sent in expected if sent is None]


def letters_expected(
    register: Register, request: Request, calendar: Calendar
) -> list[tuple[str, date, date | None]]:
    """Letters that the law asks for, by which day, and the day on which the first one was sent, if one was; also of closed
    requests."""
    received = datetime.fromisoformat(request.requested_at)
    due = [
        ("acknowledgement", deadline.day)
        for deadline in deadlines(request.law, request.kind, received, calendar)
        if deadline.step == "acknowledge"
    ]
    if request.extended:
        due.append(("extension", first_due(register, request, calendar)))
    if not due:
        return []  # most requests: their history need not be read
    sent: dict[str, date] = {}
    for reason in letters_of(register, request.id, reasons.LetterSent):
        day = date.fromisoformat(reason.day)
        sent[reason.letter] = min(day, sent.get(reason.letter, day))
    return [(kind, day, sent.get(kind)) for kind, day in due]


def first_due(register: Register, request: Request, calendar: Calendar) -> date:
    """When the answer was due before any extension; later by as many days as the deadline stood still."""
    received = datetime.fromisoformat(request.requested_at)
    found = deadlines(request.law, request.kind, received, calendar)
    day = next(deadline.day for deadline in found if deadline.step == "respond")
    return later_by_pauses(day, pauses_of(register, request.id), calendar)


def _day_of(moment: str | None, calendar: Calendar) -> date | None:
    return None if moment is None else calendar.day_of(datetime.fromisoformat(moment))


def _restricted_at(register: Register, identifier: int) -> str | None:
    """When the person's data was restricted."""
    return next(
        (
            act.at
            for act in history(register, identifier)
            if any(isinstance(reason, reasons.ProcessingRestricted) for reason in act.reasons)
        ),
        None,
    )


def _require(
    register: Register, request: Request, kind: str, details: Details, today: date
) -> None:
    if missing := [n for n in _NEEDS.get(kind, ()) if not getattr(details, n)]:
        options = ", ".join(f"--{name}" for name in missing)
        raise UsageError(f"a letter '{kind}' needs {options}: the person reads it")
    grounds = _GROUNDS.get(kind)
    if details.ground is not None and (grounds is None or details.ground not in grounds):
        raise UsageError(
            f"a letter '{kind}' has {'the grounds ' + ', '.join(grounds) if grounds else 'no ground'}"
        )
    if kind == "extension" and not request.extended:
        raise CheckFailed(f"request {request.id} is not extended (mlsec subject extend)")
    if kind == "completion" and request.closed_at is None and request.kind not in RESTRICTING:
        raise CheckFailed(f"request {request.id} is not closed (mlsec subject close)")
    if kind == "completion" and request.kind in RESTRICTING and request.status not in _RESTRICTED:
        raise CheckFailed(
            f"request {request.id}: the data is not restricted (mlsec subject restrict)"
        )
    if kind in ("completion", "lifting") and letters_of(
        register, request.id, reasons.RestrictionLifted
    ):
        raise CheckFailed(f"request {request.id}: the restriction is lifted already")
    if kind == "lifting":
        if request.kind != "restriction":
            raise UsageError(f"request {request.id} asks for {request.kind}, not for restriction")
        if request.status not in _RESTRICTED:
            raise CheckFailed(
                f"request {request.id}: the data is not restricted (mlsec subject restrict)"
            )
        if details.on is not None and details.on <= today:
            raise UsageError(
                f"a restriction is lifted after the person was told: --on is a day after {today}"
            )
    if kind == "identity" and request.kind in NEEDS_NO_PROOF:
        raise UsageError(
            f"request {request.id} asks for {request.kind}: nobody has to prove who they are (11 CCR § 7060(b))"
        )
    asks_who = kind == "identity" or (kind == "refusal" and details.ground == "identity")
    if asks_who and request.identity == "verified":
        raise CheckFailed(f"request {request.id}: the identity is verified already")


def _places(register: Register, request: Request) -> list[Place]:
    try:
        return list(register.read(lambda c: find_places(c, request.subject_kind)).all)
    except UsageError:
        return []  # nothing is known yet about this kind of person


def _controllers(letters: Letters, policies: list[Any], controller: str | None) -> list[Controller]:
    if controller is not None:
        found = letters.organization.controller(controller)
        if found is None:
            known = ", ".join(c.name for c in letters.organization.controllers) or "none"
            raise UsageError(f"organization.yaml has no controller '{controller}'; it has {known}")
        return [found]
    return controllers_of(policies, letters.organization)


def _reason_of_extension(register: Register, identifier: int) -> str:
    return str(letters_of(register, identifier, reasons.RequestExtended)[-1].reason)


def _completion(request: Request) -> str:
    if request.kind in ERASING:
        return "erasure"
    if request.kind in CORRECTING:
        return "rectification"
    if request.kind in RESTRICTING:
        return "restriction"
    raise UsageError(
        f"request {request.id} asks for {request.kind}: its letter is in the archive that is handed over (mlsec subject export)"
    )


def _outcome(
    request: Request,
    places: list[Place],
    language: str,
    letters: Letters,
    corrected: Sequence[reasons.DataRectified],
) -> dict[str, Any]:
    labels = Labels(places, language, letters.templates)
    policies = {place.id: place.policy or {} for place in places}
    of_places = [s for s in request.steps if s.kind not in ("recipient", "vault", COPIES)]

    def named(step: Step) -> Named:
        policy = policies.get(step.dataset_id or 0, {})
        # What was corrected there, not by what the person was found.
        changed = [said.column for said in corrected if said.place == step.name]
        changed += [r.column for r in step.reasons if isinstance(r, reasons.PutRight)]
        columns = [labels.column(name, policy) for name in dict.fromkeys(changed)]
        label = labels.of(step.name, step.kind)
        return Named(label, why_kept(step, language), step.rows, step.status, columns)

    told = [s for s in request.steps if s.kind == "recipient"]
    kept = [s for s in of_places if s.status == "retained"]
    # Rows of other people are theirs; no exception of the law is needed to keep them.
    mentioned = [s for s in kept if _only_mentions(s)]
    erased_there = [
        s for s in mentioned if any(isinstance(r, reasons.RowsErased) and r.rows for r in s.reasons)
    ]
    return {
        "done": [
            *(named(s) for s in of_places if s.status in _DONE),
            *(replace(named(s), status="erased") for s in erased_there),
        ],
        # A place in which the person never was is nothing to write about.
        "by_hand": [
            named(s)
            for s in of_places
            if s.status in _BY_HAND and (s.status != "none" or s.decided_by)
        ],
        "kept": [named(s) for s in kept if not _only_mentions(s)],
        "mentions": [named(s) for s in mentioned],
        "told": [
            Named(step.name, why_kept(step, language)) for step in told if step.status in _TOLD
        ],
        "not_told": [
            Named(
                step.name,
                why_kept(step, language) if step.status == "retained" else "",
                status=step.status,
            )
            for step in told
            if step.status not in _TOLD
        ],
        "backups": any(step.status == "beyond reach" for step in request.steps),
    }


def _only_mentions(step: Step) -> bool:
    """Whether all that is kept in a place are rows of other people that mention the person."""
    kept = [r for r in step.reasons if not isinstance(r, reasons.RowsErased)]
    return bool(kept) and all(isinstance(r, reasons.MentionsKept) for r in kept)
