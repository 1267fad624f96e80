"""Keys with which programs may send events. Shown once, kept as a digest."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from airflow_mlsec.actors import Actor
from airflow_mlsec.errors import UsageError
from airflow_mlsec.ledger._authority import DEPLOYMENT, Verb, require
from airflow_mlsec.ledger._entries import Act, Asset, AssetKind, record
from airflow_mlsec.register import Register, upsert
from airflow_mlsec.register import tables as t

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
PREFIX = "mlsec_"


@dataclass(frozen=True)
class ApiKey:
    """What a program with this key may send: events about jobs and datasets of these ``namespaces`` (None: of any; a star
    at the end stands for whatever follows), and so many in an hour (None: any number)."""

    name: str
    namespaces: tuple[str, ...] | None = None
    expires_at: str | None = None
    events_per_hour: int | None = None


def create_api_key(
    register: Register,
    name: str,
    by: Actor,
    namespaces: Sequence[str] = (),
    days: int | None = None,
    events_per_hour: int | None = None,
) -> str:
    """Create a 256-bit key with this name; only its SHA-256 is kept. See `ApiKey` for what it is limited to; it expires
    after ``days``.

    :raises UsageError: if the name is taken or not a valid one, or a limit makes no sense.
    :raises Refused: if the actor may not create keys for programs.
    """
    who = require(register, by, Verb.GOVERN, DEPLOYMENT).who
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is not a valid key name; letters, digits and . _ - are allowed")
    if any(not text.strip("*") or "*" in text[:-1] for text in namespaces):
        raise UsageError("a namespace is text, with at most one star, at its end")
    if (days is not None and days < 1) or (events_per_hour is not None and events_per_hour < 1):
        raise UsageError("a key is for at least one day, and at least one event in an hour")
    secret, now = PREFIX + secrets.token_urlsafe(32), register.now()
    values = {
        "name": name,
        "digest": _digest(secret),
        "created_at": now,
        "created_by": who,
        "namespaces": list(namespaces) or None,
        "expires_at": None if days is None else _later(now, days),
        "events_per_hour": events_per_hour,
    }

    def work(connection: sa.Connection) -> bool:
        taken = sa.select(t.api_key.c.name).where(t.api_key.c.name == name)
        if connection.execute(taken).first() is not None:
            return False
        try:
            connection.execute(sa.insert(t.api_key).values(values))
        except IntegrityError:
            return False
        return True

    if not register.write(work):
        raise UsageError(f"an API key '{name}' exists; revoke it, or choose another name")
    return secret


def revoke_api_key(register: Register, name: str, by: Actor) -> None:
    """Refuse the key from now on.

    :raises UsageError: if there is no key with this name.
    :raises Refused: if the actor may not revoke keys of programs.
    """
    who = require(register, by, Verb.GOVERN, DEPLOYMENT).who
    now = register.now()
    mine = t.api_key.c.name == name, t.api_key.c.revoked_at.is_(None)
    update = sa.update(t.api_key).where(*mine).values(revoked_at=now)

    def work(connection: sa.Connection) -> bool:
        found = connection.execute(update).rowcount > 0
        if found:
            record(connection, [Act(Asset(AssetKind.KEY, f"api:{name}"), "revoked", (), who, now)])
        return found

    if not register.write(work):
        raise UsageError(f"there is no API key '{name}'")


def api_key_of(register: Register, secret: str) -> ApiKey | None:
    """The key, or None if it is unknown, revoked or expired."""
    digest = _digest(secret)
    k = t.api_key.c
    # Looking up by the digest of 256 random bits tells an attacker nothing about a key.
    query = sa.select(t.api_key).where(k.digest == digest, k.revoked_at.is_(None))
    for row in register.rows(query):
        live = row.expires_at is None or register.now() < row.expires_at
        if live and hmac.compare_digest(row.digest, digest):
            return _key(row)
    return None


def api_key_named(register: Register, name: str) -> ApiKey | None:
    """The key with this name, also if it was revoked or has expired; None if there was none."""
    for row in register.rows(sa.select(t.api_key).where(t.api_key.c.name == name)):
        return _key(row)
    return None


def _key(row: Any) -> ApiKey:
    namespaces = None if row.namespaces is None else tuple(row.namespaces)
    return ApiKey(row.name, namespaces, row.expires_at, row.events_per_hour)


def count_events(register: Register, key: ApiKey, events: int) -> bool:
    """Count events against the key's quota of this hour (UTC); False, and nothing is counted, if they exceed it."""
    if key.events_per_hour is None:
        return True
    hour, most = register.now()[:13], key.events_per_hour
    c = t.client_hour.c
    mine = c.client == key.name, c.hour == hour

    def work(connection: sa.Connection) -> bool:
        connection.execute(sa.delete(t.client_hour).where(c.client == key.name, c.hour < hour))
        upsert(connection, t.client_hour, {"client": key.name, "hour": hour}, {}, {"events": 0})
        more = sa.update(t.client_hour).where(*mine, c.events + events <= most)
        return connection.execute(more.values(events=c.events + events)).rowcount > 0

    return register.write(work)


def _later(now: str, days: int) -> str:
    then = datetime.fromisoformat(now) + timedelta(days=days)
    return f"{then.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
