"""Writing what was found into a request; what somebody has settled stays settled."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.ledger import has
from airflow_mlsec.processes import has_ended
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects.requests._approval import beyond_approval
from airflow_mlsec.subjects.requests._changes import (
    NOT_APPROVED,
    lock_request,
    write_act,
    write_step,
)
from airflow_mlsec.subjects.requests._request import (
    RESTRICTING,
    Request,
    Step,
    get_request,
    read_request,
)
from airflow_mlsec.subjects.search._finding import Finding
from airflow_mlsec.subjects.search._locate import Location
from airflow_mlsec.subjects.search._scan import ROOT

BY_HAND = ("none", "rebuilt", "retained", "manual")


def record_location(
    register: Register, identifier: int, location: Location, by: str, seen: Request | None = None
) -> Request:
    """Write what was found into the ledger. A settled place stays settled, unless the person
    was found there again.

    :param seen: The request whose person was searched for.
    :raises ChangedMeanwhile: if it was changed since: what was found may be another person's.
    """

    def work(connection: sa.Connection) -> None:
        request = lock_request(connection, identifier, seen)
        known = {(step.kind, step.name): step for step in request.steps}
        by_dataset = {(step.dataset_id, step.name): step for step in request.steps}
        for finding in location.findings:
            before = known.get((finding.kind, finding.dataset))
            if before is None and finding.dataset_id is not None:
                before = by_dataset.get((finding.dataset_id, finding.dataset))
            if before is None or _changes(request, before, finding):
                write_step(connection, identifier, finding, by, register.now())
        found = sum(finding.status == "found" for finding in location.findings)
        located = reasons.PersonLocated(found, len(location.findings))
        write_act(connection, identifier, register.now(), by, located)
        update = sa.update(t.request).where(t.request.c.id == identifier)
        if request.status == "open":
            connection.execute(update.values(status="located"))
        if beyond := beyond_approval(read_request(connection, identifier)):
            connection.execute(update.values(status="located", **NOT_APPROVED))
            write_act(
                connection, identifier, register.now(), by, reasons.ApprovalTooNarrow(tuple(beyond))
            )

    register.write(work)
    return get_request(register, identifier)


def is_at_work(row: Any, now: str) -> bool:
    """Whether the process that erases from a place may still be running."""
    if row.writer is not None and has_ended(row.writer):
        return False
    return datetime.fromisoformat(row.changed_at) > datetime.fromisoformat(now) - _AT_WORK


def _changes(request: Request, step: Step, finding: Finding) -> bool:
    if step.status == "erasing":
        return False  # the process that erases records the outcome; a killed erasure is resumed
    # Its last object was deleted with its last rows, or the second look has read what a scan had no budget for.
    if (finding.absent or finding.beside) and step.status == "erased":
        return False
    if request.kind in RESTRICTING and step.status == "retained" and step.decided_by is None:
        return finding.status == "none"  # what is not there cannot stay stored
    if step.status == "failed" and has(step.reasons, reasons.CouldNotRectify):
        return False  # being found does not rectify it
    if step.status == "none" and finding.status == "none":
        return False  # keeps the time since which it has not been there
    if finding.kind == ROOT and step.status in BY_HAND:
        # Somebody's decision was about other files than these.
        return (
            finding.status == "unknown" and finding.locator != step.locator
        )  # as words: earlier versions had no codes
    if step.status in ("retained", "manual", "rectified", "rebuilt"):
        return False
    # What waits to be rebuilt is settled by lineage or by a person.
    if has(step.reasons, reasons.ToBeMadeAnew):
        return finding.status == "none"
    if finding.status not in ("none", "none by scan"):
        return True
    # What was erased, is being erased, or could not be erased completely does not become "none" because it
    # is no longer found: the ledger would forget that it was there, and bytes may be left.
    if step.status == "failed" and step.attempts:
        return has(step.reasons, reasons.NothingRemoved)
    # What a second look found is settled by a person or by erasing.
    left = has(step.reasons, reasons.StillNamed)
    return step.status not in ("erased", "rebuilt", "erasing") and not left


# How long an erasure is assumed to be running, if nothing says that it has ended.
_AT_WORK = timedelta(hours=1)
