"""PrivacyAlertNotifier."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowException

from airflow_mlsec.errors import MlsecError, SettingError
from airflow_mlsec.hooks.mail import send_mail
from airflow_mlsec.hooks.mlsec import MlsecHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlsec.notifications._alert import Alert, Severity
    from airflow_mlsec.policy import Policy
    from airflow_mlsec.register import Register


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
        from airflow_mlsec.notifications._alert import mark_sent, was_sent

        hook = MlsecHook(self.mlsec_conn_id)
        register = self._register(hook)
        alert = self._alert(context, hook, register)
        if register is not None and was_sent(register, alert.key):
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
            mark_sent(register, alert, tuple(sent))
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
        from airflow_mlsec.notifications._alert import Alert, categories, severity_of, subjects

        ti = context["ti"]
        task: Any = context.get("task")
        policy = self._policy(task, hook)
        severity = self.severity or severity_of(policy)
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
                f"Categories: {', '.join(categories(policy)) or 'none stated'}",
                f"Subjects:   {subjects(policy, register)}",
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
