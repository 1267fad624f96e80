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
from airflow_mlsec.controls.reasons import (
    NotSigned,
)
from airflow_mlsec.ledger import AssetKind, Reason


class SignedOn(Reason, en="signed on {day}", de="signiert am {day}"):
    """A trusted key has signed how the release was made."""

    day: str


class ReleaseSigned(RegisterControl):
    """`release-proven` also compares the file; this one asks the register about all releases."""

    id = "release-signed"
    title = Text(
        en="The newest evidence of every release is signed by a trusted key",
        de="Der neueste Nachweis jeder Freigabe ist von einem vertrauten Schlüssel signiert",
    )
    severity = Severity.HIGH
    asset = AssetKind.DATASET
    reads = (Reads.EVIDENCE,)
    cites = ("gdpr:5(2)", "gdpr:24(1)", "nist-800-53:SI-7")
    remedy = Text(
        en="Find out who wrote the evidence (`mlsec db verify`), and make the release again.",
        de="Klären Sie, wer den Nachweis geschrieben hat (`mlsec db verify`), und erstellen Sie die Freigabe neu.",
    )
    example = Example(
        holds="AnonymizeOperator made the release and signed it",
        fails="a statement about the release was written into the register by hand",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for name, statement in facts.about_releases():
            if not isinstance(statement, Reason):
                answer = passed(SignedOn(statement.issued_at[:10]))
            elif isinstance(statement, NotSigned):
                answer = failed(statement)
            else:
                answer = unknown(statement)
            yield name, answer
