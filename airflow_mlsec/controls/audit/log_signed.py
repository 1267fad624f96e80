from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

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


class NeverSigned(
    Reason,
    en="no checkpoint of the log was ever signed",
    de="kein Prüfpunkt des Protokolls wurde je signiert",
):
    """Nobody could notice that the log was replaced."""


class SignedAt(
    Reason,
    en="{signed} of {entries:entry|entries} signed, on {day}",
    de="{signed} von {entries:Eintrag|Einträgen} signiert, am {day}",
):
    """How far the log is signed."""

    signed: int
    entries: int
    day: str


class LogSigned(RegisterControl):
    """A checkpoint that was kept elsewhere shows that nobody has restored yesterday's register."""

    id = "log-signed"
    title = Text(
        en="A checkpoint of the audit log was signed in the last week",
        de="In der letzten Woche wurde ein Prüfpunkt des Prüfprotokolls signiert",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.AUDIT_LOG,)
    cites = ("gdpr:5(2)", "iso-27001:A.8.15", "nist-800-53:AU-9", "ccpa-audit:7123(c)(7)")
    remedy = Text(
        en="Run `mlsec audit checkpoint` every day, and send it to a place that others control.",
        de="Führen Sie jeden Tag `mlsec audit checkpoint` aus, und senden Sie ihn an einen Ort, den andere verwalten.",
    )
    example = Example(
        holds="a checkpoint was signed last night",
        fails="the last checkpoint is of last month",
    )
    parameters: ClassVar = {"days": 7}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        log = facts.log
        if log.signed_at is None or log.signed_size is None:
            yield facts.deployment, failed(NeverSigned())
            return
        reason = SignedAt(log.signed_size, log.size, log.signed_at[:10])
        late = facts.days_since(log.signed_at) > facts.number(self, "days")
        yield facts.deployment, failed(reason) if late else passed(reason)
