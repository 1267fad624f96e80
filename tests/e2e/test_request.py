"""A data-subject request in the real Airflow, after the example DAG has run: the last thing that
is done with it, since the person is gone afterwards."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from airflow_mlsec.crypto import Identity, decrypt_file
from airflow_mlsec.operators.subjects import APPROVE_ALL
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from tests import canaries
from tests.e2e.conftest import Pipeline

pytestmark = pytest.mark.e2e
DAG_ID = "data_subject_request"
DOWNSTREAM = "call_high_risk_smokers"
REPORT = "report_blood_pressure"


def report_runs(pipeline: Pipeline, least: int) -> int:
    """How many runs of the report's DAG have succeeded, after waiting for the least of them."""
    for _ in range(90):
        with pipeline.server.client() as client:
            found = client.get(f"/api/v2/dags/{REPORT}/dagRuns").raise_for_status().json()
        done = [run for run in found["dag_runs"] if run["state"] == "success"]
        if len(done) >= least:
            break
        time.sleep(1)
    return len(done)


def test_sql_downstream_is_followed_column_by_column(pipeline: Pipeline) -> None:
    run_id = pipeline.server.trigger(DOWNSTREAM)
    states = pipeline.server.wait(DOWNSTREAM, run_id, lambda s: False, progress=print)
    assert states[""] == "success", states
    assert report_runs(pipeline, 1) == 1, "its DAG is scheduled on the appointments"
    persons = f"{pipeline.folder}/clinic.db/persons#email"
    [down] = json.loads(pipeline.mlsec("lineage", "trace", persons, "--down", "--json").stdout)
    via = {(Path(n["dataset"]).name, n["column"]): n["via"] for n in down["nodes"]}
    assert via["appointments", "patient"] == "IDENTITY (inferred from SQL)"
    assert via["appointments", "pressure"] == "JOIN (inferred from SQL)"


def test_a_user_without_the_role_approves_nothing(pipeline: Pipeline) -> None:
    """Least of all the own erasure."""
    server = pipeline.server
    opened = pipeline.mlsec("subject", "open", "erasure", "--kind", "person", "--key", "-", "--json", stdin="nobody@x.test")  # fmt: skip
    number = str(json.loads(opened.stdout)["id"])
    pipeline.mlsec("subject", "identity", number, "--evidence", "log-in")
    run_id = server.trigger(DAG_ID, conf={"request": int(number)})
    waiting = ("deferred", "awaiting_input")
    states = server.wait(DAG_ID, run_id, lambda s: s["approve"] in waiting, progress=print)
    server.approve(DAG_ID, run_id, "approve", user="user")
    states = server.wait(DAG_ID, run_id, lambda s: False, progress=print, seen=states)
    assert states["prepare"] == "failed", states
    assert "may not approve" in server.task_log(DAG_ID, run_id, "prepare")
    status = json.loads(pipeline.mlsec("subject", "status", number, "--json").stdout)
    assert status["approved_by"] is None


def test_one_person_is_located_exported_erased_and_verified(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    server, folder = pipeline.server, pipeline.folder
    opened = pipeline.mlsec("subject", "open", "erasure", "--kind", "person", "--key", "-", "--json", stdin=canaries.EMAIL)  # fmt: skip
    number = str(json.loads(opened.stdout)["id"])
    person, thief = Identity.generate(), Identity.generate()
    done = pipeline.mlsec("subject", "identity", number, "--evidence", "log-in, second factor", "-r", str(person.recipient))  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Whom the run's parameters name gets nothing: the recipient is the request's.
    conf = {"request": int(number), "recipient": str(thief.recipient)}
    run_id = server.trigger(DAG_ID, conf=conf)
    waiting = ("deferred", "awaiting_input")
    states = server.wait(DAG_ID, run_id, lambda s: s["approve"] in waiting and s["export"] == "success", progress=print)  # fmt: skip
    assert states["approve"] in waiting, states
    located = server.xcom(DAG_ID, run_id, "locate")
    status = json.loads(pipeline.mlsec("subject", "status", number, "--json").stdout)
    ours = [s for s in status["steps"] if "/dags/" in s["name"]]
    assert {(s["status"], s["likeness"]) for s in ours} == {("found", True)}, (
        "the canaries' own source"
    )
    counted = (located["places"], located["found"], located["none by scan"])
    assert counted == (13 + len(ours), 9 + len(ours), 4), status["steps"]
    decrypt_file(folder / "requests" / f"{number}.zip.age", tmp_path / "export.zip", [person])
    server.approve(DAG_ID, run_id, "approve", APPROVE_ALL)
    states = server.wait(DAG_ID, run_id, lambda s: s["settled"] in waiting, progress=print, seen=states)  # fmt: skip
    assert states["settled"] in waiting, states
    models = ("models/quit_smoking.skops", "models/quit_smoking.skops.age", "release/quit_smoking.skops.age")  # fmt: skip
    written = [s["name"] for s in ours]
    for name in (*(f"{folder}/{model}" for model in models), *written, "Call Centre Ltd"):
        outcome = "manual" if name == "Call Centre Ltd" else "retained"
        settled = pipeline.mlsec("subject", "settle", number, name, outcome, "--reason", "trained anew on Monday")  # fmt: skip
        assert settled.returncode == 0, settled.stderr
    # The report is made anew by its own DAG, which the request has set off.
    states = server.wait(DAG_ID, run_id, lambda s: False, progress=print, seen=states)
    assert states[""] == "success", states
    assert report_runs(pipeline, 2) >= 2
    status = pipeline.mlsec("subject", "status", number, "--json").stdout
    rebuilt = {s["name"] for s in json.loads(status)["steps"] if s["status"] == "rebuilt"}
    assert rebuilt == {f"{folder}/reports/pressure.parquet"}
    receipt = folder / "requests" / f"{number}.receipt.json"
    salt = receipt.with_name(f"{receipt.name}.salt").read_text().strip()
    signer = tmp_path / "signer.pem"
    signer.write_text(pipeline.mlsec("keys", "export", "signing").stdout)
    verified = pipeline.mlsec("subject", "verify", str(receipt), "--public-key", str(signer), "--key", "-", "--salt", salt, stdin=canaries.EMAIL)  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.count("clean (") == 6
    assert verified.stdout.count("still there, by decision of os:") == 3 + len(ours)
    assert (
        "approved by airflow:admin (not one of those who opened or verified it)" in verified.stdout
    )
    planted = [folder / "dags" / "nhefs_people.py", *(folder / "dags").rglob("*.pyc")]
    assert canaries.found_below(folder, planted) == [], "not in data, log, XCom or register"
    with server.client() as client:
        path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
        assert canaries.found_in(client.get(path).raise_for_status().text) == []
        assert canaries.found_in(client.get(f"{path}/~/xcomEntries", params={"limit": 200}).text) == []  # fmt: skip
    url = server.environment.get("AIRFLOW__MLSEC__REGISTER_URL") or f"sqlite:///{server.home}/mlsec/register.db"  # fmt: skip
    here = Register(url)
    for table in t.metadata.sorted_tables:
        assert canaries.found_in(str(here.rows(sa.select(table)))) == [], table.name
    gone = pipeline.mlsec("subject", "locate", "--kind", "person", "--key", "-", "--json", stdin=canaries.EMAIL)  # fmt: skip
    rows = {f["dataset"]: f["status"] for f in json.loads(gone.stdout)["findings"]}
    assert rows[f"{folder}/raw/nhefs.parquet"] == rows[f"{folder}/safe/nhefs.parquet"] == "none"


def test_runs_without_lineage_are_counted_by_airflow_s_own_account(pipeline: Pipeline) -> None:
    passwords = json.loads((pipeline.server.home / "simple_auth_manager_passwords.json.generated").read_text())  # fmt: skip
    pipeline.server.environment["MLSEC_AIRFLOW_PASSWORD"] = passwords["admin"]
    done = pipeline.mlsec("lineage", "dark", "--airflow-url", pipeline.server.url, "--user", "admin", "--json")  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["touching"] >= 7, done.stderr
    assert answer["dark"] == []
