from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from airflow_mlsec.controls._control import (
    Answer,
    Example,
    Reads,
    Severity,
    Text,
    failed,
    not_applicable,
    passed,
    unknown,
)
from airflow_mlsec.controls._facts import Facts
from airflow_mlsec.controls._register_control import RegisterControl
from airflow_mlsec.controls.reasons import (
    NothingPersonal,
)
from airflow_mlsec.ledger import AssetKind, Reason


class NeverExpires(Reason, en="it never expires", de="es läuft nie ab"):
    """Nothing says how long the artifact may be used."""


class ExpiredOn(Reason, en="it expired on {day}", de="es ist am {day} abgelaufen"):
    """The artifact is still the newest, and past its time."""

    day: str


class ExpiresOn(Reason, en="it expires on {day}", de="es läuft am {day} ab"):
    """The artifact is within its time."""

    day: str


class ArtifactExpires(RegisterControl):
    """A model that was trained on people's data is kept no longer than it is used."""

    id = "artifact-expires"
    title = Text(
        en="Every artifact with personal data has an expiry that has not passed",
        de="Jedes Artefakt mit personenbezogenen Daten hat ein Ablaufdatum, das nicht verstrichen ist",
    )
    severity = Severity.LOW
    asset = AssetKind.ARTIFACT
    reads = (Reads.EVIDENCE, Reads.LINEAGE)
    cites = ("gdpr:5(1)(e)", "iso-27001:A.8.10")
    remedy = Text(
        en="Encrypt it again with `expires_in`, or delete it.",
        de="Verschlüsseln Sie es neu mit `expires_in`, oder löschen Sie es.",
    )
    example = Example(
        holds="the model expires next June",
        fails="the model has no expiry, or expired last June",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        for identifier, statement in facts.artifacts.items():
            artifact = facts.by_id[identifier]
            expires = None if isinstance(statement, Reason) else statement.expires_at
            if isinstance(statement, Reason):
                answer = unknown(statement)
            elif not artifact.is_personal:
                answer = not_applicable(NothingPersonal())
            elif expires is None:
                answer = failed(NeverExpires())
            elif datetime.fromisoformat(expires) <= facts.now:
                answer = failed(ExpiredOn(expires[:10]))
            else:
                answer = passed(ExpiresOn(expires[:10]))
            yield str(artifact.name), answer
