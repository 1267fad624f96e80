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
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.ledger import AssetKind, Reason


class NoAgreement(Reason, en="no agreement is on file", de="keine Vereinbarung liegt vor"):
    """Nothing binds the processor."""


class AgreementEnded(Reason, en="agreement {reference} ended on {day}", de="Vereinbarung {reference} endete am {day}"):  # fmt: skip
    """Nothing binds the processor any more."""

    reference: str
    day: str


class NotSignedYet(
    Reason,
    en="no day on which agreement {reference} was signed",
    de="kein Tag, an dem Vereinbarung {reference} unterzeichnet wurde",
):
    """It is not stated that it was signed, or it says that it will be."""

    reference: str


class AgreementOnFile(Reason, en="{reference}{until: until {}}", de="{reference}{until: bis {}}"):
    """What binds the processor."""

    reference: str
    until: str | None = None


class ProcessorAgreement(RegisterControl):
    """Who processes data for us does so under a contract."""

    id = "processor-agreement"
    title = Text(
        en="Every processor is bound by an agreement that has not ended",
        de="Jeder Auftragsverarbeiter ist durch eine Vereinbarung gebunden, die nicht beendet ist",
    )
    severity = Severity.HIGH
    asset = AssetKind.PARTY
    reads = (Reads.ORGANIZATION,)
    cites = (
        "gdpr:28(3)",
        "iso-27001:A.5.20",
        "iso-27701:A.1.2.7",
        "nist-800-53:SA-9",
        "soc2:CC9.2",
        "ccpa-audit:7123(c)(15)",
    )
    remedy = Text(
        en="Sign a data processing agreement, and write its reference and dates into `agreement` of organization.yaml.",
        de="Schließen Sie einen Auftragsverarbeitungsvertrag, und tragen Sie Zeichen und Daten in `agreement` in organization.yaml ein.",
    )
    example = Example(
        holds="agreement: {reference: DPA 2025-17, signed: 2025-03-01}",
        fails="no agreement, or one that ended in spring",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for party in facts.organization.processors:
            agreement = party.agreement
            if agreement is None:
                answer = failed(NoAgreement())
            elif agreement.signed is None:
                answer = unknown(NotSignedYet(agreement.reference))
            elif agreement.signed > facts.on:
                answer = failed(NotSignedYet(agreement.reference))
            elif agreement.ends is not None and agreement.ends < facts.on:
                answer = failed(AgreementEnded(agreement.reference, str(agreement.ends)))
            else:
                ends = None if agreement.ends is None else str(agreement.ends)
                answer = passed(AgreementOnFile(agreement.reference, ends))
            yield party.name, answer
