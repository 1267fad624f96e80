"""Writing to a request: changes, the outcome for its places, and the acts that record them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from airflow_mlsec import ledger
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import ChangedMeanwhile, UsageError
from airflow_mlsec.ledger import (
    Act,
    Asset,
    AssetKind,
    Outcome,
    Reason,
    as_documents,
    record,
)
from airflow_mlsec.register import Register, requests_did_more, upsert
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects._identity import Person, Targets, seal, unseal
from airflow_mlsec.subjects.requests._request import (
    Request,
    Step,
    asset_of,
    get_request,
    read_request,
)
from airflow_mlsec.subjects.search._finding import Finding


def reseal(
    register: Register,
    keys: KeyRing,
    identifier: int,
    changed: Callable[[Person, Targets | None], tuple[Person, Targets | None]],
) -> None:
    """Change what is sealed with a request: the person and the computed erasure targets. Changes run one at a time,
    because places are handled concurrently."""
    r = t.request.c

    def work(connection: sa.Connection) -> None:
        query = sa.select(r.sealed, r.subject_kind).where(r.id == identifier, r.sealed.is_not(None))
        row = connection.execute(query.with_for_update()).first()
        if row is None:
            raise UsageError(f"request {identifier} is closed, and the person's identity is erased")
        now = seal(keys, *changed(*unseal(keys, row.subject_kind, bytes(row.sealed))))
        connection.execute(sa.update(t.request).where(r.id == identifier).values(sealed=now))

    register.write(work)


NOT_APPROVED: dict[str, Any] = {"approved_by": None, "approved": sa.null(), "four_eyes": None}


# --- what the other modules of this package write


def change(
    register: Register,
    identifier: int,
    by: str,
    what: Reason,
    values: dict[str, Any],
    seen: Request | None = None,
    also: Callable[[sa.Connection, Request], Mapping[str, Any] | None] = lambda c, request: None,
) -> Request:
    """Change a request that is not closed, and record ``what`` was done as an act.

    :param seen: The request on which the decision was based.
    :param also: Called in the same transaction with the current request; may return further values.
    :raises ChangedMeanwhile: if somebody else has changed the request since it was ``seen``.
    """

    def work(connection: sa.Connection) -> None:
        request = lock_request(connection, identifier, seen)
        more = also(connection, request) or {}
        given = {**values, **more, "version": request.version + 1}
        update = sa.update(t.request).where(t.request.c.id == identifier)
        connection.execute(update.values(given))
        write_act(connection, identifier, register.now(), by, what)

    register.write(work)
    return get_request(register, identifier)


def lock_request(
    connection: sa.Connection, identifier: int, seen: Request | None = None
) -> Request:
    """A request that is not closed, for this transaction alone until it ends: on PostgreSQL, transactions run
    concurrently.

    :raises ChangedMeanwhile: if somebody else has changed the request since it was ``seen``.
    """
    r = t.request.c
    connection.execute(sa.select(r.id).where(r.id == identifier).with_for_update())
    request = require_open(read_request(connection, identifier))
    if seen is not None:
        require_unchanged(request, seen)
    return request


def require_unchanged(request: Request, seen: Request) -> None:
    """:raises ChangedMeanwhile: if a request was changed since it was ``seen``."""
    if request.version != seen.version:
        raise ChangedMeanwhile(
            f"request {request.id} was changed by somebody else meanwhile; look at it again"
        )


def note(register: Register, identifier: int, by: str, what: Reason) -> None:
    """Record what was done as an act, without changing the request itself."""
    register.write(lambda c: write_act(c, identifier, register.now(), by, what))


_LAST_RUN = sa.select(sa.func.max(t.run.c.id))


def write_step(
    connection: sa.Connection,
    identifier: int,
    finding: Finding,
    by: str,
    now: str,
    status: str = "",
) -> None:
    """Write a finding to the coverage, with its own status or another, and to the ledger."""
    values = {
        "status": status or finding.status,
        "rows": finding.rows,
        "found_by": as_documents(finding.found_by),
        "reasons": as_documents(finding.reasons),
        "changed_at": now,
        "dataset_id": finding.dataset_id,
        "decided_by": None,
        "columns": list(finding.columns),
        "likeness": finding.likeness,
        "free_text": finding.free_text,
        "after_run": connection.execute(_LAST_RUN).scalar_one(),
    }
    key = {"request_id": identifier, "kind": finding.kind, "name": finding.dataset}
    if finding.dataset_id is not None:
        # The kind assigned to a dataset may have changed; it is still the same place.
        s = t.request_step.c
        mine = sa.and_(
            s.request_id == identifier,
            s.dataset_id == finding.dataset_id,
            s.name == finding.dataset,
        )
        kinds = list(connection.execute(sa.select(s.kind).where(mine)).scalars())
        # An earlier version made a separate step for each kind.
        if finding.kind in kinds:
            connection.execute(sa.delete(t.request_step).where(mine, s.kind != finding.kind))
        elif kinds:
            connection.execute(sa.delete(t.request_step).where(mine, s.kind != kinds[-1]))
            connection.execute(sa.update(t.request_step).where(mine).values(kind=finding.kind))
    upsert(connection, t.request_step, key, values, {"attempts": 0})
    place, answer = (
        Asset(AssetKind.PLACE, finding.dataset),
        _ANSWERS.get(status or finding.status, Outcome.UNKNOWN),
    )
    told = {
        "status": status or finding.status,
        "found_by": as_documents(finding.found_by),
        "rows": finding.rows,
    }
    record(
        connection,
        [ledger.Finding(place, LOCATED, answer, finding.reasons, by, now, told, identifier)],
    )


# The question for each place: is it free of the person's data? Statuses not listed here answer unknown.
LOCATED = "free-of-the-person"


_ANSWERS = {
    "found": Outcome.FAIL,
    "none": Outcome.PASS,
    "none by scan": Outcome.PASS,
    "erased": Outcome.PASS,
    "same": Outcome.NOT_APPLICABLE,
}


def set_step(
    connection: sa.Connection,
    identifier: int,
    step: Step,
    by: str,
    now: str,
    status: str,
    why: Sequence[Reason],
    **values: Any,
) -> None:
    """Record the outcome for one place and why: in the coverage, and as an act."""
    if status == "rectified":
        requests_did_more(connection)
    change_step(connection, step.id, now, status=status, reasons=as_documents(why), **values)
    if status != "erasing":
        place = Asset(AssetKind.PLACE, step.name)
        record(connection, [Act(place, status, tuple(why), by, now, request=identifier)])


def change_step(connection: sa.Connection, step: int, now: str, **values: Any) -> None:
    """Change what is stored about one place."""
    update = sa.update(t.request_step).where(t.request_step.c.id == step)
    after_run = _LAST_RUN.scalar_subquery()
    connection.execute(update.values(**values, changed_at=now, after_run=after_run))


# Anyone who did one of these said whose request it is, or which rows are the person's: somebody else must approve.
_SAYS_WHO = (
    reasons.RequestOpened,
    reasons.IdentityVerified,
    reasons.IdentityRefused,
    reasons.PersonChanged,
    reasons.PlaceConfirmed,
    reasons.EntriesConfirmed,
)


def write_act(connection: sa.Connection, identifier: int, at: str, by: str, what: Reason) -> None:
    verb = what.code.replace("-", " ")
    evidence = {"says_who": True} if isinstance(what, _SAYS_WHO) else {}
    asset = asset_of(identifier)
    record(connection, [Act(asset, verb, (what,), by, at, evidence, identifier)])


def require_open(request: Request) -> Request:
    if request.closed_at is not None:
        raise UsageError(f"request {request.id} was closed {request.closed_at[:19]}")
    if request.status == "refused":
        raise UsageError(f"request {request.id} was refused")
    return request
