from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.crypto import (
    STATEMENT_TYPE,
    KeyKind,
    KeyRing,
    VerificationKeys,
    make_statement,
    sign_payload,
    verify_payload,
    verify_statement,
)
from airflow_mlsec.errors import KeyNotFound, SignatureInvalid, UsageError

DIGESTS = {"model.skops": "a" * 64}


@pytest.fixture
def envelope(keys: KeyRing) -> dict[str, Any]:
    statement = make_statement(DIGESTS, "https://example.org/p/v1", {"rows": 3})
    return sign_payload(statement, STATEMENT_TYPE, keys.ensure("signing", KeyKind.SIGNING))


def test_a_signed_statement_verifies(keys: KeyRing, envelope: dict[str, Any]) -> None:
    statement = verify_statement(envelope, keys.verification_keys(), DIGESTS)
    assert statement["predicate"] == {"rows": 3}


def test_the_envelope_is_dsse(keys: KeyRing, envelope: dict[str, Any]) -> None:
    """Verified here from the specification's own formula, with another library call path."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    payload = base64.b64decode(envelope["payload"])
    kind = STATEMENT_TYPE.encode()
    message = b" ".join(
        [b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload]
    )
    public = Ed25519PrivateKey.from_private_bytes(keys.current("signing").secret).public_key()
    public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), message)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda e: e.update(payload=base64.b64encode(b"{}").decode()), id="payload"),
        pytest.param(lambda e: e.update(payloadType="text/plain"), id="type"),
        pytest.param(lambda e: e.update(signatures=[]), id="no signature"),
        pytest.param(lambda e: e["signatures"][0].update(sig="AAAA"), id="signature"),
        pytest.param(lambda e: e["signatures"][0].update(keyid="x"), id="key id"),
        pytest.param(lambda e: e.pop("payload"), id="no payload"),
        pytest.param(lambda e: e.update(signatures="x"), id="signatures of another type"),
        pytest.param(lambda e: e.update(payload="%%%"), id="not base64"),
    ],
)
def test_a_changed_envelope_is_refused(
    keys: KeyRing, envelope: dict[str, Any], change: object
) -> None:
    broken = copy.deepcopy(envelope)
    change(broken)  # type: ignore[operator]
    with pytest.raises(SignatureInvalid):
        verify_statement(broken, keys.verification_keys(), DIGESTS)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["payload", "payloadType", "signatures", "sig"]), x)
        ),
    )
)
def test_arbitrary_json_is_refused(envelope: object) -> None:
    with pytest.raises(SignatureInvalid):
        verify_payload(envelope, STATEMENT_TYPE, VerificationKeys([]))


@pytest.mark.parametrize(
    ("subjects", "says"),
    [
        ({"model.skops": "b" * 64}, "digest differs"),
        ({"other": "a" * 64}, "does not speak of other"),
        ({}, "also covers model.skops"),
        ({**DIGESTS, "more": "c" * 64}, "does not speak of more"),
    ],
)
def test_a_statement_about_something_else_is_refused(
    keys: KeyRing, envelope: dict[str, Any], subjects: dict[str, str], says: str
) -> None:
    with pytest.raises(SignatureInvalid, match=says):
        verify_statement(envelope, keys.verification_keys(), subjects)


def test_another_signer_is_refused(envelope: dict[str, Any], tmp_path: Path) -> None:
    other = KeyRing.create(tmp_path / "other")
    other.ensure("signing", KeyKind.SIGNING)
    with pytest.raises(SignatureInvalid, match="no trusted key"):
        verify_statement(envelope, other.verification_keys(), DIGESTS)


def test_a_destroyed_key_is_trusted_no_more(keys: KeyRing, envelope: dict[str, Any]) -> None:
    keys.rotate("signing")
    verify_statement(envelope, keys.verification_keys(), DIGESTS)
    keys.destroy("signing", 1)
    with pytest.raises(SignatureInvalid):
        verify_statement(envelope, keys.verification_keys(), DIGESTS)


def test_only_signing_keys_sign(keys: KeyRing) -> None:
    with pytest.raises(KeyNotFound, match="signing needs ed25519"):
        sign_payload(b"x", STATEMENT_TYPE, keys.ensure("secret"))


def test_public_keys_are_read_from_pem(tmp_path: Path) -> None:
    path = tmp_path / "keys.pem"
    path.write_text("nothing")
    with pytest.raises(UsageError, match="no `BEGIN PUBLIC KEY`"):
        VerificationKeys.from_pem(path)
    path.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(UsageError, match="not a PEM public key"):
        VerificationKeys.from_pem(path)
