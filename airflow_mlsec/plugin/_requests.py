"""Data-subject requests, for the compliance team to read. The register does not show who they are about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_mlsec.register import Register
from airflow_mlsec.subjects import Request, act_in_words, get_request, history, list_requests


def all_requests(register: Register, time_zone: str) -> dict[str, Any]:
    """Every request, the most urgent first, with how many places are in which state."""
    now = datetime.now(UTC)
    return {"requests": [_summary(request, now, time_zone) for request in list_requests(register)]}


def one_request(register: Register, number: int, time_zone: str) -> dict[str, Any]:
    """A request with its coverage ledger, and who did what."""
    request = get_request(register, number)
    done = [
        {"at": act.at, "by": act.by, "what": str(act_in_words(act))}
        for act in history(register, number)
    ]
    steps = [step.as_json() for step in request.steps]
    return {**_summary(request, datetime.now(UTC), time_zone), "steps": steps, "history": done}


def _summary(request: Request, now: datetime, time_zone: str) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for step in request.steps:
        counts[step.status] = counts.get(step.status, 0) + 1
    return {
        "id": request.id,
        "law": request.law,
        "kind": request.kind,
        "subject_kind": request.subject_kind,
        "status": request.status,
        "identity": request.identity,
        "requested_at": request.requested_at,
        "due": str(request.last_day(time_zone) or ""),
        "extended": request.extended,
        "approved_by": request.approved_by,
        "closed_at": request.closed_at,
        "overdue": request.is_overdue(now),
        "open_places": 0 if request.closed_at else len(request.open_steps()),
        "places": counts,
    }
