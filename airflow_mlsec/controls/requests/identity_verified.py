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


class HandedOverUnverified(
    Reason,
    en="data was handed over, and the identity is {identity}",
    de="Daten wurden herausgegeben, und die Identität ist: {identity}",
):
    """Somebody may have got another person's data."""

    identity: str


class VerifiedBy(Reason, en="by {who}", de="durch {who}"):
    """Who has verified the identity."""

    who: str


class IdentityVerified(RegisterControl):
    """Handing data to the wrong person is a breach."""

    id = "identity-verified"
    title = Text(
        en="Data is handed over only to people whose identity was verified",
        de="Daten werden nur Menschen herausgegeben, deren Identität geprüft wurde",
    )
    severity = Severity.CRITICAL
    asset = AssetKind.REQUEST
    reads = (Reads.REQUESTS,)
    cites = ("gdpr:12(6)", "gdpr:5(1)(f)", "gdpr:32(1)(b)", "nist-800-53:IA-2")
    remedy = Text(
        en="Treat it as a possible breach: find out who received the data.",
        de="Behandeln Sie es als mögliche Datenpanne: Klären Sie, wer die Daten erhalten hat.",
    )
    example = Example(
        holds="exported after log-in with a second factor",
        fails="exported, and nobody has recorded how the person was identified",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for request in facts.requests:
            if request.id not in facts.handed_over:
                continue
            if request.identity == "verified":
                yield str(request.id), passed(VerifiedBy(str(request.verified_by)))
            else:
                yield str(request.id), failed(HandedOverUnverified(request.identity))
