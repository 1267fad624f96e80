"""A person in a bucket that an Airflow connection opens, found and erased at the command line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.crypto import services

boto3 = pytest.importorskip("boto3", reason="pip install airflow-mlsec[aws]")
pytest.importorskip("s3fs", reason="pip install airflow-mlsec[aws]")
ADA = "ada.canary@person.example"
SECRET = "canary-secret-77aa"
POLICY = """\
version: 1
dataset: s3://lakehouse@lake/people.parquet
owner: team
subject: {kind: person, key: email}
columns:
  email: {role: identifying, category: user.contact.email, transform: {method: pseudonymize, domain: person}}
  age: {role: insensitive}
"""


def test_a_person_is_located_and_erased_in_a_bucket(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "people.yaml").write_text(POLICY)
    people = io.BytesIO()
    pq.write_table(pa.table({"email": [ADA, "bob@person.example"], "age": [36, 40]}), people)
    with services.aws() as endpoint:
        client = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id="key", aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )  # fmt: skip
        client.create_bucket(Bucket="lake")
        client.put_object(Bucket="lake", Key="people.parquet", Body=people.getvalue())
        extra = {"region_name": "us-east-1", "endpoint_url": endpoint}
        fields = {"conn_type": "aws", "login": "key", "password": SECRET, "extra": extra}
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW_CONN_LAKEHOUSE": json.dumps(fields),
            "AIRFLOW__MLSEC__POLICIES_FOLDER": str(tmp_path / "policies"),
            "AIRFLOW__MLSEC__STATE_FOLDER": str(tmp_path / "state"),
            "AIRFLOW__MLSEC__FOUR_EYES": "none",
            "HOME": str(tmp_path),
        }

        def mlsec(*given: str, key: str = "") -> subprocess.CompletedProcess[str]:
            command = [str(Path(sys.executable).with_name("mlsec")), *given]
            done = subprocess.run(
                command, env=environment, input=key, capture_output=True, text=True, check=False
            )
            assert SECRET not in done.stdout + done.stderr
            # 1: something is not settled yet.
            assert done.returncode in (0, 1), f"{given}\n{done.stdout}\n{done.stderr}"
            assert done.stdout, f"{given}: {done.stderr}"
            return done

        mlsec("keys", "init")
        policy = str(tmp_path / "policies" / "people.yaml")
        mlsec(
            "anonymize",
            policy,
            "s3://lakehouse@lake/people.parquet",
            "s3://lakehouse@lake/safe.parquet",
        )
        locate = ("subject", "locate", "--kind", "person", "--key", "-", "--json")
        found = json.loads(mlsec(*locate, key=ADA).stdout)
        places = {f["dataset"].rsplit("/")[-1]: (f["status"], f["rows"]) for f in found["findings"]}
        assert places["people.parquet"] == places["safe.parquet"] == ("found", 1)
        opened = mlsec(
            "subject", "open", "erasure", "--kind", "person", "--key", "-", "--json", key=ADA
        )
        number = str(json.loads(opened.stdout)["id"])
        mlsec("subject", "identity", number, "--evidence", "log-in")
        mlsec("subject", "search", number)
        mlsec("subject", "approve", number)
        mlsec("subject", "erase", number)
        body = client.get_object(Bucket="lake", Key="people.parquet")["Body"].read()
        assert pq.read_table(io.BytesIO(body)).to_pydict() == {"email": ["bob@person.example"], "age": [40]}  # fmt: skip

        del environment["AIRFLOW_CONN_LAKEHOUSE"]
        found = json.loads(mlsec(*locate, key=ADA).stdout)
        raw = next(f for f in found["findings"] if f["dataset"].endswith("people.parquet"))
        assert raw["status"] == "failed", "a bucket that cannot be reached says nothing"
        assert "connection 'lakehouse' is not defined" in json.dumps(raw)
