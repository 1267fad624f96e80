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


class NoReceipt(
    Reason, en="it was closed without a receipt", de="sie wurde ohne Quittung geschlossen"
):
    """Nothing proves what was done."""


class HasReceipt(Reason, en="signed", de="signiert"):
    """What was done is proven."""


class ReceiptSigned(RegisterControl):
    """The person, and an auditor, can check what was done."""

    id = "receipt-signed"
    title = Text(
        en="Every request was closed with a signed receipt",
        de="Jede Anfrage wurde mit einer signierten Quittung geschlossen",
    )
    severity = Severity.HIGH
    asset = AssetKind.REQUEST
    reads = (Reads.REQUESTS, Reads.EVIDENCE)
    cites = ("gdpr:5(2)", "gdpr:24(1)", "ccpa-rules:7101(a)")
    remedy = Text(
        en="Close requests with `mlsec subject close` or CloseRequestOperator only.",
        de="Schließen Sie Anfragen nur mit `mlsec subject close` oder CloseRequestOperator.",
    )
    example = Example(
        holds="an erasure that was closed with a receipt",
        fails="an erasure that was set to closed in the database",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for request in facts.requests:
            if request.status == "closed":
                yield (
                    str(request.id),
                    passed(HasReceipt()) if request.receipt else failed(NoReceipt()),
                )
