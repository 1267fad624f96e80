"""Legal holds: data that must not be erased for now (GDPR Art. 17(3)(e), Art. 18(2))."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from airflow_mlsec.actors import Actor
from airflow_mlsec.anonymize import NormalForm
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import UsageError
from airflow_mlsec.ledger import DEPLOYMENT, Act, Reason, Verb, record, require
from airflow_mlsec.register import Register, keeps_open
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects._identity import reference_version, subject_digest


@dataclass(frozen=True)
class Hold:
    """A hold on one person's data, or on everybody's (no digest); in one dataset, or in all."""

    id: int
    subject_kind: str
    subject_digest: str | None
    dataset_id: int | None
    reason: str
    placed_by: str
    placed_at: str
    # The version of the key that made the digest; None for a hold from before this was stored.
    key_version: int | None = None


def place_hold(
    register: Register,
    kind: str,
    reason: str,
    by: Actor,
    subject_digest: str | None = None,
    dataset_id: int | None = None,
    key_version: int | None = None,
    placed_at: str | None = None,
) -> int:
    """Place a hold; returns its number. ``key_version`` is the one of the person's digest (`reference_version`).

    :raises UsageError: if no reason is given.
    :raises Refused: if the actor may not decide about holds.
    """
    who = require(register, by, Verb.SETTLE, DEPLOYMENT).who
    if not reason.strip():
        raise UsageError("a legal hold needs its reason, for example the case's number")
    values = {
        "subject_kind": kind,
        "subject_digest": subject_digest,
        "key_version": key_version,
        "dataset_id": dataset_id,
        "reason": reason,
        "placed_by": who,
        "placed_at": placed_at or register.now(),
    }
    made = sa.insert(t.legal_hold).values(values).returning(t.legal_hold.c.id)
    return int(register.write(lambda c: c.execute(made).scalar_one()))


@keeps_open
def hold_person(
    register: Register, keys: KeyRing, kind: str, key: str, reason: str, by: Actor
) -> int:
    """Place a hold on one person's data in every spelling of their key; returns its number. The hold is stored under
    the person's digest in every normal form that a policy declares for people of this kind.

    :raises UsageError: if no reason is given.
    """
    forms = declared_forms(register, kind)
    texts = dict.fromkeys((key, *(form.of_text(key) for form in forms)))
    digests = dict.fromkeys(subject_digest(keys, kind, text) for text in texts)
    version, now = reference_version(keys), register.now()
    numbers = [
        place_hold(register, kind, reason, by, digest, key_version=version, placed_at=now)
        for digest in digests
    ]
    return numbers[0]


def declared_forms(register: Register, kind: str) -> list[NormalForm]:
    """The normal forms that the policies in force declare for keys of people of this kind."""
    query = (
        sa.select(t.policy.c.document)
        .join(t.dataset, t.dataset.c.policy_digest == t.policy.c.digest)
        .distinct()
    )
    subjects = [row.document.get("subject") for row in register.rows(query)]
    found = [NormalForm.declared(s) for s in subjects if s and s["kind"] == kind]
    return list(dict.fromkeys(form for form in found if form and form.name != "exact"))


class HoldEnded(
    Reason,
    en="legal hold {number}, placed by {placed_by}: {reason}",
    de="Aufbewahrungspflicht {number}, von {placed_by}: {reason}",
):
    """A legal hold was ended."""

    number: int
    placed_by: str
    reason: str


def release_hold(register: Register, identifier: int, by: Actor) -> None:
    """End a hold, under every digest it was placed under or copied to.

    :raises UsageError: if no hold with this number is in force.
    :raises Refused: if the actor may not decide about holds.
    """
    who = require(register, by, Verb.SETTLE, DEPLOYMENT).who
    h = t.legal_hold.c

    def work(connection: sa.Connection) -> int:
        query = sa.select(t.legal_hold).where(h.id == identifier, h.released_at.is_(None))
        row = connection.execute(query).one_or_none()
        if row is None:
            return 0
        same = (
            h.subject_kind == row.subject_kind, h.reason == row.reason, h.placed_by == row.placed_by,
            h.dataset_id.is_not_distinct_from(row.dataset_id), h.released_at.is_(None),
            # To the microsecond: all rows of one hold have the same time.
            h.placed_at == row.placed_at,
        )  # fmt: skip
        ended = sa.update(t.legal_hold).where(*same)
        why = HoldEnded(identifier, row.placed_by, row.reason)
        entry = Act(DEPLOYMENT, "hold ended", (why,), who, register.now())
        record(connection, [entry])
        return connection.execute(ended.values(released_at=register.now())).rowcount

    changed = register.write(work)
    if not changed:
        raise UsageError(f"no legal hold {identifier} is in force")


def holds_on(
    connection: sa.Connection,
    kind: str,
    digests: Collection[str],
    versions: Collection[int],
    dataset_id: int | None,
) -> list[Hold]:
    """Holds in force on a person's data in a dataset, and holds that may be the person's: those whose key
    version is not among the ``versions`` that made the person's ``digests``."""
    h = t.legal_hold.c
    query = sa.select(t.legal_hold).where(
        h.released_at.is_(None),
        h.subject_kind == kind,
        sa.or_(
            h.subject_digest.is_(None),
            h.subject_digest.in_(list(digests)),
            h.key_version.not_in(list(versions)),
        ),
        sa.or_(h.dataset_id.is_(None), h.dataset_id == dataset_id),
    )
    return [
        Hold(
            r.id,
            r.subject_kind,
            r.subject_digest,
            r.dataset_id,
            r.reason,
            r.placed_by,
            r.placed_at,
            r.key_version,
        )
        for r in connection.execute(query.order_by(h.id))
    ]


def copy_holds(
    connection: sa.Connection, kind: str, old: Collection[str], new: str, key_version: int
) -> None:
    """Copy the holds in force on a person from some digests to another digest."""
    h = t.legal_hold.c
    query = sa.select(t.legal_hold).where(
        h.released_at.is_(None), h.subject_kind == kind, h.subject_digest.in_(list(old))
    )
    for row in connection.execute(query).all():
        values = {
            "subject_kind": kind,
            "subject_digest": new,
            "key_version": key_version,
            "dataset_id": row.dataset_id,
            "reason": row.reason,
            "placed_by": row.placed_by,
            "placed_at": row.placed_at,
        }
        connection.execute(sa.insert(t.legal_hold).values(values))
