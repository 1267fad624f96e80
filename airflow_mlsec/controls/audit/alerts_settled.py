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


class AlertsOpen(
    Reason,
    en="{alerts:alert has|alerts have} no recovery, the oldest since {day}",
    de="{alerts:Alarm|Alarme} ohne Erholung, der älteste seit {day}",
):
    """Something failed, and has not worked since."""

    alerts: int
    day: str


class NoAlertsOpen(Reason, en="none is open", de="keiner ist offen"):
    """Whatever failed works again."""


class AlertsSettled(RegisterControl):
    """An alert that nobody follows is worse than none."""

    id = "alerts-settled"
    title = Text(
        en="What an alert was about works again within a week",
        de="Worüber ein Alarm ging, funktioniert innerhalb einer Woche wieder",
    )
    severity = Severity.MEDIUM
    asset = AssetKind.DEPLOYMENT
    reads = (Reads.LEDGER,)
    cites = (
        "gdpr:32(1)(b)",
        "gdpr:33(1)",
        "iso-27001:A.8.16",
        "nist-800-53:AU-6",
        "soc2:CC7.3",
        "ccpa-audit:7123(c)(17)",
    )
    remedy = Text(
        en="Follow the runbook of the alert's cause (docs/how-to/on-call.md), and run the task again.",
        de="Folgen Sie der Anleitung zur Ursache des Alarms (docs/how-to/on-call.md), und starten Sie die Aufgabe neu.",
    )
    example = Example(
        holds="a task failed on Monday and succeeded on Tuesday",
        fails="a task failed three weeks ago and has not succeeded since",
    )
    parameters: ClassVar = {"days": 7}

    def answers(self, facts: Facts) -> Iterator[tuple[str, Answer]]:
        sent = facts.open_alerts
        if not sent:
            yield facts.deployment, passed(NoAlertsOpen())
            return
        reason = AlertsOpen(len(sent), sent[0][:10])
        late = facts.days_since(sent[0]) > facts.number(self, "days")
        yield facts.deployment, failed(reason) if late else passed(reason)
