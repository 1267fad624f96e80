"""Keys with which programs may send events. Shown once, kept as a digest."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from airflow_mlsec.actors import Actor
from airflow_mlsec.errors import UsageError
from airflow_mlsec.ledger._authority import DEPLOYMENT, Verb, require
from airflow_mlsec.ledger._entries import Act, Asset, AssetKind, record
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
PREFIX = "mlsec_"


def create_api_key(register: Register, name: str, by: Actor) -> str:
    """Create a 256-bit key with this name; only its SHA-256 is kept.

    :raises UsageError: if the name is taken or not a valid one.
    :raises Refused: if the actor may not create keys for programs.
    """
    who = require(register, by, Verb.GOVERN, DEPLOYMENT).who
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is not a valid key name; letters, digits and . _ - are allowed")
    secret = PREFIX + secrets.token_urlsafe(32)
    values = {
        "name": name,
        "digest": _digest(secret),
        "created_at": register.now(),
        "created_by": who,
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


def api_key_name(register: Register, secret: str) -> str | None:
    """The name of the key, or None if it is unknown or revoked."""
    digest = _digest(secret)
    k = t.api_key.c
    # Looking up by the digest of 256 random bits tells an attacker nothing about a key.
    query = sa.select(k.name, k.digest).where(k.digest == digest, k.revoked_at.is_(None))
    for row in register.rows(query):
        if hmac.compare_digest(row.digest, digest):
            return str(row.name)
    return None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
