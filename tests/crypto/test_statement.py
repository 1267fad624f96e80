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
    public_half,
    sign_payload,
    verification_keys_of,
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


@pytest.mark.parametrize("padded", [True, False])
def test_envelopes_of_others_verify(keys: KeyRing, padded: bool) -> None:
    """The DSSE protocol: either alphabet of base64, and a key id that is a hint of any form, which nobody signed."""
    payload = bytes(range(256)) + b"\xff\xef\xbe"
    made = sign_payload(payload, "text/plain", keys.ensure("signing", KeyKind.SIGNING))
    assert set("+/") & set(made["payload"])
    theirs = {
        "payloadType": made["payloadType"],
        "payload": base64.urlsafe_b64encode(payload).decode(),
        "signatures": [
            {"keyid": "sha256:" + "0" * 64, "sig": "AAAA"},
            {
                "keyid": "SHA256:their-own-numbering",
                "sig": base64.urlsafe_b64encode(base64.b64decode(made["signatures"][0]["sig"])).decode(),
            },
        ],
    }  # fmt: skip
    if not padded:
        theirs["signatures"][1]["sig"] = theirs["signatures"][1]["sig"].rstrip("=")  # type: ignore[index]
    assert verify_payload(theirs, "text/plain", keys.verification_keys()) == payload
    del theirs["signatures"][1]["keyid"]  # type: ignore[attr-defined]
    assert verify_payload(theirs, "text/plain", keys.verification_keys()) == payload
    keys.make("another", KeyKind.SIGNING)
    theirs["signatures"][1]["keyid"] = keys.verification_keys().ids()[0]  # type: ignore[index]
    assert verify_payload(theirs, "text/plain", keys.verification_keys()) == payload


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
        pytest.param(lambda e: e.update(signatures=e["signatures"] * 101), id="many signatures"),
        pytest.param(lambda e: e.update(payload=e["payload"] + "+-"), id="two alphabets"),
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
        ({"other": "a" * 64}, "does not cover other"),
        ({}, "also covers model.skops"),
        ({**DIGESTS, "more": "c" * 64}, "does not cover more"),
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
    with pytest.raises(KeyNotFound, match="it does not sign"):
        sign_payload(b"x", STATEMENT_TYPE, keys.ensure("secret"))


def test_public_keys_are_read_from_pem(tmp_path: Path) -> None:
    path = tmp_path / "keys.pem"
    path.write_text("nothing")
    with pytest.raises(UsageError, match="no `BEGIN PUBLIC KEY`"):
        VerificationKeys.from_pem(path)
    path.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(UsageError, match="not a PEM public key"):
        VerificationKeys.from_pem(path)


@pytest.mark.parametrize("kind", [KeyKind.SIGNING, KeyKind.ECDSA, KeyKind.ML_DSA])
def test_each_kind_of_key_signs(kind: KeyKind, tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "k")
    ring.make("s", kind)
    key = KeyRing.open(tmp_path / "k").current("s")
    envelope = sign_payload(b"payload", "text/plain", key)
    trusted = ring.verification_keys()
    assert verify_payload(envelope, "text/plain", trusted) == b"payload"
    # By the PEM of its public half as well, and by nobody else's.
    pem = tmp_path / "s.pem"
    pem.write_text(public_half(key.kind, key.secret).pem)
    assert verify_payload(envelope, "text/plain", VerificationKeys.from_pem(pem)) == b"payload"
    assert len(verification_keys_of(tmp_path / "k")) == 1
    other = KeyRing.create(tmp_path / "other")
    other.make("s", kind)
    with pytest.raises(SignatureInvalid):
        verify_payload(envelope, "text/plain", other.verification_keys())
    [signature] = envelope["signatures"]
    raw = bytearray(base64.b64decode(signature["sig"]))
    for place in (0, len(raw) // 2, len(raw) - 1):
        raw[place] ^= 1
        bad = {**signature, "sig": base64.b64encode(raw).decode()}
        with pytest.raises(SignatureInvalid):
            verify_payload({**envelope, "signatures": [bad]}, "text/plain", trusted)
        raw[place] ^= 1
    for wrong in (b"", b"x", bytes(64)):
        bad = {**signature, "sig": base64.b64encode(wrong).decode()}
        with pytest.raises(SignatureInvalid):
            verify_payload({**envelope, "signatures": [bad]}, "text/plain", trusted)


def test_a_post_quantum_signature_cannot_be_stripped(keys: KeyRing, tmp_path: Path) -> None:
    keys.make("signing.post-quantum", KeyKind.ML_DSA)
    both = keys.signing_keys("signing")
    assert [key.kind for key in both] == [KeyKind.SIGNING, KeyKind.ML_DSA]
    envelope = sign_payload(b"payload", "text/plain", *both)
    trusted = keys.verification_keys()
    assert verify_payload(envelope, "text/plain", trusted, post_quantum=True) == b"payload"
    for stripped in ({**envelope, "signatures": envelope["signatures"][:1]}, envelope):
        if stripped is envelope:
            # Whoever can forge Ed25519 cannot pass it off as the other.
            forged = {**envelope["signatures"][0], "keyid": envelope["signatures"][1]["keyid"]}
            stripped = {**envelope, "signatures": [forged]}
        with pytest.raises(SignatureInvalid, match="post-quantum"):
            verify_payload(stripped, "text/plain", trusted, post_quantum=True)
    keys.make("secret.post-quantum")
    keys.make("secret")
    with pytest.raises(KeyNotFound, match="does not sign"):
        keys.signing_keys("secret")


def test_other_public_keys_are_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    for private in (
        rsa.generate_private_key(65537, 2048), x25519.X25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP256K1()),
    ):  # fmt: skip
        path = tmp_path / "k.pem"
        path.write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, form))
        with pytest.raises(UsageError, match="Ed25519, ECDSA"):
            VerificationKeys.from_pem(path)
