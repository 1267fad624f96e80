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


class LooserAsked(
    Reason,
    en="this process asks for looser rules than were agreed: {settings}",
    de="dieser Prozess verlangt lockerere Regeln als vereinbart: {settings}",
):
    """The register holds the process to its own rules."""

    settings: tuple[str, ...]


class AsAgreed(Reason, en="as agreed in the register", de="wie im Register vereinbart"):
    """The settings of this process are those that were agreed."""


class SettingsAgreed(RegisterControl):
    """A setting that was loosened on one machine has no effect, and somebody should know that it was tried."""

    id = "settings-agreed"
    title = Text(
        en="The settings here ask for no looser rules than two people have agreed",
        de="Die Einstellungen hier verlangen keine lockereren Regeln, als zwei Personen vereinbart haben",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.LEDGER, Reads.SETTINGS)
    cites = ("gdpr:32(1)(b)", "iso-27001:A.8.9", "soc2:CC8.1")
    remedy = Text(
        en="Put the settings back, or propose the change with `mlsec rules propose` for somebody else to agree to.",
        de="Stellen Sie die Einstellungen zurück, oder schlagen Sie die Änderung mit `mlsec rules propose` vor, damit jemand anders zustimmt.",
    )
    example = Example(
        holds="four_eyes = erasure here and in the register",
        fails="four_eyes = none here, erasure in the register",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        refused = facts.rules.refused
        yield facts.deployment, failed(LooserAsked(refused)) if refused else passed(AsAgreed())
