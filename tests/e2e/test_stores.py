"""What Airflow itself keeps of a person: looked into over its API, erased where it can be, named where not."""

from __future__ import annotations

import json

import httpx
import pyarrow as pa
import pytest

from airflow_mlsec.anonymize import pseudonymize
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.key_ring import open_register
from airflow_mlsec.lineage import AirflowApi
from airflow_mlsec.settings import Settings
from airflow_mlsec.subjects import (
    AirflowStores,
    Calendar,
    Finding,
    Handler,
    Person,
    Scan,
    approve,
    locate,
    open_request,
    settle,
    verify_identity,
)
from tests.actors import who
from tests.e2e.conftest import AIRFLOW, Pipeline

pytestmark = pytest.mark.e2e
# Airflow before 3.2 cannot remove an XCom.
EMPTIES = AIRFLOW < (3, 2)
NOTHING = (None, "null", '"null"')
HER = "leaky.canary@person.example"
DAG_ID = "leaky"
DAG = f'''
from airflow.sdk import DAG, task
from airflow.providers.standard.operators.python import PythonOperator
import pandas as pd

def say(address, **context):
    print("sent a letter to", address)
    store = context.get("task_state_store")
    if store is not None:
        store.set("cursor", address)
    context["ti"].xcom_push("address", address)
    context["ti"].xcom_push("letter", "Dear " + address)
    mails = ["x@y.example", address]
    # Airflow before 3.3 cannot hand on a DataFrame of pandas 3.
    return pd.DataFrame({{"mail": mails}}) if {AIRFLOW >= (3, 3)} else mails

with DAG("{DAG_ID}", schedule=None, params={{"who": "nobody"}}):
    PythonOperator(task_id="say", python_callable=say, op_args=["{{{{ params.who }}}}"])
    PythonOperator(task_id="quiet", python_callable=lambda: ["somebody.else@person.example"])
'''


def stores(pipeline: Pipeline) -> AirflowStores:
    return AirflowStores(lambda: AirflowApi.from_environment(pipeline.server.environment))


def looked(pipeline: Pipeline, key: str, there: AirflowStores) -> dict[str, Finding]:
    settings = Settings.load(pipeline.server.environment)
    register = open_register(settings)
    found = locate(
        register, KeyRing.open(settings.key_ring), "person", key, scan=Scan(airflow=there)
    )
    return {f.dataset: f for f in found.findings if f.kind == "airflow"}


def test_what_airflow_keeps_of_a_person_is_found_erased_and_named(pipeline: Pipeline) -> None:
    server = pipeline.server
    run_id = server.trigger(DAG_ID, conf={"who": HER})
    states = server.wait(DAG_ID, run_id, lambda s: False, progress=print)
    assert states[""] == "success", states
    with server.client() as client:
        variable = {"key": "vip", "value": json.dumps({"mails": [HER]})}
        client.post("/api/v2/variables", json=variable).raise_for_status()
    there = stores(pipeline)
    answers = looked(pipeline, HER, there)
    xcom, records = answers["airflow/xcom"], answers["airflow/records"]
    assert (xcom.status, xcom.likeness) == ("found", True), xcom
    # The address, and the state of Airflow 3.3; not the letter, in which it is a part, nor the DataFrame, in
    # which somebody else stands as well.
    assert xcom.rows in (1, 2), xcom
    assert "of XCom" in str(xcom.words)
    assert "2 by likeness or together with other values" in str(xcom.words)
    assert records.status == "found"
    kept = ("rendered fields of leaky", "parameters of leaky", "log of leaky", "variable 'vip'")
    unnamed = [where for where in kept if where not in str(records.locator)]
    # Five entries are named, and how many more there are.
    assert len(unnamed) <= int(" more" in str(records.locator)), records
    assert "cannot delete" in str(records.words)
    assert HER not in str(answers)
    nobody = looked(pipeline, "nobody.at.all@person.example", there)
    assert {f.status for f in nobody.values()} <= {"none by scan", "unknown"}

    settings = Settings.load(server.environment)
    register, keys = open_register(settings), KeyRing.open(settings.key_ring)
    person = Person("person", (HER,))
    request = open_request(register, keys, "gdpr", "erasure", person, who("clerk"), Calendar())
    verify_identity(register, request.id, True, "seen", who("clerk"))
    handler = Handler(register, keys, who("dpo"), scan=Scan(airflow=there))
    handler.locate(request.id)
    approve(register, request.id, who("dpo"), named=["*"])
    handler.erase(request.id)
    path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
    with server.client() as client:
        keys_left = {x["key"] for x in client.get(f"{path}/~/xcomEntries").json()["xcom_entries"]}
        if EMPTIES:
            assert client.get(f"{path}/say/xcomEntries/address").json()["value"] in NOTHING
            keys_left.remove("address")
        quiet = client.get(f"{path}/quiet/xcomEntries/return_value").json()["value"]
    assert "address" not in keys_left
    assert {"letter", "return_value"} <= keys_left, (
        "what mentions her, or others as well, is for a person"
    )
    assert "somebody.else@person.example" in str(quiet), "nobody else's is touched"
    handler.confirm(request.id, "airflow/xcom", "value", "what tasks hand on may go")
    approve(register, request.id, who("officer"), named=["*"])
    handler.erase(request.id)
    with server.client() as client:
        left = client.get(f"{path}/say/xcomEntries/return_value")
        assert left.json()["value"] in NOTHING if EMPTIES else left.status_code == 404
        letter = f"{path}/say/xcomEntries/letter"
        if EMPTIES:
            client.patch(letter, json={"value": "a letter", "map_index": -1}).raise_for_status()
        else:
            client.delete(letter).raise_for_status()
    settle(
        register, request.id, "airflow/xcom", "manual", "the letter was removed by hand", who("dpo")
    )
    settle(register, request.id, "airflow/records", "retained", "goes after 30 days", who("dpo"))
    outcome = {name: str(why.words()) for name, why in handler.verify(request.id).items()}
    assert outcome["airflow/xcom"].startswith("clean ("), outcome
    assert outcome["airflow/records"].startswith("still there, by decision of airflow:dpo"), outcome


def test_a_pseudonym_in_an_xcom_is_found(pipeline: Pipeline) -> None:
    settings = Settings.load(pipeline.server.environment)
    keys = KeyRing.open(settings.key_ring)
    name = next(e.name for e in keys.entries() if e.name.startswith("pseudonym."))
    key = "another.canary@person.example"
    token = pseudonymize(pa.array([key]), "email", keys.current(name).secret)[0].as_py()
    server = pipeline.server
    run_id = server.trigger(DAG_ID, conf={"who": token})
    states = server.wait(DAG_ID, run_id, lambda s: False, progress=print)
    assert states[""] == "success", states
    found = looked(pipeline, key, stores(pipeline))["airflow/xcom"]
    assert found.status == "found"
    assert f"a pseudonym ({name}, version 1)" in str(found.locator)


def test_what_cannot_be_reached_is_unknown_and_never_left_out(pipeline: Pipeline) -> None:
    def refused() -> AirflowApi:
        return AirflowApi(pipeline.server.url, "no token of this Airflow")

    answers = looked(pipeline, HER, AirflowStores(refused))
    assert {f.status for f in answers.values()} == {"unknown"}
    assert "answered 40" in str(answers["airflow/xcom"].words)
    gone = AirflowStores(lambda: AirflowApi.sign_in("http://localhost:9", "admin", "x"))
    answers = looked(pipeline, HER, gone)
    assert {f.status for f in answers.values()} == {"unknown"}
    assert "cannot be reached" in str(answers["airflow/records"].words)
    environment = {
        k: v for k, v in pipeline.server.environment.items() if k != "AIRFLOW_CONN_MLSEC_AIRFLOW"
    }
    nowhere = AirflowStores(lambda: AirflowApi.from_environment(environment))
    answers = looked(pipeline, HER, nowhere)
    assert "connection 'mlsec_airflow' is not defined" in str(answers["airflow/xcom"].words)


def test_a_uri_of_the_connection_is_read(pipeline: Pipeline) -> None:
    server = pipeline.server
    uri = f"http://admin:{server.passwords['admin']}@localhost:{server.port}/http"
    api = AirflowApi.from_environment({"AIRFLOW_CONN_MLSEC_AIRFLOW": uri})
    assert list(api.dag_runs())
    assert httpx.URL(uri).host == "localhost"
