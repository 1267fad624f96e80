"""Snapshots: who may do what on a system at a time, signed, kept in the register, and compared with each other."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.access._collector import canonical_source, collect
from airflow_mlsec.access._model import Account, AccountKind, Collected, Entitlement, Right
from airflow_mlsec.actors import Actor
from airflow_mlsec.connections import Connections
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import BrokenLog, SignatureInvalid, UsageError
from airflow_mlsec.ledger import (
    AccessStatement,
    Act,
    Asset,
    AssetKind,
    Reason,
    Verb,
    record,
    require,
    sign_statement,
    signed_statement,
)
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

# The subject of a snapshot's statement.
_LIST = "access"


class AccessRead(
    Reason,
    en="{accounts:account|accounts} with {entitlements:entitlement|entitlements}; not read: {unread}",
    de="{accounts:Konto|Konten} mit {entitlements:Recht|Rechten}; nicht gelesen: {unread}",
):
    """A snapshot was taken. ``unread`` counts what the system did not tell."""

    accounts: int
    entitlements: int
    unread: int


@dataclass(frozen=True)
class Snapshot:
    """Who may do what on a system, at a time.

    :ivar id: Its number.
    :ivar digest: SHA-256, hexadecimal, of the list.
    :ivar accounts: How many accounts there are; and ``entitlements`` likewise.
    """

    id: int
    source: str
    taken_at: str
    taken_by: str
    digest: str
    accounts: int
    entitlements: int
    unread: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether everything could be read."""
        return not self.unread


@dataclass(frozen=True)
class Difference:
    """What has changed from one snapshot to another, each in order.

    :ivar rerouted: Entitlements that somebody has by another path than before: the earlier one, and the later one.
    """

    gained: tuple[Entitlement, ...]
    lost: tuple[Entitlement, ...]
    rerouted: tuple[tuple[Entitlement, Entitlement], ...]
    accounts_gained: tuple[Account, ...]
    accounts_lost: tuple[Account, ...]
    accounts_changed: tuple[tuple[Account, Account], ...]
    # What was not read in one of them, so that nothing is known of it.
    unread: tuple[str, ...] = ()


def take_snapshot(
    register: Register,
    ring: KeyRing,
    source: str,
    actor: Actor,
    connections: Connections,
) -> tuple[Snapshot, Collected]:
    """Read a system, and keep what it says, signed.

    :raises MlsecError: if it cannot be read at all: nothing is kept.
    :raises Refused: if the actor may not read who may do what.
    """
    source = canonical_source(source, connections)
    who = require(register, actor, Verb.SURVEY, Asset(AssetKind.LOCATION, source)).who
    found = collect(source, connections)
    lines = _lines(found)
    digest, at = hashlib.sha256(lines).hexdigest(), register.now()
    said = AccessStatement(
        source=source, taken_at=at, taken_by=who, accounts=len(found.accounts), entitlements=len(found.entitlements),
        unread=found.unread,
    )  # fmt: skip
    row = {
        "source": source, "taken_at": at, "taken_by": who, "accounts": len(found.accounts),
        "entitlements": len(found.entitlements), "unread": list(found.unread), "content": digest,
        "statement": sign_statement(ring, {_LIST: digest}, said),
    }  # fmt: skip
    why = AccessRead(len(found.accounts), len(found.entitlements), len(found.unread))
    packed = zlib.compress(lines, 6)

    def work(connection: sa.Connection) -> int:
        known = sa.select(t.access_content.c.digest).where(t.access_content.c.digest == digest)
        if connection.execute(known).first() is None:
            connection.execute(sa.insert(t.access_content), {"digest": digest, "lines": packed})
        made = sa.insert(t.access_snapshot).values(row).returning(t.access_snapshot.c.id)
        number = int(connection.execute(made).scalar_one())
        asset = Asset(AssetKind.LOCATION, source)
        record(
            connection,
            [Act(asset, "access read", (why,), who, at, {"snapshot": number, "list": digest})],
        )
        return number

    number = register.write(work)
    made = Snapshot(
        number, source, at, who, digest, len(found.accounts), len(found.entitlements), found.unread
    )
    return made, found


def snapshots(register: Register, source: str | None = None) -> list[Snapshot]:
    """All snapshots, or those of a source, the newest first."""
    s = t.access_snapshot.c
    query = sa.select(t.access_snapshot).order_by(s.id.desc())
    if source is not None:
        query = query.where(s.source == source)
    return [_snapshot(row) for row in register.rows(query)]


def read_snapshot(register: Register, number: int) -> tuple[Snapshot, Collected]:
    """A snapshot and its list, if a trusted key has signed just this.

    :raises UsageError: if there is none of this number.
    :raises BrokenLog: if the row or its list is not what was signed.
    """
    rows = register.rows(_WITH_LINES.where(t.access_snapshot.c.id == number))
    if not rows:
        raise UsageError(
            f"there is no snapshot {number}; `mlsec access snapshots` lists those there are"
        )
    return _verified(register, rows[0])


def newest_snapshots(
    register: Register, sources: Iterable[str]
) -> dict[str, tuple[Snapshot, Collected] | BrokenLog]:
    """By source: its newest snapshot and list, or why it is not believed. Sources without one are left out."""
    s = t.access_snapshot.c
    # By the time that was signed: a row that is written again has another number, and the same time.
    newest = sa.select(s.source, sa.func.max(s.taken_at).label("at")).group_by(s.source).subquery()
    query = _WITH_LINES.join(
        newest, sa.and_(newest.c.source == s.source, newest.c.at == s.taken_at)
    )
    wanted, found = set(sources), dict[str, tuple[Snapshot, Collected] | BrokenLog]()
    for row in register.rows(query.order_by(s.id)):
        if row.source in wanted:
            try:
                found[row.source] = _verified(register, row)
            except BrokenLog as error:
                found[row.source] = error
    return found


_WITH_LINES = sa.select(t.access_snapshot, t.access_content.c.lines).outerjoin(
    t.access_content, t.access_content.c.digest == t.access_snapshot.c.content
)


def _verified(register: Register, row: Any) -> tuple[Snapshot, Collected]:
    found, number = _snapshot(row), row.id
    if register.trusted is None:
        raise BrokenLog(f"snapshot {number}: there are no trusted keys here to verify it with")
    try:
        statement = signed_statement(row.statement, register.trusted(), AccessStatement)
    except SignatureInvalid:
        raise BrokenLog(f"snapshot {number} is not signed by a trusted key") from None
    said = statement.predicate
    signed = Snapshot(
        number, said.source, said.taken_at, said.taken_by, statement.subjects.get(_LIST, ""), said.accounts,
        said.entitlements, said.unread,
    )  # fmt: skip
    if signed != found:
        raise BrokenLog(f"snapshot {number} is not what was signed")
    try:
        lines = zlib.decompress(row.lines or b"")
    except zlib.error:
        lines = b""
    if hashlib.sha256(lines).hexdigest() != found.digest:
        raise BrokenLog(f"the list of snapshot {number} is not what was signed")
    return found, _collected(lines, found.unread)


def compare(before: Collected, after: Collected) -> Difference:
    """Who has gained and lost what, and by which path."""
    earlier, later = frozenset(before.entitlements), frozenset(after.entitlements)
    gained, lost = sorted(later - earlier), sorted(earlier - later)
    by_what: dict[tuple[str, str, str], list[Entitlement]] = {}
    for entitlement in lost:
        by_what.setdefault(_what(entitlement), []).append(entitlement)
    rerouted, new = [], []
    for entitlement in gained:
        others = by_what.get(_what(entitlement))
        if others:
            rerouted.append((others.pop(0), entitlement))
        else:
            new.append(entitlement)
    moved = {before for before, _ in rerouted}
    accounts = {a.name: a for a in before.accounts}
    now = {a.name: a for a in after.accounts}
    changed = [
        (accounts[name], now[name])
        for name in sorted(accounts.keys() & now.keys())
        if _lasting(accounts[name]) != _lasting(now[name])
    ]
    return Difference(
        tuple(new), tuple(e for e in lost if e not in moved), tuple(rerouted),
        tuple(now[name] for name in sorted(now.keys() - accounts.keys())),
        tuple(accounts[name] for name in sorted(accounts.keys() - now.keys())),
        tuple(changed), tuple(sorted({*before.unread, *after.unread})),
    )  # fmt: skip


def _what(entitlement: Entitlement) -> tuple[str, str, str]:
    return entitlement.account, entitlement.resource, entitlement.permission


def _lasting(account: Account) -> tuple[Any, ...]:
    # That somebody has signed in again is no change of what they may do.
    return account.kind, account.active, account.traits


def _snapshot(row: Any) -> Snapshot:
    return Snapshot(
        row.id, row.source, row.taken_at, row.taken_by, row.content, row.accounts, row.entitlements, tuple(row.unread),
    )  # fmt: skip


def _lines(found: Collected) -> bytes:
    """The list as lines of JSON, one for each account and each entitlement, in order."""
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    made = [
        encode(["account", a.name, a.kind, a.active, a.last_used, list(a.traits)])
        for a in found.accounts
    ]
    made += [
        encode([e.resource, e.account, e.permission, e.path, e.right]) for e in found.entitlements
    ]
    return "\n".join(made).encode()


_KINDS: Mapping[str, AccountKind] = {kind.value: kind for kind in AccountKind}
_RIGHTS: Mapping[str, Right] = {right.value: right for right in Right}


def _collected(lines: bytes, unread: tuple[str, ...]) -> Collected:
    accounts, entitlements = [], []
    for values in _rows(lines):
        if len(values) == 6:
            _, name, kind, active, last_used, traits = values
            accounts.append(Account(name, _KINDS[kind], active, last_used, tuple(traits)))
        else:
            resource, account, permission, path, right = values
            entitlements.append(Entitlement(resource, account, permission, path, _RIGHTS[right]))
    return Collected(tuple(accounts), tuple(entitlements), unread)


def _rows(lines: bytes) -> Iterator[list[Any]]:
    # One document is read several times faster than a hundred thousand.
    yield from json.loads(b"[" + lines.replace(b"\n", b",") + b"]")
