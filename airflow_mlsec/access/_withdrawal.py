"""Ending what a campaign has revoked or reduced: shown first, carried out only when asked, and given back if it was wrong.

PostgreSQL, MySQL, Airflow's own users and S3 are changed from here; elsewhere somebody has to do it there, and gets told what.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.access._collector import collect, collector_of
from airflow_mlsec.access._decision import is_about
from airflow_mlsec.access._items import NOT_READ
from airflow_mlsec.access._model import Entitlement
from airflow_mlsec.access._people import People
from airflow_mlsec.access._review import UNDECIDED, Review, ReviewItem, load_review
from airflow_mlsec.actors import Actor
from airflow_mlsec.connections import Connections
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import BrokenLog, CheckFailed, Refused, SignatureInvalid, UsageError
from airflow_mlsec.ledger import (
    Act,
    Asset,
    AssetKind,
    Reason,
    Verb,
    WithdrawalStatement,
    acts,
    record,
    require,
    sign_statement,
    signed_statement,
)
from airflow_mlsec.policy import Organization
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

_WITHDRAWN, _GIVEN_BACK = "access withdrawn", "access given back"


class AccessWithdrawn(
    Reason,
    en="{account}: {permission} on {resource}, by: {statement}",
    de="{account}: {permission} auf {resource}, durch: {statement}",
):
    """A system is or was changed so that what was revoked ends."""

    account: str
    permission: str
    resource: str
    statement: str


class AccessGivenBack(
    Reason,
    en="{account}: given back on {resource} by: {statement}; {why}",
    de="{account}: zurückgegeben auf {resource} durch: {statement}; {why}",
):
    """What was withdrawn was given back."""

    account: str
    resource: str
    statement: str
    why: str


@dataclass(frozen=True)
class Withdrawal:
    """What has to be done so that a decision is in effect.

    :ivar statements: In the system's own words, with what gives back each; empty where a person has to do it there.
    :ivar ends: The permissions that end.
    :ivar also: What else ends with them, and is not decided to end.
    """

    item: ReviewItem
    statements: tuple[tuple[str, str | None], ...]
    ends: tuple[str, ...]
    also: tuple[Entitlement, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it can be carried out from here."""
        return bool(self.statements)

    @property
    def words(self) -> str:
        """What has to be done, for whoever does it there."""
        i = self.item
        rest = f"; {', '.join(i.reduce_to)} may remain" if i.reduce_to else ""
        return (
            f"{i.source}: end {', '.join(self.ends)} of {i.grant.principal} on {i.resource} ({i.grant.origin}){rest}. "
            f"Decided by {i.decided_by}: {i.reason}"
        )


def plan_withdrawals(register: Register, review_id: int, connections: Connections) -> list[Withdrawal]:  # fmt: skip
    """What has to be done so that everything that a campaign has revoked or reduced is in effect. Nothing is changed.

    :raises UsageError: if it is not a campaign.
    :raises MlsecError: if a system cannot be read.
    """
    review = load_review(register, review_id)
    if review.scope is None:
        raise UsageError(
            f"review {review_id} is not a campaign; end what it has revoked at {review.location}"
        )
    decided = [
        item
        for item in review.items
        if item.decision in ("revoke", "reduce") and not item.is_undecided and item.resource != NOT_READ
    ]  # fmt: skip
    by_source: dict[str, list[ReviewItem]] = defaultdict(list)
    for item in decided:
        by_source[item.source].append(item)
    found = []
    for source, items in by_source.items():
        found += _of_source(review, source, items, connections)
    return found


def _of_source(
    review: Review, source: str, items: list[ReviewItem], connections: Connections
) -> list[Withdrawal]:
    now = collect(source, connections).entitlements
    by_key: dict[tuple[str, str, str], list[Entitlement]] = defaultdict(list)
    for e in now:
        by_key[e.resource, e.account, e.path].append(e)
    asked: list[tuple[ReviewItem, Entitlement]] = []
    for item in items:
        remains = frozenset(item.reduce_to or ())
        asked += [
            (item, e)
            for e in by_key.get((item.resource, item.grant.principal, item.grant.origin), ())
            if e.permission not in remains
        ]
    changes = collector_of(source).withdraw(source, [e for _, e in asked], connections)
    ending = {e for _, e in asked}
    made: dict[int, list[tuple[Entitlement, tuple[str, str | None] | None, tuple[Entitlement, ...]]]] = defaultdict(list)  # fmt: skip
    for (item, e), change in zip(asked, changes, strict=True):
        statement = None if change is None else (change.do, change.undo)
        also = () if change is None else tuple(e for e in change.also if e not in ending)
        made[item.number].append((e, statement, also))
    by_number = {item.number: item for item in items}
    found = []
    for number, parts in made.items():
        statements = [statement for _, statement, _ in parts if statement is not None]
        # All of it or none: half of a decision is not in effect, and looks as if it were.
        whole = len(statements) == len(parts)
        found.append(
            Withdrawal(
                by_number[number], tuple(dict.fromkeys(statements)) if whole else (),
                tuple(sorted({e.permission for e, _, _ in parts})),
                tuple(sorted({e for _, _, also in parts for e in also})) if whole else (),
            )
        )  # fmt: skip
    return found


def sentence(e: Entitlement) -> str:
    """An entitlement, for people."""
    return f"{e.account}: {e.permission} on {e.resource} ({e.path})"


def withdraw(
    register: Register,
    ring: KeyRing,
    review_id: int,
    actor: Actor,
    connections: Connections,
    items: Collection[int] | None = None,
    also: bool = False,
) -> list[Withdrawal]:
    """Carry out what can be carried out from here; and return what was done. The systems are not read again by this: see
    `read_again`.

    :param items: Only these.
    :param also: Whether what else ends with it may end.
    :raises Refused: if the actor may not carry out what was decided.
    :raises CheckFailed: if more would end than was decided, and ``also`` does not allow it: nothing is changed.
    """
    review = load_review(register, review_id)
    asset = Asset(AssetKind.LOCATION, review.location)
    who = require(register, actor, Verb.HANDLE, asset).who
    if review.status != "open":
        raise UsageError(f"review {review_id} is {review.status}; open another one")
    planned = [
        w
        for w in plan_withdrawals(register, review_id, connections)
        if w.is_ours and (items is None or w.item.number in items)
    ]
    if not also and (more := [w for w in planned if w.also]):
        raise CheckFailed(
            f"item {more[0].item.number} of review {review_id}: with it would end {len(more[0].also)} more, such as "
            f"{sentence(more[0].also[0])}; if that is meant, say so"
        )
    done: list[Withdrawal] = []
    carried_out: set[tuple[str, str]] = set()
    for w in planned:
        fresh = [do for do, _ in w.statements if (w.item.source, do) not in carried_out]
        carried_out |= {(w.item.source, do) for do in fresh}
        collector_of(w.item.source).apply(w.item.source, fresh, connections)
        account, ends, resource = w.item.grant.principal, ", ".join(w.ends), w.item.resource
        entries = [
            Act(
                asset, _WITHDRAWN, (AccessWithdrawn(account, ends, resource, do),), who, register.now(),
                {"review": review_id, "item": w.item.number, "undo": _signed(ring, w.item, review_id, undo)},
            )
            for do, undo in w.statements
        ]  # fmt: skip
        register.write(partial(record, entries=entries))
        done.append(w)
    return done


# The subject of the statement about what gives something back.
_UNDO = "undo"


def _signed(ring: KeyRing, item: ReviewItem, review: int, undo: str | None) -> dict[str, Any] | None:  # fmt: skip
    """What gives back, so that nothing else is ever carried out in its place."""
    if undo is None:
        return None
    said = WithdrawalStatement(review=review, item=item.number, source=item.source, undo=undo)
    return sign_statement(ring, {_UNDO: hashlib.sha256(undo.encode()).hexdigest()}, said)


def _undo_of(register: Register, act: Act, item: ReviewItem, review: int) -> str:
    """:raises BrokenLog: if it is not what a trusted key has signed about this item."""
    try:
        if register.trusted is None:
            raise SignatureInvalid("there are no trusted keys here")
        said = signed_statement(
            act.evidence["undo"], register.trusted(), WithdrawalStatement
        ).predicate
    except SignatureInvalid:
        raise BrokenLog(
            f"what gives item {item.number} of review {review} back is not signed by a trusted key"
        ) from None
    if (said.review, said.item, said.source) != (review, item.number, item.source):
        raise BrokenLog(f"what gives item {item.number} of review {review} back is about another one")  # fmt: skip
    return said.undo


def give_back(
    register: Register,
    review_id: int,
    item: int,
    actor: Actor,
    reason: str,
    organization: Organization,
    connections: Connections,
) -> list[str]:
    """Give back what was withdrawn for an item, in the reverse order; and return the statements. The item has to be decided
    again.

    :raises Refused: if the actor may not carry out what was decided, or it is about themselves.
    :raises UsageError: if nothing was withdrawn for it, or the review is not open.
    :raises BrokenLog: if what gives it back is not what was signed.
    """
    if not reason.strip():
        raise UsageError("giving back needs a reason")
    review = load_review(register, review_id)
    if review.status != "open":
        raise UsageError(f"review {review_id} is {review.status}; open another one")
    known = next((i for i in review.items if i.number == item), None)
    if known is None:
        raise UsageError(f"review {review_id} has no item number {item}")
    asset = Asset(AssetKind.LOCATION, review.location)
    permission = require(register, actor, Verb.HANDLE, asset)
    if is_about(known, permission, People(organization)):
        raise Refused(f"item {item} of review {review_id} is about your own access: somebody else gives it back")  # fmt: skip
    undo: list[str] = []
    for act in register.read(lambda connection: acts(connection, asset)):
        if act.evidence.get("review") != review_id or act.evidence.get("item") != item:
            continue
        if act.verb == _WITHDRAWN and act.evidence.get("undo"):
            undo.append(_undo_of(register, act, known, review_id))
        elif act.verb == _GIVEN_BACK:
            undo.clear()
    if not undo:
        raise UsageError(f"nothing was withdrawn from here for item {item} of review {review_id}")
    undo = list(dict.fromkeys(reversed(undo)))
    collector_of(known.source).apply(known.source, undo, connections)
    now = register.now()
    entries = [
        Act(
            asset, _GIVEN_BACK, (AccessGivenBack(known.grant.principal, known.resource, text, reason),), permission.who, now,
            {"review": review_id, "item": item},
        )
        for text in undo
    ]  # fmt: skip

    def work(connection: sa.Connection) -> None:
        where = t.review_item.c.id == item
        connection.execute(sa.update(t.review_item).where(where).values(UNDECIDED))
        record(connection, entries)

    register.write(work)
    return undo
