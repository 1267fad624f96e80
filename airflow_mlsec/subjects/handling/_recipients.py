"""Notifying those who received the data (GDPR Art. 19, CCPA 1798.105(c)).

A recipient's ``contact`` in the policy is an ``https:`` address, which gets a signed statement
that names the person (it must, for the recipient to act), or a ``mailto:`` address, which gets
only the request's number and nothing about the person, since many people may read mail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from urllib.parse import urlsplit

import httpx
import sqlalchemy as sa

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import CheckFailed, MlsecError
from airflow_mlsec.ledger import NoticeStatement, PersonTold, Reason, as_documents, sign_statement
from airflow_mlsec.register import tables as t
from airflow_mlsec.register import upsert
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._identity import Person
from airflow_mlsec.subjects.handling._work import Work, require_erasure
from airflow_mlsec.subjects.letters._places import listed_recipients
from airflow_mlsec.subjects.requests._request import (
    CORRECTING,
    Request,
    Step,
    get_request,
    person_of,
    require_ready,
)
from airflow_mlsec.subjects.search._places import Place
from airflow_mlsec.subjects.search._reasons import Contact, NoContact

Mail = Callable[[str, str, str], None]
_BY_HAND = "tell them by hand, then settle it as manual"


class ToBeToldByHand(CheckFailed):
    """No contact that a program can use: a person has to tell the recipient and settle the step."""


def add_recipients(
    connection: sa.Connection,
    request: Request,
    places: Iterable[Place],
    now: str,
    only: Collection[int] | None = None,
) -> list[str]:
    """A step of the ledger for each recipient of the places where the person was found, or of ``only`` some of them; returns
    the recipients' names."""
    found = {
        step.dataset_id
        for step in request.steps
        if step.status in ("found", "erasing", "erased", "rectified", "retained")
        and (only is None or step.dataset_id in only)
    }
    listed: dict[str, list[str]] = {}
    contacts: dict[str, str | None] = {}
    for place in places:
        if place.id in found and place.policy is not None:
            for recipient in listed_recipients(place.policy):
                listed.setdefault(recipient["name"], []).append(place.name)
                contacts[recipient["name"]] = recipient.get("contact")
    for name, datasets in listed.items():
        contact = contacts[name]
        told = reasons.ReceivedData(tuple(datasets), by_hand=contact is None)
        first = {
            "status": "unknown",
            "found_by": as_documents([Contact(contact) if contact else NoContact()]),
            "reasons": as_documents([told]),
            "attempts": 0,
            "changed_at": now,
        }
        key = {"request_id": request.id, "kind": "recipient", "name": name}
        upsert(connection, t.request_step, key, {}, first)
    return list(listed)


def tell(request: Request, step: Step, person: Person, keys: KeyRing, mail: Mail | None) -> Reason:
    """Notify one recipient; returns how it was done.

    :raises ToBeToldByHand: if a program cannot do it.
    :raises CheckFailed: if it failed and may be retried.
    """
    address = _address(step)
    scheme = urlsplit(address).scheme.lower()
    if scheme in ("https", "http"):
        return _post(request, step, address, person, keys)
    if scheme == "mailto":
        if mail is None:
            raise ToBeToldByHand(f"no mail server is known here: {_BY_HAND}")
        subject = f"Request {request.id} for {request.kind}: please act (GDPR Art. 19)"
        try:
            mail(address.partition(":")[2], subject, _letter(request, step))
        except (MlsecError, OSError) as error:
            raise CheckFailed(f"the mail was not sent ({type(error).__name__})") from None
        return reasons.MailSent()
    raise ToBeToldByHand(f"the policy gives no usable contact: {_BY_HAND}")


def _address(step: Step) -> str:
    """The address for notifying a recipient; empty if the policy has none."""
    told = (x for x in step.found_by if isinstance(x, Contact))
    return next((x.address for x in told), "")


def _post(request: Request, step: Step, address: str, person: Person, keys: KeyRing) -> Reason:
    parts = urlsplit(address)
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise CheckFailed("the contact is http: a person's name is sent over https only")
    said = NoticeStatement(
        request=request.id,
        law=request.law,
        kind=request.kind,
        subject=PersonTold(kind=person.kind, keys=tuple(person.keys)),
        recipient=step.name,
    )
    digest = hashlib.sha256(f"{request.id}\0{step.name}".encode()).hexdigest()
    envelope = sign_statement(keys, {f"request/{request.id}": digest}, said)
    try:
        answer = httpx.post(address, json=envelope, timeout=30, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CheckFailed(f"the recipient cannot be reached ({type(error).__name__})") from None
    if not answer.is_success:
        raise CheckFailed(f"the recipient answered {answer.status_code}")
    return reasons.ToldOver(parts.scheme, answer.status_code)


def _letter(request: Request, step: Step) -> str:
    return (
        f"To {step.name},\n\nwe disclosed personal data to you, and the person has asked us for "
        f"{request.kind}. We tell you under GDPR Art. 19; please do the same with what you have."
        f"\n\nReference: request {request.id}. "
        "To learn who the person is, answer over the agreed secure channel with this reference; this mail "
        "names nobody on purpose.\n"
    )


def notify(work: Work, identifier: int, mail: Mail | None = None) -> Request:
    """Notify the recipients not notified yet; ``mail`` sends to (address, subject, text)."""
    request = get_request(work.register, identifier)
    if request.kind in CORRECTING:
        require_ready(request, CORRECTING)
    elif request.status != "restricted":
        require_erasure(work, request)
    person = person_of(work.register, work.keys, request)
    for step in request.steps:
        if step.kind != "recipient" or step.status not in ("unknown", "failed"):
            continue
        work.progress(f"telling {step.name}")
        try:
            how = tell(request, step, person, work.keys, mail)
        except ToBeToldByHand as error:
            work.mark(
                request, step, "unknown", reasons.NotTold(str(error)), attempts=step.attempts + 1
            )
        except CheckFailed as error:
            work.mark(
                request, step, "failed", reasons.NotTold(str(error)), attempts=step.attempts + 1
            )
        else:
            work.mark(request, step, "notified", how, attempts=step.attempts + 1)
    return get_request(work.register, identifier)
