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


class NoBreakGlass(
    Reason,
    en="[mlsec] break_glass_recipients is empty",
    de="[mlsec] break_glass_recipients ist leer",
):
    """If the key ring is lost, so is all that was encrypted."""


class BreakGlass(Reason, en="{number:recipient|recipients}", de="{number:Empfänger|Empfänger}"):
    """Somebody can open what was encrypted without the ring."""

    number: int


class BreakGlassDefined(RegisterControl):
    """Encryption must not cost availability."""

    id = "break-glass-defined"
    title = Text(
        en="What is encrypted can be opened if the key ring is lost",
        de="Was verschlüsselt ist, lässt sich öffnen, wenn der Schlüsselbund verloren geht",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.SETTINGS,)
    cites = ("gdpr:32(1)(b)", "gdpr:32(1)(c)", "nist-800-53:SC-12", "nist-800-53:CP-9")
    remedy = Text(
        en="Create an identity with `age-keygen -pq`, lock it away, and put its recipient into [mlsec] break_glass_recipients.",
        de="Erzeugen Sie mit `age-keygen -pq` eine Identität, schließen Sie sie weg, und tragen Sie ihren Empfänger in [mlsec] break_glass_recipients ein.",
    )
    example = Example(
        holds="one recipient, whose identity is in a safe",
        fails="no recipient besides the key ring",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        number = len(facts.settings.break_glass_recipients)
        yield facts.deployment, passed(BreakGlass(number)) if number else failed(NoBreakGlass())
