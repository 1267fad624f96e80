"""Against a real SMTP server and a real HTTP receiver."""

from __future__ import annotations

import asyncio
import html
import http.server
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_string
from email.policy import default
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from airflow.providers.common.compat.sdk import AirflowException
from airflow.sdk import DAG, TaskInstanceState, task

from airflow_mlsec.errors import (
    ChangedMeanwhile,
    CheckFailed,
    ColumnMissing,
    DatabaseUnavailable,
    DecryptionFailed,
    GuaranteeNotMet,
    KeyNotFound,
    Refused,
    RegisterError,
    SettingError,
    SignatureInvalid,
    StorageFull,
    UndeclaredColumn,
)
from airflow_mlsec.hooks.errors import without_values
from airflow_mlsec.ledger import LANGUAGES, acts, verify_register
from airflow_mlsec.notifications._alert import to_do
from airflow_mlsec.notifications.privacy_alert import PrivacyAlertNotifier
from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.operators.subjects import RetryLater
from airflow_mlsec.register import tables as t
from tests import canaries
from tests.clinic import Clinic

Context = Callable[..., Any]


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[str] = []

    async def handle_DATA(  # noqa: N802 - the server's name for it
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        self.mails.append(envelope.content.decode())
        return "250 OK"


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    box = Mailbox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    extra = {
        "from_email": "airflow@clinic.example",
        "to_email": "oncall@clinic.example",
        "disable_tls": "true",
    }
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ONCALL_MAIL", json.dumps(connection))
    yield box
    controller.stop()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    received: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            del arguments

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {"path": f"json://127.0.0.1:{server.server_port}/alerts", "tag": "all"}
    connection = {"conn_type": "apprise", "extra": {"config": config}}
    monkeypatch.setenv("AIRFLOW_CONN_ONCALL_CHAT", json.dumps(connection))
    yield received
    server.shutdown()


def failed(
    clinic: Clinic, context: Context, run_id: str = "run-1", error: Any = None, **ti: Any
) -> dict[str, Any]:
    """A task that failed as an operator fails: with an error of this package, in Airflow's."""
    task = AnonymizeOperator(task_id="task", policy="people", source=clinic.raw, target=clinic.safe)
    error = error or UndeclaredColumn.found(["ssn"], "people", "people.yaml", ["id", "ssn"], ["id"])
    with pytest.raises(AirflowException) as raised, without_values():
        raise error
    given: dict[str, Any] = context(run_id, task=task, exception=raised.value)
    for name, value in ti.items():
        setattr(given["ti"], name, value)
    return given


def parts_of(mail: str) -> tuple[Any, str, str]:
    """Its headers, its text and its page."""
    message = message_from_string(mail, policy=default)
    text, page = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert page is not None
    return message, text.get_content(), page.get_content()


def test_a_mail_says_what_to_do_what_was_published_and_whose_data(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    AnonymizeOperator(task_id="a", policy="people", target=clinic.safe).execute(context())
    notifier = PrivacyAlertNotifier(smtp_conn_id="oncall_mail", runbook_url="https://wiki/runbook")
    notifier.notify(failed(clinic, context, start_date=datetime.now(UTC)))
    message, text, page = parts_of(mailbox.mails[0])
    assert message["Subject"] == "[critical] dag.task failed: UndeclaredColumn"
    assert message["To"] == "oncall@clinic.example"
    assert abs((message["Date"].datetime - datetime.now(UTC)).total_seconds()) < 60
    assert re.fullmatch(r"<[^@ ]+@clinic\.example>", message["Message-ID"])
    lines = text.splitlines()
    assert lines[0].startswith("What to do: ask the owner of the source to declare the new column")
    assert lines[1] == "Published:  nothing. What was at the target before is unchanged"
    assert lines[2].startswith("Cause:      UndeclaredColumn: dataset people has column 'ssn'")
    for part in (
        f"Source:     {clinic.raw}", f"Target:     {clinic.safe}", "Run:        run-1, attempt 1",
        "user.contact.email", "user.health_and_medical", "People:     up to 31", "http://airflow/log",
        "https://wiki/runbook",
    ):  # fmt: skip
        assert part in text, part
        assert html.escape(part.split(":  ")[-1].strip()) in page
    assert '<a href="https://wiki/runbook"' in page
    assert "<script" not in page
    assert canaries.found_in(mailbox.mails[0]) == []


def test_what_was_published_before_the_task_failed_is_said(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    begun = datetime.now(UTC)
    AnonymizeOperator(task_id="a", policy="people", target=clinic.safe).execute(context())
    notifier = PrivacyAlertNotifier(smtp_conn_id="oncall_mail")
    notifier.notify(failed(clinic, context, start_date=begun))
    assert "Published:  YES, before the task failed" in parts_of(mailbox.mails[0])[1]
    # Recorded, and nobody knows whether it was published.
    register = clinic.hook.register()
    register.write(lambda c: c.execute(sa.update(t.evidence).values(outcome="intended")))
    notifier.notify(failed(clinic, context, start_date=datetime.now(UTC), try_number=2))
    assert "Published:  not known: a release may have been about to be published" in parts_of(mailbox.mails[1])[1]  # fmt: skip


@pytest.mark.parametrize("outcome", ["intended", "superseded"])
def test_nothing_is_said_to_be_unpublished_that_may_be(
    clinic: Clinic, context: Context, mailbox: Mailbox, outcome: str
) -> None:
    begun = datetime.now(UTC)
    AnonymizeOperator(task_id="a", policy="people", target=clinic.safe).execute(context())
    register = clinic.hook.register()
    register.write(lambda c: c.execute(sa.update(t.evidence).values(outcome=outcome)))
    given = failed(clinic, context, start_date=begun)
    PrivacyAlertNotifier(smtp_conn_id="oncall_mail").notify(given)
    assert "Published:  not known" in parts_of(mailbox.mails[0])[1]


def test_what_a_killed_task_would_have_written_is_not_known(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    """Its arguments are another task's result, templates, or mapped: the DAG processor has them as they were written."""
    with DAG("d", schedule=None):

        @task
        def path() -> str:
            return clinic.safe

        tasks = [
            AnonymizeOperator(task_id="a", policy="people", target=path()),
            AnonymizeOperator(task_id="b", policy="people", target="/lake/{{ ds }}.csv"),
            AnonymizeOperator(task_id="c", policy="people", target="/lake/{% if x %}a{% endif %}"),
            AnonymizeOperator.partial(task_id="d", policy="people").expand(target=[clinic.safe]),
        ]  # fmt: skip
    for attempt, each in enumerate(tasks):
        given = failed(clinic, context, try_number=attempt, start_date=datetime.now(UTC))
        given = {**given, "task": each, "exception": None}
        PrivacyAlertNotifier(smtp_conn_id="oncall_mail").notify(given)
        text = parts_of(mailbox.mails[-1])[1]
        assert "Published:  not known" in text, text
    assert len(mailbox.mails) == 4


def test_a_path_that_is_not_utf_8_or_has_line_ends_does_not_stop_the_mail(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    given = failed(clinic, context)
    given["task"].source = "/data/\udce4.csv\nPublished: YES"
    PrivacyAlertNotifier(smtp_conn_id="oncall_mail").notify(given)
    text = parts_of(mailbox.mails[0])[1]
    assert "/data/\\udce4.csv Published: YES" in text
    assert len([line for line in text.splitlines() if line.startswith("Published:")]) == 1


def test_the_chat_gets_the_same_through_apprise(
    clinic: Clinic, context: Context, receiver: list[dict[str, Any]]
) -> None:
    PrivacyAlertNotifier(apprise_conn_id="oncall_chat").notify(failed(clinic, context))
    [alert] = receiver
    assert alert["title"] == "[critical] dag.task failed: UndeclaredColumn"
    assert "unknown (never anonymized before)" in alert["message"]


def test_one_alert_for_each_attempt_and_cause(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    notifier = PrivacyAlertNotifier(smtp_conn_id="oncall_mail")
    for _ in range(3):
        notifier.notify(failed(clinic, context))
    assert len(mailbox.mails) == 1
    # After Clear it is another attempt; another cause in the same attempt is news too; and another run.
    notifier.notify(failed(clinic, context, try_number=2))
    notifier.notify(failed(clinic, context, try_number=2, error=RegisterError("down")))
    notifier.notify(failed(clinic, context, "run-2"))
    assert len(mailbox.mails) == 4
    told = clinic.hook.register().read(lambda c: acts(c, verb="alerted"))
    assert [str(act.asset) for act in told] == ["task:dag/run-1/task/-1"] * 3 + ["task:dag/run-2/task/-1"]  # fmt: skip
    assert {str(act.words) for act in told} == {"on-call was notified (critical) through smtp"}


def test_a_notice_when_it_succeeds_again_and_only_then(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    notifier = PrivacyAlertNotifier(smtp_conn_id="oncall_mail")

    def succeeded(run_id: str) -> dict[str, Any]:
        given: dict[str, Any] = context(run_id)
        given["ti"].state = TaskInstanceState.SUCCESS
        return given

    notifier.notify(succeeded("run-0"))
    assert mailbox.mails == []
    notifier.notify(failed(clinic, context))
    notifier.notify(failed(clinic, context, try_number=2))
    notifier.notify(succeeded("run-2"))
    notifier.notify(succeeded("run-3"))
    assert len(mailbox.mails) == 3
    message, text, _ = parts_of(mailbox.mails[2])
    assert message["Subject"] == "[recovered] dag.task recovered"
    assert "Alerts: 2" in text
    register = clinic.hook.register()
    assert [act.verb for act in register.read(acts)][-3:] == ["alerted", "alerted", "recovered"]
    assert verify_register(register, []).findings == []


@pytest.mark.parametrize("error", [
    None, UndeclaredColumn("x"), ColumnMissing("x"), GuaranteeNotMet("x"), CheckFailed("x"), KeyNotFound("x"),
    SignatureInvalid("x"), DecryptionFailed(), ChangedMeanwhile("x"), DatabaseUnavailable("x"), StorageFull("x"),
    Refused("x"), SettingError("x"), RegisterError("x"), RegisterError("x", retry=False), RetryLater("x"), ValueError("x"),
], ids=lambda error: f"{type(error).__name__}{'' if getattr(error, 'retry', True) else ' for good'}")  # fmt: skip
def test_every_cause_has_something_to_do(error: Any) -> None:
    """In both languages; and each line of the runbook is there."""
    reason = to_do(error)
    for language in LANGUAGES:
        assert len(str(reason.words(language))) > 30
    runbook = Path(__file__).parents[2] / "docs" / "how-to" / "on-call.md"
    written = runbook.read_text().replace("`", "")
    assert f"| {reason.words('en')}".replace("`", "") in written, reason


def test_the_alert_is_in_the_language_of_those_who_read_it(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    PrivacyAlertNotifier(smtp_conn_id="oncall_mail", language="de").notify(failed(clinic, context))
    message, text, page = parts_of(mailbox.mails[0])
    assert message["Subject"] == "[critical] dag.task gescheitert: UndeclaredColumn"
    assert text.startswith("Zu tun:")
    assert "Veröffentlicht:" in text
    assert "Verantwortlichen der Quelle" in page


def test_the_message_of_an_error_that_is_not_ours_is_withheld(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    """Also if it begins as ours do, and in a subject."""
    notifier = PrivacyAlertNotifier(smtp_conn_id="oncall_mail")
    for attempt, error in enumerate(
        [
            ValueError(f"bad row {canaries.EMAIL}"),
            ValueError(f"UndeclaredColumn: {canaries.NAME}"),
            AirflowException(f"KeyNotFound: {canaries.EMAIL}\nSubject: x"),
            f"GuaranteeNotMet: {canaries.EMAIL}",
        ]
    ):
        notifier.notify(failed(clinic, context, try_number=attempt) | {"exception": error})
        assert "; see the log" in parts_of(mailbox.mails[-1])[1]
    assert len(mailbox.mails) == 4
    assert canaries.found_in("".join(mailbox.mails)) == []


def test_a_worker_that_was_killed_reports_no_error(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    """The DAG processor then calls the notifier: with no exception, no start, and templates not rendered."""
    given = failed(clinic, context)
    del given["exception"]
    given["task"].target = "{{ var.value.target }}"
    PrivacyAlertNotifier(smtp_conn_id="oncall_mail").notify(given)
    message, text, _ = parts_of(mailbox.mails[0])
    assert message["Subject"] == "[critical] dag.task failed: worker lost"
    assert "the worker was killed or lost" in text


def test_names_cannot_forge_a_header_or_a_page(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    given = failed(clinic, context, error=Refused("<script>alert(1)</script>\u202e"))
    given["ti"].task_id = "x\r\nBcc: eve@example.org <b>"
    PrivacyAlertNotifier(smtp_conn_id="oncall_mail").notify(given)
    message, text, page = parts_of(mailbox.mails[0])
    assert message["Bcc"] is None
    assert "<script>" not in page
    assert "\u202e" not in text


def test_it_can_be_awaited(clinic: Clinic, context: Context, mailbox: Mailbox) -> None:
    notifier = PrivacyAlertNotifier(smtp_conn_id="oncall_mail")
    asyncio.run(notifier.async_notify(failed(clinic, context)))
    assert len(mailbox.mails) == 1


def test_an_unreachable_register_does_not_stop_the_alert(
    clinic: Clinic, context: Context, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__MLSEC__REGISTER_URL", "postgresql://u:geheim@127.0.0.1:1/d")
    PrivacyAlertNotifier(smtp_conn_id="oncall_mail").notify(failed(clinic, context))
    [mail] = mailbox.mails
    assert "the register cannot be reached" in mail
    assert "geheim" not in mail


def test_one_broken_channel_does_not_stop_the_other(
    clinic: Clinic, context: Context, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {
        "conn_type": "apprise",
        "extra": {"config": {"path": "json://127.0.0.1:1", "tag": "all"}},
    }
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", json.dumps(connection))
    monkeypatch.delenv("AIRFLOW_CONN_NONE", raising=False)
    notifier = PrivacyAlertNotifier(apprise_conn_id="none", smtp_conn_id="oncall_mail")
    with pytest.raises(AirflowException, match="not sent through apprise"):
        notifier.notify(failed(clinic, context))
    assert len(mailbox.mails) == 1


def test_tls_is_required_unless_the_connection_says_otherwise(
    clinic: Clinic, context: Context, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    connection = json.loads(os.environ["AIRFLOW_CONN_ONCALL_MAIL"])
    del connection["extra"]["disable_tls"]
    monkeypatch.setenv("AIRFLOW_CONN_ONCALL_MAIL", json.dumps(connection))
    with pytest.raises(AirflowException, match="smtp"):
        PrivacyAlertNotifier(smtp_conn_id="oncall_mail").notify(failed(clinic, context))
    assert mailbox.mails == []


def test_a_notifier_without_a_channel_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="apprise_conn_id, smtp_conn_id"):
        PrivacyAlertNotifier()


def test_a_killed_task_is_found_when_its_run_has_failed(
    clinic: Clinic, context: Context, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow runs no callback of a task whose process was killed; the DAG's own callback is told of the run."""
    from airflow.sdk import DAG
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    notifier = PrivacyAlertNotifier(smtp_conn_id="oncall_mail")
    with DAG("dag", schedule=None, default_args={"on_failure_callback": notifier}) as dag:
        for name in ("told", "killed", "fine", "mapped"):
            AnonymizeOperator(task_id=name, policy="people", source=clinic.raw, target=clinic.safe)
        silent = AnonymizeOperator(task_id="silent", policy="people", target=clinic.safe)
        silent.on_failure_callback = []
    start = datetime(2026, 11, 29, 3, tzinfo=UTC)
    run = SimpleNamespace(run_id="run-1", start_date=start)
    states = {
        "told": "failed",
        "killed": "failed",
        "fine": "success",
        "mapped_0": "success",
        "mapped_1": "failed",
        "silent": "failed",
        "gone": "failed",
    }
    monkeypatch.setattr(
        RuntimeTaskInstance, "get_task_states", staticmethod(lambda **_: {"run-1": states})
    )
    given = failed(clinic, context, "run-1")
    given["ti"].task_id, given["ti"].dag_id = "told", "dag"
    notifier.notify(given)
    of_run = {"dag": dag, "run_id": "run-1", "reason": "task_failure", "dag_run": run}
    for _ in range(2):
        notifier.notify(of_run)  # type: ignore[arg-type]
    subjects = sorted(str(parts_of(mail)[0]["Subject"]) for mail in mailbox.mails)
    assert subjects == [
        "[critical] dag.killed failed: worker lost", "[critical] dag.mapped failed: worker lost",
        "[critical] dag.silent failed: an error", "[critical] dag.told failed: UndeclaredColumn",
    ]  # fmt: skip
    [killed] = [
        text for mail in mailbox.mails for _, text, _ in [parts_of(mail)] if "dag.killed" in text
    ]
    assert "/dags/dag/runs/run-1/tasks/killed" in killed
    assert "Look at its host or pod" in killed or "look at its host or pod" in killed
    # Cleared, and killed again: the run begins anew.
    later = SimpleNamespace(run_id="run-1", start_date=datetime.now(UTC) + timedelta(minutes=1))
    notifier.notify({**of_run, "dag_run": later})  # type: ignore[typeddict-item]
    assert len(mailbox.mails) == 8
    states.clear()
    notifier.notify({**of_run, "reason": "success"})  # type: ignore[typeddict-item]
    assert len(mailbox.mails) == 8
