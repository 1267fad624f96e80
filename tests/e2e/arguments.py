"""One DAG with datasets in every form that Airflow has, in a real Airflow."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_mlsec.testing import AirflowServer

DAG_ID = "arguments"
# Its own folder and kind of person: other tests look for theirs everywhere else.
DAG = """

from airflow.sdk import DAG, Asset, ObjectStoragePath, task
from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.operators.compliance import ComplianceCheckOperator
from airflow_mlsec.operators.encrypt import EncryptArtifactOperator

at = FOLDER

with DAG("arguments", schedule=None, params={"name": "templated"}):

    @task
    def sources():
        return [f"{at}/one.parquet", f"{at}/two.parquet"]

    @task
    def source():
        return f"{at}/one.parquet"

    by_asset = AnonymizeOperator(
        task_id="by_asset", policy="visitors", source=Asset(f"file://{at}/one.parquet"),
        target=Asset(f"file://{at}/by_asset.parquet"),
    )
    AnonymizeOperator(
        task_id="by_path", policy="visitors", source=ObjectStoragePath(f"file://{at}/one.parquet"),
        target=ObjectStoragePath(f"file://{at}/by_path.parquet"),
    )
    AnonymizeOperator(
        task_id="by_result", policy="visitors", source=source(),
        target=f"file://{at}/" + "{{ params.name }}.parquet",
    )
    check = ComplianceCheckOperator(
        task_id="check", policy="visitors", stage="release", dataset=by_asset.output, controls="guarantee-holds",
        raw=Asset(f"file://{at}/one.parquet"),
    )
    EncryptArtifactOperator(
        task_id="encrypt", source=by_asset.output, target=f"{at}/by_asset.parquet.age", kind="table",
    )

    @task.anonymize(policy="visitors", target=f"file://{at}/by_function.parquet")
    def extract(name):
        return f"{at}/{name}.parquet"

    @task.anonymize(policy="visitors", target=f"file://{at}/" + "function-{{ ti.map_index }}.parquet")
    def extract_each(name):
        return f"{at}/{name}.parquet"

    @task.protect(target=f"{at}/by_function.age", kind="table")
    def protect(release):
        return release

    protect(extract("two"))
    extract_each.expand(name=["one", "two"])
    AnonymizeOperator.partial(task_id="mapped", policy="visitors").expand_kwargs(
        sources().map(lambda path: {"source": path, "target": path.replace(".parquet", "-safe.parquet")})
    )
"""
POLICY = """\
version: 1
dataset: {at}/one.parquet
owner: team
subject: {{kind: visitor, key: badge}}
columns:
  badge: {{role: identifying, category: user.unique_id, transform: {{method: pseudonymize, domain: visitor}}}}
  age: {{role: quasi-identifying, category: user.demographic.age_range, hierarchy: {{kind: interval, widths: [10]}}}}
privacy: {{k_anonymity: 2}}
"""


def run(server: AirflowServer, folder: Path) -> None:
    """Run the DAG, and look at what it made."""
    at = folder / "visitors"
    at.mkdir()
    for number, name in enumerate(("one", "two")):
        rows = pa.table({"badge": [f"v{number}-{i}" for i in range(20)], "age": [20 + i % 2 for i in range(20)]})  # fmt: skip
        pq.write_table(rows, at / f"{name}.parquet")
    (folder / "policies" / "visitors.yaml").write_text(POLICY.format(at=at))
    run_id = server.trigger(DAG_ID)
    states = server.wait(DAG_ID, run_id, lambda s: False)
    assert states[""] == "success", states
    for name in ("by_asset", "by_path", "templated", "one-safe", "two-safe", "by_function", "function-0", "function-1"):  # fmt: skip
        assert pq.read_table(at / f"{name}.parquet").num_rows == 20, name
    for name in ("by_asset.parquet.age", "by_function.age"):
        assert (at / name).read_bytes().startswith(b"age-encryption.org/v1"), name
    assert server.xcom(DAG_ID, run_id, "encrypt")["target"] == f"{at}/by_asset.parquet.age"
    # What DAGs that the assets trigger can read: also of the target that was known only when the task ran.
    with server.client() as client:
        events = client.get("/api/v2/assets/events", params={"source_dag_id": DAG_ID, "limit": 100})
        extras = {e["uri"]: e["extra"] for e in events.raise_for_status().json()["asset_events"]}
    for name in ("by_asset", "by_path", "templated", "by_function", "function-1"):
        extra = extras[f"file://{at}/{name}.parquet"]
        assert (extra["state"], extra["released"]) == ("pseudonymous", 20)
        assert extra["k_anonymity"] >= 2
