"""Signing keys of three kinds, and the public keys that a verifier trusts.

Ed25519 (RFC 8032), ECDSA over P-256 with SHA-256 and P-384 with SHA-384 (FIPS 186-5), and ML-DSA (FIPS 204),
which a quantum computer cannot forge: used alongside another, so that both would have to be broken.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from airflow_mlsec.crypto._ring_file import USABLE_STATES, KeyEntry, KeyKind
from airflow_mlsec.errors import CryptoError, SignatureInvalid, UsageError

SIGNING_KINDS = (KeyKind.SIGNING, KeyKind.ECDSA, KeyKind.ML_DSA)
_POST_QUANTUM = (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey)
# Each is tried with every trusted key.
_MOST_SIGNATURES = 100
# A plus or a slash together with them is not base64.
_URL_SAFE = str.maketrans("-_+/", "+/??")
_CURVES = (ec.SECP256R1, ec.SECP384R1)


@dataclass(frozen=True)
class PublicKey:
    """A public key that verifies signatures."""

    key: Any

    @property
    def raw(self) -> bytes:
        """Its bytes, as the standards define them; curve points compressed (SEC 1, section 2.3.3)."""
        if isinstance(self.key, ec.EllipticCurvePublicKey):
            form = serialization.PublicFormat.CompressedPoint
            return self.key.public_bytes(serialization.Encoding.X962, form)
        raw: bytes = self.key.public_bytes_raw()
        return raw

    @property
    def id(self) -> str:
        """The first 16 bytes of the SHA-256 of its bytes, hexadecimal."""
        return hashlib.sha256(self.raw).hexdigest()[:32]

    @property
    def post_quantum(self) -> bool:
        """Whether a quantum computer cannot forge its signatures."""
        return isinstance(self.key, _POST_QUANTUM)

    @property
    def pem(self) -> str:
        """As a ``PUBLIC KEY`` block."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        found: bytes = self.key.public_bytes(serialization.Encoding.PEM, form)
        return found.decode()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether its private half signed the message."""
        try:
            if isinstance(self.key, ec.EllipticCurvePublicKey):
                self.key.verify(signature, message, _ecdsa(self.key.curve))
            else:
                self.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def private_key(kind: KeyKind, secret: bytes) -> Any:
    """The private key of a ring's 32 bytes.

    :raises ValueError: if these bytes are not a private key: very rarely, and only for ECDSA.
    """
    if kind is KeyKind.SIGNING:
        return ed25519.Ed25519PrivateKey.from_private_bytes(secret)
    if kind is KeyKind.ECDSA:
        return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
    if kind is KeyKind.ML_DSA:
        return mldsa.MLDSA65PrivateKey.from_seed_bytes(secret)
    raise UsageError(f"a key of kind {kind} does not sign")


def public_half(kind: KeyKind, secret: bytes) -> PublicKey:
    """What verifies a ring key's signatures."""
    return PublicKey(private_key(kind, secret).public_key())


def signed(kind: KeyKind, secret: bytes, message: bytes) -> bytes:
    """A signature of the message; ECDSA's in DER (RFC 3279)."""
    private = private_key(kind, secret)
    if kind is KeyKind.ECDSA:
        made: bytes = private.sign(message, _ecdsa(private.curve))
    else:
        made = private.sign(message)
    return made


class Trusted(Protocol):
    """Whose signatures a verifier trusts."""

    def payload_of(self, document: Any, payload_type: str, post_quantum: bool = False) -> bytes:
        """What one of them signed.

        :raises SignatureInvalid: if none of them did.
        """
        ...


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """What a signature of a DSSE envelope signs."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


class VerificationKeys:
    """The public keys that a verifier trusts, by key id."""

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self._by_id = {key.id: key for key in keys}

    def payload_of(self, document: Any, payload_type: str, post_quantum: bool = False) -> bytes:
        """The payload of a DSSE envelope, alone or in a Sigstore bundle, that one of them signed.

        :raises SignatureInvalid: if it is malformed, of another type, or none of them signed it.
        """
        bundled = isinstance(document, dict) and "dsseEnvelope" in document
        envelope = document["dsseEnvelope"] if bundled else document
        try:
            if envelope["payloadType"] != payload_type:
                raise SignatureInvalid("the envelope is of another payload type than expected")
            payload = _decoded(envelope["payload"])
            signatures = [
                (str(item.get("keyid") or ""), _decoded(item["sig"]))
                for item in envelope["signatures"]
            ]
            if len(signatures) > _MOST_SIGNATURES:
                raise SignatureInvalid(
                    f"the envelope has {len(signatures)} signatures; at most {_MOST_SIGNATURES} are read"
                )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, SignatureInvalid):
                raise
            raise SignatureInvalid("not a DSSE envelope") from None
        message = pre_authentication(payload_type, payload)
        for identifier, signature in signatures:
            for public in self._candidates(identifier):
                if (public.post_quantum or not post_quantum) and public.verifies(
                    signature, message
                ):
                    return payload
        raise SignatureInvalid(
            "no trusted post-quantum key (ML-DSA) signed this"
            if post_quantum
            else "no trusted key signed this; nothing in it can be relied on"
        )

    def _candidates(self, identifier: str) -> list[PublicKey]:
        """Every trusted key, first the one with this id: an id is a hint that nobody signed, and others number their keys
        in another way."""
        return sorted(self._by_id.values(), key=lambda key: key.id != identifier)

    def __len__(self) -> int:
        return len(self._by_id)

    def ids(self) -> list[str]:
        """The ids of the keys, sorted."""
        return sorted(self._by_id)

    @classmethod
    def of_entries(cls, entries: Iterable[KeyEntry]) -> VerificationKeys:
        """The public signing keys among some entries.

        :raises CryptoError: if one of them is not a public key.
        """
        found = []
        for entry in entries:
            if (
                entry.kind in SIGNING_KINDS
                and entry.public is not None
                and entry.state in USABLE_STATES
            ):
                try:
                    found.append(_of_raw(entry.kind, base64.b64decode(entry.public)))
                except ValueError:
                    raise CryptoError(
                        f"the public half of key '{entry.name}' version {entry.version} in ring.json is damaged; "
                        "restore it from its backup"
                    ) from None
        return cls(found)

    @classmethod
    def from_pem(cls, path: Path) -> VerificationKeys:
        """The public keys of a PEM file (one or more ``PUBLIC KEY`` blocks).

        :raises UsageError: if the file holds anything but public keys of the three kinds.
        """
        blocks = re.findall(
            b"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----",
            path.read_bytes(),
            re.DOTALL,
        )
        found = []
        for block in blocks:
            try:
                public = serialization.load_pem_public_key(block)
            except (ValueError, UnsupportedAlgorithm):
                raise UsageError(f"{path}: not a PEM public key that is known here") from None
            known = isinstance(
                public,
                ed25519.Ed25519PublicKey | _POST_QUANTUM[0] | _POST_QUANTUM[1] | _POST_QUANTUM[2],
            )
            curve = isinstance(public, ec.EllipticCurvePublicKey) and isinstance(
                public.curve, _CURVES
            )
            if not (known or curve):
                raise UsageError(
                    f"{path}: expected public keys of Ed25519, ECDSA (P-256, P-384) or ML-DSA"
                )
            found.append(PublicKey(public))
        if not found:
            raise UsageError(f"{path}: no `BEGIN PUBLIC KEY` block found")
        return cls(found)


def _decoded(text: str) -> bytes:
    """Base64 in either alphabet, padded or not: envelopes may have either (DSSE, "protocol").

    :raises ValueError: if it is not base64.
    """
    if set("-_") & set(text):
        text = text.translate(_URL_SAFE)
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _ecdsa(curve: ec.EllipticCurve) -> ec.ECDSA:
    """ECDSA with the hash that belongs to a curve."""
    return ec.ECDSA(hashes.SHA384() if curve.key_size > 256 else hashes.SHA256())


def _of_raw(kind: KeyKind, raw: bytes) -> PublicKey:
    if kind is KeyKind.ECDSA:
        return PublicKey(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw))
    if kind is KeyKind.ML_DSA:
        return PublicKey(mldsa.MLDSA65PublicKey.from_public_bytes(raw))
    return PublicKey(ed25519.Ed25519PublicKey.from_public_bytes(raw))
