"""Access as policies declare it, compared with what systems grant; the difference is shown, carried out and taken back.

A policy's `access` says who may reach the dataset, what for and until when. Whoever else can is to lose that; who cannot and
should is to get it. PostgreSQL and MySQL are changed from here; elsewhere somebody has to do it there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Literal

from airflow_mlsec.access._collector import Change, collect, collector_of, source_of
from airflow_mlsec.access._items import NOT_READ, Asked, items_of
from airflow_mlsec.access._model import Collected, Entitlement, Right
from airflow_mlsec.access._people import People, spellings
from airflow_mlsec.access._scope import Reach, Resolved
from airflow_mlsec.access._withdrawal import sentence
from airflow_mlsec.actors import Actor
from airflow_mlsec.connections import Connections
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import BrokenLog, CheckFailed, Refused, SignatureInvalid, UsageError
from airflow_mlsec.ledger import (
    AccessChangeStatement,
    Act,
    Asset,
    AssetKind,
    Reason,
    Verb,
    acts,
    record,
    require,
    sign_statement,
    signed_statement,
)
from airflow_mlsec.lineage import DatasetFacts, read_datasets
from airflow_mlsec.policy import Organization
from airflow_mlsec.register import Register

_APPLIED, _UNDONE = "access applied", "access undone"
_UNDO = "undo"
# To use a table is to read it.
_SAME = {Right.USE: Right.READ, Right.DECRYPT: Right.READ}


class AccessApplied(
    Reason,
    en="{account}: {what}, by: {statement}",
    de="{account}: {what}, durch: {statement}",
):
    """A system was changed so that it grants what a policy declares."""

    account: str
    what: str
    statement: str


class AccessUndone(Reason, en="taken back by: {statement}; {why}", de="zurückgenommen durch: {statement}; {why}"):  # fmt: skip
    """A change was taken back."""

    statement: str
    why: str


@dataclass(frozen=True)
class AccessDifference:
    """Something that a system grants and no policy declares, or the other way round.

    :ivar kind: ``withdraw`` or ``grant``.
    :ivar why: In words: what the policy says.
    :ivar changes: What ends it; none where a person has to do it there.
    :ivar also: What else would end with it: what is declared, or is about something else.
    """

    dataset: str
    source: str
    kind: Literal["withdraw", "grant"]
    account: str
    person: str | None
    permissions: tuple[str, ...]
    path: str
    why: str
    changes: tuple[Change, ...] = ()
    also: tuple[Entitlement, ...] = ()

    @property
    def words(self) -> str:
        """For people."""
        who = (
            self.account
            if self.person in (None, self.account)
            else f"{self.account} ({self.person})"
        )
        path = f" ({self.path})" if self.path else ""
        return (
            f"{self.kind} {', '.join(self.permissions)} on {self.dataset}: {who}{path}; {self.why}"
        )


@dataclass(frozen=True)
class AccessPlan:
    """What differs, and what could not be read, so that nothing follows from its absence."""

    differences: tuple[AccessDifference, ...]
    unread: tuple[str, ...]


def plan_access(
    register: Register,
    organization: Organization,
    connections: Connections,
    datasets: Collection[str] = (),
) -> AccessPlan:
    """Compare what policies declare about who may reach their datasets with what the systems grant now. Nothing is changed.

    :param datasets: Only these, by name or URI; by default every dataset whose policy declares access.
    :raises UsageError: if one of them is not known or declares nothing, or nothing is declared at all.
    :raises MlsecError: if a system cannot be read.
    """
    declared = {str(f.name): f for f in register.read(read_datasets) if f.is_source and (f.policy or {}).get("access")}  # fmt: skip
    chosen = list(declared.values())
    if datasets:
        by_uri = {f.uri: f for f in chosen}
        found = [declared.get(name) or by_uri.get(name) for name in datasets]
        if None in found:
            odd = [*datasets][found.index(None)]
            raise UsageError(f"no policy that was applied declares `access` for '{odd}'")
        chosen = [f for f in found if f is not None]
    if not chosen:
        raise UsageError("no policy that was applied declares `access`: see the guide 'review access'")  # fmt: skip
    on = date.fromisoformat(register.now()[:10])
    read: dict[str, Collected] = {}
    differences: list[AccessDifference] = []
    unread: list[str] = []
    for fact in chosen:
        source = None if fact.uri is None else source_of(fact.uri, connections)
        if source is None or fact.uri is None:
            unread.append(
                f"who can reach {fact.name}: no collector reads the system in which it is"
            )
            continue
        if source not in read:
            read[source] = collect(source, connections)
        made, open_ = _of_dataset(fact, source, read[source], organization, on, connections)
        differences += made
        unread += open_
    return AccessPlan(tuple(differences), tuple(dict.fromkeys(unread)))


def _of_dataset(
    fact: DatasetFacts,
    source: str,
    collected: Collected,
    organization: Organization,
    on: date,
    connections: Connections,
) -> tuple[list[AccessDifference], list[str]]:
    name, uri = str(fact.name), str(fact.uri)
    reach = Reach(name, uri, (), False, False, source)
    resolved = Resolved((reach,), (source,), frozenset(), ())
    asked = items_of(resolved, {source: collected}, organization, on, connections)
    unread = [f"{source}: {item.path}" for item in asked if item.resource == NOT_READ]
    live = [item for item in asked if item.resource != NOT_READ]
    allowed = _Allowed(fact, source, organization, on)
    collector = collector_of(source)
    by_way: dict[tuple[str, str, str], list[Entitlement]] = {}
    for e in collected.entitlements:
        by_way.setdefault((e.resource, e.account, e.path), []).append(e)
    ending: list[tuple[Asked, Entitlement]] = []
    for item in live:
        may = allowed.rights_of(item.account)
        of_item = by_way.get((item.resource, item.account, item.path), ())
        ending += [(item, e) for e in of_item if _SAME.get(e.right, e.right) not in may]
    changes = collector.withdraw(source, [e for _, e in ending], connections)
    gone = {e for _, e in ending}
    together: dict[tuple[str, str], list[tuple[Asked, Entitlement, Change | None]]] = {}
    for (item, e), change in zip(ending, changes, strict=True):
        together.setdefault((item.account, item.path), []).append((item, e, change))
    found = []
    for (account, path), parts in together.items():
        item = parts[0][0]
        whole = all(change is not None for _, _, change in parts)
        mine = tuple(dict.fromkeys(c for _, _, c in parts if c is not None)) if whole else ()
        also = tuple(sorted({e for change in mine for e in change.also} - gone))
        found.append(
            AccessDifference(
                name, source, "withdraw", account, item.person, tuple(sorted({e.permission for _, e, _ in parts})), path,
                allowed.why(account), mine, also,
            )
        )  # fmt: skip
    has: dict[str, set[Right]] = {}
    for item in live:
        for e in by_way.get((item.resource, item.account, item.path), ()):
            if e not in gone:
                has.setdefault(e.account, set()).add(_SAME.get(e.right, e.right))
    known = {account.name for account in collected.accounts}
    for who, right in allowed.wanted():
        accounts = [a for a in allowed.accounts_of(who) if a in known]
        if any(right in has.get(account, ()) for account in accounts):
            continue
        made = [
            collector.grant(source, uri, account, right, connections) for account in accounts[:1]
        ]
        given = tuple(change for change in made if change is not None)
        why = "declared, and not granted" if accounts else "declared, and has no account there"
        found.append(
            AccessDifference(
                name,
                source,
                "grant",
                accounts[0] if accounts else who,
                who,
                (right.value,),
                "",
                why,
                given,
            )
        )
    return found, unread


class _Allowed:
    """What the policy of a dataset declares, on a day."""

    def __init__(
        self, fact: DatasetFacts, source: str, organization: Organization, on: date
    ) -> None:
        stated = (fact.policy or {}).get("access") or ()
        entries: Iterable[Mapping[str, Any]] = () if stated == "none" else stated
        self._source, self._organization = source, organization
        self._people = People(organization)
        self._now: dict[str, set[Right]] = {}
        self._over: dict[str, str] = {}
        for entry in entries:
            until = entry.get("until")
            if until is not None and date.fromisoformat(str(until)) < on:
                self._over[entry["who"]] = str(until)
                continue
            rights = {Right(right) for right in entry.get("rights") or ("read",)}
            self._now.setdefault(entry["who"], set()).update(rights)

    def rights_of(self, account: str) -> set[Right]:
        """What an account may do: of an account that several people have, only what each of them may."""
        own = {r for name in spellings(self._source, account) for r in self._now.get(name, ())}
        holders = self._people.holders_of(self._source, account)
        shared = [self._now.get(holder.name, set()) for holder in holders]
        return own | (set.intersection(*shared) if shared else set())

    def why(self, account: str) -> str:
        """Why an account may not do what it can."""
        names = [
            *spellings(self._source, account),
            *(h.name for h in self._people.holders_of(self._source, account)),
        ]
        ended = [self._over[name] for name in names if name in self._over]
        if ended:
            return f"declared until {ended[0]}"
        rights = sorted(right.value for right in self.rights_of(account))
        return f"declared only to {', '.join(rights)}" if rights else "not declared"

    def wanted(self) -> list[tuple[str, Right]]:
        """Who is to have which right."""
        return [(who, right) for who, rights in self._now.items() for right in sorted(rights)]

    def accounts_of(self, who: str) -> list[str]:
        """The accounts of somebody on the system: those that the organization's file states, else the name itself."""
        everybody = [*self._organization.people, *self._organization.services]
        found = [a for p in everybody if p.name == who for a in p.names_on(self._source)]
        return found or [who]


def apply_access(
    register: Register,
    ring: KeyRing,
    organization: Organization,
    actor: Actor,
    connections: Connections,
    datasets: Collection[str] = (),
    also: bool = False,
) -> list[AccessDifference]:
    """Carry out what differs and can be carried out from here; returns what was done. Dry-run is `plan_access`.

    :param also: Whether what else would end with it may end.
    :raises Refused: if the actor may not carry out such changes, or one would give something to themselves.
    :raises CheckFailed: if more would end than was compared, and ``also`` does not allow it: nothing is changed.
    """
    plan = plan_access(register, organization, connections, datasets)
    ours = [d for d in plan.differences if d.changes]
    people = People(organization)
    permissions = {}
    for name in {d.dataset for d in ours}:
        permissions[name] = require(register, actor, Verb.HANDLE, Asset(AssetKind.DATASET, name))
    for d in ours:
        mine = people.persons_of(permissions[d.dataset].keys)
        if d.kind == "grant" and ({d.person, d.account} & {*mine, actor.key.partition(":")[2]}):
            raise Refused(f"{d.words}: it is your own access; somebody else gives it")
        if d.also and not also:
            raise CheckFailed(f"{d.words}: with it would end what nobody has decided about, such as {sentence(d.also[0])}; if that is meant, say so")  # fmt: skip
    done: set[tuple[str, str]] = set()
    for d in ours:
        for change in d.changes:
            if (d.source, change.do) in done:
                continue
            done.add((d.source, change.do))
            collector_of(d.source).apply(d.source, [change.do], connections)
            why = AccessApplied(d.account, f"{d.kind} {', '.join(d.permissions)}", change.do)
            evidence = {"source": d.source, "undo": _signed(ring, d, change)}
            entry = Act(Asset(AssetKind.DATASET, d.dataset), _APPLIED, (why,), permissions[d.dataset].who, register.now(), evidence)  # fmt: skip
            register.write(partial(record, entries=[entry]))
    return ours


def _signed(ring: KeyRing, d: AccessDifference, change: Change) -> dict[str, Any] | None:
    if change.undo is None:
        return None
    said = AccessChangeStatement(dataset=d.dataset, source=d.source, undo=change.undo)
    return sign_statement(ring, {_UNDO: hashlib.sha256(change.undo.encode()).hexdigest()}, said)


def undo_access(
    register: Register, dataset: str, actor: Actor, why: str, connections: Connections
) -> list[str]:
    """Take back what was carried out for a dataset since it was last taken back, the last first; returns the statements.

    :raises Refused: if the actor may not carry out such changes.
    :raises UsageError: if nothing was carried out, or no reason is given.
    :raises BrokenLog: if what takes it back is not what was signed.
    """
    if not why.strip():
        raise UsageError("taking back needs a reason")
    asset = Asset(AssetKind.DATASET, dataset)
    who = require(register, actor, Verb.HANDLE, asset).who
    pending: list[Act] = []
    for act in register.read(lambda c: acts(c, asset, (_APPLIED, _UNDONE))):
        pending = [] if act.verb == _UNDONE else [*pending, act]
    undo = [
        _undo_of(register, act, dataset) for act in reversed(pending) if act.evidence.get("undo")
    ]
    if not undo:
        raise UsageError(f"nothing that can be taken back was carried out for {dataset}")
    for source, statement in undo:
        collector_of(source).apply(source, [statement], connections)
    reasons = tuple(AccessUndone(statement, why) for _, statement in undo)
    entry = Act(asset, _UNDONE, reasons, who, register.now(), {"statements": len(undo)})
    register.write(partial(record, entries=[entry]))
    return [statement for _, statement in undo]


def _undo_of(register: Register, act: Act, dataset: str) -> tuple[str, str]:
    try:
        if register.trusted is None:
            raise SignatureInvalid("there are no trusted keys here")
        said = signed_statement(
            act.evidence["undo"], register.trusted(), AccessChangeStatement
        ).predicate
    except SignatureInvalid:
        raise BrokenLog(
            f"what takes a change of {dataset} back is not signed by a trusted key"
        ) from None
    if (said.dataset, said.source) != (dataset, act.evidence.get("source")):
        raise BrokenLog(f"what takes a change of {dataset} back is about another one")
    return said.source, said.undo
