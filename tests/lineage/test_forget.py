"""What a client sent is taken back: the graph is then that of everybody else's events."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import Refused, UsageError
from airflow_mlsec.ledger import acts
from airflow_mlsec.lineage import Forgotten, Ingest, Quarantine, Received, forget_client
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from tests.actors import who
from tests.lineage.snapshot import snapshot
from tests.lineage.test_properties import NOBODY, events

OURS, EVE, BOB = "", "eve", "bob"
ADMIN = who("ada")
# What events say, in a snapshot.
SAID = ("edges", "touched", "assumed", "aliases", "lifecycle", "dependencies", "facets")


class Sending:
    """A register with one writer that goes on through everything, as the api-server's does."""

    def __init__(self, register: Register, folder: Path) -> None:
        self.register = register
        quarantine = Quarantine(register, partial(KeyRing.create, folder / "keys"))
        self._ingest = Ingest(register, NOBODY, quarantine)

    def send(self, sent: list[tuple[str, dict[str, Any]]], batch: int = 3) -> None:
        given = []
        for i, (author, event) in enumerate(sent):
            raw = json.dumps(event).encode()
            by_client = Received(author, None, str(i), raw, json.loads(raw))
            given.append(by_client if author else (str(i), raw))
        assert self._ingest.write(given, batch=batch).refused == []


def apart(author: str, event: dict[str, Any]) -> dict[str, Any]:
    """The event with jobs and runs that are the author's own; datasets are everybody's, and folders of each other."""
    text = json.dumps(event)
    text = text.replace('"job', f'"{author}job').replace("00000000-", f"{author}0000000-")
    # Job and namespace keys of the event itself were replaced as well.
    text = text.replace(f'"{author}job"', '"job"').replace(f'"{author}jobs"', '"jobs"')
    return json.loads(text.replace('"/b"', '"/a/b"'))  # type: ignore[no-any-return]


@st.composite
def histories(draw: Any) -> list[tuple[str, dict[str, Any]]]:
    authors = st.sampled_from([OURS, EVE, EVE, BOB])
    sent = [(draw(authors), draw(events())) for _ in range(draw(st.integers(1, 8)))]
    return [(author, apart(author, event)) for author, event in sent]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "register.db"
    Register(f"sqlite:///{path}").upgrade()
    return path


def compared(register: Register, expected: Register) -> dict[str, Any]:
    """What differs between two graphs in what is said of datasets and columns that the second knows."""
    ours, theirs = snapshot(register), snapshot(expected)
    datasets = {row[:2] for row in theirs["datasets"]}
    columns = {row[:3] for row in theirs["columns"]}

    def known(node: Any) -> bool:
        return node[:2] in datasets and (node[2].startswith("<") or node in columns)

    ours["edges"] = {edge for edge in ours["edges"] if known(edge[0]) and known(edge[1])}
    ours["aliases"] = {a for a in ours["aliases"] if a[0] in datasets and a[1] in datasets}
    differing = {name: (ours[name] ^ theirs[name]) for name in SAID if ours[name] != theirs[name]}
    return differing


# Not shrunk: a history is short, and each try writes two registers.
@settings(phases=[Phase.generate])
@given(sent=histories())
def test_the_graph_is_that_of_the_others(
    tmp_path_factory: pytest.TempPathFactory, empty: Path, sent: list[tuple[str, dict[str, Any]]]
) -> None:
    folder = tmp_path_factory.mktemp("forget")

    def fresh(name: str) -> Sending:
        shutil.copyfile(empty, folder / name)
        return Sending(Register(f"sqlite:///{folder / name}"), folder)

    everybody, others = fresh("all.db"), fresh("others.db")
    everybody.send(sent)
    others.send([(author, event) for author, event in sent if author != EVE])
    before = snapshot(everybody.register)
    if not any(author == EVE for author, _ in sent):
        with pytest.raises(UsageError, match="no client 'eve' has sent anything"):
            forget_client(everybody.register, EVE, ADMIN)
        return
    try:
        looked = forget_client(everybody.register, EVE, ADMIN, dry_run=True)
    except UsageError:
        return  # it only named datasets
    assert snapshot(everybody.register) == before
    assert forget_client(everybody.register, EVE, ADMIN) == looked
    assert compared(everybody.register, others.register) == {}
    # The writer remembers nothing that is gone: what the others send again changes nothing, and what the client
    # sends again is there again.
    everybody.send([(author, event) for author, event in sent if author != EVE])
    assert compared(everybody.register, others.register) == {}
    everybody.send(sent)
    after = snapshot(everybody.register)
    for name in (*SAID, "runs"):
        assert after[name] == before[name], name
    # And can be forgotten again.
    forget_client(everybody.register, EVE, ADMIN)
    assert compared(everybody.register, others.register) == {}


def read_and_written(run: str, source: str, target: str) -> dict[str, Any]:
    return {
        "eventTime": "2026-03-01T12:00:00Z", "eventType": "COMPLETE", "producer": "p", "schemaURL": "s",
        "run": {"runId": run}, "job": {"namespace": "n", "name": run},
        "inputs": [{"namespace": "file", "name": source}],
        "outputs": [{"namespace": "file", "name": target}],
    }  # fmt: skip


def edges(register: Register) -> set[tuple[str, str]]:
    return {(source[1], target[1]) for source, target, _ in snapshot(register)["edges"]}


def test_what_several_reported_stays_and_is_counted(register: Register, tmp_path: Path) -> None:
    """Also if a task reported it first, which leaves no trace of its own."""
    sending = Sending(register, tmp_path)
    sending.send([(OURS, read_and_written("r1", "/a", "/b"))])
    sending.send([(EVE, read_and_written("r1", "/x", "/b"))])
    sending.send([(EVE, read_and_written("r2", "/x", "/c")), (BOB, read_and_written("r2", "/x", "/c"))])  # fmt: skip
    sending.send([(EVE, read_and_written("r3", "/x", "/d"))])
    sending.send([(EVE, read_and_written("r4", "/x", "/e"))])
    sending.send([(OURS, read_and_written("r4", "/x", "/e"))])
    assert forget_client(register, EVE, ADMIN) == Forgotten(runs=1, edges=1, runs_left=3)
    assert edges(register) == {("/a", "/b"), ("/x", "/b"), ("/x", "/c"), ("/x", "/e")}
    # Again: nothing more, and no act.
    assert forget_client(register, EVE, ADMIN) == Forgotten(runs_left=3)
    assert forget_client(register, BOB, ADMIN) == Forgotten(runs_left=1)
    [act] = [act for act in register.read(acts) if act.verb == "forgotten"]
    assert (act.asset.name, act.by, act.evidence["runs"]) == ("api:eve", "airflow:ada", 1)


def test_only_what_came_since_then(register: Register, tmp_path: Path) -> None:
    sending = Sending(register, tmp_path)
    sending.send([(EVE, read_and_written("r1", "/a", "/b")), (EVE, read_and_written("r2", "/a", "/c"))])  # fmt: skip
    since = register.now()
    # Of a run that it reported before too, its parts cannot be told apart.
    sending.send([(EVE, read_and_written("r2", "/z", "/c")), (EVE, read_and_written("r3", "/z", "/d"))])  # fmt: skip
    renamed = read_and_written("r3", "/z", "/d")
    renamed["outputs"][0]["facets"] = {
        "lifecycleStateChange": {
            "lifecycleStateChange": "RENAME",
            "previousIdentifier": {"namespace": "file", "name": "/b"},
        }
    }
    sending.send([(EVE, renamed)])
    assert ("/b", "/d") in edges(register)
    done = forget_client(register, EVE, ADMIN, since)
    assert (done.runs, done.names, done.changes, done.runs_left) == (1, 1, 1, 1)
    assert edges(register) == {("/a", "/b"), ("/a", "/c"), ("/z", "/c")}
    with pytest.raises(UsageError, match="no client 'eve' has sent anything since then"):
        forget_client(register, EVE, ADMIN, register.now())


def test_what_is_in_quarantine_cannot_come_back(sqlite_register: Register, tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "keys")
    held = Quarantine(sqlite_register, lambda: ring)
    held.hold([(b'{"of": "eve"}', "http", "no eventTime", EVE), (b"{}", "http", "no job", BOB)])
    with pytest.raises(UsageError):
        forget_client(sqlite_register, EVE, ADMIN, sqlite_register.now())
    assert forget_client(sqlite_register, EVE, ADMIN, dry_run=True) == Forgotten(held=1)
    assert len(held.held()) == 2
    assert forget_client(sqlite_register, EVE, ADMIN) == Forgotten(held=1)
    assert [event.client for event in held.held()] == [BOB]
    of_eve = t.quarantine.c.client == EVE
    [row] = sqlite_register.rows(sa.select(t.quarantine).where(of_eve))
    assert (row.status, bytes(row.payload)) == ("discarded", b"")


def test_not_everybody_may(sqlite_register: Register, tmp_path: Path) -> None:
    Sending(sqlite_register, tmp_path).send([(EVE, read_and_written("r1", "/a", "/b"))])
    for somebody in (who("vera", "viewer"), who("otto", "operator")):
        with pytest.raises(Refused):
            forget_client(sqlite_register, EVE, somebody)
    assert edges(sqlite_register) == {("/a", "/b")}


def test_what_signed_evidence_says_is_not_the_clients(
    sqlite_register: Register, tmp_path: Path
) -> None:
    """The client claimed the same edge, in the words of the evidence."""
    from airflow_mlsec.lineage.events._origins import write_origins
    from airflow_mlsec.register import dataset_id

    event = read_and_written("r1", "/a", "/b")
    field = {"namespace": "file", "name": "/a", "field": "x"}
    said = {"type": "DIRECT", "description": "as signed evidence says"}  # fmt: skip
    lineage = {"fields": {}, "dataset": [{**field, "transformations": [said]}]}
    event["outputs"][0]["facets"] = {"columnLineage": lineage}
    Sending(sqlite_register, tmp_path).send([(EVE, event)])

    def origins(connection: sa.Connection) -> None:
        now = sqlite_register.now()
        artifact = dataset_id(connection, "file", "/b", now)
        write_origins(connection, artifact, [("file", "/a")], now)

    sqlite_register.write(origins)
    forget_client(sqlite_register, EVE, ADMIN)
    assert ("/a", "/b") in edges(sqlite_register)
    assert sqlite_register.rows(sa.select(t.flow.c.id)) == []


def test_on_the_command_line(tmp_path: Path, mlsec: Any) -> None:
    url = f"sqlite:///{tmp_path / 'register.db'}"
    environment = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__MLSEC__REGISTER_URL": url}
    register = Register(url)
    register.upgrade()
    Sending(register, tmp_path).send([(EVE, read_and_written("r1", "/a", "/b"))])

    def run(*arguments: str, code: int = 0) -> str:
        done = mlsec("lineage", "forget", "--client", *arguments, env=environment)
        assert done.returncode == code, done.stdout + done.stderr
        return str(done.stdout + done.stderr)

    assert "would be forgotten: 1 runs, 1 edges" in run("eve", "--dry-run")
    assert edges(register) == {("/a", "/b")}
    assert "not 'yesterday'" in run("eve", "--since", "yesterday", code=2)
    assert "no client 'bob' has sent anything" in run("bob", code=2)
    assert "forgotten: 1 runs" in run("eve", "--since", "2026-01-01")
    assert edges(register) == set()
