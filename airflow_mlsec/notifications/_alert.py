"""An alert to on-call: what it says, and the record that it was sent. Imports no Airflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from airflow_mlsec.actors import airflow_task
from airflow_mlsec.errors import MlsecError
from airflow_mlsec.ledger import Act, Asset, AssetKind, Reason, record
from airflow_mlsec.policy import Policy, Role
from airflow_mlsec.register import Register, upsert
from airflow_mlsec.register import tables as t


class AlertSent(
    Reason,
    en="on-call was notified ({severity}) through {channels}",
    de="Bereitschaft benachrichtigt ({severity}), über {channels}",
):
    """Somebody was notified that a task failed."""

    severity: str
    channels: tuple[str, ...]


Severity = Literal["low", "medium", "high", "critical"]


@dataclass(frozen=True)
class Alert:
    """The message to on-call. Holds names, categories and counts, never a value."""

    key: str
    title: str
    body: str
    severity: Severity
    # The task and its run.
    run: str = ""


def severity_of(policy: Policy | None) -> Severity:
    if policy is None:
        return "medium"
    # GDPR Art. 9(1): health, genetic and biometric data, beliefs, orientation; Art. 10: offences.
    special = (
        "user.health_and_medical",
        "user.biometric",
        "user.demographic.race_ethnicity",
        "user.demographic.religious_belief",
        "user.demographic.political_opinion",
        "user.demographic.sexual_orientation",
        "user.criminal_history",
    )
    if any(category.startswith(special) for category in categories(policy)):
        return "critical"
    return "high" if policy.with_role(Role.IDENTIFYING) else "medium"


def categories(policy: Policy) -> list[str]:
    return sorted({c.category for c in policy.columns.values() if c.category})


def subjects(policy: Policy, register: Register | None) -> str:
    if register is None:
        return "unknown (the register cannot be reached)"
    query = sa.select(t.dataset.c.rows).join(
        t.policy, t.dataset.c.policy_digest == t.policy.c.digest
    )
    query = query.where(t.dataset.c.policy_digest == policy.digest, t.dataset.c.stage == "source")
    try:
        counts = [row.rows for row in register.rows(query) if row.rows is not None]
    except MlsecError:
        return "unknown (the register cannot be reached)"
    return f"up to {max(counts)}" if counts else "unknown (never anonymized before)"


def was_sent(register: Register, key: str) -> bool:
    try:
        return bool(register.rows(sa.select(t.alert.c.id).where(t.alert.c.key == key)))
    except MlsecError:
        return False


def mark_sent(register: Register, alert: Alert, channels: tuple[str, ...]) -> None:
    values = {"title": alert.title, "sent_at": register.now()}
    try:
        why = AlertSent(alert.severity, channels)
        entry = Act(
            Asset(AssetKind.TASK, alert.run),
            "alerted",
            (why,),
            str(airflow_task(alert.run)),
            values["sent_at"],
        )

        def work(connection: sa.Connection) -> None:
            upsert(connection, t.alert, {"key": alert.key}, {}, values)
            record(connection, [entry])

        register.write(work)
    except MlsecError:
        return  # the alert was sent; a second one is better than none
