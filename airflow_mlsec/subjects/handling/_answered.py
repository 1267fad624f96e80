"""How requests were answered, and when: for the numbers that a business has to publish (11 CCR § 7102)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from airflow_mlsec.ledger import Act
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import reasons
from airflow_mlsec.subjects.requests._clocks import Calendar
from airflow_mlsec.subjects.requests._request import ERASING, RESTRICTING, Request, history

Outcome = Literal["whole", "part", "denied", "open"]


@dataclass(frozen=True)
class Answered:
    """How a request ended: complied with in whole or in part, denied, or not yet (``open``); and on which day."""

    outcome: Outcome
    day: date | None = None


def answered(register: Register, request: Request, calendar: Calendar) -> Answered:
    """How a request was answered. The day is that on which the letter with the outcome was sent, else that on which the
    request was closed, refused, or its restriction began."""
    acts = history(register, request.id)
    sent = {
        reason.letter: date.fromisoformat(reason.day)
        for act in reversed(acts)
        for reason in act.reasons
        if isinstance(reason, reasons.LetterSent)
    }
    refused = "refusal" in sent and sent["refusal"] >= sent.get("completion", sent["refusal"])
    if request.status == "refused" or (refused and (request.closed_at is None or "completion" not in sent)):  # fmt: skip
        return Answered("denied", sent.get("refusal") or _first(acts, reasons.IdentityRefused, calendar))  # fmt: skip
    done = request.closed_at and calendar.day_of(datetime.fromisoformat(request.closed_at))
    if request.kind in RESTRICTING:
        done = _first(acts, reasons.ProcessingRestricted, calendar) or done
    if not done:
        return Answered("open")
    day = sent.get("completion", done)
    # What is restricted stays where it is: that is what was asked for.
    kept = [s for s in request.steps if s.status == "retained" and request.kind not in RESTRICTING]
    if request.kind in ERASING and kept and not any(s.status == "erased" for s in request.steps):
        return Answered("denied", day)
    left_out = any(
        export.get("named") or export.get("left_out_as_likeness") for export in request.exports
    )
    return Answered("part" if kept or left_out else "whole", day)


def _first(acts: Iterable[Act], kind: type, calendar: Calendar) -> date | None:
    for act in acts:
        if any(isinstance(reason, kind) for reason in act.reasons):
            return calendar.day_of(datetime.fromisoformat(act.at))
    return None
