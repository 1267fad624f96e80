"""Against a real SMTP server and a real HTTP receiver."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_mlsec.ledger import acts
from airflow_mlsec.notifications.privacy_alert import PrivacyAlertNotifier
from airflow_mlsec.operators.anonymize import AnonymizeOperator
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


def failed(clinic: Clinic, context: Context, run_id: str = "run-1") -> dict[str, Any]:
    task = AnonymizeOperator(task_id="task", policy="people", target=clinic.safe)
    return context(
        run_id, task=task, exception=AirflowFailException("UndeclaredColumn: has column 'ssn'")
    )


def test_a_mail_says_what_failed_whose_data_and_how_bad(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    AnonymizeOperator(task_id="a", policy="people", target=clinic.safe).execute(context())
    notifier = PrivacyAlertNotifier(smtp_conn_id="oncall_mail", runbook_url="https://wiki/runbook")
    notifier.notify(failed(clinic, context))
    [mail] = mailbox.mails
    for part in (
        "Subject: [critical] dag.task failed",
        "To: oncall@clinic.example",
        "Run:        run-1",
        "Cause:      UndeclaredColumn: has column 'ssn'",
        "user.contact.email",
        "user.health_and_medical",
        "Subjects:   up to 31",
        "http://airflow/log",
        "https://wiki/runbook",
    ):
        assert part in mail.replace("=\r\n", "").replace("=\n", "")
    assert canaries.found_in(mail) == []


def test_the_chat_gets_the_same_through_apprise(
    clinic: Clinic, context: Context, receiver: list[dict[str, Any]]
) -> None:
    PrivacyAlertNotifier(apprise_conn_id="oncall_chat").notify(failed(clinic, context))
    [alert] = receiver
    assert alert["title"] == "[critical] dag.task failed"
    assert "unknown (never anonymized before)" in alert["message"]


def test_one_alert_per_task_instance_however_often_it_is_retried(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    for _ in range(3):
        PrivacyAlertNotifier(smtp_conn_id="oncall_mail").notify(failed(clinic, context))
    assert len(mailbox.mails) == 1
    PrivacyAlertNotifier(smtp_conn_id="oncall_mail").notify(failed(clinic, context, "run-2"))
    assert len(mailbox.mails) == 2
    told = clinic.hook.register().read(lambda c: acts(c, verb="alerted"))
    assert [str(act.asset) for act in told] == ["task:dag/run-1/task/-1", "task:dag/run-2/task/-1"]
    assert [str(act.words) for act in told] == ["on-call was notified (critical) through smtp"] * 2


def test_the_message_of_an_error_that_is_not_ours_is_withheld(
    clinic: Clinic, context: Context, mailbox: Mailbox
) -> None:
    given = failed(clinic, context) | {"exception": ValueError(f"bad row {canaries.EMAIL}")}
    PrivacyAlertNotifier(smtp_conn_id="oncall_mail").notify(given)
    [mail] = mailbox.mails
    assert "ValueError; see the log" in mail
    assert canaries.found_in(mail) == []


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
