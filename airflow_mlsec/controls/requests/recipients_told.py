from __future__ import annotations

from collections.abc import Iterator

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    passed,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason

_TOLD = ("notified", "manual", "retained")


class RecipientsNotTold(Reason, en="not told: {recipients}", de="nicht unterrichtet: {recipients}"):
    """Recipients who still have the earlier data."""

    recipients: tuple[str, ...]


class AllTold(Reason, en="{recipients:recipient|recipients} told", de="{recipients:Empfänger|Empfänger} unterrichtet"):  # fmt: skip
    """Every recipient knows."""

    recipients: int


class RecipientsTold(RegisterControl):
    """Whoever received the data is told that it was erased, corrected or restricted."""

    id = "recipients-told"
    title = Text(
        en="Recipients were told before a request was closed",
        de="Empfänger wurden unterrichtet, bevor eine Anfrage geschlossen wurde",
    )
    severity = Severity.HIGH
    asset = AssetKind.REQUEST
    reads = (Reads.REQUESTS,)
    cites = ("gdpr:19", "ccpa:1798.105")
    remedy = Text(
        en="Tell them with NotifyRecipientsOperator or by hand, and settle their places.",
        de="Unterrichten Sie sie mit NotifyRecipientsOperator oder von Hand, und erledigen Sie ihre Orte.",
    )
    example = Example(
        holds="the laboratory was told of the erasure",
        fails="the request is closed, and the laboratory knows nothing",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for request in facts.requests:
            recipients = [step for step in request.steps if step.kind == "recipient"]
            if request.status != "closed" or not recipients:
                continue
            left = tuple(sorted(step.name for step in recipients if step.status not in _TOLD))
            yield (
                str(request.id),
                failed(RecipientsNotTold(left)) if left else passed(AllTold(len(recipients))),
            )
