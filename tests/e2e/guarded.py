"""DAGs that a rule and an access review guard, in a real Airflow."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from airflow_mlsec.actors import airflow_user
from airflow_mlsec.controls import grant_exemption
from airflow_mlsec.ledger import Asset, AssetKind
from airflow_mlsec.register import Register
from airflow_mlsec.settings import Settings
from airflow_mlsec.testing import AirflowServer

CHECKED, REVIEWED, ROLE = "guarded_by_a_rule", "guarded_by_a_review", "e2e_contractor"
DAG = """
from datetime import timedelta

from airflow.sdk import DAG
from airflow_mlsec.notifications.privacy_alert import PrivacyAlertNotifier
from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.operators.compliance import ComplianceCheckOperator
from airflow_mlsec.sensors.access_review import AccessReviewSensor

at = FOLDER
on_call = PrivacyAlertNotifier(smtp_conn_id="oncall_mail")

with DAG("guarded_by_a_rule", schedule=None, on_failure_callback=on_call, default_args={"on_failure_callback": on_call}):
    check = ComplianceCheckOperator(task_id="check", policy="guests", controls=["controller-named"])
    check >> AnonymizeOperator(task_id="publish", policy="guests", target=f"{at}/checked.parquet")

with DAG("guarded_by_a_review", schedule=None):
    review = AccessReviewSensor(
        task_id="review", campaign="Guests", systems=["postgresql://guests"], deferrable=True, poke_interval=2,
        timeout=600,
    )
    review >> AnonymizeOperator(task_id="publish", policy="guests", target=f"{at}/reviewed.parquet")
"""
POLICY = """\
version: 1
dataset: {at}/guests.parquet
owner: team
subject: {{kind: guest, key: badge}}
columns:
  badge: {{role: identifying, category: user.unique_id, transform: {{method: pseudonymize, domain: guest}}}}
"""


def prepare(folder: Path) -> None:
    """The guests, and a policy that names no controller."""
    at = folder / "guests"
    at.mkdir()
    pq.write_table(pa.table({"badge": [f"g{i}" for i in range(20)]}), at / "guests.parquet")
    (folder / "policies" / "guests.yaml").write_text(POLICY.format(at=at))


def _mlsec(server: AirflowServer, *arguments: str, code: int = 0) -> str:
    command = [str(Path(sys.executable).with_name("mlsec")), *arguments]
    done = subprocess.run(command, env=server.environment, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout


def _ended(server: AirflowServer, dag: str) -> dict[str, str]:
    return server.wait(dag, server.trigger(dag), lambda s: False, progress=print)


def a_rule_stops_the_run_until_an_exemption_is_granted(server: AirflowServer, folder: Path) -> None:
    """Asked for by one, granted by another; when it ends the run fails again."""
    made = folder / "guests" / "checked.parquet"
    states = _ended(server, CHECKED)
    assert (states["check"], states["publish"]) == ("failed", "upstream_failed")
    assert not made.exists()
    asset, until = f"{folder}/guests/guests.parquet", date.today() + timedelta(days=30)
    given = ("--owner", "team", "--why", "the controller is being agreed on", "--until", str(until))
    _mlsec(server, "controls", "exempt", "controller-named", asset, *given)
    # Nobody has granted it.
    assert _ended(server, CHECKED)["check"] == "failed"
    # Not whoever has asked.
    _mlsec(server, "controls", "grant", "controller-named", asset, "--until", str(until), code=3)
    register = Register(Settings.load(server.environment).register_url)
    [known] = json.loads(_mlsec(server, "controls", "show", "controller-named", "--json"))["exemptions"]  # fmt: skip
    grant_exemption(register, Asset(AssetKind.DATASET, known["asset"]["name"]), "controller-named", airflow_user("dora", None, ["admin"]), until)  # fmt: skip
    states = _ended(server, CHECKED)
    assert states[""] == "success", states
    assert made.exists()
    found = json.loads(_mlsec(server, "controls", "show", "controller-named", "--json"))["findings"]
    # Other DAGs of this Airflow ask the same rule about other datasets.
    about = [f["outcome"] for f in found if f["asset"]["name"] == known["asset"]["name"]]
    assert about == ["exempt"]
    _mlsec(server, "controls", "end", "controller-named", asset, "--why", "agreed")
    assert _ended(server, CHECKED)["check"] == "failed"


def a_review_blocks_the_release_until_the_grant_is_gone(
    server: AirflowServer, folder: Path, uri: str
) -> None:
    """Decided is not enough: the server itself has to say so."""
    made = folder / "guests" / "reviewed.parquet"
    with psycopg.connect(uri, autocommit=True) as database:
        role = sql.Identifier(ROLE)
        database.execute("CREATE TABLE guests (badge text)")
        database.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        try:
            database.execute(sql.SQL("GRANT SELECT ON guests TO {}").format(role))
            run = server.trigger(REVIEWED)
            states = server.wait(REVIEWED, run, lambda s: s["review"] == "deferred", progress=print)
            assert states["review"] == "deferred", states
            _review(server, made)
            states = server.wait(REVIEWED, run, lambda s: False, progress=print)
            assert states[""] == "success", states
            assert made.exists()
            # Given again behind everybody's back: the next run waits, and a new review is open.
            database.execute(sql.SQL("GRANT SELECT ON guests TO {}").format(role))
            again = server.trigger(REVIEWED)
            states = server.wait(REVIEWED, again, lambda s: s["review"] == "deferred", progress=print)  # fmt: skip
            assert states["review"] == "deferred", states
            status = [r["status"] for r in json.loads(_mlsec(server, "access", "review", "list", "--json"))]  # fmt: skip
            assert status.count("open") == 1
        finally:
            database.execute("DROP TABLE guests")
            database.execute(sql.SQL("DROP ROLE {}").format(role))


def _review(server: AirflowServer, made: Path) -> None:
    [review] = [r for r in json.loads(_mlsec(server, "access", "review", "list", "--json")) if r["name"] == "Guests"]  # fmt: skip
    number = str(review["id"])

    def items(of: dict[str, Any], mine: bool) -> list[str]:
        return [x for i in of["items"] if (i["grant"]["principal"] == ROLE) is mine for x in ("--item", str(i["number"]))]  # fmt: skip

    _mlsec(server, "access", "review", "decide", number, "revoke", *items(review, True), "--reason", "has left")  # fmt: skip
    _mlsec(server, "access", "review", "decide", number, "keep", *items(review, False), "--reason", "runs the server")  # fmt: skip
    _mlsec(server, "access", "review", "complete", number, code=1)
    time.sleep(5)
    assert not made.exists()
    assert "REVOKE SELECT" in _mlsec(server, "access", "revoke", number, "--apply")
    _mlsec(server, "access", "review", "complete", number)
