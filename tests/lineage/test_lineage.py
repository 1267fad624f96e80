from __future__ import annotations

import copy
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.crypto import KeyRing, VerificationKeys
from airflow_mlsec.datasets import dataset_name, open_dataset
from airflow_mlsec.errors import UsageError
from airflow_mlsec.lineage import (
    EVIDENCE_FACET,
    Ingest,
    Quarantine,
    State,
    column_states,
    ingest_event,
    lines_of,
    record_release,
    trace,
)
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register, record_policy, set_dataset
from airflow_mlsec.register import tables as t
from tests.approvals import agreed
from tests.lineage.events import dataset, event, lineage
from tests.lineage.snapshot import names_of

NOBODY = VerificationKeys([])


def states(register: Register) -> dict[str, str]:
    """`dataset#column` to state, the sources of dataset-level edges left out."""

    def work(connection: sa.Connection) -> dict[str, str]:
        found = column_states(connection)
        names = names_of(connection)
        return {
            name: found.get(node, State.NONE).label
            for node, name in names.items()
            if not name.endswith("#*")
        }

    return register.read(work)


def declare(register: Register, policy: Policy, name: str) -> None:
    """What ComplianceCheckOperator records of a raw dataset."""

    def work(connection: sa.Connection) -> None:
        now = register.now()
        record_policy(connection, policy.digest, policy.source, policy.canonical(), now)
        set_dataset(connection, "file", name, now, policy_digest=policy.digest, stage="source")

    register.write(work)


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Policy:
    return make_policy(
        "email: {role: identifying, transform: {method: pseudonymize, domain: d}}\n"
        "age: {role: insensitive}",
        subject={"kind": "person", "key": "email"},
    )


RAW = dataset("/raw", ["email", "age"])
JOINED = dataset(
    "/joined", ["mail", "age"], columnLineage=lineage("/raw", {"mail": ["email"], "age": ["age"]})
)
MODEL = dataset("/model")
EVENTS = [
    event("join", [RAW], [JOINED], "START", time="2026-03-01T11:00:00Z"),
    event("join", [RAW], [JOINED]),
    event("train", [dataset("/joined")], [MODEL]),
    event("count", [RAW], [dataset("/counts", ["n"])]),
]


def graph(register: Register) -> set[tuple[str, str, str]]:
    def work(connection: sa.Connection) -> set[tuple[str, str, str]]:
        names = names_of(connection)
        kinds = dict(
            tuple(r)
            for r in connection.execute(sa.select(t.transformation.c.id, t.transformation.c.kind))
        )
        edges = connection.execute(sa.select(t.edge))
        return {(names[e.source_id], names[e.target_id], kinds[e.transformation_id]) for e in edges}

    return register.read(work)


def test_events_become_columns_edges_and_runs(register: Register) -> None:
    for item in EVENTS:
        ingest_event(item, register, NOBODY)
    edges = graph(register)
    assert ("/raw#email", "/joined#mail", "direct") in edges
    assert ("/joined#*", "/model#", "assumed") in edges
    assert ("/raw#email", "/joined#age", "direct") not in edges
    runs = register.rows(sa.select(t.run).order_by(t.run.c.id))
    assert runs[0].state == "complete"
    assert (runs[0].started_at, runs[0].ended_at) == (
        "2026-03-01T11:00:00.000000Z",
        "2026-03-01T12:00:00.000000Z",
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_the_order_and_number_of_events_do_not_matter(
    sqlite_register: Register, tmp_path: Path, order: tuple[int, ...]
) -> None:
    for item in EVENTS:
        ingest_event(item, sqlite_register, NOBODY)
    other = Register(f"sqlite:///{tmp_path}/other.db")
    for number in (*order, *order):
        ingest_event(copy.deepcopy(EVENTS[number]), other, NOBODY)
    assert graph(other) == graph(sqlite_register)
    query = sa.select(t.run.c.uuid, t.run.c.state, t.run.c.started_at, t.run.c.ended_at)
    assert set(other.rows(query)) == set(sqlite_register.rows(query))


def test_a_personal_column_stays_personal_along_every_edge(
    register: Register, policy: Policy
) -> None:
    for item in EVENTS:
        ingest_event(item, register, NOBODY)
    assert set(states(register).values()) == {"none"}
    declare(register, policy, "/raw")
    found = states(register)
    assert found["/raw#email"] == found["/joined#mail"] == found["/model#"] == "identified"
    assert found["/counts#n"] == "identified", "what depends on the whole may hold any of it"


def test_a_masking_flag_of_others_proves_nothing(register: Register, policy: Policy) -> None:
    masked = lineage(
        "/raw", {"x": ["email"]}, type="DIRECT", subtype="TRANSFORMATION", masking=True
    )
    old = {"fields": {"y": {"inputFields": [{"namespace": "file", "name": "/raw", "field": "email"}],
                            "transformationType": "MASKED"}}}  # fmt: skip
    ingest_event(event("a", [RAW], [dataset("/a", ["x"], columnLineage=masked)]), register, NOBODY)
    ingest_event(event("b", [RAW], [dataset("/b", ["y"], columnLineage=old)]), register, NOBODY)
    declare(register, policy, "/raw")
    assert states(register)["/a#x"] == states(register)["/b#y"] == "identified"


@pytest.fixture
def released(
    tmp_path: Path, write: Callable[..., str], policy: Policy, keys: KeyRing
) -> Callable[..., dict[str, Any]]:
    """Anonymize a small dataset for real and record it; returns the signed envelope."""
    table = pa.table({"email": ["a@b.c", "d@e.f"], "age": [1, 2]})
    write(tmp_path / "raw.parquet", table)

    def run(register: Register, by: Policy = policy) -> dict[str, Any]:
        source = open_dataset(str(tmp_path / "raw.parquet"))
        target = open_dataset(str(tmp_path / "safe.parquet"))
        done = anonymize(by, source, target, keys)
        return record_release(register, keys, by, source, target, done.result("run"))  # fmt: skip

    return run


def release_event(folder: Path, envelope: dict[str, Any]) -> dict[str, Any]:
    raw, safe = str(folder / "raw.parquet"), str(folder / "safe.parquet")
    facets = {
        "columnLineage": lineage(raw, {"email": ["email"], "age": ["age"]}),
        EVIDENCE_FACET: {"envelope": envelope},
    }
    return event(
        "release", [dataset(raw, ["email", "age"])], [dataset(safe, ["email", "age"], **facets)]
    )


def test_our_signed_evidence_makes_a_release_pseudonymous(
    register: Register, released: Callable[..., dict[str, Any]], tmp_path: Path, keys: KeyRing
) -> None:
    envelope = released(register)
    trusted = keys.verification_keys()
    ingest_event(release_event(tmp_path, envelope), register, trusted)
    safe = str(tmp_path / "safe.parquet")
    ingest_event(event("train", [dataset(safe)], [MODEL]), register, trusted)
    found = states(register)
    assert found[f"{tmp_path}/raw.parquet#email"] == "identified"
    assert found[f"{safe}#email"] == found[f"{safe}#age"] == found["/model#"] == "pseudonymous"
    ingest_event(
        event("leak", [dataset(f"{tmp_path}/raw.parquet")], [dataset(safe)]), register, trusted
    )
    assert states(register)[f"{safe}#email"] == "pseudonymous", "the evidence is for this very pair"
    ingest_event(event("other", [RAW], [dataset(safe)]), register, trusted)
    declare(register, *_another(register))
    assert states(register)[f"{safe}#email"] == "identified", "a second, unproven source"


def _another(register: Register) -> tuple[Policy, str]:
    from airflow_mlsec.policy import parse_policy

    text = "version: 1\ndataset: x\nowner: o\ncolumns:\n  email: {role: identifying, transform: {method: drop}}\n"
    return parse_policy(text), "/raw"


@pytest.mark.parametrize(
    "forgery", ["other signer", "changed", "other dataset", "unsigned", "garbage"]
)
def test_forged_evidence_changes_nothing(
    register: Register, released: Callable[..., dict[str, Any]], tmp_path: Path, keys: KeyRing,
    policy: Policy, forgery: str,
) -> None:  # fmt: skip
    import base64

    envelope = released(Register(f"sqlite:///{tmp_path}/elsewhere.db"))
    trusted = keys.verification_keys()
    made = release_event(tmp_path, envelope)
    if forgery == "other signer":
        trusted = KeyRing.create(tmp_path / "mallory").verification_keys()
    elif forgery == "changed":
        payload = base64.b64decode(envelope["payload"]).replace(b'"pseudonymous"', b'"anonymous"')
        envelope["payload"] = base64.b64encode(payload).decode()
    elif forgery == "other dataset":
        made["outputs"][0]["name"] = "/elsewhere"
    elif forgery == "unsigned":
        envelope["signatures"] = []
    else:
        made["outputs"][0]["facets"][EVIDENCE_FACET] = {"envelope": ["x"]}
    ingest_event(made, register, trusted)
    declare(register, policy, str(tmp_path / "raw.parquet"))
    assert states(register)[f"{made['outputs'][0]['name']}#email"] == "identified"
    assert register.rows(sa.select(t.evidence)) == []


@pytest.mark.parametrize(
    ("columns", "more", "expected"),
    [
        pytest.param(
            "email: {role: identifying, transform: {method: mask, keep_last: 4}}\nage: {role: insensitive}",
            {}, "identified", id="a masked identifier may still identify",
        ),
        pytest.param(
            "email: {role: identifying, transform: {method: drop}}\nage: {role: insensitive}",
            {}, "pseudonymous", id="no model, no claim",
        ),
        pytest.param(
            "email: {role: identifying, transform: {method: drop}}\n"
            "age: {role: quasi-identifying, hierarchy: {kind: suppress}}",
            {"privacy": {"k_anonymity": 2}}, "pseudonymous", id="nobody claims it",
        ),
        pytest.param(
            "email: {role: identifying, transform: {method: drop}}\n"
            "age: {role: quasi-identifying, hierarchy: {kind: suppress}}",
            {"privacy": {"k_anonymity": 2}, "anonymity": {"claimed_by": "DPO", "reason": "k=2"}},
            "anonymous", id="verified and claimed",
        ),
        pytest.param(
            "email: {role: identifying, transform: {method: pseudonymize, domain: d}}\n"
            "age: {role: quasi-identifying, hierarchy: {kind: suppress}}",
            {"privacy": {"k_anonymity": 2}, "anonymity": {"claimed_by": "DPO", "reason": "k=2"}},
            "pseudonymous", id="a pseudonym is left, whatever is claimed",
        ),
    ],
)  # fmt: skip
def test_what_a_release_becomes(
    sqlite_register: Register, released: Callable[..., dict[str, Any]], tmp_path: Path, keys: KeyRing,
    make_policy: Callable[..., Policy], columns: str, more: dict[str, Any], expected: str,
) -> None:  # fmt: skip
    by = make_policy(columns, subject={"kind": "person", "key": "email"}, **more)
    envelope = released(sqlite_register, by)
    ingest_event(release_event(tmp_path, envelope), sqlite_register, keys.verification_keys())
    assert states(sqlite_register)[f"{tmp_path}/safe.parquet#age"] == expected


def test_trace_goes_up_and_down(register: Register, policy: Policy) -> None:
    for item in EVENTS:
        ingest_event(item, register, NOBODY)
    declare(register, policy, "/raw")
    down = trace(register, "/raw#email", "down").nodes
    reached = {(n.dataset, n.column) for n in down}
    assert reached == {("/joined", "mail"), ("/counts", "n"), ("/model", "")}
    assert all(node.state is State.IDENTIFIED for node in down)
    assert [n.via for n in down if n.dataset == "/joined"] == ["IDENTITY"]
    up = {(n.dataset, n.column) for n in trace(register, "/model", "up").nodes}
    assert {("/joined", "mail"), ("/joined", "age"), ("/raw", "email"), ("/raw", "age")} <= up
    assert trace(register, "/raw#age", "up").nodes == ()
    assert ("/joined", "mail") not in {
        (n.dataset, n.column) for n in trace(register, "/raw#age", "down").nodes
    }


def test_trace_of_diamonds_and_cycles_ends(sqlite_register: Register) -> None:
    for layer in range(18):
        for side in "ab":
            out = dataset(
                f"/{layer + 1}{side}", ["x"],
                columnLineage={"fields": {"x": {"inputFields": [
                    {"namespace": "file", "name": f"/{layer}{s}", "field": "x"} for s in "ab"]}}},
            )  # fmt: skip
            ins = [dataset(f"/{layer}{s}", ["x"]) for s in "ab"]
            ingest_event(event(f"{layer}{side}", ins, [out]), sqlite_register, NOBODY)
    back = dataset("/0a", ["x"], columnLineage=lineage("/18a", {"x": ["x"]}))
    ingest_event(event("back", [dataset("/18a", ["x"])], [back]), sqlite_register, NOBODY)
    found = trace(sqlite_register, "/0a#x", "down").nodes
    assert len(found) == 36, "every column but the start and the one that nothing leads to"
    assert max(node.distance for node in found) == 18


def test_what_the_register_does_not_know_is_said(register: Register) -> None:
    for item in EVENTS:
        ingest_event(item, register, NOBODY)
    with pytest.raises(UsageError, match="knows no dataset '/nothing'"):
        trace(register, "/nothing#x", "up")
    with pytest.raises(UsageError, match="has no column 'x'; it has age, email"):
        trace(register, "/raw#x", "up")


def ingest_lines(register: Register, keys: KeyRing, text: str):  # type: ignore[no-untyped-def]
    """Ingest NDJSON as the command line does; the report and the quarantine."""
    quarantine = Quarantine(register, lambda: keys)
    lines = lines_of(io.BytesIO(text.encode()), "events")
    return Ingest(register, NOBODY, quarantine).write(lines), quarantine


def test_malformed_events_are_kept_in_quarantine_with_the_reason(
    register: Register, keys: KeyRing
) -> None:
    lines = [json.dumps(item) for item in EVENTS]
    lines += [
        '{"job": {"namespace": "a", "name": "b"}}',
        "",
        "{",
        "[]",
        '{"run": {}}',
        '{"run": 5}',
    ]
    lines += ['{"run": {"runId": "x"}, "job": {"namespace": "a"}, "eventTime": "t"}']
    report, quarantine = ingest_lines(register, keys, "\n".join(lines))
    assert report.accepted == 4
    assert [source for source, _ in report.refused] == [f"events:{n}" for n in (5, 7, 8, 9, 10, 11)]
    held = quarantine.held()
    assert [quarantine.content(event.id).decode().strip() for event in held] == [
        lines[n] for n in (4, 6, 7, 8, 9, 10)
    ]
    assert all(event.reason for event in held)
    ingest_lines(register, keys, "{\n{\n")
    assert len(quarantine.held()) == 6, "the same event is kept once"
    quarantine.settle(held[0].id, "discarded")
    assert len(quarantine.held()) == 5


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(
            ["fields", "inputFields", "namespace", "name", "field", "dataset", "transformations", "type"]), x, max_size=4),
        max_leaves=15,
    )
)  # fmt: skip
def test_any_facet_is_read_or_passed_over(sqlite_register: Register, facet: object) -> None:
    out = {"namespace": "file", "name": "/x", "facets": {"columnLineage": facet, "schema": facet}}
    try:
        ingest_event(event("any", [], [out]), sqlite_register, NOBODY)
    except UsageError as error:
        assert "malformed" in str(error)


@pytest.mark.parametrize(
    "name", ["/a b", "/a#b", "/a/b:c|d", "/Zoë/🌍", "/a'b\"c;--", "/" + "x" * 2000]
)
def test_names_with_every_separator(register: Register, name: str) -> None:
    column = f"c#{name[-20:]}"
    out = dataset("/out", [column], columnLineage=lineage(name, {column: [column]}))
    ingest_event(event("j", [dataset(name, [column])], [out]), register, NOBODY)
    [node] = trace(register, f"{name}#{column}", "down").nodes
    assert (node.dataset, node.column) == ("/out", column)
    [node] = trace(register, f"/out#{column}", "up").nodes
    assert (node.dataset, node.column) == (name, column)


def test_the_local_filesystem_has_one_name(register: Register) -> None:
    for spelled in ("file", "file://", "file://localhost"):
        ingest_event(event("j", [dataset("/raw", ["a"], namespace=spelled)], []), register, NOBODY)
    assert len(register.rows(sa.select(t.dataset))) == 1


def test_evidence_is_void_once_another_run_has_written(
    register: Register, released: Callable[..., dict[str, Any]], tmp_path: Path, keys: KeyRing
) -> None:
    envelope = released(register)
    trusted = keys.verification_keys()
    ingest_event(release_event(tmp_path, envelope), register, trusted)
    safe, raw = str(tmp_path / "safe.parquet"), str(tmp_path / "raw.parquet")
    assert states(register)[f"{safe}#email"] == "pseudonymous"
    # An unproven run that copies, and even shows the genuine statement again.
    facets = {
        "columnLineage": lineage(raw, {"email": ["email"], "name": ["email"]}),
        EVIDENCE_FACET: {"envelope": envelope},
    }
    copied = event(
        "copy",
        [dataset(raw, ["email"])],
        [dataset(safe, ["name"], **facets)],
        time="2999-01-01T00:00:00Z",
    )
    ingest_event(copied, register, trusted)
    found = states(register)
    assert found[f"{safe}#email"] == found[f"{safe}#name"] == "identified"


def test_evidence_speaks_only_of_the_columns_it_names(
    register: Register, released: Callable[..., dict[str, Any]], tmp_path: Path, keys: KeyRing
) -> None:
    envelope = released(register)
    made = release_event(tmp_path, envelope)
    lines = made["outputs"][0]["facets"]["columnLineage"]["fields"]
    lines["smuggled"] = lines["email"]
    made["outputs"][0]["facets"]["schema"]["fields"].append({"name": "smuggled"})
    ingest_event(made, register, keys.verification_keys())
    found = states(register)
    assert found[f"{tmp_path}/safe.parquet#email"] == "pseudonymous"
    assert found[f"{tmp_path}/safe.parquet#smuggled"] == "identified"


def test_an_earlier_statement_shown_again_stays_the_earlier_one(
    register: Register, released: Callable[..., dict[str, Any]], tmp_path: Path, keys: KeyRing,
    make_policy: Callable[..., Policy],
) -> None:  # fmt: skip
    first = released(register)
    masked = make_policy(
        "email: {role: identifying, transform: {method: mask, keep_last: 9}}\nage: {role: insensitive}",
        subject={"kind": "person", "key": "email"},
    )
    agreed(register, masked, dataset_name(str(tmp_path / "raw.parquet")))
    released(register, masked)
    ingest_event(release_event(tmp_path, first), register, keys.verification_keys())
    assert states(register)[f"{tmp_path}/safe.parquet#email"] == "identified"


def test_inputs_and_outputs_may_come_with_different_events(
    register: Register, policy: Policy
) -> None:
    ingest_event(event("etl", [RAW], [], "START"), register, NOBODY)
    ingest_event(event("etl", [], [dataset("/out", ["x"])], "FAIL"), register, NOBODY)
    declare(register, policy, "/raw")
    assert states(register)["/out#x"] == "identified", "also where the run failed after writing"


def test_an_input_that_no_column_edge_explains_reaches_the_whole_output(
    register: Register, policy: Policy
) -> None:
    out = dataset("/out", ["c", "d"], columnLineage=lineage("/lookup", {"c": ["c"]}))
    ingest_event(event("j", [RAW, dataset("/lookup", ["c"])], [out]), register, NOBODY)
    declare(register, policy, "/raw")
    assert states(register)["/out#d"] == "identified"


@pytest.mark.parametrize(
    "line", ['{"a": "\\ud800"}', "[" * 100_000, "1" * 5000, '{"run":{"runId":"\\ud800"}}']
)
def test_hostile_lines_do_not_stop_the_others(register: Register, keys: KeyRing, line: str) -> None:
    report, quarantine = ingest_lines(register, keys, f"{line}\n{json.dumps(EVENTS[1])}\n")
    assert report.accepted == 1
    [held] = quarantine.held()
    assert quarantine.content(held.id).decode().strip() == line


def test_a_dataset_of_another_namespace_cannot_hide_a_trace(register: Register) -> None:
    for item in EVENTS:
        ingest_event(item, register, NOBODY)
    ingest_event(event("x", [dataset("/raw", ["z"], namespace="evil")], []), register, NOBODY)
    with pytest.raises(UsageError, match="may mean 2 things"):
        trace(register, "/raw", "down")
    assert trace(register, "file//raw", "down").nodes


def test_local_paths_have_one_spelling(register: Register) -> None:
    for name in ("/d/raw", "/d/x/../raw", "/d//raw", "/d/./raw"):
        ingest_event(event("j", [dataset(name, ["a"])], []), register, NOBODY)
    assert len(register.rows(sa.select(t.dataset))) == 1


@pytest.mark.parametrize("kind", ["COMPLETE", "FAIL", "RUNNING"])
def test_a_foreign_run_cannot_claim_our_evidence(
    register: Register, released: Callable[..., dict[str, Any]], tmp_path: Path, keys: KeyRing, kind: str
) -> None:  # fmt: skip
    envelope = released(register)
    foreign = release_event(tmp_path, envelope)
    foreign.update(eventType=kind, eventTime="2999-01-01T00:00:00Z")
    ingest_event(foreign, register, keys.verification_keys())
    assert states(register)[f"{tmp_path}/safe.parquet#email"] == "identified"
