"""The receipt: a signed statement of what became of a person's data, place by place.

An in-toto statement in a DSSE envelope, which anybody with the public key verifies. The person
stands in it only as a salted hash; whoever has the salt, and only they, can show that the
receipt is about them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

from airflow_mlsec.crypto import (
    STATEMENT_TYPE,
    Key,
    VerificationKeys,
    make_statement,
    sign_payload,
    verify_payload,
)
from airflow_mlsec.errors import SignatureInvalid
from airflow_mlsec.subjects._identity import Person
from airflow_mlsec.subjects._requests import Request, approval_digest

RECEIPT = "https://airflow-mlsec.github.io/request-receipt/v1"


def make_receipt(
    request: Request, person: Person, verified: Mapping[str, str], now: str, signing: Key
) -> tuple[dict[str, Any], str]:
    """The signed receipt, and the salt that goes to the person alone.

    ``verified`` says by place what an independent look after the erasure found.
    """
    salt = secrets.token_hex(16)
    steps = [
        {
            "kind": step.kind,
            "name": step.name,
            "status": step.status,
            "rows": step.rows,
            "locator": step.locator,
            "detail": step.detail,
            "changed_at": step.changed_at,
            "verified": verified.get(step.name),
            "decided_by": step.decided_by,
        }
        for step in request.steps
    ]
    predicate = {
        "law": request.law,
        "kind": request.kind,
        "subject_kind": request.subject_kind,
        "subject_sha256": [_salted(salt, person.kind, key) for key in person.keys],
        "received_at": request.requested_at,
        "due_at": request.due_at,
        "extended": request.extended,
        "identity": request.identity,
        "opened_by": request.opened_by,
        "verified_by": request.verified_by,
        "approved": request.approved_by is not None,
        "approved_by": request.approved_by,
        "approved_sha256": approval_digest(request.approved) if request.approved else None,
        "four_eyes": bool(request.four_eyes),
        "exports": list(request.exports),
        "closed_at": now,
        "steps": steps,
    }
    payload = make_statement({f"request/{request.id}": _digest(steps)}, RECEIPT, predicate)
    return sign_payload(payload, STATEMENT_TYPE, signing), salt


def verify_receipt(
    envelope: Any, trusted: VerificationKeys, key: str | None = None, salt: str | None = None
) -> dict[str, Any]:
    """What a receipt says, if a trusted key signed it. With the person's ``key`` and ``salt`` also
    that it is about this person.

    :raises SignatureInvalid: if the signature fails, it is no receipt, or about somebody else.
    """
    payload = verify_payload(envelope, STATEMENT_TYPE, trusted)
    try:
        statement = json.loads(payload)
        predicate: dict[str, Any] = statement["predicate"]
        if statement["predicateType"] != RECEIPT:
            raise SignatureInvalid("the signed statement is no receipt of a request")
        [subject] = statement["subject"]
        if subject["digest"]["sha256"] != _digest(predicate["steps"]):
            raise SignatureInvalid("the receipt's steps are not those that its subject names")
        hashes = list(predicate["subject_sha256"])
        kind = str(predicate["subject_kind"])
    except (ValueError, KeyError, TypeError):
        raise SignatureInvalid("the signed statement is no receipt of a request") from None
    if key is not None:
        mine = _salted(salt or "", kind, key)
        if not any(hmac.compare_digest(mine, str(other)) for other in hashes):
            raise SignatureInvalid("the receipt is not about the person of this key and salt")
    return {"request": subject["name"], **predicate}


def _salted(salt: str, kind: str, key: str) -> str:
    return hashlib.sha256(f"{salt}\0{kind}\0{key}".encode()).hexdigest()


def _digest(steps: list[dict[str, Any]]) -> str:
    text = json.dumps(steps, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
