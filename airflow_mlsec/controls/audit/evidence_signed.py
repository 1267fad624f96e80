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


class EvidenceBroken(
    Reason,
    en="{broken} of {statements:statement|statements} are not what a trusted key has signed",
    de="{broken} von {statements:Erklärung|Erklärungen} sind nicht, was ein vertrauter Schlüssel signiert hat",
):
    """Statements that do not count."""

    broken: int
    statements: int


class EvidenceHolds(Reason, en="{statements:statement|statements} verified", de="{statements:Erklärung|Erklärungen} geprüft"):  # fmt: skip
    """Every statement is what was signed."""

    statements: int


class EvidenceSigned(RegisterControl):
    """An auditor believes signatures, not rows."""

    id = "evidence-signed"
    title = Text(
        en="Every statement about releases and artifacts is signed by a trusted key",
        de="Jede Erklärung zu Freigaben und Artefakten ist von einem vertrauten Schlüssel signiert",
    )
    severity = Severity.HIGH
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.EVIDENCE,)
    cites = ("gdpr:5(2)", "gdpr:24(1)", "nist-800-53:SI-7", "soc2:CC7.2")
    remedy = Text(
        en="Run `mlsec db verify`, which lists them; restore the key that signed them, or find out who wrote them.",
        de="Führen Sie `mlsec db verify` aus, das sie aufzählt; stellen Sie den Schlüssel wieder her, oder klären Sie, wer sie geschrieben hat.",
    )
    example = Example(
        holds="200 statements, each signed by the ring",
        fails="one statement was changed after it was signed",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        statements, broken = facts.evidence
        bad = EvidenceBroken(broken, statements)
        yield facts.deployment, failed(bad) if broken else passed(EvidenceHolds(statements))
