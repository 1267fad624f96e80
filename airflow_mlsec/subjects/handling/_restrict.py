"""Restriction, objection, opt-out and limitation: the data stays but is not processed further.

GDPR Art. 18 and 21, CCPA 1798.120 and 1798.121. The person goes on the list of people that
releases leave out, recipients are told (Art. 19), and what was made from the person's data before
is open until it is rebuilt without the person. A restriction may be lifted (Art. 18(3)).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

import sqlalchemy as sa

from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.ledger import Reason, Verb, require
from airflow_mlsec.register import keeps_open
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._suppression import listed_as, suppress, unsuppress
from airflow_mlsec.subjects.handling._handler import Handler
from airflow_mlsec.subjects.handling._recipients import add_recipients
from airflow_mlsec.subjects.handling._work import (
    require_four_eyes,
    settled_by_hand,
)
from airflow_mlsec.subjects.letters._sending import letters_of
from airflow_mlsec.subjects.requests._changes import change, note, set_step
from airflow_mlsec.subjects.requests._request import (
    NEEDS_NO_PROOF,
    RESTRICTING,
    Request,
    asset_of,
    get_request,
    person_of,
    require_ready,
)
from airflow_mlsec.subjects.requests._requests import calendar_of
from airflow_mlsec.subjects.search._places import Place

_STAYS: Mapping[str, Reason] = {
    "restriction": reasons.StaysRestricted(),
    "objection": reasons.StaysObjected(),
    "opt-out": reasons.StaysUnsold(),
    "limit": reasons.StaysLimited(),
}


@keeps_open
def restrict(handler: Handler, identifier: int) -> Request:
    """Leave the person out of further processing. Idempotent.

    The person's own rows are kept and settled as retained; what releases made from them stays open
    until it is rebuilt without the person.

    :raises Refused: if the request asks for something else, or the identity is not verified (not
        needed for an opt-out or limitation: 11 CCR § 7060(b)), or others seem to share the key.
    :raises CheckFailed: if the person's data was not located yet.
    """
    request = get_request(handler.register, identifier)
    require_ready(request, RESTRICTING)
    if request.kind not in NEEDS_NO_PROOF:  # requests that need no proof are not kept waiting
        require_four_eyes(handler.register, request)
    person = person_of(handler.register, handler.keys, request)
    places = handler.places(person)
    searcher = handler.searcher(person, places)
    searcher.require_one_person(settled_by_hand(request))
    sources = {place.id for place in places.all if _is_own(place)}
    now, listed = handler.register.now(), listed_as(searcher)

    def work(connection: sa.Connection) -> None:
        suppress(connection, handler.keys, person.kind, listed, identifier, now)
        add_recipients(connection, request, places.all, now)
        for step in request.steps:
            if step.status == "found" and step.dataset_id in sources:
                given = (identifier, step, handler.who, now, "retained")
                set_step(connection, *given, [_STAYS[request.kind]])

    handler.register.write(work)
    restricted = reasons.ProcessingRestricted()
    return change(handler.register, identifier, handler.who, restricted, {"status": "restricted"})


def lift(handler: Handler, identifier: int, reason: str, told: str | None = None) -> int:
    """End a restriction: releases may contain the person again. Returns how many entries of the
    list were removed.

    :param told: How and when the person was told, if not by a letter that was sent.
    :raises UsageError: if the request is not one of restriction, or no reason is given.
    :raises CheckFailed: if a restriction is to be lifted and the person was not told before (GDPR Art. 18(3)), or was told
        a later day.
    """
    request = get_request(handler.register, identifier)
    who = require(handler.register, handler.by, Verb.SETTLE, asset_of(identifier)).who
    if request.kind not in RESTRICTING:
        raise UsageError(f"request {identifier} asks for {request.kind}; there is nothing to lift")
    if not reason.strip():
        raise UsageError("say why it is lifted")
    if request.kind == "restriction":
        _require_told(handler, identifier, told)
    open_, lifted = request.closed_at is None, reasons.RestrictionLifted(reason, told)

    def work(connection: sa.Connection) -> int:
        if open_:
            now = handler.register.now()
            for step in request.steps:
                # What a person has decided stays.
                if step.status == "retained" and step.decided_by is None:
                    given = (identifier, step, who, now, "manual")
                    set_step(connection, *given, [reasons.RestrictionOver()])
        return unsuppress(connection, identifier)

    entries = handler.register.write(work)
    if open_:
        change(handler.register, identifier, who, lifted, {"status": "lifted"})
    else:
        note(handler.register, identifier, who, lifted)
    return entries


def _require_told(handler: Handler, identifier: int, told: str | None) -> None:
    if told is not None and told.strip():
        return
    sent = [
        x
        for x in letters_of(handler.register, identifier, reasons.LetterSent)
        if x.letter == "lifting"
    ]
    if not sent:
        raise CheckFailed(
            f"request {identifier}: the person has to be told before the restriction is lifted (GDPR Art. 18(3)): write and send "
            "the letter (mlsec letter write lifting, mlsec letter sent), or say how the person was told (--told)"
        )
    written = letters_of(handler.register, identifier, reasons.LetterWritten)
    announced = [x.on for x in written if x.letter == "lifting" and x.on]
    now = calendar_of(handler.register).day_of(datetime.fromisoformat(handler.register.now()))
    if announced and date.fromisoformat(announced[-1]) > now:
        raise CheckFailed(
            f"request {identifier}: the person was told that the restriction is lifted on {announced[-1]}; it is {now}"
        )


def _is_own(place: Place) -> bool:
    """Whether it holds original rows, not what a release or a model made from them."""
    return bool(place.locators) and place.stage != "release"
