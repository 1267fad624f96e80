"""Signed statements: in-toto Statement v1 in a DSSE envelope.

Sources: https://github.com/in-toto/attestation (statement), and
https://github.com/secure-systems-lab/dsse (envelope, pre-authentication encoding).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlsec.crypto._ring import Key
from airflow_mlsec.crypto._signatures import (
    SIGNING_KINDS,
    Trusted,
    pre_authentication,
    public_half,
    signed,
)
from airflow_mlsec.errors import CheckFailed, KeyNotFound, SignatureInvalid

# The suffix of the file next to what was signed.
SIGNATURE = ".sig.json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
# The digest of their subject covers a folder's digests, not a file.
_OF_FOLDERS = ("https://model_signing/signature/v1.0",)


def make_statement(
    subjects: Mapping[str, str], predicate_type: str, predicate: Mapping[str, Any]
) -> bytes:
    """An in-toto statement: SHA-256 (hexadecimal) by subject name, and what is said about them."""
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": n, "digest": {"sha256": d}} for n, d in sorted(subjects.items())],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sign_payload(payload: bytes, payload_type: str, *keys: Key) -> dict[str, Any]:
    """A DSSE envelope over ``payload``, signed by each of some keys of a ring.

    :raises KeyNotFound: if a key does not sign.
    """
    message = pre_authentication(payload_type, payload)
    for key in keys:
        if key.kind not in SIGNING_KINDS:
            raise KeyNotFound(f"key '{key.name}' is of kind {key.kind}; it does not sign")
    return {
        "payloadType": payload_type,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {
                "keyid": public_half(key.kind, key.secret).id,
                "sig": base64.b64encode(signed(key.kind, key.secret, message)).decode(),
            }
            for key in keys
        ],
    }


def verify_payload(
    document: Any, payload_type: str, trusted: Trusted, post_quantum: bool = False
) -> bytes:
    """The payload of an envelope, or of a Sigstore bundle, that somebody trusted signed; with
    ``post_quantum`` with a key that a quantum computer cannot forge.

    :raises SignatureInvalid: if it is malformed, of another type, or nobody trusted signed it.
    """
    return trusted.payload_of(document, payload_type, post_quantum)


def verify_statement(
    document: Any,
    trusted: Trusted,
    subjects: Mapping[str, str],
    post_quantum: bool = False,
    predicate_type: str | None = None,
) -> dict[str, Any]:
    """The verified statement, if it is about exactly these subjects (SHA-256 by name), and is of type
    ``predicate_type``, if that is given.

    :raises SignatureInvalid: if the signature fails, or a digest or name differs.
    """
    payload = verify_payload(document, STATEMENT_TYPE, trusted, post_quantum)
    try:
        statement: dict[str, Any] = json.loads(payload)
        signed = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
        kind, _ = str(statement["predicateType"]), statement["predicate"]
        known = statement["_type"] == STATEMENT and all(isinstance(name, str) for name in signed)
    except (ValueError, KeyError, TypeError, RecursionError):
        known = False
    if not known:
        raise SignatureInvalid("what was signed is not an in-toto statement")
    if kind in _OF_FOLDERS or predicate_type not in (None, kind):
        raise SignatureInvalid(f"what was signed says something else ({kind[:80]})")
    for name, digest in subjects.items():
        if name not in signed:
            raise SignatureInvalid(f"the signature does not cover {name}")
        if signed[name] != digest:
            raise SignatureInvalid(f"{name} is not the file that was signed: its digest differs")
    if missing := sorted(set(signed) - set(subjects)):
        raise SignatureInvalid(f"the signature also covers {missing[0]}, which was not given")
    return statement


def signed_name(statement: Mapping[str, Any], wanted: str | None, what: str) -> str | None:
    """The name that a verified statement gives to its only subject; ``what`` names the subject in messages.

    :raises CheckFailed: if it is not the wanted one; None accepts any.
    """
    name: str | None = statement["subject"][0].get("name")
    if wanted not in (None, name):
        raise CheckFailed(f"{what} was signed as '{name}', not as '{wanted}'")
    return name


def digest_file(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_signature(content: bytes, name: str) -> Any:
    """The envelope or bundle in a signature file, not yet verified.

    :raises SignatureInvalid: if it is not JSON; ``name`` is the file's name.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise SignatureInvalid(f"{name} is not a DSSE envelope") from None
