"""The files of a key ring: ``root.key`` and ``ring.json``, read strictly; and the states of a key.

A root key that others can read, and a ring that others can change, are refused.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import os
import resource
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from airflow_mlsec import files
from airflow_mlsec.crypto.key_services import open_key_service, unwrap, wrap
from airflow_mlsec.errors import (
    CryptoError,
    KeyNotFound,
    MlsecError,
    UnsafePermissions,
    UsageError,
)

FORMAT = "airflow-mlsec/key-ring/1"
KMS_FORMAT = "airflow-mlsec/root/1"
ROOT_HEADER = "airflow-mlsec root key 1"
ROOT_PURPOSE = b"root"
ROOT_BYTES = 32
_READS = 10


class KeyKind(StrEnum):
    """What a key is for."""

    SECRET = "secret"  # noqa: S105 - a kind, not a password
    ENCRYPTION = "x25519"
    # X25519 with ML-KEM-768: a quantum computer cannot open what is encrypted to it.
    HYBRID = "hybrid"
    SIGNING = "ed25519"
    ECDSA = "ecdsa-p256"
    # A quantum computer cannot forge it.
    ML_DSA = "ml-dsa-65"


class KeyState(StrEnum):
    """``disabled`` keys still locate and decrypt, but nothing new is made with them. ``scheduled``
    ones no longer open anything and are destroyed after a time; until then they can be restored."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    SCHEDULED = "scheduled"
    DESTROYED = "destroyed"


USABLE_STATES = (KeyState.ENABLED, KeyState.DISABLED)


@dataclass(frozen=True)
class KeyEvent:
    """What was done to a key version, when (UTC), and by which user of the machine."""

    time: str
    action: str
    name: str
    version: int
    by: str


@dataclass(frozen=True)
class RingFile:
    """What ``ring.json`` holds, not yet verified. A ring from before events were kept has none of them
    (``keeps_events``)."""

    entries: list[KeyEntry]
    events: list[KeyEvent]
    mac: str
    keeps_events: bool


@dataclass(frozen=True)
class KeyEntry:
    """What the ring says about one key version, without the secret in the clear."""

    name: str
    version: int
    kind: KeyKind
    state: KeyState
    created: str
    public: str | None
    wrapped: str | None = field(repr=False)
    # When a scheduled one may be destroyed.
    destroy_after: str | None = None

    def bound_data(self) -> bytes:
        """What the wrapped key is bound to."""
        return json.dumps([FORMAT, self.name, self.version, self.kind.value]).encode()


def plain(entry: KeyEntry) -> dict[str, Any]:
    """The entry as plain data."""
    found = {
        "name": entry.name,
        "version": entry.version,
        "kind": entry.kind.value,
        "state": entry.state.value,
        "created": entry.created,
        "public": entry.public,
        "wrapped": entry.wrapped,
    }
    if entry.destroy_after is not None:
        found["destroy_after"] = entry.destroy_after
    return found


def canonical(entries: list[KeyEntry], events: list[KeyEvent]) -> bytes:
    """The bytes that the ring's HMAC covers."""
    listed: Any = [plain(entry) for entry in entries]
    if events:
        listed = [listed, [asdict(event) for event in events]]
    return json.dumps(listed, sort_keys=True, separators=(",", ":")).encode()


def extent(entries: list[KeyEntry], events: int) -> list[int]:
    """Counts that only ever grow in a ring: versions, those that are no longer enabled, those destroyed,
    and events."""
    states = [entry.state for entry in entries]
    out_of_use = sum(state is not KeyState.ENABLED for state in states)
    return [len(states), out_of_use, states.count(KeyState.DESTROYED), events]


def changed(
    entry: KeyEntry, state: KeyState, destroy_after: str | None, restores: bool
) -> KeyEntry:
    """A key version in another state; what is destroyed stays destroyed.

    :raises UsageError: if this state does not allow the step.
    """
    scheduled, destroyed = (entry.state is s for s in (KeyState.SCHEDULED, KeyState.DESTROYED))
    what = f"version {entry.version} of key '{entry.name}'"
    if destroyed and (restores or destroy_after is not None):
        raise UsageError(f"{what} is destroyed; there is nothing left of it")
    if restores and not scheduled:
        raise UsageError(f"{what} is {entry.state}; only what is scheduled can be restored")
    if destroy_after is not None and scheduled:
        raise UsageError(f"{what} is scheduled already, for {entry.destroy_after}")
    if scheduled and state is KeyState.DISABLED and not restores:
        raise UsageError(f"{what} is scheduled for destruction; restore it instead")
    if destroyed or state is KeyState.DESTROYED:
        return replace(entry, state=KeyState.DESTROYED, wrapped=None, destroy_after=None)
    return replace(entry, state=state, destroy_after=destroy_after)


def bytes_of(path: Path) -> bytes:
    """The ring as it is. Replacing it overwrites the old file with zeros, which no ring contains: they belong
    to a file that is no longer the ring."""
    for _ in range(_READS):
        content = path.read_bytes()
        if b"\0" not in content:
            break
    return content


def refuse_ring_writable_by_others(folder: Path) -> None:
    """:raises UnsafePermissions: if others can change a ring."""
    _refuse_writable_by_others(folder)
    _refuse_writable_by_others(folder / "ring.json")


def parse_ring(content: bytes, where: str) -> RingFile:
    """What a ring holds; ``where`` is the place that messages name.

    :raises CryptoError: if it is damaged.
    """
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise CryptoError(f"{where} is not a {FORMAT} file")
        entries = [
            KeyEntry(
                name=str(item["name"]),
                version=int(item["version"]),
                kind=KeyKind(item["kind"]),
                state=KeyState(item["state"]),
                created=str(item["created"]),
                public=_public(item["public"], KeyKind(item["kind"])),
                wrapped=item["wrapped"],
                destroy_after=item.get("destroy_after"),
            )
            for item in document["keys"]
        ]
        events = [
            KeyEvent(
                time=str(item["time"]),
                action=str(item["action"]),
                name=str(item["name"]),
                version=int(item["version"]),
                by=str(item["by"]),
            )
            for item in document.get("events", [])
        ]
        return RingFile(entries, events, str(document["mac"]), "events" in document)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        if isinstance(error, MlsecError):
            raise
        raise CryptoError(f"{where} is damaged; restore it from its backup") from None


def _damaged(path: Path, error: Exception) -> CryptoError:
    if isinstance(error, OSError):
        return CryptoError(f"{path} cannot be read ({os.strerror(error.errno or 0)})")
    return CryptoError(f"{path} is damaged; restore it from its backup")


# Bytes of public halves.
_PUBLIC_BYTES = {KeyKind.ECDSA: 33, KeyKind.ML_DSA: 1952}


def _public(value: Any, kind: KeyKind) -> str | None:
    if value is not None:
        if len(base64.b64decode(value, validate=True)) != _PUBLIC_BYTES.get(kind, 32):
            raise ValueError
        return str(value)
    return None


def _refuse_writable_by_others(path: Path) -> None:
    status = path.stat()
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
        raise UnsafePermissions(
            f"{path} can be changed by others (mode {status.st_mode & 0o777:o}); "
            f"run: chmod go-w {path}, and check `mlsec keys list` for keys that are not yours"
        )


def has_root(folder: Path) -> bool:
    """Whether the ring's root key is available, in a file or with a key service."""
    return (folder / "root.key").exists() or (folder / "root.kms").exists()


def root_of(folder: Path) -> bytes:
    """The root key: from ``root.key``, or unwrapped by a key service.

    :raises KeyNotFound: if there is neither.
    :raises UnsafePermissions: if others can read or change the file.
    :raises CryptoError: if the service does not open it.
    """
    _leave_no_core()
    path = folder / "root.kms"
    if not path.exists():
        return read_root(folder / "root.key")
    _refuse_writable_by_others(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path, error) from None
    return opened_root(content, str(path))


def opened_root(content: bytes, where: str) -> bytes:
    """The root key that a key service has wrapped.

    :raises CryptoError: if the service does not open it, or what is kept at ``where`` is damaged.
    """
    _leave_no_core()
    try:
        document = json.loads(content)
        if document["format"] != KMS_FORMAT:
            raise ValueError
        service = str(document["service"])
        wrapped = base64.b64decode(document["wrapped"], validate=True)
        key_id = str(document.get("key", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CryptoError(f"{where} is damaged; restore it from its backup") from None
    key = open_key_service(service)
    # An alias may have been pointed to another key since.
    found = key.earlier(key_id) if key_id else key
    root = unwrap(found or key, wrapped, ROOT_PURPOSE)
    if len(root) != ROOT_BYTES:
        raise CryptoError(f"{where} holds no root key")
    return root


def parse_root(content: bytes, what: str) -> bytes:
    """A root key from base64 text or its bytes.

    :raises CryptoError: if it is not one; the message names it as ``what``.
    """
    _leave_no_core()
    if len(content) == ROOT_BYTES:
        return content
    text = content.strip().removeprefix(ROOT_HEADER.encode()).strip()
    try:
        root = base64.b64decode(text.replace(b"-", b"+").replace(b"_", b"/"), validate=True)
    except ValueError:
        root = b""
    if len(root) != ROOT_BYTES or not any(root):
        raise CryptoError(
            f"{what} is not a root key: expected base64 of {ROOT_BYTES} random bytes, such as `openssl rand -base64 {ROOT_BYTES}` prints"
        )
    return root


def mounted_root(path: Path) -> bytes:
    """The root key of a mounted file: a link, or a file of a group or of another user, is acceptable there, since
    Kubernetes mounts secrets that way; what counts is who else can read or change it.

    :raises KeyNotFound: if there is none.
    :raises UnsafePermissions: if everybody can read it, or others can change it.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(4096)
    except FileNotFoundError:
        raise KeyNotFound(f"[mlsec] root_key_file: there is no {path}") from None
    except OSError as error:
        raise UnsafePermissions(f"[mlsec] root_key_file: {path} cannot be read ({error.strerror})") from None  # fmt: skip
    mode = status.st_mode & 0o777
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP) and not _is_shut(path):
        raise UnsafePermissions(
            f"[mlsec] root_key_file: {path} can be read by everybody, or changed by others (mode {mode:o}); mount it with "
            "mode 0440 (Kubernetes: defaultMode), or run chmod o= on it"
        )
    return parse_root(content, f"[mlsec] root_key_file: {path}")


def _is_shut(path: Path) -> bool:
    """Whether others cannot reach a file, because they may not traverse a folder above it."""
    real = path.resolve()
    return any(not folder.stat().st_mode & stat.S_IXOTH for folder in real.parents)


def _leave_no_core() -> None:
    """A process that holds keys leaves no image of its memory on disk when it crashes."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def write_root(folder: Path, root: bytes, service: str | None) -> None:
    """Keep the root key: in ``root.key``, or wrapped by a key service in ``root.kms``."""
    if service is None:
        text = f"{ROOT_HEADER}\n{base64.b64encode(root).decode()}\n"
        files.write_bytes(folder / "root.key", text.encode())
        return
    files.write_bytes(folder / "root.kms", wrapped_root(root, service))


def wrapped_root(root: bytes, service: str) -> bytes:
    """A root key wrapped by a key service, as it is kept.

    :raises CryptoError: if the service does not accept it, or does not return it.
    """
    key = open_key_service(service)
    wrapped = wrap(key, root, ROOT_PURPOSE)
    # Before anything is kept under it: an account that may wrap but not open would lock the ring
    # forever.
    if not hmac.compare_digest(unwrap(key, wrapped, ROOT_PURPOSE), root):
        raise CryptoError("the key service returned another root key; nothing was changed")
    document = {
        "format": KMS_FORMAT,
        "service": service,
        "key": key.key_id(),
        "wrapped": base64.b64encode(wrapped).decode(),
    }
    return f"{json.dumps(document, indent=1)}\n".encode()


def remove_overwritten(path: Path) -> None:
    """Remove a file, and overwrite its content."""
    with overwritten_after(path):
        path.unlink()


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
            raise UnsafePermissions(f"{path} belongs to a user other than the one running this")
        header, _, rest = file.read(4096).decode("ascii", "replace").partition("\n")
    try:
        root = base64.b64decode(rest.strip(), validate=True)
    except ValueError:
        root = b""
    if header != ROOT_HEADER or len(root) != ROOT_BYTES:
        raise CryptoError(f"{path} is damaged; restore it from its backup")
    return root


@contextlib.contextmanager
def overwritten_after(path: Path) -> Iterator[None]:
    """Overwrite what was at ``path`` when the block has replaced it: nothing of destroyed keys may stay
    in the disk's free space. A filesystem that copies on write may still have it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield
        return
    try:
        yield
        status = os.fstat(descriptor)
        # If another name is left, such as a hard link of a backup, it keeps its content.
        if status.st_nlink == 0:
            os.pwrite(descriptor, bytes(status.st_size), 0)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
