from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attr
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import Job, OutputDataset, Run, RunEvent, RunState

from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import open_dataset
from airflow_mlsec.lineage._running_task import connections
from airflow_mlsec.lineage.transport import RegisterConfig, RegisterTransport
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from airflow_mlsec.settings import Settings
from airflow_mlsec.subjects import locate
from tests import canaries
from tests.crypto import services
from tests.lineage.events import dataset, event, lineage

POLICY = """version: 1
dataset: {raw}
owner: o
subject: {{kind: person, key: mail}}
columns:
  mail: {{role: identifying, transform: {{method: drop}}}}
"""
EVENT = RunEvent(
    eventType=RunState.COMPLETE,
    eventTime="2026-03-01T12:00:00Z",
    run=Run(runId="01234567-89ab-7def-8123-456789abcdef"),
    job=Job(namespace="n", name="j"),
    inputs=[],
    outputs=[OutputDataset(namespace="file", name="/out.csv")],
    producer="https://example.org",
)


def test_the_client_s_events_reach_the_register(register: Register) -> None:
    url = register._url.render_as_string(hide_password=False)
    client = OpenLineageClient(
        transport=RegisterTransport(RegisterConfig.from_dict({"register_url": url}))
    )
    client.emit(EVENT)
    client.emit(EVENT)
    assert [row.name for row in register.rows(sa.select(t.dataset))] == ["/out.csv"]
    assert [row.state for row in register.rows(sa.select(t.run))] == ["complete"]


def test_it_is_built_by_name_beside_others(tmp_path: Path) -> None:
    """As Airflow configures it, in a composite with another transport."""
    code = """
import json
from openlineage.client import OpenLineageClient
from tests.lineage.test_transport import EVENT
OpenLineageClient().emit(EVENT)
"""
    transports = {
        "register": {"type": "airflow_mlsec.lineage.transport.RegisterTransport"},
        "file": {"type": "file", "log_file_path": str(tmp_path / "events"), "append": True},
    }
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "OPENLINEAGE__TRANSPORT": json.dumps({"type": "composite", "transports": transports}),
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    register = Register(f"sqlite:///{tmp_path}/mlsec/register.db")
    assert len(register.rows(sa.select(t.run))) == 1
    assert (tmp_path / "events").exists()


def test_an_event_that_cannot_be_written_is_kept_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    unreachable = "postgresql://u:geheim@127.0.0.1:1/d"
    RegisterTransport(RegisterConfig(unreachable)).emit(EVENT)
    [kept] = (tmp_path / "mlsec" / "undelivered").glob("*/*.ndjson")
    assert json.loads(kept.read_text())["job"]["name"] == "j"
    # It is the first that lies there: keys come later.
    assert (tmp_path / "mlsec").stat().st_mode & 0o777 == 0o700
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert "kept in" in caplog.text
    assert "geheim" not in caplog.text


def test_making_one_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    RegisterTransport(RegisterConfig())
    assert not (tmp_path / "home").exists()


def test_what_was_kept_is_sent_with_the_next_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    away = tmp_path / "mlsec" / "register.db"
    away.mkdir(parents=True)
    RegisterTransport(RegisterConfig()).emit(EVENT)
    away.rmdir()
    [folder] = (tmp_path / "mlsec" / "undelivered").iterdir()
    (folder / "half.ndjson").write_text('{"eventTime": ')
    RegisterTransport(RegisterConfig()).emit(attr.evolve(EVENT, run=Run(str(uuid.uuid4()))))
    assert list(folder.iterdir()) == []
    register = Register(f"sqlite:///{tmp_path}/mlsec/register.db")
    assert len(register.rows(sa.select(t.run))) == 2
    # What nobody can read is held, and said.
    [held] = register.rows(sa.select(t.quarantine))
    assert held.source == "undelivered: half.ndjson"


def test_another_worker_sends_what_was_kept_in_a_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlsec: Callable[..., Any]
) -> None:
    """The first worker's disk is gone; what it kept lies in the bucket."""
    boto3 = pytest.importorskip("boto3", reason="pip install airflow-mlsec[aws]")
    shared = "s3://kept/shared"
    with services.aws() as endpoint:
        httpx.post(f"{endpoint}/moto-api/reset").raise_for_status()
        aws = {
            "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1", "AIRFLOW__MLSEC__SHARED_FOLDER": shared,
        }  # fmt: skip
        for name, value in {**aws, "AIRFLOW_HOME": str(tmp_path / "first")}.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="kept")
        url = f"sqlite:///{tmp_path}/shared.db"
        monkeypatch.setenv("AIRFLOW__MLSEC__REGISTER_URL", url)
        (tmp_path / "shared.db").mkdir()
        RegisterTransport(RegisterConfig()).emit(EVENT)
        (tmp_path / "shared.db").rmdir()
        aws["AIRFLOW__MLSEC__REGISTER_URL"] = url
        assert not (tmp_path / "first" / "mlsec" / "undelivered").exists()
        done = mlsec("lineage", "deliver", env=aws)
        assert done.stdout == "1 events kept, 0 in quarantine\n", done.stderr
        done = mlsec("lineage", "deliver", env=aws)
        assert done.stdout == "0 events kept, 0 in quarantine\n", done.stderr


def test_where_the_shared_folder_is_away_as_well_the_disk_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__MLSEC__SHARED_FOLDER", "s3://nobody_knows@bucket/x")
    RegisterTransport(RegisterConfig("postgresql://u:x@127.0.0.1:1/d")).emit(EVENT)
    assert len(list((tmp_path / "mlsec" / "undelivered").glob("*/*.ndjson"))) == 1


def test_a_look_for_somebody_begins_with_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of which the register was not told when it was made: it would be in no answer."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    register = Register.of(Settings.load())
    keys = KeyRing.create(tmp_path / "keys")
    raw, copy = str(tmp_path / "raw.parquet"), str(tmp_path / "copy.parquet")
    table = pa.table({"mail": [canaries.EMAIL]})
    for path in (raw, copy):
        pq.write_table(table, path)
    policy = parse_policy(POLICY.format(raw=raw), "p")
    record_results(register, policy, open_dataset(raw), "source", [], None)
    told = dataset(copy, ["mail"], columnLineage=lineage(raw, {"mail": ["mail"]}))
    folder = tmp_path / "mlsec" / "undelivered"
    folder.mkdir(parents=True)
    (folder / "one.ndjson").write_text(
        json.dumps(event("copies", [dataset(raw, ["mail"])], [told]))
    )
    found = locate(register, keys, "person", canaries.EMAIL)
    states = {Path(f.dataset).name: f.status for f in found.findings}
    # Below no data root: it is named, and nobody looks into what only lineage names.
    assert (states["raw.parquet"], states["copy.parquet"]) == ("found", "failed")
    assert list(folder.iterdir()) == []


def test_what_is_in_the_way_stops_nothing_and_nobody_else_s_register_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    # Kept for another register, which is away.
    RegisterTransport(RegisterConfig("postgresql://u:x@127.0.0.1:1/d")).emit(EVENT)
    [others] = (tmp_path / "mlsec" / "undelivered").iterdir()
    away = tmp_path / "mlsec" / "register.db"
    away.mkdir()
    RegisterTransport(RegisterConfig()).emit(attr.evolve(EVENT, run=Run(str(uuid.uuid4()))))
    away.rmdir()
    [folder] = {p for p in (tmp_path / "mlsec" / "undelivered").iterdir() if p != others}
    os.mkfifo(folder / "000.ndjson")
    (folder / "001.ndjson").mkdir()
    (tmp_path / "elsewhere").write_text(json.dumps(event("forged", [], [dataset("/forged.csv")])))
    for number in range(150):
        (folder / f"002-{number:03}.ndjson").symlink_to(tmp_path / ("elsewhere" if number else "none"))  # fmt: skip
    RegisterTransport(RegisterConfig()).emit(attr.evolve(EVENT, run=Run(str(uuid.uuid4()))))
    register = Register(f"sqlite:///{tmp_path}/mlsec/register.db")
    assert len(register.rows(sa.select(t.run))) == 2
    assert len(list(others.iterdir())) == 1
    assert "/forged.csv" not in {row.name for row in register.rows(sa.select(t.dataset.c.name))}


def test_a_shared_folder_that_cannot_be_written_fails_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__MLSEC__SHARED_FOLDER", str(tmp_path / "file" / "below"))
    RegisterTransport(RegisterConfig("postgresql://u:x@127.0.0.1:1/d")).emit(EVENT)
    assert len(list((tmp_path / "mlsec" / "undelivered").glob("*/*.ndjson"))) == 1


def test_two_packages_that_answer_by_one_name_lose_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("theirs", "others"):
        about = tmp_path / f"{package}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(
            f"[airflow_mlsec.running_task]\nmine = {package}:Task\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert connections() is None
