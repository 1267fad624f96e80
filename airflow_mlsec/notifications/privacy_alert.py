"""PrivacyAlertNotifier."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException
from airflow.sdk import BaseNotifier

from airflow_mlsec.errors import MlsecError, SettingError
from airflow_mlsec.hooks.mail import send_mail
from airflow_mlsec.hooks.mlsec import MlsecHook
from airflow_mlsec.notifications._failed_run import failed_tasks, is_of_run

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlsec.ledger import Language
    from airflow_mlsec.notifications._alert import Alert, Severity
    from airflow_mlsec.policy import Policy
    from airflow_mlsec.register import Register

# Arguments of operators that name what a task works on, and what they are called in an alert.
_AT_STAKE = (
    ("source", "Source"),
    ("dataset", "Dataset"),
    ("artifact", "Artifact"),
    ("raw", "Raw data"),
    ("target", "Target"),
)


class PrivacyAlertNotifier(BaseNotifier):
    """Notify on-call that a privacy task failed: what to do, whether anything was published, why, whose data, where to
    look.

    Use it as ``on_failure_callback`` of tasks, and of the DAG: a task whose process is killed, for example because memory ran
    out, runs no callback of its own, and is found when the run has failed. There is one alert for each attempt and cause: a
    task that fails again after *Clear* is a new alert. Used as ``on_success_callback`` too, it sends one notice when a task about which there was an alert
    succeeds again. If the register cannot be reached, the alert is sent anyway.

    :param apprise_conn_id: Connection of the apprise provider (extra ``alerts``) to send through.
    :param smtp_conn_id: Connection of an SMTP server to send through: host, port, login, password;
        extras ``from_email``, ``to_email``, ``disable_tls``.
    :param to: E-mail recipients, instead of the connection's ``to_email`` (templated).
    :param policy: Policy of the data at stake; default is that of the failed operator (templated).
    :param severity: Default follows from the policy: ``critical`` for special categories
        (GDPR Art. 9), ``high`` for other identified data, ``medium`` if no such data is known.
    :param runbook_url: What to do; default is ``[mlsec] runbook_url`` (templated).
    :param language: ``en`` or ``de``.
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
        language: Language = "en",
        mlsec_conn_id: str = MlsecHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not (apprise_conn_id or smtp_conn_id):
            raise ValueError("PrivacyAlertNotifier: give apprise_conn_id, smtp_conn_id, or both")
        if severity not in (None, "low", "medium", "high", "critical"):
            raise ValueError(
                f"PrivacyAlertNotifier: severity is low, medium, high or critical, not '{severity}'"
            )
        if language not in ("en", "de"):
            raise ValueError(f"PrivacyAlertNotifier: language is en or de, not '{language}'")
        self.apprise_conn_id = apprise_conn_id
        self.smtp_conn_id = smtp_conn_id
        self.to = to
        self.policy = policy
        self.severity = severity
        self.runbook_url = runbook_url
        self.language: Language = language
        self.mlsec_conn_id = mlsec_conn_id

    async def async_notify(self, context: Context) -> None:
        """The same without blocking an event loop: sending and the register take a thread."""
        await asyncio.to_thread(self.notify, context)

    def notify(self, context: Context) -> None:
        """Send the alert through every channel, unless it was sent before; of a task that succeeded, the notice."""
        hook = MlsecHook(self.mlsec_conn_id)
        register = self._register(hook)
        if is_of_run(context):
            self._notify_of_run(context, hook, register)
            return
        state = getattr(context["ti"], "state", None)
        if getattr(state, "value", state) == "success":
            self._notify_of_recovery(context, register)
            return
        from airflow_mlsec.notifications._alert import was_sent

        alert = self._alert(context, hook, register)
        if register is not None and was_sent(register, alert.key):
            self.log.info("Alert was sent already: %s", alert.title)
            return
        self._send(alert, register)

    def _notify_of_run(self, context: Context, hook: MlsecHook, register: Register | None) -> None:
        """An alert for each failed task of a run about which there was none."""
        from airflow_mlsec.notifications._alert import NotTold, alerted_since, was_sent

        failures = []
        for ti in failed_tasks(context):
            since = _moment(ti.start_date)
            if register is not None and alerted_since(register, _identity_of(ti), since):
                continue
            told: Any = {"ti": ti, "task": ti.task, "dag_run": context.get("dag_run")}
            # Whether it would have told us itself.
            if not any(isinstance(each, PrivacyAlertNotifier) for each in _callbacks_of(ti.task)):
                told["exception"] = NotTold()
            alert = self._alert(told, hook, register)
            if register is not None and was_sent(register, alert.key):
                continue
            try:
                self._send(alert, register)
            except AirflowException as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _notify_of_recovery(self, context: Context, register: Register | None) -> None:
        from airflow_mlsec.notifications._alert import Alert, label, subject_line, unrecovered

        if register is None:
            return  # it is not known whether there was an alert
        ti, task = context["ti"], _task_of(context["ti"])
        try:
            alerts = unrecovered(register, task)
        except MlsecError as error:
            self.log.warning("No notice of recovery: %s", error)
            return
        if not alerts:
            return
        name = f"{ti.dag_id}.{ti.task_id}"
        lines = (
            ("Task", name),
            ("Run", _run_of(ti)),
            ("Alerts", str(alerts)),
            ("Log", _log_of(ti)),
        )
        title = subject_line(f"[recovered] {name} {label('recovered', self.language)}")
        shown = tuple((label(each, self.language), text) for each, text in lines)
        self._send(Alert("", title, shown, "recovered", _identity_of(ti), task), register)

    def _send(self, alert: Alert, register: Register | None) -> None:
        from airflow_mlsec.notifications._alert import mark_sent

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
        from airflow_mlsec.notifications._alert import (
            Alert,
            categories,
            cause,
            key_of,
            label,
            published,
            severity_of,
            subject_line,
            subjects,
            to_do,
        )

        ti = context["ti"]
        task: Any = context.get("task")
        error = context.get("exception")
        policy = self._policy(task, hook)
        severity = self.severity or severity_of(policy)
        kind, message = cause(error)
        name, language = f"{ti.dag_id}.{ti.task_id}", self.language
        runbook = self.runbook_url or hook.settings().runbook_url
        since = getattr(ti, "start_date", None) or getattr(context.get("dag_run"), "start_date", None)  # fmt: skip
        outcome = published(register, _targets_of(task, hook), _moment(since))
        lines = [
            ("What to do", str(to_do(error).words(language))),
            ("Published", str(outcome.words(language))),
            ("Cause", message),
            *((called, given) for argument, called in _AT_STAKE if (given := _uri(task, argument))),
        ]
        if policy is not None:
            if not any(called in ("Source", "Dataset") for called, _ in lines):
                lines.append(("Dataset", policy.dataset))
            lines += [
                ("Policy", policy.source),
                ("Owner", policy.owner),
                ("Categories", ", ".join(categories(policy)) or "none stated"),
                ("People", subjects(policy, register)),
            ]
        lines += [
            ("Task", name),
            ("Run", _run_of(ti)),
            ("Severity", severity),
            ("Log", _log_of(ti)),
            ("Runbook", runbook or "none set ([mlsec] runbook_url)"),
        ]
        title = subject_line(f"[{severity}] {name} {label('failed', language)}: {kind}")
        attempt = getattr(ti, "try_number", 0)
        key = key_of(_identity_of(ti), since if attempt == "?" else attempt, kind)
        shown = tuple((label(each, language), text) for each, text in lines)
        return Alert(key, title, shown, severity, _identity_of(ti), _task_of(ti))

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
        kind = NotifyType.SUCCESS if alert.severity == "recovered" else NotifyType.FAILURE
        AppriseHook(conn_id).notify(body=alert.body, title=alert.title, notify_type=kind, tag="all")

    def _send_mail(self, conn_id: str, alert: Alert) -> None:
        headers = {"X-Privacy-Severity": alert.severity}
        send_mail(conn_id, self.to, alert.title, alert.body, headers, alert.page)


def _callbacks_of(task: Any) -> Sequence[Any]:
    given = getattr(task, "on_failure_callback", None) or ()
    return given if isinstance(given, Sequence) else [given]


def _uri(task: Any, argument: str) -> str | None:
    given = getattr(task, argument, None)
    return given if isinstance(given, str) and given else None


def _targets_of(task: Any, hook: MlsecHook) -> list[str] | None:
    """How the register may name what a task writes; none if it writes nothing, and None if that is not known: for a
    worker that was killed, the DAG processor has the task as it was before its arguments were."""
    mapped = getattr(task, "partial_kwargs", None)
    if mapped is not None:
        return None if hasattr(task.operator_class, "writes") and task.operator_class.writes else []
    if not hasattr(task, "target"):
        return []
    given = _uri(task, "target")
    if given is None or "{{" in given or "{%" in given:
        return None
    found = [given]
    for opened in (hook.dataset, hook.artifact):
        try:
            written: Any = opened(given)
        except MlsecError:
            continue
        found += [written.uri, getattr(written, "full_uri", written.uri)]
    return list(dict.fromkeys(found))


def _identity_of(ti: Any) -> str:
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"


def _task_of(ti: Any) -> str:
    return f"{ti.dag_id}/{ti.task_id}/{ti.map_index}"


def _run_of(ti: Any) -> str:
    mapped = f", map index {ti.map_index}" if ti.map_index >= 0 else ""
    return f"{ti.run_id}{mapped}, attempt {getattr(ti, 'try_number', '?')}"


def _log_of(ti: Any) -> str:
    return getattr(ti, "log_url", None) or "see the Airflow UI"


def _moment(given: Any) -> str | None:
    """A time as the register writes it."""
    from datetime import UTC

    return given.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if given else None
