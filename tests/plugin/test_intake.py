from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from airflow_mlsec.ledger import create_api_key, revoke_api_key
from airflow_mlsec.plugin import _intake
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from tests.actors import who
from tests.lineage.events import dataset, event


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TestClient, Register]]:
    monkeypatch.setenv("AIRFLOW__MLSEC__STATE_FOLDER", str(tmp_path / "state"))
    from airflow_mlsec.settings import Settings

    _intake.intake.cache_clear()
    yield TestClient(_intake.application()), Register.of(Settings.load())
    _intake.intake.cache_clear()


def headers(register: Register, name: str = "spark") -> dict[str, str]:
    return {"Authorization": f"Bearer {create_api_key(register, name, who('officer'))}"}


EVENT = event("j", [dataset("/a", ["x"])], [dataset("/b", ["x"])])


def test_an_event_is_kept_when_it_was_answered(here: Any) -> None:
    client, register = here
    assert client.post("/lineage", json=EVENT, headers=headers(register)).status_code == 200
    assert len(register.rows(sa.select(t.dataset))) == 2


@pytest.mark.parametrize("given", [None, "Bearer", "Bearer mlsec_wrong", "Basic eDp5"])
def test_without_a_valid_key_nothing_is_written(here: Any, given: str | None) -> None:
    client, register = here
    register.upgrade()
    for path in ("/lineage", "/lineage/batch"):
        answer = client.post(path, json=EVENT, headers={"Authorization": given} if given else {})
        assert answer.status_code == 401
    assert register.rows(sa.select(t.dataset)) == []


def test_a_revoked_key_is_refused(here: Any) -> None:
    client, register = here
    key = headers(register)
    revoke_api_key(register, "spark", who("officer"))
    assert client.post("/lineage", json=EVENT, headers=key).status_code == 401
    assert key["Authorization"][7:] not in str(register.rows(sa.select(t.api_key)))


def test_a_malformed_event_is_quarantined_and_the_client_told(here: Any) -> None:
    client, register = here
    answer = client.post("/lineage", json={"run": {}}, headers=headers(register))
    assert answer.status_code == 422
    assert answer.json()["quarantined"] is True
    [held] = register.rows(sa.select(t.quarantine))
    assert held.source.startswith("http spark")


def test_a_batch_judges_each_event(here: Any) -> None:
    client, register = here
    key = headers(register)
    answer = client.post("/lineage/batch", json=[EVENT, {"x": 1}, EVENT], headers=key).json()
    assert answer["status"] == "partial_success"
    assert answer["summary"]["successful"] == 2
    assert [f["index"] for f in answer["failed_events"]] == [1]
    assert client.post("/lineage/batch", json=EVENT, headers=key).status_code == 400


def test_gzip_and_bombs(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, register = here
    key = {**headers(register), "Content-Encoding": "gzip"}
    packed = gzip.compress(json.dumps(EVENT).encode())
    assert client.post("/lineage", content=packed, headers=key).status_code == 200
    assert client.post("/lineage", content=packed[:-9], headers=key).status_code == 400
    assert client.post("/lineage", content=b"no gzip", headers=key).status_code == 400
    monkeypatch.setattr(_intake, "LARGEST_BODY", 10_000)
    bomb = gzip.compress(b" " * 10_000_000)
    assert client.post("/lineage", content=bomb, headers=key).status_code == 413


def test_other_paths_are_answered_as_airflow_does(here: Any) -> None:
    client, _ = here
    assert client.get("/dags").status_code == 404


def test_threads_that_write_at_once_all_have_their_answer(here: Any) -> None:
    client, register = here
    key = headers(register)
    answers: list[int] = []

    def send(number: int) -> None:
        item = event(f"j{number}", [dataset("/a", ["x"])], [dataset(f"/out{number}", ["x"])])
        answers.append(client.post("/lineage", json=item, headers=key).status_code)

    threads = [threading.Thread(target=send, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 20
    assert len(register.rows(sa.select(t.dataset))) == 21


def test_nobody_is_told_that_an_event_is_kept_when_it_is_not(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, register = here
    key = headers(register)

    def fail(*arguments: Any, **more: Any) -> None:
        raise ZeroDivisionError("with a value")

    monkeypatch.setattr("airflow_mlsec.lineage.Ingest.write", fail)
    answer = client.post("/lineage", json=EVENT, headers=key)
    assert answer.status_code == 503
    assert "with a value" not in answer.text
    assert register.rows(sa.select(t.dataset)) == []


def test_a_second_gzip_part_is_not_dropped_in_silence(here: Any) -> None:
    client, register = here
    key = {**headers(register), "Content-Encoding": "gzip"}
    two = gzip.compress(b"[]") + gzip.compress(json.dumps([EVENT]).encode())
    assert client.post("/lineage/batch", content=two, headers=key).status_code == 400


def test_the_openlineage_client_needs_only_the_url_and_a_key(here: Any) -> None:
    """The official client against a real server."""
    import uvicorn
    from fastapi import FastAPI
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import Dataset, Job, Run, RunEvent, RunState
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport

    _, register = here
    secret = headers(register, "python")["Authorization"][7:]
    app = FastAPI()
    app.mount("/api/v1", _intake.application())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        pass
    port = server.servers[0].sockets[0].getsockname()[1]
    config = HttpConfig(
        url=f"http://127.0.0.1:{port}", auth=ApiKeyTokenProvider({"apiKey": secret})
    )
    try:
        OpenLineageClient(transport=HttpTransport(config)).emit(
            RunEvent(
                eventType=RunState.COMPLETE,
                eventTime="2026-03-01T12:00:00Z",
                run=Run(runId="01234567-89ab-7def-8123-456789abcdef"),
                job=Job(namespace="n", name="j"),
                inputs=[Dataset(namespace="file", name="/a")],
                outputs=[Dataset(namespace="file", name="/b")],
                producer="https://example.org",
            )
        )
    finally:
        server.should_exit = True
        thread.join()
    assert len(register.rows(sa.select(t.dataset))) == 2
