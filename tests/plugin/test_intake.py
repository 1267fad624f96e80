from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from airflow_mlsec.errors import RegisterError
from airflow_mlsec.ledger import create_api_key, revoke_api_key
from airflow_mlsec.lineage import trace
from airflow_mlsec.plugin import _intake
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from tests.actors import who
from tests.conftest import SLOW
from tests.lineage.events import dataset, event


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TestClient, Register]]:
    monkeypatch.setenv("AIRFLOW__MLSEC__STATE_FOLDER", str(tmp_path / "state"))
    from airflow_mlsec.settings import Settings

    _intake.intake.cache_clear()
    yield TestClient(_intake.application()), Register.of(Settings.load())
    _intake.intake.cache_clear()


def headers(register: Register, name: str = "spark", **limits: Any) -> dict[str, str]:
    secret = create_api_key(register, name, who("officer"), **limits)
    return {"Authorization": f"Bearer {secret}"}


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


# --- what one client may ask of the process that serves all


def posted(here: Any, body: bytes, path: str = "/lineage/batch", **more: str) -> Any:
    client, register = here
    return client.post(path, content=body, headers={**headers(register), **more})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[]", 200),
        (b" [ ] ", 200),
        (b"\xef\xbb\xbf[]", 200),
        (b"", 400),
        (b"nothing", 400),
        (b"[1,]", 400),
        (b"[1 2]", 400),
        (b"[1] 2", 400),
        (b"[1", 400),
        (b"[" * 100_000, 400),
        (b'["\xff"]', 400),
        (b"[" + b"1," * 1_000 + b"1]", 413),
        (b"[" + b"[]," * 500_001 + b"1]", 413),
    ],
)
def test_a_body_is_a_list_of_at_most_a_thousand_events(here: Any, body: bytes, status: int) -> None:
    assert posted(here, body).status_code == status


def test_events_of_a_batch_are_kept_as_they_were_written(here: Any) -> None:
    _, register = here
    odd = '{"x": "ä\\u00e4 , ] }",   "y":[1 , 2]}'
    answer = posted(here, f" [ {json.dumps(EVENT)} ,\n{odd}, 5 ] ".encode())
    assert [f["index"] for f in answer.json()["failed_events"]] == [1, 2]
    digests = {row.digest for row in register.rows(sa.select(t.quarantine.c.digest))}
    assert digests == {hashlib.sha256(text.encode()).hexdigest() for text in (odd, "5")}


def test_what_a_batch_has_in_quarantine_is_one_transaction(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, register = here
    key = headers(register)
    writes: list[int] = []
    ours = Register.write
    monkeypatch.setattr(Register, "write", lambda *a, **m: (writes.append(1), ours(*a, **m))[1])
    answer = here[0].post("/lineage/batch", content=json.dumps([*range(900)]), headers=key)
    assert answer.json()["summary"]["failed"] == 900
    assert len(writes) <= 3  # the ring's key, and the events
    assert len(register.rows(sa.select(t.quarantine.c.id))) == 900


def wide(columns: int) -> dict[str, Any]:
    return event("j", [], [dataset("/wide", [f"c{i}" for i in range(columns)])])


def many_edges(columns: int) -> dict[str, Any]:
    names = [f"c{i}" for i in range(columns)]
    fields = {n: {"inputFields": [{"namespace": "file", "name": "/a", "field": m} for m in names]} for n in names}  # fmt: skip
    return event("j", [dataset("/a", [])], [dataset("/b", [], columnLineage={"fields": fields})])


def unlisted(columns: int) -> dict[str, Any]:
    source = [{"namespace": "file", "name": "/a", "field": "x"}]
    fields = {f"c{i}": {"inputFields": source} for i in range(columns)}
    return event("j", [dataset("/a", [])], [dataset("/b", [], columnLineage={"fields": fields})])


def nested(depth: int) -> dict[str, Any]:
    inner: Any = 1
    for _ in range(depth):
        inner = [inner]
    return {**EVENT, "producer": inner}


def dated(minutes: int) -> dict[str, Any]:
    time = datetime.now(UTC) + timedelta(minutes=minutes)
    return {**EVENT, "eventTime": time.isoformat()}


@pytest.mark.parametrize(
    ("fits", "too_much", "why"),
    [
        (wide(10_000), wide(10_001), "10001 columns"),
        (many_edges(300), many_edges(320), "102400 edges"),
        (unlisted(10_000), unlisted(10_001), "10001 columns"),
        (nested(60), nested(64), "nested more than 64 deep"),
        (dated(3), dated(24 * 60), "in the future"),
    ],
    ids=["columns", "edges", "columns of edges", "depth", "time"],
)
def test_an_event_contains_what_real_ones_do(
    here: Any, fits: dict[str, Any], too_much: dict[str, Any], why: str
) -> None:
    client, register = here
    key = headers(register)
    assert client.post("/lineage", json=fits, headers=key).status_code == 200
    before = len(register.rows(sa.select(t.dataset.c.id)))
    answer = client.post("/lineage", json=too_much, headers=key)
    assert answer.status_code == 422
    assert why in answer.json()["detail"]
    assert len(register.rows(sa.select(t.dataset.c.id))) == before


def test_a_full_intake_says_when_to_come_again(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, register = here
    key = headers(register)
    monkeypatch.setattr(_intake, "MOST_OF_A_CLIENT", 2)
    monkeypatch.setattr(_intake, "MOST_REQUESTS", 3)
    intake = _intake.intake()
    with intake.place("spark"), intake.place("spark"):
        answer = client.post("/lineage", json=EVENT, headers=key)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        with intake.place("dbt"):
            assert (
                client.post("/lineage", json=EVENT, headers=headers(register, "dbt")).status_code
                == 503
            )
    monkeypatch.setattr(_intake, "MOST_BYTES", 10)
    assert client.post("/lineage", json=EVENT, headers=key).status_code == 503
    monkeypatch.setattr(_intake, "MOST_BYTES", 13_000)
    packed = gzip.compress(json.dumps({**EVENT, "producer": "x" * 10_000}).encode())
    more = {**key, "Content-Encoding": "gzip"}
    assert client.post("/lineage", content=packed, headers=more).status_code == 503
    assert client.post("/lineage", json=EVENT, headers=key).status_code == 200


def test_a_key_is_for_its_namespaces(here: Any) -> None:
    client, register = here
    inside = {"namespaces": ["test", "file", "s3://lake*"]}
    key = headers(register, "inside", **inside)
    assert client.post("/lineage", json=EVENT, headers=key).status_code == 200
    below = event("j", [], [dataset("k", ["x"], namespace="s3://lake-2")])
    assert client.post("/lineage", json=below, headers=key).status_code == 200
    source = {"namespace": "s3://vault", "name": "k", "field": "x"}
    reaching = [
        {**EVENT, "job": {"namespace": "other", "name": "j"}},
        event("j", [dataset("k", ["x"], namespace="s3://vault")], []),
        event("j", [], [dataset("/b", ["x"], columnLineage={"fields": {"x": {"inputFields": [source]}}})]),
        event("j", [], [dataset("/b", ["x"], symlinks={"identifiers": [{**source, "type": "TABLE"}]})]),
    ]  # fmt: skip
    for item in reaching:
        answer = client.post("/lineage", json=item, headers=key)
        assert answer.status_code == 422
        assert "is not for namespace" in answer.json()["detail"]
    namespaces = {row.namespace for row in register.rows(sa.select(t.dataset.c.namespace))}
    assert namespaces == {"file", "s3://lake-2"}


def test_a_key_expires_and_has_a_quota(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, register = here
    key = headers(register, "few", events_per_hour=3, days=2)
    three = json.dumps([EVENT] * 3)
    answer = client.post("/lineage/batch", content=json.dumps([EVENT] * 4), headers=key)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 3600
    assert client.post("/lineage/batch", content=three, headers=key).status_code == 200
    assert client.post("/lineage", json=EVENT, headers=key).status_code == 429
    later = datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr(_intake.intake()._register, "_now", lambda: later)
    assert client.post("/lineage", json=EVENT, headers=key).status_code == 200
    monkeypatch.setattr(_intake, "_BELIEVED_SECONDS", 0.0)
    _intake.intake()._believed.clear()
    monkeypatch.setattr(_intake.intake()._register, "_now", lambda: later + timedelta(days=2))
    assert client.post("/lineage", json=EVENT, headers=key).status_code == 401


def test_a_scoped_client_changes_nobody_else_s_run(here: Any) -> None:
    client, register = here
    assert client.post("/lineage", json=EVENT, headers=headers(register)).status_code == 200
    before = register.rows(sa.select(t.run).where(t.run.c.uuid == EVENT["run"]["runId"]))
    evil = headers(register, "evil", namespaces=["evil"])
    own = {"job": {"namespace": "evil", "name": "j"}, "inputs": [dataset("src", ["x"], namespace="evil")], "outputs": [dataset("sink", ["x"], namespace="evil")]}  # fmt: skip
    facets = {"parent": {"run": {"runId": "x"}, "job": {"namespace": "evil", "name": "p"}},
              "airflow": {"taskInstance": {"try_number": 1}, "dag": {"dag_id": "d"}, "dagRun": {"run_id": "r"}, "task": {"task_id": "t"}}}  # fmt: skip
    stolen = {**EVENT, **own, "eventType": "FAIL", "run": {**EVENT["run"], "facets": facets}}
    assert client.post("/lineage", json=stolen, headers=evil).status_code == 200
    assert register.rows(sa.select(t.run).where(t.run.c.uuid == EVENT["run"]["runId"])) == before
    edges = trace(register, "/b#x", "up").nodes
    assert {node.dataset for node in edges} == {"/a"}
    assert not register.rows(sa.select(t.run.c.id).where(t.run.c.task_instance.is_not(None)))


def test_what_a_scope_refused_is_not_applied_by_trying_again(
    here: Any, mlsec: Callable[..., Any], tmp_path: Path
) -> None:
    client, register = here
    evil = headers(register, "evil", namespaces=["evil"])
    assert client.post("/lineage", json=EVENT, headers=evil).status_code == 422
    assert (
        client.post("/lineage", json=dated(24 * 60), headers=headers(register)).status_code == 422
    )
    env = {"AIRFLOW__MLSEC__STATE_FOLDER": str(tmp_path / "state")}
    done = mlsec("lineage", "quarantine", "--retry", env=env)
    assert "1 events kept, 1 in quarantine" in done.stdout
    [held] = register.rows(sa.select(t.quarantine).where(t.quarantine.c.status == "held"))
    assert held.client == "evil"


def test_one_event_that_cannot_be_looked_up_is_that_event_s_fault(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_mlsec.lineage.sql._tables import KnownTables

    def fail(*_: object) -> None:
        raise RegisterError("postgresql://mlsec@db.internal/mlsec: a value was refused")

    client, register = here
    key = headers(register)
    monkeypatch.setattr(KnownTables, "see", fail)
    answer = client.post("/lineage", json=EVENT, headers=key)
    assert answer.status_code == 422
    assert "db.internal" not in answer.text


def test_who_reported_a_run_is_kept(here: Any) -> None:
    client, register = here
    for name in ("spark", "dbt"):
        assert (
            client.post("/lineage", json=EVENT, headers=headers(register, name)).status_code == 200
        )
    rows = register.rows(sa.select(t.run.c.uuid, t.run_client.c.client).join_from(t.run_client, t.run, t.run.c.id == t.run_client.c.run_id))  # fmt: skip
    assert {(row.uuid, row.client) for row in rows} == {
        (EVENT["run"]["runId"], name) for name in ("spark", "dbt")
    }


def attacks() -> dict[str, bytes]:
    return {
        "900 numbers": json.dumps([*range(900)]).encode(),
        "30 MB of lists": b"[" + b"[]," * 10_000_000 + b"1]",
        "as many lists as are read": b"[[" + b"[]," * 499_000 + b"1]]",
        "depth": b"[" * 30_000_000,
        "many keys": ("[{" + ",".join(f'"{i}":1' for i in range(990_000)) + "}]").encode(),
        "long numbers": b"[" + b",".join([b"1" * 4_299] * 900) + b"]",
        "a million columns": json.dumps([wide(1_048_574)]).encode(),
        "as many columns as are kept": json.dumps([wide(10_000) for _ in range(20)]).encode(),
        "a hundred thousand edges": json.dumps([many_edges(310)]).encode(),
        "long SQL": json.dumps(
            [{**EVENT, "job": {"namespace": "n", "name": "j", "facets": {"sql": {"query": "SELECT " + "a+" * 49_000 + "a FROM t"}}}}]
        ).encode(),
        "a bomb": gzip.compress(b" " * 500_000_000),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", list(attacks()) if SLOW else ["slow"])
def test_others_are_served_beside_an_attack(here: Any, name: str) -> None:
    """A real server, eight attackers at once, and how long a health check takes meanwhile."""
    import httpx
    import uvicorn
    from fastapi import FastAPI

    _, register = here
    key = headers(register)
    body = attacks()[name]
    more = {"Content-Encoding": "gzip"} if name == "a bomb" else {}
    app = FastAPI()
    app.mount("/api/v1", _intake.application())
    app.add_api_route("/health", lambda: {"status": "healthy"})
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        pass
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    answers: list[int] = []

    def attack() -> None:
        answer = httpx.post(
            f"{url}/api/v1/lineage/batch", content=body, headers={**key, **more}, timeout=600
        )
        answers.append(answer.status_code)

    attackers = [threading.Thread(target=attack) for _ in range(8)]
    slowest = 0.0
    try:
        for attacker in attackers:
            attacker.start()
        while any(attacker.is_alive() for attacker in attackers):
            began = time.monotonic()
            assert httpx.get(f"{url}/health", timeout=60).status_code == 200
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.05)
    finally:
        for attacker in attackers:
            attacker.join()
        server.should_exit = True
        thread.join()
    print(f"{name}: slowest health check {slowest:.2f} s, answers {sorted(answers)}")
    assert set(answers) <= {200, 400, 413, 503}
