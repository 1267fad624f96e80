"""The receipt: a signed statement of what was done with a person's data, place by place.

An in-toto statement in a DSSE envelope, which anybody with the public key can verify. The person
appears in it only as a salted hash; only somebody who has the salt can show that the
receipt is about them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_mlsec.crypto import STATEMENT_TYPE, KeyRing, VerificationKeys, verify_payload
from airflow_mlsec.errors import SignatureInvalid
from airflow_mlsec.ledger import (
    HandedOver,
    Imported,
    Reason,
    ReceiptStatement,
    ReceiptStep,
    as_documents,
    has,
    read_reason,
    read_reasons,
    read_statement,
    sign_statement,
)
from airflow_mlsec.subjects._identity import Person
from airflow_mlsec.subjects.reasons import StillThere, StillThereByWord
from airflow_mlsec.subjects.requests._approval import approval_digest
from airflow_mlsec.subjects.requests._request import Request
from airflow_mlsec.subjects.search._reasons import PassedOver


@dataclass(frozen=True)
class Receipt:
    """A verified receipt: the request it belongs to, and its content."""

    request: str
    said: ReceiptStatement

    def as_json(self) -> dict[str, Any]:
        """The receipt as JSON for programs."""
        return {"request": self.request, **self.said.model_dump(mode="json")}


def make_receipt(
    request: Request,
    person: Person,
    verified: Mapping[str, Reason],
    now: str,
    keys: KeyRing,
    zone: str,
    shown: Callable[[str], str] = str,
) -> tuple[dict[str, Any], str]:
    """The signed receipt, and the salt that goes only to the person.

    ``verified`` says by place what an independent look after the erasure found; ``zone`` is the time zone in
    which the last day is counted; ``shown`` redacts the person's keys in a text.
    """
    salt = secrets.token_hex(16)
    steps = tuple(
        ReceiptStep(
            kind=step.kind,
            name=shown(step.name),
            status=step.status,
            rows=step.rows,
            locator=shown(str(step.locator)),
            detail=shown(str(step.detail)),
            changed_at=step.changed_at,
            verified=_verified(verified.get(step.name), shown),
            decided_by=step.decided_by,
            found_by=tuple(_struck_out(x, shown) for x in as_documents(step.found_by)),
            reasons=tuple(_struck_out(x, shown) for x in as_documents(step.reasons)),
            found_again=_again(verified.get(step.name), shown),
        )
        for step in request.steps
    )
    said = ReceiptStatement(
        law=request.law,
        kind=request.kind,
        subject_kind=request.subject_kind,
        subject_sha256=tuple(_salted(salt, person.kind, key) for key in person.keys),
        received_at=request.requested_at,
        due_at=request.due_at,
        # The last day; `due_at` is the moment after it.
        due_on=str(request.last_day(zone) or "") or None,
        extended=request.extended,
        identity=request.identity,
        opened_by=request.opened_by,
        verified_by=request.verified_by,
        approved=request.approved_by is not None,
        approved_by=request.approved_by,
        approved_sha256=approval_digest(request.approved) if request.approved else None,
        four_eyes=bool(request.four_eyes),
        exports=tuple(_handed_over(export, shown) for export in request.exports),
        closed_at=now,
        steps=steps,
    )
    documents = [step.model_dump(mode="json") for step in steps]
    subject = {f"request/{request.id}": _digest(documents)}
    return sign_statement(keys, subject, said), salt


def _verified(found: Reason | None, shown: Callable[[str], str]) -> str | None:
    return None if found is None else shown(str(found.words()))


def _again(found: Reason | None, shown: Callable[[str], str]) -> dict[str, Any] | None:
    return None if found is None else _struck_out(found.as_json(), shown)


def _struck_out(document: dict[str, Any], shown: Callable[[str], str]) -> dict[str, Any]:
    """A reason with the person's keys redacted in its texts."""

    def without(value: Any) -> Any:
        if isinstance(value, str):
            return shown(value)
        if isinstance(value, list):
            return [without(part) for part in value]
        return _struck_out(value, shown) if isinstance(value, dict) else value

    return {name: value if name == "code" else without(value) for name, value in document.items()}


def _handed_over(export: Mapping[str, Any], shown: Callable[[str], str]) -> HandedOver:
    by_place = ("rows", "left_out_as_likeness", "named", "found")
    found: dict[str, Any] = {}
    for name, value in export.items():
        if name not in by_place:
            found[name] = value
            continue
        places: dict[str, Any] = {}
        for place, said in value.items():
            # Several places may have names that differ only in the key.
            before = places.get(shown(place))
            both = isinstance(before, int) and isinstance(said, int)
            places[shown(place)] = before + said if both else said
        found[name] = places
    return HandedOver.model_validate_json(json.dumps(found))


def verify_receipt(
    envelope: Any, trusted: VerificationKeys, key: str | None = None, salt: str | None = None
) -> Receipt:
    """The content of a receipt, if a trusted key signed it. With the person's ``key`` and ``salt``,
    also verifies that it is about this person.

    :raises SignatureInvalid: if the signature fails, or it is not a receipt, or not the person's.
    """
    payload = verify_payload(envelope, STATEMENT_TYPE, trusted)
    try:
        statement = read_statement(payload, ReceiptStatement)
        [(name, digest)] = statement.subjects.items()
    except (SignatureInvalid, ValueError):
        raise SignatureInvalid("the signed statement is not a receipt of a request") from None
    if digest != _digest(statement.document["predicate"]["steps"]):
        raise SignatureInvalid("the receipt's steps do not match the digest in its subject")
    said = statement.predicate
    if key is not None:
        mine = _salted(salt or "", said.subject_kind, key)
        if not any(hmac.compare_digest(mine, other) for other in said.subject_sha256):
            raise SignatureInvalid("the receipt is not about the person with this key and salt")
    return Receipt(name, said)


def _salted(salt: str, kind: str, key: str) -> str:
    return hashlib.sha256(f"{salt}\0{kind}\0{key}".encode()).hexdigest()


def _digest(steps: list[dict[str, Any]]) -> str:
    text = json.dumps(steps, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


# For these statuses a receipt gives the reason and who decided.
_EXPLAINED = ("retained", "manual", "beyond reach", "found", "unknown")
# The wording of receipts of version 0.1, which have no codes.
_QUALIFIED = "was looked for in columns of their name only"
_STILL_THERE = "still there"


def describe_receipt(receipt: Receipt) -> list[str]:
    """The content of a verified receipt as lines of text for people."""
    said = receipt.said
    closed = f"closed {said.closed_at[:19]} UTC"
    lines = [
        f"signature valid: {receipt.request}, {said.law} {said.kind}, received {said.received_at[:10]}, "
        f"due on {said.due_on or (said.due_at or '')[:10]}, {closed}"
    ]
    if said.approved_by:
        eyes = (
            "not one of those who opened or verified it"
            if said.four_eyes
            else "who also opened or verified it"
        )
        lines.append(f"approved by {said.approved_by} ({eyes})")
    for export in said.exports:
        rows, places = sum(export.rows.values()), len(export.rows)
        lines.append(
            f"handed over {export.at[:19]} UTC: {rows} rows of {places} places, sha256 {export.sha256[:16]}"
        )
    counts: dict[str, int] = {}
    for step in said.steps:
        counts[step.status] = counts.get(step.status, 0) + 1
    listed = ", ".join(f"{number} {status}" for status, number in counts.items())
    lines.append(f"{len(said.steps)} places: {listed}")
    left = sum(_is_still_there(step) for step in said.steps)
    if left:
        lines.append(f"in {left} of them the person still is, by decision of whom they name")
    for step in said.steps:
        verified = f", {step.verified}" if step.verified else ""
        told = _what_was_handed_over(step.name, said.exports) if step.status == "found" else ""
        lines.append(f"  {step.status:12} {step.kind:9} {step.name}{verified}{told}")
        if step.status in _EXPLAINED or _is_qualified(step):
            lines.append(f"{'':25}{step.detail}")
    return lines


def _is_still_there(step: ReceiptStep) -> bool:
    if step.found_again is None:
        return _STILL_THERE in (step.verified or "")
    return has([read_reason(step.found_again)], StillThere, StillThereByWord)


def _is_qualified(step: ReceiptStep) -> bool:
    reasons = read_reasons(step.reasons)
    # Sentences of before, in receipts and of places that nobody has searched since.
    if not reasons or has(reasons, Imported):
        return has(reasons, PassedOver) or _QUALIFIED in step.detail
    return has(reasons, PassedOver)


def _what_was_handed_over(name: str, exports: Sequence[HandedOver]) -> str:
    for export in reversed(exports):
        if rows := export.rows.get(name):
            return f", {rows} rows handed over"
        if reason := export.named.get(name):
            return f", named in the letter: {reason}"
        if name in export.left_out_as_likeness:
            return ", named in the letter as what may be the person's"
    return ""
