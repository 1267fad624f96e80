"""Hybrid post-quantum recipients (C2SP ``age.md``, section "The MLKEM768-X25519 hybrid post-quantum
recipient type"): HPKE (RFC 9180) with X-Wing, which is secure as long as one of ML-KEM-768 (FIPS 203)
and X25519 is. Use it for artifacts that must stay secret for years: anyone who records them today
may have a quantum computer then.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from airflow_mlsec.crypto import _bech32
from airflow_mlsec.crypto._header import Malformed, Stanza, decode_base64, encode_base64
from airflow_mlsec.crypto._ring import Key
from airflow_mlsec.errors import UsageError

TYPE = "mlkem768x25519"
RECIPIENT_PREFIX, IDENTITY_PREFIX = "age1pq1", "AGE-SECRET-KEY-PQ-1"
_INFO = b"age-encryption.org/mlkem768x25519"
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
_MLKEM_BYTES, _PUBLIC_BYTES, _ENCAPSULATED_BYTES, _BODY_BYTES = 1184, 1216, 1120, 32


@dataclass(frozen=True)
class HybridRecipient:
    """A recipient who will be able to decrypt, ``age1pq1…``: an ML-KEM-768 and an X25519 public key."""

    public: bytes

    @classmethod
    def parse(cls, text: str) -> HybridRecipient:
        """Read an ``age1pq1…`` recipient.

        :raises UsageError: if it is not one.
        """
        data = _bech32.decode_key(text, "age1pq", _PUBLIC_BYTES)
        if data is None:
            raise UsageError(f"'{text[:16]}…' is not a hybrid age recipient (age1pq1…)")
        made = cls(data)
        made._key()
        return made

    def __str__(self) -> str:
        return _bech32.encode("age1pq", self.public)

    def wrap(self, file_key: bytes) -> Stanza:
        """The file key, readable by this recipient alone."""
        sealed = _SUITE.encrypt(file_key, self._key(), _INFO)
        share, body = sealed[:_ENCAPSULATED_BYTES], sealed[_ENCAPSULATED_BYTES:]
        return Stanza(TYPE, (encode_base64(share).decode(),), body)

    def _key(self) -> hpke.MLKEM768X25519PublicKey:
        try:
            mlkem = MLKEM768PublicKey.from_public_bytes(self.public[:_MLKEM_BYTES])
            x25519 = X25519PublicKey.from_public_bytes(self.public[_MLKEM_BYTES:])
            return hpke.MLKEM768X25519PublicKey(mlkem, x25519)
        except ValueError:
            raise UsageError("a hybrid recipient is not a valid public key") from None


@dataclass(frozen=True)
class HybridIdentity:
    """A private key, ``AGE-SECRET-KEY-PQ-1…``: a seed of 32 bytes. Its bytes are never shown."""

    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> HybridIdentity:
        return cls(os.urandom(32))

    @classmethod
    def of_key(cls, key: Key) -> HybridIdentity:
        """The identity of a key ring's hybrid key."""
        return cls(key.secret)

    @classmethod
    def parse(cls, text: str) -> HybridIdentity:
        """Read an ``AGE-SECRET-KEY-PQ-1…`` identity.

        :raises UsageError: if it is not one.
        """
        data = _bech32.decode_key(text, "age-secret-key-pq-", 32)
        if data is None:
            raise UsageError("not a hybrid age identity (AGE-SECRET-KEY-PQ-1…)")
        return cls(data)

    def export(self) -> str:
        """The identity as text, for break-glass storage. Handle it as a secret."""
        return _bech32.encode("age-secret-key-pq-", self.secret).upper()

    @property
    def recipient(self) -> HybridRecipient:
        mlkem, x25519 = self._parts()
        return HybridRecipient(
            mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        )

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if the stanza is for somebody else.

        :raises Malformed: if it is a hybrid stanza that breaks the specification.
        """
        if stanza.type != TYPE:
            return None
        if len(stanza.arguments) != 1:
            raise Malformed
        share = decode_base64(stanza.arguments[0].encode())
        if len(share) != _ENCAPSULATED_BYTES or len(stanza.body) != _BODY_BYTES:
            raise Malformed
        mlkem, x25519 = self._parts()
        try:
            # An all-zero shared secret is refused: the point is of low order.
            x25519.exchange(X25519PublicKey.from_public_bytes(share[-32:]))
        except ValueError:
            raise Malformed from None
        try:
            private = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
            return bytes(_SUITE.decrypt(share + stanza.body, private, _INFO))
        except (InvalidTag, ValueError):
            return None

    def _parts(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        # X-Wing's key expansion (draft-connolly-cfrg-xwing-kem, section 5.2).
        expanded = hashlib.shake_256(self.secret).digest(96)
        return (
            MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
            X25519PrivateKey.from_private_bytes(expanded[64:]),
        )
