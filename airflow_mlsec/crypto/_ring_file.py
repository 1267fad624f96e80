"""The files of a key ring: ``root.key`` and ``ring.json``, read strictly.

A root key that others can read, and a ring that others can change, are refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from airflow_mlsec.errors import CryptoError, KeyNotFound, UnsafePermissions

FORMAT = "airflow-mlsec/key-ring/1"
ROOT_HEADER = "airflow-mlsec root key 1"


class KeyKind(StrEnum):
    """What a key is for."""

    SECRET = "secret"  # noqa: S105 - a kind, not a password
    ENCRYPTION = "x25519"
    # X25519 with ML-KEM-768: a quantum computer does not open what is encrypted to it.
    HYBRID = "hybrid"
    SIGNING = "ed25519"


class KeyState(StrEnum):
    """``disabled`` keys still locate and decrypt, but nothing new is made with them."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    DESTROYED = "destroyed"


@dataclass(frozen=True)
class KeyEntry:
    """What the ring says of one key version, without the secret in the clear."""

    name: str
    version: int
    kind: KeyKind
    state: KeyState
    created: str
    public: str | None
    wrapped: str | None = field(repr=False)

    def bound_data(self) -> bytes:
        """What the wrapped key is bound to."""
        return json.dumps([FORMAT, self.name, self.version, self.kind.value]).encode()


def plain(entry: KeyEntry) -> dict[str, Any]:
    """The entry as plain data."""
    return {
        "name": entry.name,
        "version": entry.version,
        "kind": entry.kind.value,
        "state": entry.state.value,
        "created": entry.created,
        "public": entry.public,
        "wrapped": entry.wrapped,
    }


def canonical(entries: list[KeyEntry]) -> bytes:
    """The bytes that the ring's HMAC covers."""
    listed = [plain(entry) for entry in entries]
    return json.dumps(listed, sort_keys=True, separators=(",", ":")).encode()


def read_ring(folder: Path) -> tuple[list[KeyEntry], str]:
    """The entries and the HMAC, not yet verified.

    :raises KeyNotFound: if there is no ring.
    :raises CryptoError: if it is damaged.
    :raises UnsafePermissions: if others can change it.
    """
    path = folder / "ring.json"
    try:
        _refuse_writable_by_others(folder)
        _refuse_writable_by_others(path)
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise CryptoError(f"{path} is not a {FORMAT} file")
        entries = [
            KeyEntry(
                name=str(item["name"]),
                version=int(item["version"]),
                kind=KeyKind(item["kind"]),
                state=KeyState(item["state"]),
                created=str(item["created"]),
                public=_public(item["public"]),
                wrapped=item["wrapped"],
            )
            for item in document["keys"]
        ]
        return entries, str(document["mac"])
    except FileNotFoundError:
        raise KeyNotFound(f"no key ring in {folder}; `mlsec keys init` makes one") from None
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, CryptoError):
            raise
        raise CryptoError(f"{path} is damaged; restore it from its backup") from None


def _public(value: Any) -> str | None:
    if value is not None and len(base64.b64decode(value, validate=True)) != 32:
        raise ValueError
    return None if value is None else str(value)


def _refuse_writable_by_others(path: Path) -> None:
    status = path.stat()
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
        raise UnsafePermissions(
            f"{path} can be changed by others (mode {status.st_mode & 0o777:o}); "
            f"run: chmod go-w {path}, and check `mlsec keys list` for keys that are not yours"
        )


def read_root(path: Path) -> bytes:
    """The root key.

    :raises UnsafePermissions: if others can read or change it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise KeyNotFound(f"no key ring in {path.parent}; `mlsec keys init` makes one") from None
    except OSError as error:
        raise UnsafePermissions(
            f"{path} cannot be opened as a plain file ({error.strerror})"
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UnsafePermissions(
                f"{path} can be read or changed by others (mode {status.st_mode & 0o777:o}); "
                f"run: chmod 600 {path}, and rotate the keys if it was exposed"
            )
        if status.st_uid != os.geteuid():
            raise UnsafePermissions(f"{path} belongs to another user than the one running")
        header, _, rest = file.read(4096).decode("ascii", "replace").partition("\n")
    try:
        root = base64.b64decode(rest.strip(), validate=True)
    except binascii.Error:
        root = b""
    if header != ROOT_HEADER or len(root) != 32:
        raise CryptoError(f"{path} is damaged; restore it from its backup")
    return root
