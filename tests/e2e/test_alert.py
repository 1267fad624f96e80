"""A failing privacy task in a real Airflow alerts on-call, once, without values."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from demo.__main__ import DAG_ID, make_server, prepare
from tests import canaries
from tests.e2e.conftest import plant
from tests.notifications.test_privacy_alert import Mailbox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_an_undeclared_column_stops_the_run_and_wakes_on_call(tmp_path: Path) -> None:
    prepare(tmp_path)
    policy = tmp_path / "policies" / "nhefs.yaml"
    lines = [
        line for line in policy.read_text().splitlines() if not line.strip().startswith("phone:")
    ]
    policy.write_text("\n".join(lines) + "\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    extra = {"to_email": "oncall@clinic.example", "disable_tls": "true"}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    environment = {"AIRFLOW_CONN_ONCALL_MAIL": json.dumps(connection)}
    try:
        with make_server(tmp_path, environment, plant(tmp_path)).running(print) as server:
            run_id = server.trigger(DAG_ID)
            states = server.wait(DAG_ID, run_id, lambda s: False, progress=print)
            assert states["check_raw"] == "failed"
            assert states["anonymize"] == "upstream_failed"
            log = server.task_log(DAG_ID, run_id, "check_raw")
            assert "not declared: phone" in log
    finally:
        controller.stop()
    assert not (tmp_path / "safe" / "nhefs.parquet").exists()
    [mail] = box.mails
    assert "check_raw failed" in mail
    assert "CheckFailed" in mail
    declared = [tmp_path / "raw" / "nhefs.parquet", tmp_path / "clinic.db"]
    planted = [tmp_path / "dags" / "nhefs_people.py", *(tmp_path / "dags").rglob("*.pyc")]
    assert canaries.found_in(mail) == []
    assert canaries.found_below(tmp_path, [*declared, *planted]) == []
