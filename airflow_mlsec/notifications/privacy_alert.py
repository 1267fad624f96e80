"""PrivacyAlertNotifier."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa
from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowException

from airflow_mlsec.actors import airflow_task
from airflow_mlsec.errors import MlsecError, SettingError
from airflow_mlsec.hooks.mail import send_mail
from airflow_mlsec.hooks.mlsec import MlsecHook
from airflow_mlsec.ledger import Act, Asset, AssetKind, Reason, record
from airflow_mlsec.policy import Policy, Role
from airflow_mlsec.register import Register, upsert
from airflow_mlsec.register import tables as t

if TYPE_CHECKING:
    from airflow.sdk import Context


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


class PrivacyAlertNotifier(BaseNotifier):
    """Notify on-call that a privacy task failed: what, whose data, how severe, where to look.

    Use it as ``on_failure_callback``. One alert is sent per task instance, however often the
    task is retried. If the register cannot be reached, the alert is sent anyway.

    :param apprise_conn_id: Connection of the apprise provider (extra ``alerts``) to send through.
    :param smtp_conn_id: Connection of an SMTP server to send through: host, port, login, password;
        extras ``from_email``, ``to_email``, ``disable_tls``.
    :param to: E-mail recipients, instead of the connection's ``to_email`` (templated).
    :param policy: Policy of the data at stake; default is that of the failed operator (templated).
    :param severity: Default follows from the policy: ``critical`` for special categories
        (GDPR Art. 9), ``high`` for other identified data, ``medium`` if no such data is known.
    :param runbook_url: What to do; default is ``[mlsec] runbook_url`` (templated).
    """

    template_fields = ("to", "policy", "runbook_url")

    def __init__(
        self,
        *,
        apprise_conn_id: str | None = None,
        smtp_conn_id: str | None = None,
        to: str | Sequence[str] | None = None,
        policy: str | None = None,
        severity: Severity | None = None,
        runbook_url: str | None = None,
        mlsec_conn_id: str = MlsecHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not (apprise_conn_id or smtp_conn_id):
            raise ValueError("PrivacyAlertNotifier: give apprise_conn_id, smtp_conn_id, or both")
        self.apprise_conn_id = apprise_conn_id
        self.smtp_conn_id = smtp_conn_id
        self.to = to
        self.policy = policy
        self.severity = severity
        self.runbook_url = runbook_url
        self.mlsec_conn_id = mlsec_conn_id

    def notify(self, context: Context) -> None:
        """Send the alert through every channel, unless it was sent before."""
        hook = MlsecHook(self.mlsec_conn_id)
        register = self._register(hook)
        alert = self._alert(context, hook, register)
        if register is not None and _was_sent(register, alert.key):
            self.log.info("Alert was sent already: %s", alert.title)
            return
        failed, sent = [], []
        for name, conn_id, send in (
            ("apprise", self.apprise_conn_id, self._send_apprise),
            ("smtp", self.smtp_conn_id, self._send_mail),
        ):
            if conn_id is None:
                continue
            try:
                send(conn_id, alert)
                sent.append(name)
            except Exception as error:  # the other channel must still be tried
                failed.append(f"{name} ({type(error).__name__})")
        if sent and register is not None:
            _mark_sent(register, alert, tuple(sent))
        if failed:
            raise AirflowException(f"privacy alert not sent through {', '.join(failed)}")
        self.log.info("Alert sent: %s", alert.title)

    def _register(self, hook: MlsecHook) -> Register | None:
        try:
            register = hook.register()
            register.version()
        except MlsecError as error:
            self.log.warning("Alert without the register: %s", error)
            return None
        return register

    def _alert(self, context: Context, hook: MlsecHook, register: Register | None) -> Alert:
        ti = context["ti"]
        task: Any = context.get("task")
        policy = self._policy(task, hook)
        severity = self.severity or _severity(policy)
        title = f"[{severity}] {ti.dag_id}.{ti.task_id} failed"
        lines = [
            f"Task:       {ti.dag_id}.{ti.task_id}",
            f"Run:        {ti.run_id}"
            + (f", map index {ti.map_index}" if ti.map_index >= 0 else ""),
            f"Severity:   {severity}",
            f"Cause:      {_cause(context.get('exception'))}",
        ]
        if policy is not None:
            lines += [
                f"Dataset:    {policy.dataset} (owner {policy.owner})",
                f"Categories: {', '.join(_categories(policy)) or 'none stated'}",
                f"Subjects:   {_subjects(policy, register)}",
            ]
        lines.append(f"Log:        {getattr(ti, 'log_url', None) or 'see the Airflow UI'}")
        runbook = self.runbook_url or hook.settings().runbook_url
        lines.append(f"Runbook:    {runbook or 'none set ([mlsec] runbook_url)'}")
        identity = f"{ti.dag_id}\0{ti.task_id}\0{ti.run_id}\0{ti.map_index}"
        key = hashlib.sha256(identity.encode()).hexdigest()
        run = f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"
        return Alert(key, title, "\n".join(lines), severity, run)

    def _policy(self, task: Any, hook: MlsecHook) -> Policy | None:
        name = self.policy or getattr(task, "policy", None)
        if not isinstance(name, str):
            return None
        try:
            return hook.policy(name)
        except MlsecError as error:
            self.log.warning("Alert without the policy: %s", error)
            return None

    def _send_apprise(self, conn_id: str, alert: Alert) -> None:
        try:
            from airflow.providers.apprise.hooks.apprise import AppriseHook
            from apprise import NotifyType
        except ImportError:
            raise SettingError("install airflow-mlsec[alerts] to send through apprise") from None
        AppriseHook(conn_id).notify(
            body=alert.body, title=alert.title, notify_type=NotifyType.FAILURE, tag="all"
        )

    def _send_mail(self, conn_id: str, alert: Alert) -> None:
        headers = {"X-Privacy-Severity": alert.severity}
        send_mail(conn_id, self.to, alert.title, alert.body, headers)


def _cause(error: object) -> str:
    """Our own messages hold no values; for any other error only the type is reported."""
    if error is None:
        return "unknown; see the log"
    text = str(error)
    ours = {cls.__name__ for cls in _subclasses(MlsecError)}
    if isinstance(error, MlsecError) or text.partition(":")[0] in ours:
        return text
    return f"{type(error).__name__}; see the log"


def _subclasses(cls: type[MlsecError]) -> set[type[MlsecError]]:
    return {cls}.union(*(_subclasses(sub) for sub in cls.__subclasses__()))


def _severity(policy: Policy | None) -> Severity:
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
    if any(category.startswith(special) for category in _categories(policy)):
        return "critical"
    return "high" if policy.with_role(Role.IDENTIFYING) else "medium"


def _categories(policy: Policy) -> list[str]:
    return sorted({c.category for c in policy.columns.values() if c.category})


def _subjects(policy: Policy, register: Register | None) -> str:
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


def _was_sent(register: Register, key: str) -> bool:
    try:
        return bool(register.rows(sa.select(t.alert.c.id).where(t.alert.c.key == key)))
    except MlsecError:
        return False


def _mark_sent(register: Register, alert: Alert, channels: tuple[str, ...]) -> None:
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
