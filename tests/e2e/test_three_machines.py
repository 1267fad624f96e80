"""The main job by three Airflow workers that share a database and an object store, and no folder: each has a home, an
Airflow home, state and temporary files and a copy of the DAGs of its own, and is gone, with its disk, when its part is done."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from airflow_mlsec.testing import AirflowServer
from airflow_mlsec.testing._airflow import _PASSWORDS, _group_ended
from tests.conftest import database

boto3 = pytest.importorskip("boto3", reason="pip install airflow-mlsec[aws]")
pytest.importorskip("s3fs", reason="pip install airflow-mlsec[aws]")
pytest.importorskip("psycopg2", reason="pip install apache-airflow-providers-postgres")

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1500)]

HER = "p3@workers.example"
POLICY = """version: 1
dataset: s3://lake/raw.parquet
owner: o
subject: {kind: person, key: email}
membership: keep
privacy: {k_anonymity: 2}
columns:
  email: {role: identifying, transform: {method: pseudonymize, domain: d}}
  zip: {role: quasi-identifying, hierarchy: {kind: suppress}}
"""
DAGS = """
import os

from airflow.sdk import DAG, task

from airflow_mlsec.operators.anonymize import AnonymizeOperator
from airflow_mlsec.operators.artifacts import VerifyArtifactOperator
from airflow_mlsec.operators.compliance import ComplianceCheckOperator
from airflow_mlsec.operators.encrypt import EncryptArtifactOperator
from airflow_mlsec.operators.subjects import LocateSubjectOperator

RAW, SAFE = "s3://store@lake/raw.parquet", "s3://store@lake/safe.parquet"
MODEL = "s3://store@lake/model.bin"


@task
def where():
    return {"home": os.environ["HOME"]}


with DAG("release", schedule=None, catchup=False):
    raw = ComplianceCheckOperator(task_id="check_raw", policy="people", dataset=RAW, controls=["columns-declared"])
    anonymize = AnonymizeOperator(task_id="anonymize", policy="people", source=RAW, target=SAFE)
    where() >> raw >> anonymize

with DAG("model", schedule=None, catchup=False):
    @task
    def train():
        import io
        import pyarrow.parquet as pq
        from airflow_mlsec.hooks.mlsec import MlsecHook

        hook = MlsecHook()
        with hook.artifact(SAFE).open() as file:
            rows = pq.read_table(io.BytesIO(file.read())).num_rows
        hook.artifact(MODEL).write_bytes(b"model of %d rows" % rows)
        return rows

    encrypt = EncryptArtifactOperator(task_id="encrypt", source=MODEL, target=MODEL + ".age", trained_on=[SAFE])
    where() >> train() >> encrypt

with DAG("proof", schedule=None, catchup=False):
    check = ComplianceCheckOperator(
        task_id="check_safe", policy="people", dataset=SAFE, raw=RAW, stage="release",
        controls=["release-proven", "guarantee-holds"],
    )
    verify = VerifyArtifactOperator(task_id="verify", artifact=MODEL + ".age")
    where() >> check >> verify

with DAG("search", schedule=None, catchup=False, params={"request": 0}):
    where() >> LocateSubjectOperator(task_id="locate", request="{{ params.request }}")
"""


class Machines:
    """Airflow's own machine (API server, DAG processor), and workers (a scheduler with its executor) on others."""

    def __init__(self, folder: Path, metadata: str, register: str, endpoint: str) -> None:
        self.folder = folder
        root = base64.b64encode(os.urandom(32)).decode()
        extra = {"region_name": "us-east-1", "endpoint_url": endpoint}
        store = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
        self.shared = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": sa.make_url(metadata)
            .set(drivername="postgresql+psycopg2")
            .render_as_string(hide_password=False),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
            "AIRFLOW__MLSEC__REGISTER_URL": register,
            "AIRFLOW__MLSEC__KEY_RING": "register:",
            "AIRFLOW__MLSEC__ROOT_KEY": root,
            "AIRFLOW__MLSEC__SHARED_FOLDER": "s3://store@lake/mlsec",
            "AIRFLOW__MLSEC__DATA_ROOTS": "s3://store@lake/",
            "AIRFLOW_CONN_STORE": json.dumps(store),
        }
        self.airflow = AirflowServer(folder / "airflow", self.dags("airflow"), self.shared)
        self.running: list[subprocess.Popen[bytes]] = []

    def dags(self, machine: str) -> Path:
        """A machine's own copy of the DAG bundle; policies are in it."""
        folder = self.folder / machine / "dags"
        (folder / "policies").mkdir(parents=True)
        (folder / "people.py").write_text(DAGS)
        (folder / "policies" / "people.yaml").write_text(POLICY)
        return folder

    def environment(self, machine: str, dags: Path) -> dict[str, str]:
        """Of what a machine has for itself nothing is another's."""
        home = self.folder / machine
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        return {
            **self.airflow.environment, "HOME": str(home), "TMPDIR": str(home / "tmp"),
            "AIRFLOW_HOME": str(home / "airflow"), "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__PARALLELISM": "1", "AIRFLOW__MLSEC__STATE_FOLDER": str(home / "state"),
            "AIRFLOW__MLSEC__POLICIES_FOLDER": str(dags / "policies"),
        }  # fmt: skip

    def run(self, part: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            started = subprocess.Popen(
                [sys.executable, "-m", "airflow", part],
                env=environment, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        self.running.append(started)
        return started

    def start(self) -> None:
        home = self.airflow.home
        home.mkdir(parents=True, exist_ok=True)
        (home / _PASSWORDS).write_text(json.dumps(self.airflow.passwords))
        env = self.environment("airflow", self.folder / "airflow" / "dags")
        env["AIRFLOW_HOME"] = str(home)
        migrated = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert migrated.returncode == 0, migrated.stderr[-2000:]
        for part in ("api-server", "dag-processor"):
            self.run(part, env, self.folder / f"{part}.log")
        deadline = time.monotonic() + 240
        while not self._healthy():
            assert time.monotonic() < deadline, (self.folder / "api-server.log").read_text()[-2000:]
            time.sleep(1)

    def _healthy(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"{self.airflow.url}/api/v2/monitor/health", timeout=5)
            return answer.status_code == 200
        return False

    @contextlib.contextmanager
    def worker(self, name: str) -> Iterator[Path]:
        """A worker that lives within the block; then it is gone, and its disk with it."""
        started = self.run(
            "scheduler", self.environment(name, self.dags(name)), self.folder / f"{name}.log"
        )
        try:
            yield self.folder / name
        finally:
            self.end(started)
            shutil.rmtree(self.folder / name)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        for sign, patience in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 15.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
            if _group_ended(process.pid, patience):
                break
        self.running.remove(process)

    def mlsec(self, name: str, *given: str, stdin: str | None = None) -> Any:
        """The command line on a machine of its own, which reaches the store by the client's own settings."""
        home = self.folder / name
        home.mkdir()
        env = {
            **self.shared, "PATH": os.environ["PATH"], "HOME": str(home), "AIRFLOW_HOME": str(home / "airflow"),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "AIRFLOW__MLSEC__SHARED_FOLDER": "s3://lake/mlsec",
            "AIRFLOW__MLSEC__DATA_ROOTS": "s3://lake/",
            **{n: v for n, v in os.environ.items() if n.startswith("AWS_")},
        }  # fmt: skip
        done = subprocess.run(
            [str(Path(sys.executable).with_name("mlsec")), *given],
            cwd=home, env=env, input=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
        shutil.rmtree(home)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout) if "--json" in given else done.stdout


@pytest.fixture
def machines(tmp_path: Path, postgres_uri: str, lake_bucket: Any) -> Iterator[Machines]:
    del lake_bucket
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    with database(postgres_uri) as metadata, database(postgres_uri) as register:
        made = Machines(tmp_path, metadata, register, endpoint)
        try:
            made.start()
            yield made
        finally:
            for process in list(made.running):
                made.end(process)


def read(lake_bucket: Any, key: str) -> bytes:
    return bytes(lake_bucket.get_object(Bucket="lake", Key=key)["Body"].read())


def test_three_workers_that_share_no_folder_do_the_main_job(
    machines: Machines, lake_bucket: Any
) -> None:
    people = [f"p{i}@workers.example" for i in range(8)]
    raw = io.BytesIO()
    pq.write_table(pa.table({"email": people, "zip": ["1"] * 8}), raw)
    lake_bucket.put_object(Bucket="lake", Key="raw.parquet", Body=raw.getvalue())
    homes = []
    for name, dag in (("one", "release"), ("two", "model"), ("three", "proof")):
        with machines.worker(name) as home:
            run = machines.airflow.trigger(dag)
            states = machines.airflow.wait(dag, run, lambda s: False, timeout=400, progress=print)
            log = (machines.folder / f"{name}.log").read_text()[-3000:]
            assert states[""] == "success", (states, log)
            assert machines.airflow.xcom(dag, run, "where") == {"home": str(home)}
            homes.append(home)
    assert not any(home.exists() for home in homes)
    safe = pq.read_table(io.BytesIO(read(lake_bucket, "safe.parquet")))
    assert safe.num_rows == 8
    assert not set(safe.column("email").to_pylist()) & set(people)
    assert read(lake_bucket, "model.bin.age").startswith(b"age-encryption.org/v1")
    # A fourth machine, which saw none of it, knows where she is.
    opened = machines.mlsec(
        "desk",
        "subject",
        "open",
        "access",
        "--kind",
        "person",
        "--key",
        "-",
        "--json",
        stdin=f"{HER}\n",
    )
    with machines.worker("four"):
        run = machines.airflow.trigger("search", conf={"request": opened["id"]})
        states = machines.airflow.wait("search", run, lambda s: False, timeout=400, progress=print)
        log = (machines.folder / "four.log").read_text()[-3000:]
        assert states[""] == "success", (states, log)
    told = machines.mlsec("desk", "subject", "status", str(opened["id"]), "--json")
    places = {s["name"].rsplit("/", 1)[-1]: s["status"] for s in told["steps"]}
    assert [places[n] for n in ("raw.parquet", "safe.parquet", "model.bin.age")] == ["found"] * 3
    machines.mlsec("desk", "audit", "verify")
