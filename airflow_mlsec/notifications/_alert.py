"""An alert to on-call: what it says, and the record that it was sent. Imports no Airflow."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from airflow_mlsec import errors
from airflow_mlsec.actors import airflow_task
from airflow_mlsec.errors import MlsecError, printable
from airflow_mlsec.ledger import Act, Asset, AssetKind, Language, Reason, acts, record
from airflow_mlsec.lineage import intent_of
from airflow_mlsec.notifications import _reasons as reasons
from airflow_mlsec.policy import Policy, Role
from airflow_mlsec.register import Register, upsert
from airflow_mlsec.register import tables as t

Severity = Literal["low", "medium", "high", "critical"]
# What to do about an error: the first entry of which it is an instance.
_TO_DO: Sequence[tuple[type[MlsecError], Reason]] = (
    (errors.UndeclaredColumn, reasons.DeclareColumn()),
    (errors.ColumnMissing, reasons.CorrectColumns()),
    (errors.ColumnType, reasons.CorrectColumns()),
    (errors.GuaranteeNotMet, reasons.DoNotWeaken()),
    (errors.CheckFailed, reasons.ReadControls()),
    (errors.KeyNotFound, reasons.RestoreKeys()),
    (errors.AnotherRing, reasons.RestoreKeys()),
    (errors.UnsafePermissions, reasons.RestoreKeys()),
    (errors.SignatureInvalid, reasons.TreatAsIncident()),
    (errors.DecryptionFailed, reasons.CheckTheKey()),
    (errors.ChangedMeanwhile, reasons.ClearTask()),
    (errors.DatabaseUnavailable, reasons.WaitForDatabase()),
    (errors.StorageFull, reasons.FreeSpace()),
    (errors.Refused, reasons.AskOwner()),
    (errors.UsageError, reasons.CorrectInput()),
)  # fmt: skip
_LABELS: Mapping[Language, Mapping[str, str]] = {
    "en": {},
    "de": {
        "What to do": "Zu tun", "Published": "Veröffentlicht", "Cause": "Ursache", "Source": "Quelle", "Target": "Ziel",
        "Dataset": "Datenbestand", "Artifact": "Artefakt", "Raw data": "Rohdaten", "Policy": "Policy", "Owner": "Verantwortlich",
        "Categories": "Kategorien", "People": "Betroffene", "Task": "Task", "Run": "Lauf", "Severity": "Schwere",
        "Log": "Log", "Runbook": "Anleitung", "failed": "gescheitert", "recovered": "wieder gelungen", "Attempt": "Versuch",
        "Alerts": "Meldungen",
    },
}  # fmt: skip
_LONGEST_SUBJECT = 180
_COLOURS = {
    "critical": "#8b1a1a",
    "high": "#b45309",
    "medium": "#92680a",
    "low": "#3f5a73",
    "recovered": "#256029",
}


@dataclass(frozen=True)
class Alert:
    """The message to on-call. Holds names, categories and counts, never a value.

    :ivar lines: Labels with their texts, the most urgent first.
    :ivar task: The task, over all of its runs.
    """

    key: str
    title: str
    lines: tuple[tuple[str, str], ...]
    severity: Severity | Literal["recovered"]
    run: str = ""
    task: str = ""

    @property
    def body(self) -> str:
        """As plain text, a line for each label: no name can make another."""
        width = max(len(label) for label, _ in self.lines) + 2
        return "\n".join(f"{f'{label}:':{width}}{one_line(text)}" for label, text in self.lines)

    @property
    def page(self) -> str:
        """As HTML for mail programs: no script, no style sheet, nothing loaded from elsewhere."""
        rows = "".join(
            '<tr><th align="left" valign="top" style="padding:4px 16px 4px 0;white-space:nowrap;color:#444;'
            f'font-weight:600">{html.escape(label)}</th><td valign="top" style="padding:4px 0;color:#111;'
            f'overflow-wrap:anywhere">{_linked(text)}</td></tr>'
            for label, text in self.lines
        )
        return (
            '<!DOCTYPE html><html><body style="margin:0;padding:16px;font:15px/1.45 system-ui,Segoe UI,Arial,sans-serif">'
            f'<div style="max-width:720px;border-left:6px solid {_COLOURS[self.severity]};padding-left:16px">'
            f'<h1 style="font-size:18px;line-height:1.3;margin:0 0 12px;color:#111">{html.escape(self.title)}</h1>'
            f'<table role="presentation" style="border-collapse:collapse;font-size:15px">{rows}</table></div></body></html>'
        )


def _linked(text: str) -> str:
    text = one_line(text)
    shown = html.escape(text)
    if text.startswith(("https://", "http://")) and " " not in text:
        return f'<a href="{shown}" style="color:#1a4b8c">{shown}</a>'
    return shown


class NotTold(Exception):
    """Stands for the error of a task that has no callback which would tell it."""


def to_do(error: object) -> Reason:
    """What on-call should do about the exception of a task; None stands for a process that ended without one."""
    if error is None:
        return reasons.LookForKilledWorker()
    ours = own_error(error)
    if isinstance(ours, errors.RegisterError):
        return reasons.WaitForDatabase() if ours.retry else reasons.CorrectConnection()
    for kind, reason in _TO_DO:
        if isinstance(ours, kind):
            return reason
    return reasons.MakeReachable() if ours is not None and ours.retry else reasons.ReadLog()


def own_error(error: object) -> MlsecError | None:
    """The error of this package in a task's exception. Decided by type: a message that begins like one of ours may be
    anybody's."""
    inner = getattr(error, "error", error)
    return inner if isinstance(inner, MlsecError) else None


def cause(error: object) -> tuple[str, str]:
    """A name for the subject, and the message. Our own messages hold no values; of any other error only the type is
    told."""
    if error is None:
        return "worker lost", "the process ended without an error"
    if isinstance(error, NotTold):
        return "an error", "see the log: the task has no callback that would tell more"
    ours = own_error(error)
    if ours is not None:
        return type(ours).__name__, f"{type(ours).__name__}: {ours}"
    return type(error).__name__, f"{type(error).__name__}; see the log"


def published(
    register: Register | None, targets: Sequence[str] | None, since: str | None
) -> Reason:
    """What became of a failed task's output, according to the register.

    :param targets: How the register may name its output; none if it publishes nothing; None if its output is not known,
        because the task ended before its arguments were.
    :param since: When the attempt began.
    """
    if targets is not None and not targets:
        return reasons.PublishesNothing()
    if register is None:
        return reasons.RegisterCannotSay()
    if targets is None or since is None:
        return reasons.PublishingUnknown()
    try:
        outcome = intent_of(register, targets, since)
    except MlsecError:
        return reasons.RegisterCannotSay()
    known: Mapping[str | None, Reason] = {
        None: reasons.NothingPublished(),
        "withdrawn": reasons.NothingPublished(),
        "published": reasons.PublishedBefore(),
    }
    return known.get(outcome, reasons.PublishingUnknown())


def label(text: str, language: Language) -> str:
    return _LABELS[language].get(text, text)


def one_line(text: str) -> str:
    """One line without anything that a mail program or terminal would interpret, and that can be encoded."""
    return printable(" ".join(text.split()))


def subject_line(text: str) -> str:
    """One line of a length that mail programs show."""
    line = one_line(text)
    return line if len(line) <= _LONGEST_SUBJECT else f"{line[: _LONGEST_SUBJECT - 1]}…"


def key_of(*parts: Any) -> str:
    """Identifies an alert: the same attempt and cause give the same."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


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


def alerted_since(register: Register, run: str, since: str | None) -> bool:
    """Whether there was an alert about a task instance since a moment; since ever, if that is not known."""
    asset = Asset(AssetKind.TASK, run)
    try:
        told = register.read(lambda connection: acts(connection, asset))
    except MlsecError:
        return False
    return any(act.verb == "alerted" and (since is None or act.at >= since) for act in told)


def unrecovered(register: Register, task: str) -> int:
    """How many alerts about a task have had no notice of recovery."""
    a = t.alert.c
    query = sa.select(sa.func.count()).where(a.task == task, a.recovered_at.is_(None))
    return int(register.read(lambda connection: connection.execute(query).scalar_one()))


def mark_sent(register: Register, alert: Alert, channels: tuple[str, ...]) -> None:
    """Record that an alert, or a notice of recovery, was sent."""
    now = register.now()
    recovered = alert.severity == "recovered"
    why = reasons.Recovered(channels) if recovered else reasons.AlertSent(alert.severity, channels)
    verb = "recovered" if recovered else "alerted"
    entry = Act(Asset(AssetKind.TASK, alert.run), verb, (why,), str(airflow_task(alert.run)), now)

    def work(connection: sa.Connection) -> None:
        if recovered:
            open_ones = t.alert.c.task == alert.task, t.alert.c.recovered_at.is_(None)
            connection.execute(sa.update(t.alert).where(*open_ones).values(recovered_at=now))
        else:
            values = {"title": alert.title, "sent_at": now, "task": alert.task}
            upsert(connection, t.alert, {"key": alert.key}, {}, values)
        record(connection, [entry])

    try:
        register.write(work)
    except MlsecError:
        return  # it was sent; a second one is better than none
