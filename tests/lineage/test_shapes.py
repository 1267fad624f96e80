"""Shapes of events that producers and the specification's own examples have, and what they mean."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.crypto import VerificationKeys
from airflow_mlsec.lineage import ingest_event
from airflow_mlsec.lineage.events._events import Malformed
from airflow_mlsec.lineage.events._read_event import read_event
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t
from tests.lineage.events import dataset, event, lineage
from tests.lineage.snapshot import snapshot

NOBODY = VerificationKeys([])


def entry(name: str, *sources: str, **more: Any) -> dict[str, Any]:
    inputs = [{"namespace": "file", "name": source, "type": "DATASET"} for source in sources]
    return {"namespace": "file", "name": name, "type": "DATASET", "inputs": inputs, **more}


def job(name: str, *sources: dict[str, Any]) -> dict[str, Any]:
    return {"namespace": "test", "name": name, "type": "JOB", "inputs": list(sources)}


def flows(register: Register, *items: dict[str, Any]) -> set[str]:
    for item in items:
        ingest_event(item, register, NOBODY)
    return {
        f"{s[1]}#{s[2]} {kind[0]} {e[1]}#{e[2]}".replace("#<into>", "").replace("#<out of>", "")
        for s, e, kind in snapshot(register)["edges"]
    }


def kept_facets(register: Register) -> dict[str, Any]:
    return {row.name: row.document for row in register.rows(sa.select(t.facet))}


def with_entries(made: dict[str, Any], *entries: Any, key: str = "entries", on: str = "job") -> Any:
    made[on]["facets"] = {"lineage": {key: list(entries)}}
    return made


def test_a_lineage_facet_leaves_nothing_to_be_assumed(register: Register) -> None:
    made = event("j", [dataset("/a"), dataset("/b")], [dataset("/c"), dataset("/d")])
    with_entries(made, entry("/c", "/a"), entry("/d", "/b"))
    assert flows(register, made) == {"/a direct /c", "/b direct /d"}


def test_an_output_without_sources_has_none(register: Register) -> None:
    made = event("j", [dataset("/conf")], [dataset("/out"), dataset("/other")])
    with_entries(made, entry("/out"))
    assert flows(register, made) == {"/conf assumed /other"}


def test_what_a_lineage_facet_said_holds_for_the_whole_run(register: Register) -> None:
    start = with_entries(
        event("j", [dataset("/a")], [dataset("/c")], kind="START"), entry("/c", "/a")
    )
    end = event("j", [dataset("/a"), dataset("/b")], [dataset("/c")])
    assert flows(register, end) == {"/a assumed /c", "/b assumed /c"}
    assert flows(register, start) == {"/a direct /c"}


def test_no_sql_is_read_where_a_lineage_facet_says_all(register: Register) -> None:
    made = event("j", [dataset("i", ["a"], "pg")], [dataset("o", ["a"], "pg")])
    with_entries(made, {"namespace": "pg", "name": "o", "type": "DATASET", "inputs": []})
    made["job"]["facets"]["sql"] = {"query": "INSERT INTO o SELECT a FROM i"}
    assert flows(register, made) == set()


def test_a_stream_that_never_ends_has_lineage(register: Register) -> None:
    made = event(
        "j", [dataset("in", (), "kafka://k")], [dataset("out", (), "kafka://k")], "RUNNING"
    )
    assert flows(register, made) == {"in assumed out"}


def test_column_lineage_of_an_input_is_not_the_runs_work(register: Register) -> None:
    told = dataset("/i", columnLineage=lineage("/raw", {"a": ["x"]}))
    made = event("j", [told, dataset("/j")], [dataset("/o")])
    assert flows(register, made) == {"/raw#x direct /i#a", "/i assumed /o", "/j assumed /o"}
    again = event("j", [dataset("/j")], [dataset("/o")], kind="OTHER")
    assert len(flows(register, again)) == 3


def test_lineage_takes_precedence_over_column_lineage(register: Register) -> None:
    beside = dataset("/o", columnLineage=lineage("/z", {"a": ["zzz"]}))
    beside["facets"]["lineage"] = {
        "fields": {"a": {"inputs": [{"namespace": "file", "name": "/i", "type": "DATASET", "field": "x"}]}}
    }  # fmt: skip
    assert flows(register, event("j", [], [beside])) == {"/i#x direct /o#a"}


def test_a_deleted_or_empty_lineage_facet_says_nothing(register: Register) -> None:
    for facet in ({"_deleted": True, "inputs": []}, {}):
        out = dataset("/o", columnLineage=lineage("/z", {"a": ["b"]}), lineage=facet)
        assert flows(register, event("j", [dataset("/z")], [out])) == {"/z#b direct /o#a"}


@pytest.mark.parametrize("key", ["entries", "lineage"])
@pytest.mark.parametrize("on", ["job", "run"])
def test_both_names_of_the_entries_are_read(register: Register, key: str, on: str) -> None:
    made = with_entries(event("j", [], []), entry("/c", "/a"), key=key, on=on)
    assert flows(register, made) == {"/a direct /c"}


def test_a_type_may_be_left_out_or_small(register: Register) -> None:
    one = entry("/c", "/a")
    del one["type"], one["inputs"][0]["type"]
    made = with_entries(event("j", [], []), one, {**entry("/d", "/b"), "type": "dataset"})
    assert flows(register, made) == {"/a direct /c", "/b direct /d"}
    with pytest.raises(Malformed, match="DATASET or JOB"):
        read_event(with_entries(event("j", [], []), {**entry("/d"), "type": "MODEL"}))


def test_jobs_that_a_dataset_comes_from(register: Register) -> None:
    source = {"namespace": "test", "name": "loader", "type": "JOB"}
    given = {
        "eventTime": "2026-03-01T12:00:00Z",
        "dataset": dataset("/v", lineage={"inputs": [source]}),
    }
    read = with_entries(event("other", [], []), job("loader", entry("/raw")))
    assert flows(register, given, read) == {"/raw assumed /v"}


def test_a_job_entry_of_the_runs_own_job_is_its_input(register: Register) -> None:
    made = with_entries(event("own", [], [dataset("/o")]), job("own", entry("/i")))
    assert flows(register, made) == {"/i assumed /o"}


def test_through_the_own_job_flows_all_that_it_read(register: Register) -> None:
    made = event("j", [dataset("/other")], [])
    nameless = {"type": "JOB"}
    with_entries(
        made, {"type": "JOB", "inputs": [entry("/a")]}, {**entry("/c"), "inputs": [nameless]}
    )
    assert flows(register, made) == {"/a assumed /c", "/other assumed /c"}


def test_data_between_jobs_is_their_dependency(register: Register) -> None:
    made = with_entries(event("scheduler", [], []), job("x", job("y")))
    assert flows(register, made) == set()
    jobs = {run[0]: run[1][1] for run in snapshot(register)["runs"]}
    [(run, direction, needed, _)] = snapshot(register)["dependencies"]
    assert (jobs[run], direction, needed[1]) == ("x", "upstream", "y")


def test_a_generated_column_is_a_column(register: Register) -> None:
    made = with_entries(
        event("j", [], []), {**entry("/c"), "fields": {"number": {"inputs": [{"type": "JOB"}]}}}
    )
    flows(register, made)
    assert ("file", "/c", "number", None, None) in snapshot(register)["columns"]


def test_the_old_form_of_masking(register: Register) -> None:
    field = {"namespace": "file", "name": "/i", "field": "email"}
    made = {
        "fields": {
            "h": {"inputFields": [field], "transformationType": "MASKED", "transformationDescription": "sha"},
        }
    }  # fmt: skip
    flows(register, event("j", [], [dataset("/o", columnLineage=made)]))
    [(_, _, step)] = snapshot(register)["edges"]
    assert (step[2], step[4]) == ("MASKED", True)


def test_deleted_facets_are_forgotten(register: Register) -> None:
    owned = {"owners": [{"name": "a"}]}
    first = event("j", [], [dataset("/o", ownership=owned)], time="2026-03-01T12:00:00Z")
    deleted = dataset("/o", ownership={"_deleted": True, **owned})
    flows(register, first, event("j", [], [deleted], time="2026-03-01T13:00:00Z"))
    assert kept_facets(register) == {"ownership": {}}
    made = event("k", [dataset("i", ["a"], "pg")], [dataset("o", ["a"], "pg")])
    made["job"]["facets"] = {"sql": {"_deleted": True, "query": "INSERT INTO o SELECT a FROM i"}}
    assert flows(register, made) == {"i assumed o"}


def test_tags_as_a_list_are_tags(register: Register) -> None:
    tags = [{"key": "classification", "value": "PII", "field": "tax_id"}]
    flows(register, event("j", [], [dataset("/o", tags=tags)]))
    assert kept_facets(register) == {"tags": {"tags": tags}}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2021-11-05T10:28:18.969066Z[Europe/London]", "2021-11-05T10:28:18.969066Z"),
        ("2020-12-28t19:52:00z", "2020-12-28T19:52:00.000000Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000000Z"),
        ("2020-12-28T19:52:00+02:00", "2020-12-28T17:52:00.000000Z"),
        ("2020-12-28T19:52:00.123456789Z", "2020-12-28T19:52:00.123456Z"),
    ],
)
def test_times_as_clients_write_them(text: str, read: str) -> None:
    assert read_event(event("j", [], [], time=text)).time == read


def test_one_run_in_two_spellings_is_one(register: Register) -> None:
    run = "6F2D1C3E-0000-4000-8000-000000000001"
    flows(
        register,
        event("j", [dataset("/a")], [], kind="START", run=run),
        event("j", [], [dataset("/b")], run=run.lower()),
    )
    assert [item[0] for item in snapshot(register)["runs"]] == [run.lower()]


def test_what_is_empty_or_null_is_passed_over(register: Register) -> None:
    out = dataset("/o", lifecycleStateChange={})
    out["facets"]["schema"] = {"fields": [{"name": "", "type": "INT"}, {"name": "a"}]}
    out["facets"]["lineage"] = {"fields": {"a": None}}
    field = {"namespace": "file", "name": "/i", "field": "x", "transformations": [None]}
    other = dataset("/p", columnLineage={"fields": {"a": {"inputFields": [field]}}})
    assert flows(register, event("j", [], [out, other])) == {"/i#x direct /p#a"}


def test_what_one_event_renames_and_drops_was_renamed(sqlite_register: Register) -> None:
    renamed, dropped = (
        {
            "namespace": "file",
            "name": "/a",
            "facets": {
                "lifecycleStateChange": {
                    "lifecycleStateChange": change,
                    "previousIdentifier": {"namespace": "file", "name": previous},
                }
            },
        }
        for change, previous in (("RENAME", "/b"), ("DROP", "/a"))
    )
    ingest_event(event("j", [], [renamed, dropped]), sqlite_register, VerificationKeys({}))
    changes = {(row[0][1], row[1]) for row in snapshot(sqlite_register)["lifecycle"]}
    assert ("/b", "RENAME") in changes
    assert ("/b", "DROP") not in changes
