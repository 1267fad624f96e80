"""Recipients with an X25519 key pair (C2SP ``age.md``, section "The X25519 recipient type")."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airflow_mlsec.crypto import _bech32
from airflow_mlsec.crypto._header import Malformed, Stanza, decode_base64, encode_base64
from airflow_mlsec.crypto._ring import Key
from airflow_mlsec.errors import UsageError

_WRAP_INFO = b"age-encryption.org/v1/X25519"


@dataclass(frozen=True)
class Recipient:
    """A recipient who will be able to decrypt: an X25519 public key, ``age1…``."""

    public: bytes

    @classmethod
    def parse(cls, text: str) -> Recipient:
        """Read an ``age1…`` recipient.

        :raises UsageError: if it is not one.
        """
        data = _bech32.decode_key(text, "age", 32)
        if data is None:
            raise UsageError(f"'{text[:16]}…' is not an age X25519 recipient (age1…)")
        return cls(data)

    def __str__(self) -> str:
        return _bech32.encode("age", self.public)

    def wrap(self, file_key: bytes) -> Stanza:
        """The file key, readable by this recipient alone."""
        ephemeral = X25519PrivateKey.generate()
        share = ephemeral.public_key().public_bytes_raw()
        try:
            shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(self.public))
        except ValueError:
            raise UsageError("a recipient is a point of low order; it is not a real key") from None
        key = HKDF(hashes.SHA256(), 32, salt=share + self.public, info=_WRAP_INFO).derive(shared)
        body = ChaCha20Poly1305(key).encrypt(bytes(12), file_key, None)
        return Stanza("X25519", (encode_base64(share).decode(),), body)


@dataclass(frozen=True)
class Identity:
    """An X25519 private key, ``AGE-SECRET-KEY-1…``. Its bytes are never shown."""

    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> Identity:
        return cls(os.urandom(32))

    @classmethod
    def of_key(cls, key: Key) -> Identity:
        """The identity of a key ring's X25519 key."""
        return cls(key.secret)

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read an ``AGE-SECRET-KEY-1…`` identity.

        :raises UsageError: if it is not one.
        """
        data = _bech32.decode_key(text, "age-secret-key-", 32)
        if data is None:
            raise UsageError("not an age identity (AGE-SECRET-KEY-1…)")
        return cls(data)

    def export(self) -> str:
        """The identity as text, for break-glass storage. Handle it as a secret."""
        return _bech32.encode("age-secret-key-", self.secret).upper()

    @property
    def recipient(self) -> Recipient:
        private = X25519PrivateKey.from_private_bytes(self.secret)
        return Recipient(private.public_key().public_bytes_raw())

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if the stanza is for somebody else.

        :raises Malformed: if it is an X25519 stanza that breaks the specification.
        """
        if stanza.type != "X25519":
            return None
        if len(stanza.arguments) != 1:
            raise Malformed
        share = decode_base64(stanza.arguments[0].encode())
        if len(share) != 32 or len(stanza.body) != 32:
            raise Malformed
        private = X25519PrivateKey.from_private_bytes(self.secret)
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(share))
        except ValueError:  # all-zero shared secret
            raise Malformed from None
        salt = share + private.public_key().public_bytes_raw()
        key = HKDF(hashes.SHA256(), 32, salt=salt, info=_WRAP_INFO).derive(shared)
        try:
            return ChaCha20Poly1305(key).decrypt(bytes(12), stanza.body, None)
        except InvalidTag:
            return None
