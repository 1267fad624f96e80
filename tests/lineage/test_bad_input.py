"""Events that are huge, skewed or odd, and graphs that turn in circles."""

from __future__ import annotations

import json

import pytest

from airflow_mlsec.crypto import KeyRing, VerificationKeys
from airflow_mlsec.lineage import Ingest, Quarantine, State, ingest_event, trace
from airflow_mlsec.register import Register
from tests.lineage.events import dataset, event, lineage
from tests.lineage.snapshot import snapshot
from tests.lineage.test_properties import declare, states

NOBODY = VerificationKeys([])


def test_an_event_of_ten_megabytes_is_kept(sqlite_register: Register, keys: KeyRing) -> None:
    columns = [f"column_{i:05}_{'x' * 60}" for i in range(22_000)]
    facet = lineage("/in", {name: [name] for name in columns})
    out = dataset("/out", columns, columnLineage=facet)
    made = event("wide", [dataset("/in", columns)], [out])
    line = json.dumps(made).encode()
    assert len(line) > 10 * 2**20
    ingest = Ingest(sqlite_register, NOBODY, Quarantine(sqlite_register, lambda: keys))
    assert ingest.write([("wide", line)]).refused == []
    assert len(snapshot(sqlite_register)["edges"]) == 22_000
    [node] = trace(sqlite_register, f"/out#{columns[7]}", "up").nodes
    assert (node.dataset, node.column) == ("/in", columns[7])


def test_clocks_that_disagree_do_not_matter(register: Register) -> None:
    early, late = "1999-01-01T00:00:00Z", "2999-12-31T23:59:59Z"
    out = [dataset("/b", ["x"], columnLineage=lineage("/a", {"x": ["x"]}))]
    ingest_event(event("j", [dataset("/a")], out, "START", time=late), register, NOBODY)
    ingest_event(event("j", [dataset("/a")], out, "COMPLETE", time=early), register, NOBODY)
    [run] = snapshot(register)["runs"]
    assert (run[2], run[3][:4], run[4][:4]) == ("complete", "2999", "1999")
    assert len(snapshot(register)["edges"]) == 1


@pytest.mark.parametrize("length", [1, 2, 50])
def test_columns_in_a_circle_keep_their_state(register: Register, length: int) -> None:
    declare(register, "/t0")
    for i in range(length):
        into = f"/t{(i + 1) % length}"
        made = dataset(into, ["x"], columnLineage=lineage(f"/t{i}", {"x": ["x"]}))
        ingest_event(event(f"j{i}", [], [made]), register, NOBODY)
    found = states(register)
    assert {found[f"/t{i}#x"] for i in range(length)} == {State.IDENTIFIED}


def test_a_line_that_is_no_event_leaves_the_others(register: Register, keys: KeyRing) -> None:
    good = json.dumps(event("j", [dataset("/a")], [dataset("/b")])).encode()
    bad = [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"run": 1}',
        b"1e999",
        good[:-5],
        b"[" * 100_000,
    ]
    lines = [(str(i), line) for i, line in enumerate([*bad[:5], good, *bad[5:]])]
    report = Ingest(register, NOBODY, Quarantine(register, lambda: keys)).write(lines)
    assert (report.accepted, len(report.refused)) == (1, len(bad))
    assert len(snapshot(register)["runs"]) == 1
