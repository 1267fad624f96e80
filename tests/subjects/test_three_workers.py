"""Three workers that share a database and an object store, and no folder: each has a home, state and temporary files of
its own, and may be gone after each step."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

boto3 = pytest.importorskip("boto3", reason="pip install airflow-mlsec[aws]")
pytest.importorskip("s3fs", reason="pip install airflow-mlsec[aws]")

HER = "p3@workers.example"
POLICY = """version: 1
dataset: s3://lake/raw.parquet
owner: o
subject: {kind: person, key: email}
membership: keep
privacy: {k_anonymity: 2}
columns:
  email: {role: identifying, transform: {method: METHOD}}
  zip: {role: quasi-identifying, hierarchy: {kind: suppress}}
"""
Worker = Callable[..., Any]


@pytest.fixture
def worker(tmp_path: Path, postgres_database: str, lake_bucket: Any) -> Worker:
    """Run `mlsec` on one of the workers; what it left on its disk goes with it."""
    del lake_bucket
    root = base64.b64encode(os.urandom(32)).decode()

    def run(name: str, *given: str, stdin: str | None = None) -> Any:
        home = tmp_path / name
        (home / "tmp").mkdir(parents=True)
        env = {
            **{n: v for n, v in os.environ.items() if n.startswith("AWS_")},
            "PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home / "tmp"),
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__MLSEC__REGISTER_URL": postgres_database,
            "AIRFLOW__MLSEC__KEY_RING": "register:",
            "AIRFLOW__MLSEC__ROOT_KEY": root,
            "AIRFLOW__MLSEC__SHARED_FOLDER": "s3://lake/mlsec",
            "AIRFLOW__MLSEC__DATA_ROOTS": "s3://lake/",
            "AIRFLOW__MLSEC__FOUR_EYES": "none",
        }  # fmt: skip
        for file, text in POLICIES.items():
            (home / file).write_text(text)
        command = [str(Path(sys.executable).with_name("mlsec")), *given]
        done = subprocess.run(
            command, cwd=home, env=env, input=stdin, capture_output=True, text=True, check=False
        )
        # 1: something is not settled yet.
        assert done.returncode in (0, 1 if given[1] in ("locate", "search", "erase") else 0), (
            f"{given}\n{done.stdout}\n{done.stderr}"
        )
        shutil.rmtree(home)
        return json.loads(done.stdout) if "--json" in given else done.stdout

    return run


POLICIES = {
    "pseudonyms.yaml": POLICY.replace("METHOD", "pseudonymize, domain: d"),
    "dropped.yaml": POLICY.replace("METHOD", "drop"),
}


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
def test_a_person_is_found_and_erased_by_workers_that_share_no_folder(
    worker: Worker, lake_bucket: Any, policy: str
) -> None:
    raw = io.BytesIO()
    people = [f"p{i}@workers.example" for i in range(8)]
    pq.write_table(pa.table({"email": people, "zip": ["1"] * 8}), raw)
    lake_bucket.put_object(Bucket="lake", Key="raw.parquet", Body=raw.getvalue())
    worker("one", "anonymize", policy, "s3://lake/raw.parquet", "s3://lake/safe.parquet")

    def located(on: str, key: str) -> dict[str, str]:
        found = worker(on, "subject", "locate", "--kind", "person", "--key", "-", "--json", stdin=f"{key}\n")  # fmt: skip
        return {f["dataset"].rsplit("/", 1)[-1]: f["status"] for f in found["findings"]}

    assert located("two", HER)["safe.parquet"] == "found"
    assert located("three", "nobody@workers.example")["safe.parquet"] == "none"
    worker("two", "keys", "rotate", "membership.person")
    assert located("one", HER)["safe.parquet"] == "found"
    opened = worker("two", "subject", "open", "erasure", "--kind", "person", "--key", "-", "--json", stdin=f"{HER}\n")  # fmt: skip
    number = str(opened["id"])
    worker("three", "subject", "identity", number, "--evidence", "log-in")
    worker("one", "subject", "search", number)
    worker("two", "subject", "approve", number)
    worker("three", "subject", "erase", number)
    left = pq.read_table(io.BytesIO(lake_bucket.get_object(Bucket="lake", Key="raw.parquet")["Body"].read()))  # fmt: skip
    assert HER not in left.column("email").to_pylist()
    if policy == "dropped.yaml":
        # Whose row is hers nothing in the release says: it is made anew.
        worker("one", "anonymize", policy, "s3://lake/raw.parquet", "s3://lake/safe.parquet")
        made = pq.read_table(io.BytesIO(lake_bucket.get_object(Bucket="lake", Key="safe.parquet")["Body"].read()))  # fmt: skip
        assert made.num_rows == 7
        return
    assert located("one", HER)["safe.parquet"] == "none"
    for place in ("airflow/xcom", "airflow/records"):
        worker("two", "subject", "settle", number, place, "manual", "--reason", "no Airflow here")
    said = worker("three", "subject", "close", number)
    assert "closed" in said
    worker("one", "audit", "verify")
