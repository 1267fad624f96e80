"""age v1 encryption with X25519 recipients (C2SP ``age.md``), of streams and of files."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airflow_mlsec import files
from airflow_mlsec.crypto import _bech32
from airflow_mlsec.crypto._header import (
    Malformed,
    Stanza,
    decode_base64,
    encode_authenticated,
    encode_base64,
    read_header,
)
from airflow_mlsec.crypto._payload import Damaged, payload_key, seal, unseal
from airflow_mlsec.crypto._ring import Key
from airflow_mlsec.errors import (
    DatasetError,
    DatasetNotFound,
    DecryptionFailed,
    UsageError,
)

_WRAP_INFO = b"age-encryption.org/v1/X25519"
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Recipient:
    """Somebody who will be able to decrypt: an X25519 public key, ``age1…``."""

    public: bytes

    @classmethod
    def parse(cls, text: str) -> Recipient:
        """Read an ``age1…`` recipient.

        :raises UsageError: if it is not one.
        """
        try:
            prefix, data = _bech32.decode(text.strip())
        except ValueError:
            prefix, data = "", b""
        if prefix != "age" or len(data) != 32 or text.strip() != text.strip().lower():
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
        try:
            prefix, data = _bech32.decode(text.strip())
        except ValueError:
            prefix, data = "", b""
        if prefix != "age-secret-key-" or len(data) != 32 or text.strip() != text.strip().upper():
            raise UsageError("not an age identity (AGE-SECRET-KEY-1…)")
        return cls(data)

    def export(self) -> str:
        """The identity as text, for break-glass storage. Handle as the secret it is."""
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


def read_identities(path: Path) -> list[Identity]:
    """The identities of a file as ``age-keygen`` writes it: one per line, ``#`` comments.

    :raises UsageError: if the file is missing or a line is not an identity.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"identity file {path} cannot be read") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            try:
                found.append(Identity.parse(line))
            except UsageError:
                raise UsageError(f"{path}:{number}: not an age identity") from None
    if not found:
        raise UsageError(f"{path}: no identity found")
    return found


def encrypt(
    source: BinaryIO,
    target: BinaryIO,
    recipients: Sequence[Recipient],
    progress: Progress = lambda done: None,
) -> None:
    """Encrypt a stream to one or more recipients, in constant memory.

    :raises UsageError: without recipients.
    """
    if not recipients:
        raise UsageError("at least one recipient is needed")
    file_key, nonce = os.urandom(16), os.urandom(16)
    authenticated = encode_authenticated(tuple(r.wrap(file_key) for r in recipients))
    mac = _header_mac(file_key, authenticated)
    target.write(authenticated + b" " + encode_base64(mac) + b"\n" + nonce)
    seal(payload_key(file_key, nonce), source, target, progress)


def decrypt(
    source: BinaryIO,
    target: BinaryIO,
    identities: Iterable[Identity],
    progress: Progress = lambda done: None,
) -> None:
    """Decrypt a stream. Chunks reach ``target`` as they verify: discard it on an error.

    :raises DecryptionFailed: for any cause; they are not told apart.
    """
    try:
        header = read_header(source)
        file_key = _file_key(header.stanzas, list(identities))
        if not hmac.compare_digest(_header_mac(file_key, header.authenticated), header.mac):
            raise DecryptionFailed
        nonce = source.read(16)
        if len(nonce) != 16:
            raise DecryptionFailed
        unseal(payload_key(file_key, nonce), source, target, progress)
    except (Malformed, Damaged):
        raise DecryptionFailed from None


def encrypt_file(
    source: Path,
    target: Path,
    recipients: Sequence[Recipient],
    progress: Progress = lambda done: None,
) -> None:
    """Encrypt a file; ``target`` appears when it is complete."""
    with _opened(source, target) as read, files.replacing(target) as write:
        encrypt(read, write, recipients, progress)


def decrypt_file(
    source: Path,
    target: Path,
    identities: Iterable[Identity],
    progress: Progress = lambda done: None,
) -> None:
    """Decrypt a file; ``target`` appears after the last byte verified, else not at all.

    :raises DecryptionFailed: for any cause; ``target`` is left as it was.
    """
    with _opened(source, target) as read, files.replacing(target) as write:
        decrypt(read, write, identities, progress)


def _opened(source: Path, target: Path) -> BinaryIO:
    if target.exists() and source.exists() and target.samefile(source):
        raise DatasetError(f"source and target are the same file: {source}")
    try:
        return source.open("rb", buffering=2**16)
    except FileNotFoundError:
        raise DatasetNotFound(f"{source}: no such file") from None
    except OSError as error:
        raise DatasetError(f"{source} cannot be read ({error.strerror})") from None


def _file_key(stanzas: tuple[Stanza, ...], identities: list[Identity]) -> bytes:
    # A passphrase stanza must stand alone (age.md); we have no passphrase identities.
    if any(stanza.type == "scrypt" for stanza in stanzas):
        raise DecryptionFailed
    found: bytes | None = None
    for identity in identities:
        for stanza in stanzas:
            key = identity.unwrap(stanza)
            if key is not None and found is None:
                found = key
    if found is None or len(found) != 16:
        raise DecryptionFailed
    return found


def _header_mac(file_key: bytes, authenticated: bytes) -> bytes:
    key = HKDF(hashes.SHA256(), 32, salt=None, info=b"header").derive(file_key)
    return hmac.digest(key, authenticated, "sha256")
