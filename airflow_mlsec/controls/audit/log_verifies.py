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


class LogHolds(
    Reason, en="{entries:entry|entries} verified", de="{entries:Eintrag|Einträge} geprüft"
):
    """The log is complete, and accounts for every protected row."""

    entries: int


class LogBroken(
    Reason,
    en="{problems:problem|problems} in {entries:entry|entries}: `mlsec audit verify` lists them",
    de="{problems:Fehler|Fehler} in {entries:Eintrag|Einträgen}: `mlsec audit verify` zählt sie auf",
):
    """Something was changed past the log."""

    problems: int
    entries: int


class NoKeysHere(
    Reason,
    en="there is no key ring here to verify it with",
    de="hier ist kein Schlüsselbund, um es zu prüfen",
):
    """Nothing was verified."""


class LogVerifies(RegisterControl):
    """Every row of what the register protects is accounted for, and nothing was taken out."""

    id = "log-verifies"
    title = Text(
        en="The audit log verifies, and accounts for everything that the register protects",
        de="Das Prüfprotokoll ist gültig und erklärt alles, was das Register schützt",
    )
    severity = Severity.CRITICAL
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.AUDIT_LOG,)
    cites = (
        "gdpr:5(1)(f)",
        "gdpr:5(2)",
        "iso-27001:A.8.15",
        "nist-800-53:AU-9",
        "soc2:CC7.2",
        "ccpa-audit:7123(c)(7)",
    )
    remedy = Text(
        en="Run `mlsec audit verify`; compare with a checkpoint that was kept elsewhere, and find out who writes to the database.",
        de="Führen Sie `mlsec audit verify` aus; vergleichen Sie mit einem anderswo aufbewahrten Prüfpunkt, und klären Sie, wer in die Datenbank schreibt.",
    )
    example = Example(
        holds="every entry follows from those before it",
        fails="a finding was changed from fail to pass in the database",
    )

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        if facts.verify_log is None:
            yield facts.deployment, unknown(NoKeysHere())
            return
        audit = facts.verify_log()
        broken = LogBroken(len(audit.findings), audit.size)
        yield facts.deployment, passed(LogHolds(audit.size)) if audit.passed else failed(broken)
