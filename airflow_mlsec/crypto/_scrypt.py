"""A passphrase as recipient (C2SP ``age.md``, section "The scrypt recipient type"; RFC 7914)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from airflow_mlsec.crypto._header import Malformed, Stanza, decode_base64, encode_base64
from airflow_mlsec.errors import UsageError

TYPE = "scrypt"
_SALT_LABEL = b"age-encryption.org/v1/scrypt"
_WORK_FACTOR = re.compile(r"[1-9][0-9]?")
# 2^18 takes about a second and 256 MiB; a file that asks for more than 2^22 (4 GiB) asks for a
# denial of service.
_DEFAULT_WORK = 18
_MOST_WORK = 22
SHORTEST = 12


@dataclass(frozen=True)
class Passphrase:
    """A passphrase, which both encrypts and decrypts; a file's only recipient."""

    text: str = field(repr=False)
    # Binary logarithm of scrypt's cost when encrypting.
    work: int = _DEFAULT_WORK

    def __post_init__(self) -> None:
        if not self.text:
            raise UsageError("the passphrase is empty")
        if not 1 <= self.work <= _MOST_WORK:
            raise UsageError(f"scrypt's work factor is from 1 to {_MOST_WORK}")

    @classmethod
    def chosen(cls, text: str) -> Passphrase:
        """A passphrase for a new file.

        :raises UsageError: if it is too short to withstand guessing.
        """
        if len(text) < SHORTEST:
            raise UsageError(
                f"the passphrase has {len(text)} characters; at least {SHORTEST} are needed"
            )
        return cls(text)

    def wrap(self, file_key: bytes) -> Stanza:
        """The file key under this passphrase."""
        salt = os.urandom(16)
        body = ChaCha20Poly1305(self._key(salt, self.work)).encrypt(bytes(12), file_key, None)
        return Stanza(TYPE, (encode_base64(salt).decode(), str(self.work)), body)

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if the stanza is of another type or passphrase.

        :raises Malformed: if it breaks the specification, or asks for more work than is sane.
        """
        if stanza.type != TYPE:
            return None
        if len(stanza.arguments) != 2 or len(stanza.body) != 32:
            raise Malformed
        salt = decode_base64(stanza.arguments[0].encode())
        if len(salt) != 16 or not _WORK_FACTOR.fullmatch(stanza.arguments[1]):
            raise Malformed
        work = int(stanza.arguments[1])
        if work > _MOST_WORK:
            raise Malformed
        try:
            return ChaCha20Poly1305(self._key(salt, work)).decrypt(bytes(12), stanza.body, None)
        except InvalidTag:
            return None

    def _key(self, salt: bytes, work: int) -> bytes:
        derive = Scrypt(salt=_SALT_LABEL + salt, length=32, n=1 << work, r=8, p=1).derive
        return derive(self.text.encode("utf-8", "surrogateescape"))
