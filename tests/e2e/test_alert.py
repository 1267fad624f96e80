"""A failing privacy task in a real Airflow alerts on-call, once, without values."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from airflow_mlsec.testing import AirflowServer
from demo.__main__ import DAG_ID, make_server, prepare
from tests import canaries
from tests.e2e import arguments, guarded
from tests.e2e.conftest import plant
from tests.notifications.test_privacy_alert import Mailbox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


class Failing:
    """An Airflow whose main DAG fails, a mailbox of on-call, and a DAG of another kind."""

    def __init__(self, server: AirflowServer, folder: Path, box: Mailbox) -> None:
        self.server, self.folder, self.box = server, folder, box


@pytest.fixture(scope="module")
def failing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Failing]:
    folder = tmp_path_factory.mktemp("failing")
    prepare(folder)
    policy = folder / "policies" / "nhefs.yaml"
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
    uri = request.getfixturevalue("postgres_uri")
    environment["AIRFLOW_CONN_GUESTS"] = uri
    dags = plant(folder)
    guarded.prepare(folder)
    (dags / "guarded.py").write_text(guarded.DAG.replace("= FOLDER", f"= {str(folder / 'guests')!r}"))  # fmt: skip
    (dags / "arguments.py").write_text(arguments.DAG.replace("= FOLDER", f"= {str(folder / 'visitors')!r}"))  # fmt: skip
    try:
        with make_server(folder, environment, dags).running(print) as server:
            yield Failing(server, folder, box)
    finally:
        controller.stop()


def test_an_undeclared_column_stops_the_run_and_wakes_on_call(failing: Failing) -> None:
    server, folder = failing.server, failing.folder
    run_id = server.trigger(DAG_ID)
    states = server.wait(DAG_ID, run_id, lambda s: False, progress=print)
    assert states["check_raw"] == "failed"
    assert states["anonymize"] == "upstream_failed"
    log = server.task_log(DAG_ID, run_id, "check_raw")
    assert "not declared: phone" in log
    assert not (folder / "safe" / "nhefs.parquet").exists()
    [mail] = failing.box.mails
    assert "check_raw failed: CheckFailed" in mail
    assert "Published:" in mail
    declared = [folder / "raw" / "nhefs.parquet", folder / "clinic.db"]
    planted = [folder / "dags" / "nhefs_people.py", *(folder / "dags").rglob("*.pyc")]
    assert canaries.found_in(mail) == []
    assert canaries.found_below(folder, [*declared, *planted]) == []


def test_a_dag_takes_what_airflow_users_give(failing: Failing) -> None:
    arguments.run(failing.server, failing.folder)


def test_a_rule_stops_a_run_until_somebody_else_grants_an_exemption(failing: Failing) -> None:
    before = len(failing.box.mails)
    guarded.a_rule_stops_the_run_until_an_exemption_is_granted(failing.server, failing.folder)
    assert any("controller-named" in mail for mail in failing.box.mails[before:])


def test_a_review_blocks_a_release_until_the_grant_is_gone(
    failing: Failing, postgres_uri: str
) -> None:
    guarded.a_review_blocks_the_release_until_the_grant_is_gone(
        failing.server, failing.folder, postgres_uri
    )
