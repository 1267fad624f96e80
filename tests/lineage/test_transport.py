from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import Job, OutputDataset, Run, RunEvent, RunState

from airflow_mlsec.lineage.transport import RegisterConfig, RegisterTransport
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t

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
    [kept] = (tmp_path / "mlsec" / "undelivered").iterdir()
    assert json.loads(kept.read_text())["job"]["name"] == "j"
    assert "kept in" in caplog.text
    assert "geheim" not in caplog.text


def test_making_one_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    RegisterTransport(RegisterConfig())
    assert not (tmp_path / "home").exists()
