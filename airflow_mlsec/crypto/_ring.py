"""A key ring in a folder: ``root.key`` (owner only) wraps every key in ``ring.json``.

Each key is 32 bytes: a symmetric secret, an X25519 private key, or what a signing key is built from. It is
wrapped with AES-256-GCM (NIST SP 800-38D) under a key derived from the root with HKDF
(RFC 5869), bound to its name, version and kind; the whole file carries an HMAC, so that a
changed state or a removed key is detected. Public halves are in the clear: verifying and
encrypting need no root key.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airflow_mlsec.actors import operating_system_actor
from airflow_mlsec.crypto._ring_file import (
    FORMAT,
    ROOT_BYTES,
    USABLE_STATES,
    KeyEntry,
    KeyEvent,
    KeyKind,
    KeyState,
    RingFile,
    canonical,
    changed,
    extent,
    parse_ring,
    plain,
)
from airflow_mlsec.crypto._ring_store import RingStore, store_of
from airflow_mlsec.crypto._signatures import (
    SIGNING_KINDS,
    VerificationKeys,
    private_key,
    public_half,
)
from airflow_mlsec.errors import AnotherRing, CryptoError, KeyNotFound, UsageError

NEWEST_FORMAT = "airflow-mlsec/key-ring-newest/1"
FINGERPRINT = b"airflow-mlsec/key-fingerprint/1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")


@dataclass(frozen=True)
class Key:
    """An unwrapped key version. Its bytes are never shown."""

    name: str
    version: int
    kind: KeyKind
    secret: bytes = field(repr=False)


class Recorder(Protocol):
    """Remembers, outside the ring, which ring is in use and a fingerprint of each key version."""

    def admit(self, ring: str) -> None:
        """Record the ring, if none is recorded yet.

        :raises AnotherRing: if another ring is recorded.
        """
        ...

    def known(self, ring: str) -> dict[tuple[str, int], str]:
        """The fingerprints that are recorded for the ring, by key name and version."""
        ...

    def record(self, ring: str, name: str, version: int, fingerprint: str) -> str:
        """Record a fingerprint; returns the one that is recorded from now on, which is an earlier one if
        there was one."""
        ...


class KeyRing:
    """An opened key ring. All changes are atomic and hold a lock, so processes can share it.

    With a `Recorder` (`bind`) every key version that is used must be the one that was recorded: a copy of
    the ring on another machine that was rotated separately has a different "version 2".
    """

    def __init__(self, store: RingStore, root: bytes, now: Callable[[], datetime]) -> None:
        self._store = store
        self._root = root
        self._now = now
        self._recorder: Recorder | None = None
        self._recorded_fingerprints: dict[tuple[str, int], str] = {}

    def __repr__(self) -> str:
        return f"KeyRing({self._store.where!r})"

    @property
    def folder(self) -> Path | None:
        """The folder that it is kept in, if it is kept in one."""
        return self._store.folder

    @property
    def store(self) -> RingStore:
        """What keeps it."""
        return self._store

    @property
    def where(self) -> str:
        """Where it is kept, for messages."""
        return self._store.where

    @classmethod
    def create(
        cls,
        place: Path | RingStore,
        now: Callable[[], datetime] | None = None,
        service: str | None = None,
        root: bytes | None = None,
    ) -> KeyRing:
        """Create a ring with a new root key, or open the one that is there (idempotent).

        ``place`` is a folder, or another store. ``service`` is the URI of a key service that keeps a new root key
        (`open_key_service`); without it the root key is a file. ``root`` is one that is kept elsewhere.
        """
        store = store_of(place)

        def work() -> None:
            rooted, has_ring = store.has_root(), store.exists()
            if root is not None:
                if not has_ring:
                    cls(store, root, lambda: datetime.now(UTC))._write([], [])
                return
            if has_ring and not rooted and store.folder is None:
                # In such a store, ring and root key are written as one: the creator of this ring supplies its root key.
                raise CryptoError(
                    f"the root key of the key ring in {store.where} is not kept there: give it as its creator did "
                    "([mlsec] root_key, root_key_file)"
                )
            # An empty ring without a root is what an interrupted creation leaves.
            if not rooted and has_ring and parse_ring(store.read(), store.where).entries:
                raise CryptoError(
                    f"{store.where} has ring.json but no root.key; restore root.key from its backup"
                )
            if rooted and not has_ring:
                raise CryptoError(
                    f"{store.where} has root.key but no ring.json; restore ring.json from its backup. "
                    "To start over, move root.key away"
                )
            if not rooted:
                made = os.urandom(ROOT_BYTES)
                cls(store, made, lambda: datetime.now(UTC))._write([], [])
                store.keep_root(made, service)

        store.change(work)
        return cls.open(store, now, root)

    @classmethod
    def open(
        cls,
        place: Path | RingStore,
        now: Callable[[], datetime] | None = None,
        root: bytes | None = None,
    ) -> KeyRing:
        """Open the ring in a folder or another store, with a ``root`` key that is kept elsewhere, or the one that is kept
        next to the ring.

        :raises KeyNotFound: if there is no ring.
        :raises UnsafePermissions: if anyone other than the owner can read or change the root key.
        :raises CryptoError: if the key service that keeps the root key does not open it.
        """
        store = store_of(place)
        given = root if root is not None else store.root()
        if root is not None and store.has_root() and not hmac.compare_digest(root, store.root()):
            raise CryptoError(
                f"{store.where} has a root key of its own, and another one is given by [mlsec] root_key or root_key_file: "
                "which of them is meant? Remove the other"
            )
        return cls(store, given, now or (lambda: datetime.now(UTC)))

    @property
    def identity(self) -> str:
        """Which ring this is: 32 hexadecimal digits that are derived from the root key and do not reveal it.
        Copies of a ring have the same identity."""
        return hmac.new(self._derive(b"identity"), FINGERPRINT, "sha256").hexdigest()[:32]

    def fingerprint(self, name: str, version: int) -> str:
        """Which secret a key version has: 32 hexadecimal digits of an HMAC under it.

        :raises KeyNotFound: if the version cannot be used.
        """
        return _fingerprint(self.version(name, version))

    def bind(self, recorder: Recorder) -> None:
        """From now on, accept only what agrees with the recorder.

        :raises AnotherRing: if the recorder knows another ring, or another secret for a version that is
            used.
        """
        identity = self.identity
        recorder.admit(identity)
        self._recorded_fingerprints = recorder.known(identity)
        self._recorder = recorder

    def is_bound_to(self, recorder: Recorder) -> bool:
        """Whether it is bound to this recorder."""
        return self._recorder == recorder

    def usable(self, name: str, version: int, fingerprint: str | None = None) -> bool:
        """Whether a version can be used, and is the one of this fingerprint, if one is given."""
        try:
            found = self.fingerprint(name, version)
        except (KeyNotFound, AnotherRing):
            return False
        return fingerprint is None or hmac.compare_digest(found, fingerprint)

    def state_of(self, name: str, version: int) -> KeyState | None:
        """The state of a version; None if the ring has no such version."""
        return next(
            (e.state for e in self.entries() if e.name == name and e.version == version), None
        )

    def _held_to_record(self, key: Key) -> Key:
        """The key, if it is the one recorded under its name and version; if none is recorded, it is recorded.

        :raises AnotherRing: if another one is recorded.
        """
        if self._recorder is None:
            return key
        place, mine = (key.name, key.version), _fingerprint(key)
        recorded = self._recorded_fingerprints.get(place)
        if recorded is None:
            recorded = self._recorder.record(self.identity, key.name, key.version, mine)
            self._recorded_fingerprints[place] = recorded
        if not hmac.compare_digest(recorded, mine):
            raise AnotherRing.of_version(self.where, key.name, key.version)
        return key

    def copy_to(
        self, store: RingStore, service: str | None = None, rooted: bool = False
    ) -> KeyRing:
        """The same ring in another store. Its root key is kept there, wrapped by ``service``, or is supplied by those who
        open it (``rooted``). This one stays as it is, and from now on is a copy: nobody may continue to use it.

        :raises UsageError: if there is a ring already.
        :raises CryptoError: if this one is damaged or not the newest, or the service does not accept the root key.
        """

        def work() -> None:
            if store.exists():
                raise UsageError(f"there is a key ring in {store.where} already")
            self.entries()
            newest = self._store.newest()
            store.write(self._store.read(), newest or b"")
            if not rooted:
                store.keep_root(self._root, service)

        store.change(work)
        return KeyRing(store, self._root, self._now)

    def move_root(self, service: str) -> None:
        """Let a key service keep the root key from now on; what was in a file is overwritten.

        :raises CryptoError: if the service does not accept it. Then nothing is changed.
        """

        def work() -> None:
            self.entries()
            self._store.keep_root(self._root, service)
            self._store.forget_plain_root(self._root)

        self._store.change(work)

    def entries(self) -> list[KeyEntry]:
        """All key versions, oldest first.

        :raises CryptoError: if ``ring.json`` is damaged or was changed by another program.
        """
        return self._read()[0]

    def events(self) -> list[KeyEvent]:
        """What was done to the keys, oldest first; part of what the ring's HMAC covers.

        :raises CryptoError: as `entries`.
        """
        return self._read()[1]

    def accept_older(self) -> None:
        """Accept the ring as the newest, although it is older than one that was here, or nothing says
        whether it is. The ring records that this was done.

        :raises CryptoError: if ``ring.json`` is damaged or was changed by another program.
        """

        def work() -> None:
            ring = self._verified()
            event = KeyEvent(
                self._time(self._now()), "accepted-older", "ring", 0, str(operating_system_actor())
            )
            self._write(ring.entries, [*ring.events, event])

        self._store.change(work)

    def _verified(self) -> RingFile:
        ring = parse_ring(self._store.read(), self._file("ring.json"))
        mac = self._mac(ring.entries, ring.events)
        if not hmac.compare_digest(ring.mac.encode(errors="replace"), mac.encode()):
            raise CryptoError(
                f"{self._file('ring.json')} was changed outside this program, or belongs to "
                "another root key; restore it from its backup"
            )
        return ring

    def _read(self) -> tuple[list[KeyEntry], list[KeyEvent]]:
        # Read before the ring, which is written first: so the ring is never older than this mark.
        marks, seen = self._newest()
        ring = self._verified()
        grown = extent(ring.entries, len(ring.events))
        accept = "if this ring is the one that is meant: mlsec keys accept-older"
        # Since rings keep events, the mark is written with the first ring, which is empty.
        if seen is None and (ring.keeps_events or not ring.entries):
            raise CryptoError(
                f"{self._file('ring.newest')} is missing, so nobody can tell whether ring.json is the newest; "
                f"restore it from its backup, or {accept}"
            )
        if seen is not None and not hmac.compare_digest(
            seen.encode(errors="replace"), self._mac_of_extent(marks).encode()
        ):
            raise CryptoError(
                f"{self._file('ring.newest')} is damaged or was changed; restore it together with ring.json "
                f"from a backup, or {accept}"
            )
        if any(have < before for have, before in zip(grown, marks, strict=False)):
            raise CryptoError(
                f"{self._file('ring.json')} is older than what was here before: the destruction or creation of "
                f"keys since then would be undone. Restore the newest, or {accept}"
            )
        return ring.entries, ring.events

    def make(self, name: str, kind: KeyKind = KeyKind.SECRET) -> KeyEntry:
        """Create version 1 of a key.

        :raises UsageError: if the name is taken or not a valid key name.
        """

        def work() -> KeyEntry:
            entries = self.entries()
            if any(entry.name == name for entry in entries):
                raise UsageError(f"key '{name}' exists; use rotate for a new version")
            return self._add(entries, name, 1, kind)

        return self._store.change(work)

    def has(self, name: str) -> bool:
        """Whether there is a key of this name, of any version and state."""
        return any(entry.name == name for entry in self.entries())

    def ensure(self, name: str, kind: KeyKind = KeyKind.SECRET) -> Key:
        """The current version of a key, created if the ring has none of this name."""

        def work() -> Key | None:
            entries = self.entries()
            if any(entry.name == name for entry in entries):
                return None
            return self._unwrap(self._add(entries, name, 1, kind))

        # Most of the time it exists, and nobody has to wait.
        made = None if self.has(name) else self._store.change(work)
        return self.current(name, kind) if made is None else made

    def rotate(self, name: str) -> KeyEntry:
        """Add a version and make it the current one; earlier versions stay usable."""

        def work() -> KeyEntry:
            entries = self.entries()
            versions = [entry for entry in entries if entry.name == name]
            if not versions:
                raise self._unknown(name)
            return self._add(entries, name, versions[-1].version + 1, versions[-1].kind)

        return self._store.change(work)

    def disable(self, name: str, version: int) -> KeyEntry:
        """Stop using one version for new data; it still locates and decrypts."""
        return self._set_state(name, version, KeyState.DISABLED)

    def schedule(self, name: str, version: int, wait: timedelta) -> KeyEntry:
        """Take one version out of all use, to be destroyed when ``wait`` is over. Anything that still needs
        it fails from now on, while it can still be restored.

        :raises UsageError: if ``wait`` is negative, or it is scheduled or destroyed already.
        """
        if wait < timedelta(0):
            raise UsageError(
                "a key cannot be destroyed before it is scheduled: wait 0 days or more"
            )
        return self._set_state(name, version, KeyState.SCHEDULED, self._time(self._now() + wait))

    def restore(self, name: str, version: int) -> KeyEntry:
        """Cancel a destruction. The version can be used again, but nothing new is made with it.

        :raises UsageError: if it is not scheduled.
        """
        return self._set_state(name, version, KeyState.DISABLED, restores=True)

    def destroy_due(self) -> list[KeyEntry]:
        """Destroy every scheduled version whose time has come."""

        def work() -> list[KeyEntry]:
            now = self._time(self._now())
            entries = self.entries()
            gone = []
            for i, entry in enumerate(entries):
                if entry.state is KeyState.SCHEDULED and (entry.destroy_after or now) <= now:
                    entries[i] = changed(entry, KeyState.DESTROYED, None, False)
                    self._write(entries, self._recorded("destroyed", entry))
                    gone.append(entries[i])
            return gone

        return self._store.change(work)

    def destroy(self, name: str, version: int) -> KeyEntry:
        """Erase one version's secret at once, permanently. What only it could open is lost."""
        return self._set_state(name, version, KeyState.DESTROYED)

    def current(self, name: str, kind: KeyKind | None = None) -> Key:
        """The newest version. Nothing is made with an earlier one, even if the newest can no longer be used: the purpose
        of the rotation would be silently undone.

        :raises KeyNotFound: if there is none, the newest is not enabled, or it is of another kind.
        """
        versions = [e for e in self.entries() if e.name == name]
        if not versions:
            raise self._unknown(name)
        newest = versions[-1]
        if newest.state is not KeyState.ENABLED:
            raise KeyNotFound(
                f"version {newest.version} of key '{name}' is {newest.state}, and nothing new is made with an earlier "
                f"one; make the next: mlsec keys rotate {name}"
            )
        if kind is not None and newest.kind is not kind:
            raise KeyNotFound(f"key '{name}' is of kind {newest.kind}, not {kind}")
        return self._unwrap(newest)

    def version(self, name: str, version: int) -> Key:
        """One version, enabled or disabled.

        :raises KeyNotFound: if it never existed, or is destroyed or scheduled for destruction.
        """
        for entry in self.entries():
            if entry.name == name and entry.version == version:
                if entry.state is KeyState.DESTROYED:
                    raise KeyNotFound(f"version {version} of key '{name}' is destroyed")
                if entry.state is KeyState.SCHEDULED:
                    raise KeyNotFound(
                        f"version {version} of key '{name}' will be destroyed after {entry.destroy_after}; "
                        f"if it is still needed: mlsec keys restore {name} --version {version}"
                    )
                return self._unwrap(entry)
        raise KeyNotFound(f"the ring {self.where} has no version {version} of key '{name}'")

    def live(self, name: str) -> list[Key]:
        """Every usable version, oldest first; empty if there is none."""
        return [
            self._unwrap(entry)
            for entry in self.entries()
            if entry.name == name and entry.state in USABLE_STATES
        ]

    def some_live(self, name: str) -> list[Key]:
        """As `live`, but at least one.

        :raises KeyNotFound: if there is none.
        """
        found = self.live(name)
        if not found:
            raise self._unknown(name)
        return found

    def signing_keys(self, name: str) -> list[Key]:
        """The keys that sign under a name: the key itself, created if the ring has none (Ed25519), and the
        one with the same name followed by ``.post-quantum``, if the ring has that.

        :raises KeyNotFound: if the key does not sign.
        """
        keys = [self.current(name) if self.has(name) else self.ensure(name, KeyKind.SIGNING)]
        if self.has(f"{name}.post-quantum"):
            keys.append(self.current(f"{name}.post-quantum"))
        for key in keys:
            if key.kind not in SIGNING_KINDS:
                raise KeyNotFound(f"key '{key.name}' is of kind {key.kind}; it does not sign")
        return keys

    def verification_keys(self) -> VerificationKeys:
        """The ring's own public signing keys."""
        return VerificationKeys.of_entries(self.entries())

    def _unknown(self, name: str) -> KeyNotFound:
        return KeyNotFound(
            f"the ring {self.where} has no key '{name}'; `mlsec keys list` shows what it has"
        )

    def _add(self, entries: list[KeyEntry], name: str, version: int, kind: KeyKind) -> KeyEntry:
        if not _NAME.match(name):
            raise UsageError(
                f"'{name}' is not a key name: letters, digits, '_', '.', '-', up to 128"
            )
        if self._recorder is not None:
            # A copy of the ring may have made this version already, on another machine.
            self._recorded_fingerprints = self._recorder.known(self.identity)
            if (name, version) in self._recorded_fingerprints:
                raise AnotherRing.of_version(self.where, name, version)
        secret = _new_secret(kind)
        entry = KeyEntry(
            name=name,
            version=version,
            kind=kind,
            state=KeyState.ENABLED,
            created=self._time(self._now()),
            public=_public_half(kind, secret),
            wrapped=None,
        )
        nonce = os.urandom(12)
        sealed = nonce + AESGCM(self._derive(b"wrap")).encrypt(nonce, secret, entry.bound_data())
        entry = replace(entry, wrapped=base64.b64encode(sealed).decode())
        self._write([*entries, entry], self._recorded("created", entry))
        self._held_to_record(Key(name, version, kind, secret))
        return entry

    @staticmethod
    def _time(moment: datetime) -> str:
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _recorded(self, action: str, entry: KeyEntry) -> list[KeyEvent]:
        """The events so far and one more."""
        user = str(operating_system_actor())
        event = KeyEvent(self._time(self._now()), action, entry.name, entry.version, user)
        return [*self.events(), event]

    def _set_state(
        self,
        name: str,
        version: int,
        state: KeyState,
        destroy_after: str | None = None,
        restores: bool = False,
    ) -> KeyEntry:

        def work() -> KeyEntry:
            entries = self.entries()
            for i, entry in enumerate(entries):
                if entry.name == name and entry.version == version:
                    entries[i] = changed(entry, state, destroy_after, restores)
                    if entries[i] != entry:
                        action = "restored" if restores else state.value
                        self._write(entries, self._recorded(action, entry))
                    return entries[i]
            raise KeyNotFound(f"the ring {self.where} has no version {version} of key '{name}'")

        return self._store.change(work)

    def _unwrap(self, entry: KeyEntry) -> Key:
        if entry.wrapped is None:
            raise KeyNotFound(f"version {entry.version} of key '{entry.name}' is destroyed")
        sealed = base64.b64decode(entry.wrapped)
        try:
            secret = AESGCM(self._derive(b"wrap")).decrypt(
                sealed[:12], sealed[12:], entry.bound_data()
            )
        except InvalidTag:
            raise CryptoError(
                f"key '{entry.name}' version {entry.version} does not open under this root key"
            ) from None
        return self._held_to_record(Key(entry.name, entry.version, entry.kind, secret))

    def _derive(self, purpose: bytes) -> bytes:
        info = b"airflow-mlsec/key-ring/1/" + purpose
        return HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(self._root)

    def _mac(self, entries: list[KeyEntry], events: list[KeyEvent]) -> str:
        return hmac.new(self._derive(b"mac"), canonical(entries, events), "sha256").hexdigest()

    def _write(self, entries: list[KeyEntry], events: list[KeyEvent]) -> None:
        document = {
            "format": FORMAT,
            "keys": [plain(entry) for entry in entries],
            "events": [asdict(event) for event in events],
            "mac": self._mac(entries, events),
        }
        marks = extent(entries, len(events))
        newest = {"format": NEWEST_FORMAT, "extent": marks, "mac": self._mac_of_extent(marks)}
        ring = (json.dumps(document, indent=1) + "\n").encode()
        self._store.write(ring, f"{json.dumps(newest)}\n".encode())

    def _newest(self) -> tuple[list[int], str | None]:
        """How far the ring had grown when it was last written, and the HMAC of that; None if there is no file."""
        content = self._store.newest()
        if content is None:
            return [], None
        try:
            newest = json.loads(content)
            return [int(mark) for mark in newest["extent"]], str(newest["mac"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return [], ""

    def _file(self, name: str) -> str:
        """A part of the ring, for messages."""
        return self.where if self.folder is None else str(self.folder / name)

    def _mac_of_extent(self, marks: list[int]) -> str:
        return hmac.new(self._derive(b"newest"), json.dumps(marks).encode(), "sha256").hexdigest()


def _fingerprint(key: Key) -> str:
    text = json.dumps([key.name, key.version, key.kind.value]).encode()
    return hmac.new(key.secret, FINGERPRINT + b"\0" + text, "sha256").hexdigest()[:32]


def _new_secret(kind: KeyKind) -> bytes:
    while True:
        secret = os.urandom(32)
        try:
            if kind in SIGNING_KINDS:
                private_key(kind, secret)
            return secret
        except ValueError:
            continue


def _public_half(kind: KeyKind, secret: bytes) -> str | None:
    if kind is KeyKind.ENCRYPTION:
        raw = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    elif kind in SIGNING_KINDS:
        raw = public_half(kind, secret).raw
    else:
        return None
    return base64.b64encode(raw).decode()


def verification_keys_of(place: Path | RingStore, root: bytes | None = None) -> VerificationKeys:
    """The usable signing keys of a ring; empty if there is no ring.

    If the root key is available (``root``, or next to the ring), the ring's integrity is verified first. A verifier that
    has only ``ring.json`` trusts its file permissions, which are checked.
    """
    store = store_of(place)
    if not store.exists():
        return VerificationKeys([])
    if root is not None or store.has_root():
        return KeyRing.open(store, root=root).verification_keys()
    return VerificationKeys.of_entries(parse_ring(store.read(), store.where).entries)
