from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class AnswerDue(Reason, en="due on {day}", de="fällig am {day}"):
    """The request is open, and in time."""

    day: str


class AnswerLate(Reason, en="due on {day}, and open", de="fällig am {day}, und offen"):
    """The deadline has passed."""

    day: str


class AnsweredLate(Reason, en="due on {day}, closed on {closed}", de="fällig am {day}, geschlossen am {closed}"):  # fmt: skip
    """The request was closed after its deadline."""

    day: str
    closed: str


class Answered(Reason, en="closed on {closed}, due on {day}", de="geschlossen am {closed}, fällig am {day}"):  # fmt: skip
    """The request was closed in time."""

    closed: str
    day: str


class DeadlineStands(Reason, en="its deadline stands still since {day}", de="ihre Frist steht seit dem {day} still"):  # fmt: skip
    """The identity is being asked for."""

    day: str


class NoDeadline(Reason, en="it has no deadline", de="sie hat keine Frist"):
    """The register does not know when it is due."""


class AnsweredInTime(RegisterControl):
    """One month, or 45 days."""

    id = "answered-in-time"
    title = Text(
        en="Every request is answered within its deadline",
        de="Jede Anfrage wird innerhalb ihrer Frist beantwortet",
    )
    severity = Severity.CRITICAL
    asset = AssetKind.REQUEST
    reads = (Reads.REQUESTS,)
    cites = ("gdpr:12(3)", "ccpa-rules:7021(b)")
    remedy = Text(
        en="Answer the request today; extend it before the deadline where the law allows (`mlsec subject extend`).",
        de="Beantworten Sie die Anfrage heute; verlängern Sie vor Ablauf, wo das Gesetz es erlaubt (`mlsec subject extend`).",
    )
    example = Example(
        holds="received on 1 May, closed on 20 May",
        fails="received on 1 May, still open on 2 June",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for request in facts.requests:
            day = request.last_day(facts.calendar.zone)
            if day is None or request.due_at is None:
                answer = unknown(NoDeadline())
            elif request.status == "refused":
                sent = [d for letter, d in facts.letters_sent(request) if letter == "refusal"]
                late = facts.on > day if not sent else date.fromisoformat(sent[0]) > day
                closed = sent[0] if sent else None
                if closed is None:
                    answer = failed(AnswerLate(str(day))) if late else passed(AnswerDue(str(day)))
                else:
                    answer = (
                        failed(AnsweredLate(str(day), closed))
                        if late
                        else passed(Answered(closed, str(day)))
                    )
            elif request.closed_at is not None:
                closed = request.closed_at[:10]
                late = datetime.fromisoformat(request.closed_at) > datetime.fromisoformat(
                    request.due_at
                )
                answer = (
                    failed(AnsweredLate(str(day), closed))
                    if late
                    else passed(Answered(closed, str(day)))
                )
            elif request.paused_on is not None:
                answer = passed(DeadlineStands(request.paused_on))
            elif request.is_overdue(facts.now):
                answer = failed(AnswerLate(str(day)))
            else:
                answer = passed(AnswerDue(str(day)))
            yield str(request.id), answer
