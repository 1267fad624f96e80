"""Naming a person without saying who it is: keyed digests, suppression tokens, sealed keys."""

from __future__ import annotations

import io
import json

import pyarrow as pa
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

from airflow_mlsec.anonymize import pseudonymize
from airflow_mlsec.crypto import Identity, Key, KeyKind, KeyRing, decrypt, encrypt

_REFERENCE = "subject-reference"
_SEALING = "artifact"


def subject_digest(keys: KeyRing, kind: str, key: str) -> str:
    """A keyed digest (HMAC-SHA-256) by which the register knows a person."""
    reference = HMAC(keys.ensure(_REFERENCE).secret, hashes.SHA256())
    reference.update(f"{kind}\0{key}".encode())
    return reference.finalize().hex()


def suppression_key(keys: KeyRing, kind: str) -> Key:
    """The key of the suppression list's pseudonyms."""
    return keys.ensure(f"suppression.{kind}")


def suppression_tokens(key: Key, values: pa.Array, column: str) -> pa.Array:
    """Pseudonyms by which the suppression list knows people."""
    return pseudonymize(values, column, key.secret)


def seal(keys: KeyRing, person_keys: tuple[str, ...]) -> bytes:
    """A person's keys, encrypted (age) to the key ring's own recipient."""
    identity = Identity.of_key(keys.ensure(_SEALING, KeyKind.ENCRYPTION))
    sealed = io.BytesIO()
    plain = json.dumps(list(person_keys), ensure_ascii=False).encode()
    encrypt(io.BytesIO(plain), sealed, [identity.recipient])
    return sealed.getvalue()


def unseal(keys: KeyRing, sealed: bytes) -> tuple[str, ...]:
    """What `seal` sealed.

    :raises DecryptionFailed: if no live key of the ring opens it.
    """
    plain = io.BytesIO()
    identities = [Identity.of_key(key) for key in keys.live(_SEALING)]
    decrypt(io.BytesIO(sealed), plain, identities)
    return tuple(json.loads(plain.getvalue()))
