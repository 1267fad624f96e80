"""Ending what a campaign has revoked or reduced: shown first, carried out only when asked, and given back if it was wrong.

PostgreSQL, MySQL, Airflow's own users and S3 are changed from here; elsewhere somebody has to do it there, and gets told what.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from airflow_mlsec.access._collector import collect, collector_of
from airflow_mlsec.access._items import NOT_READ
from airflow_mlsec.access._model import AND, Entitlement
from airflow_mlsec.access._review import UNDECIDED, Review, ReviewItem, load_review
from airflow_mlsec.actors import Actor
from airflow_mlsec.connections import Connections
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.ledger import Act, Asset, AssetKind, Reason, Verb, acts, record, require
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

_WITHDRAWING, _WITHDRAWN, _GIVEN_BACK = (
    "withdrawing access",
    "access withdrawn",
    "access given back",
)


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
        rest = f"; {i.reduce_to.replace(AND, ', ')} may remain" if i.reduce_to else ""
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
        remains = frozenset((item.reduce_to or "").split(AND))
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

        def entries(verb: str, w: Withdrawal = w) -> list[Act]:
            account, ends, resource = w.item.grant.principal, ", ".join(w.ends), w.item.resource
            return [
                Act(
                    asset, verb, (AccessWithdrawn(account, ends, resource, do),), who, register.now(),
                    {"review": review_id, "item": w.item.number, "undo": undo},
                )
                for do, undo in w.statements
            ]  # fmt: skip

        # Before and after: a process that ends between them has left what gives it back.
        register.write(partial(record, entries=entries(_WITHDRAWING)))
        collector_of(w.item.source).apply(w.item.source, fresh, connections)
        register.write(partial(record, entries=entries(_WITHDRAWN)))
        done.append(w)
    return done


def give_back(
    register: Register,
    review_id: int,
    item: int,
    actor: Actor,
    reason: str,
    connections: Connections,
) -> list[str]:
    """Give back what was withdrawn for an item, in the reverse order; and return the statements. The item has to be decided
    again.

    :raises Refused: if the actor may not carry out what was decided.
    :raises UsageError: if nothing was withdrawn for it, or the review is not open.
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
    who = require(register, actor, Verb.HANDLE, asset).who
    undo: list[str] = []
    for act in register.read(lambda connection: acts(connection, asset)):
        if act.evidence.get("review") != review_id or act.evidence.get("item") != item:
            continue
        if act.verb == _WITHDRAWING and act.evidence.get("undo"):
            undo.append(str(act.evidence["undo"]))
        elif act.verb == _GIVEN_BACK:
            undo.clear()
    if not undo:
        raise UsageError(f"nothing was withdrawn from here for item {item} of review {review_id}")
    undo = list(dict.fromkeys(reversed(undo)))
    collector_of(known.source).apply(known.source, undo, connections)
    now = register.now()
    entries = [
        Act(
            asset, _GIVEN_BACK, (AccessGivenBack(known.grant.principal, known.resource, text, reason),), who, now,
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
