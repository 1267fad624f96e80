"""The key ring of this installation, bound to the register that knows it.

A worker without the ring's folder, or with a copy of the ring that was rotated separately, would
find nobody under its own keys and report that. Therefore a ring is bound to the register before it
is used with it, and no ring is created if the register knows of one.
"""

from __future__ import annotations

import contextlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from airflow_mlsec.connections import connections_in_use
from airflow_mlsec.crypto import (
    STATEMENT_TYPE,
    FolderStore,
    KeyRing,
    RingStore,
    VerificationKeys,
    mounted_root,
    parse_root,
    verification_keys_of,
    verify_payload,
)
from airflow_mlsec.errors import AnotherRing, CryptoError, SettingError, SignatureInvalid
from airflow_mlsec.key_ring._object_store import ObjectStore
from airflow_mlsec.key_ring._register_store import RegisterStore
from airflow_mlsec.register import Register, RingRecorder, keeps_open, known_ring
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings


def ring_store(settings: Settings, register: Register | None = None) -> RingStore:
    """Where the settings keep the ring: in a folder, in the register, or in an object in a bucket."""
    if settings.ring_object is not None:
        return ObjectStore(settings.ring_object, connections_in_use())
    if settings.ring_in_register:
        return RegisterStore(register or Register.of(settings))
    return FolderStore(settings.key_ring)


def open_key_ring(settings: Settings, register: Register | None = None) -> KeyRing:
    """The ring of the settings, created on first use; bound to ``register`` if one is given or it keeps the ring.

    :raises AnotherRing: if the ring is not the register's, or there is none here and the register knows
        of one. If no register is given, the register of the settings is checked before a ring is made.
    """
    if register is None and settings.ring_in_register:
        register = open_register(settings)
    store = ring_store(settings, register)
    if not store.exists():
        known = known_ring(register) if register is not None else _known_if_there(settings)
        if known is not None:
            raise AnotherRing.none_here(known, store.where)
    settings.make_state_folder()
    keys = KeyRing.create(store, service=settings.root_key_service, root=root_given(settings))
    return keys if register is None else bind_ring(register, keys)


def make_key_ring(settings: Settings) -> KeyRing:
    """The ring of the settings, made if there is none, whatever ring the register knows: for `mlsec keys adopt`."""
    settings.make_state_folder()
    store = ring_store(settings)
    return KeyRing.create(store, service=settings.root_key_service, root=root_given(settings))


def import_ring(settings: Settings, folder: Path) -> KeyRing:
    """Import the ring in a folder into the place where the settings keep it now. Its root key is the one that the settings
    give, or goes to the key service that they name.

    :raises UsageError: if there is a ring already, or its root key could not be kept there.
    :raises CryptoError: if the ring is damaged, or its root key is not the given one.
    :raises AnotherRing: if the register knows another ring.
    """
    given, register = root_given(settings), open_register(settings)
    before = KeyRing.open(folder, root=given)
    before.entries()
    bind_ring(register, before)
    store = ring_store(settings, register)
    return before.copy_to(store, settings.root_key_service, rooted=given is not None)


def root_given(settings: Settings) -> bytes | None:
    """The root key that the settings give, if they give one.

    :raises SettingError: if they give two, or it is Airflow's Fernet key: anyone who can read Airflow's connections
        must not be able to open the ring.
    """
    given = [
        name
        for name in ("root_key", "root_key_file", "root_key_service")
        if getattr(settings, name)
    ]
    if len(given) > 1:
        raise SettingError(
            f"[mlsec] {given[0]} and {given[1]} are both given: which of them is meant?"
        )
    if settings.root_key is not None:
        root = parse_root(settings.root_key.encode(), "[mlsec] root_key")
    elif settings.root_key_file is not None:
        root = mounted_root(settings.root_key_file)
    else:
        return None
    for fernet in os.environ.get("AIRFLOW__CORE__FERNET_KEY", "").split(","):
        with contextlib.suppress(CryptoError):
            if fernet and hmac.compare_digest(root, parse_root(fernet.encode(), "a Fernet key")):
                raise SettingError("[mlsec] root_key is Airflow's Fernet key: make a separate key")
    return root


def existing_key_ring(settings: Settings, register: Register | None = None) -> KeyRing:
    """The existing ring of the settings; ``register`` is the register of the settings, if it is already open.

    :raises KeyNotFound: if there is none.
    """
    return KeyRing.open(ring_store(settings, register), root=root_given(settings))


def trusted_keys(settings: Settings) -> VerificationKeys:
    """The keys whose signatures are trusted: those of the settings' ring; none if there is no ring."""
    return verification_keys_of(ring_store(settings), root_given(settings))


def open_register(settings: Settings) -> Register:
    """The register of the settings; signed evidence in it is trusted if this installation's ring signed
    it. Needs no root key."""
    register = Register.of(settings)
    register.trusted = _cached(lambda: trusted_keys(settings))
    return register


def _cached(load: Callable[[], VerificationKeys]) -> Callable[[], VerificationKeys]:
    found: list[VerificationKeys] = []

    def trusted() -> VerificationKeys:
        # An empty result is not kept: the ring may be created later.
        if not found or not len(found[0]):
            found[:] = [load()]
        return found[0]

    return trusted


@keeps_open
def bind_ring(register: Register, keys: KeyRing) -> KeyRing:
    """Bind the ring to the register: see `KeyRing.bind`. Repeating it changes nothing.

    :raises AnotherRing: if the ring is not the register's.
    """
    store = keys.store
    same = isinstance(store, RegisterStore) and store.register.is_same(register)
    # A change of the ring and the record of its keys are one transaction.
    recorder = RingRecorder(
        store.register if isinstance(store, RegisterStore) and same else register
    )
    register.trusted = keys.verification_keys
    if keys.is_bound_to(recorder):
        return keys
    if known_ring(register) is None:
        _require_own_evidence(register, keys)
    keys.bind(recorder)
    return keys


def _known_if_there(settings: Settings) -> str | None:
    register = open_register(settings)
    return known_ring(register) if register.exists() else None


def _require_own_evidence(register: Register, keys: KeyRing) -> None:
    """For a register from before rings were recorded: its ring is the one that signed its newest evidence."""
    query = sa.select(t.evidence.c.envelope).order_by(t.evidence.c.id.desc()).limit(1)
    for row in register.rows(query):
        try:
            verify_payload(row.envelope, STATEMENT_TYPE, keys.verification_keys())
        except SignatureInvalid:
            raise AnotherRing.than_signed(keys.identity) from None
