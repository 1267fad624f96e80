"""Signed notes and the checkpoints of a log.

Sources: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint, and https://c2sp.org/tlog-cosignature for
ML-DSA-44, which a quantum computer cannot forge. Any tool for transparency logs can read them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from airflow_mlsec.errors import BrokenLog, SignatureInvalid, UsageError

ED25519, ML_DSA_44 = 0x01, 0x06
_MARK = "— "
_MOST_SIGNATURES = 64
_MOST_BYTES = 1 << 20
_TREE_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a log when it was signed: its origin, the number of entries, and their root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """:raises BrokenLog: if a text is not a checkpoint."""
        lines = text.split("\n")
        try:
            origin, size, root = lines[0], lines[1], base64.b64decode(lines[2], validate=True)
        except (IndexError, binascii.Error):
            raise BrokenLog("this is not a checkpoint of a log") from None
        well_formed = (
            bool(origin)
            and _TREE_SIZE.fullmatch(size)
            and len(root) == 32
            and all(lines[3:-1])
            and lines[-1] == ""
        )
        if not well_formed:
            raise BrokenLog("this is not a checkpoint of a log")
        return cls(origin, int(size), root)


@dataclass(frozen=True)
class Verifier:
    """A public key that verifies notes, and its name."""

    name: str
    kind: int
    key: Any

    @classmethod
    def of(cls, name: str, key: Any) -> Self:
        """:raises UsageError: if this kind of key does not sign notes, or the name is not valid."""
        kind = next((kind for kind, of_kind in _KINDS.items() if isinstance(key, of_kind)), None)
        if kind is None:
            raise UsageError("checkpoints are signed with Ed25519 or ML-DSA-44")
        if "+" in name or any(c.isspace() for c in name) or not 0 < len(name.encode()) < 256:
            raise UsageError(
                f"'{name}' cannot be the name of a key: it has a space or a plus, or is too long"
            )
        return cls(name, kind, key)

    @classmethod
    def parse(cls, text: str) -> Self:
        """A verifier key (``name+id+key``) as https://c2sp.org/signed-note writes it.

        :raises UsageError: if it is not a verifier key, or its parts do not match.
        """
        name, _, rest = text.strip().partition("+")
        identifier, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
            found = cls.of(name, _READS[raw[0]](raw[1:]))
        except (binascii.Error, IndexError, KeyError, ValueError):
            raise UsageError("this is not a verifier key (name+id+key) of a log") from None
        if found.id.hex() != identifier:
            raise UsageError("the id of this verifier key does not match its key")
        return found

    @property
    def raw(self) -> bytes:
        """The bytes of the public key."""
        raw: bytes = self.key.public_bytes_raw()
        return raw

    @property
    def id(self) -> bytes:
        """The four bytes with which a signature identifies its key."""
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.raw
        return hashlib.sha256(named).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.kind]) + self.raw).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"

    def verify(self, text: str, signature: bytes) -> None:
        """:raises SignatureInvalid: if this key did not sign the text."""
        try:
            if self.kind == ED25519:
                self.key.verify(signature, text.encode())
            else:
                time, signature = struct.unpack(">Q", signature[:8])[0], signature[8:]
                self.key.verify(signature, _cosigned(self.name, time, Checkpoint.parse(text)))
        except (InvalidSignature, struct.error):
            raise SignatureInvalid(f"the signature of {self.name} does not verify") from None


_KINDS: dict[int, type] = {ED25519: ed25519.Ed25519PublicKey, ML_DSA_44: mldsa.MLDSA44PublicKey}
_READS = {
    ED25519: ed25519.Ed25519PublicKey.from_public_bytes,
    ML_DSA_44: mldsa.MLDSA44PublicKey.from_public_bytes,
}


def sign_checkpoint(checkpoint: Checkpoint, name: str, keys: Iterable[Any], at: int) -> str:
    """A checkpoint as a note signed by private keys; ``at`` is the time in seconds since 1970.

    :raises UsageError: if this kind of key does not sign notes.
    """
    lines = []
    for key in keys:
        verifier = Verifier.of(name, key.public_key())
        if verifier.kind == ED25519:
            signature = key.sign(checkpoint.text.encode())
        else:
            signature = struct.pack(">Q", at) + key.sign(_cosigned(name, at, checkpoint))
        lines.append(f"{_MARK}{name} {base64.b64encode(verifier.id + signature).decode()}\n")
    return f"{checkpoint.text}\n{''.join(lines)}"


def open_checkpoint(
    note: str, trusted: Sequence[Verifier], post_quantum: bool = False
) -> Checkpoint:
    """The checkpoint in a note that a trusted key has signed; ``post_quantum`` requires ML-DSA-44 as well.

    :raises SignatureInvalid: if no trusted key signed it, or a signature of a trusted key does not verify.
    :raises BrokenLog: if it is not a checkpoint.
    """
    text, signatures = _taken_apart(note)
    by_key = {(v.name, v.id): v for v in trusted}
    signed_by = set()
    for name, signature in signatures:
        # A signature of an unknown key is ignored; a bad one of a known key makes the note invalid.
        if verifier := by_key.get((name, signature[:4])):
            verifier.verify(text, signature[4:])
            signed_by.add(verifier.kind)
    if not signed_by:
        raise SignatureInvalid("no trusted key has signed this checkpoint")
    if post_quantum and ML_DSA_44 not in signed_by:
        raise SignatureInvalid("no trusted ML-DSA-44 key has signed this checkpoint")
    return Checkpoint.parse(text)


def _taken_apart(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The text of a note and its signatures: for each a name, and the key id with the signature."""
    text, blank, rest = note.rpartition("\n\n")
    lines = rest.split("\n")
    control = any(c < " " and c != "\n" for c in note)
    if (
        not blank
        or control
        or lines.pop()
        or not 0 < len(lines) <= _MOST_SIGNATURES
        or len(note) > _MOST_BYTES
    ):
        raise BrokenLog("this is not a signed note")  # fmt: skip
    found = []
    for line in lines:
        name, _, encoded = line.removeprefix(_MARK).partition(" ")
        try:
            signature = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            signature = b""
        if not line.startswith(_MARK) or not name or len(signature) < 5:
            raise BrokenLog("this is not a signed note")
        found.append((name, signature))
    return f"{text}\n", found


def _cosigned(name: str, time: int, checkpoint: Checkpoint) -> bytes:
    """The bytes that ML-DSA-44 signs for a checkpoint."""
    names = [text.encode() for text in (name, checkpoint.origin)]
    cosigner, origin = (bytes([len(text)]) + text for text in names)
    return b"".join(
        (
            b"subtree/v1\n\0", cosigner, struct.pack(">Q", time), origin,
            struct.pack(">QQ", 0, checkpoint.size), checkpoint.root,
        )
    )  # fmt: skip
