"""Every kind of event and facet, as producers send them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec.crypto import KeyRing, VerificationKeys
from airflow_mlsec.errors import UsageError
from airflow_mlsec.lineage import (
    AirflowApi,
    Ingest,
    Quarantine,
    State,
    TaskRun,
    changes_since,
    columns_reaching,
    dark_list,
    holders,
    ingest_event,
    trace,
)
from airflow_mlsec.register import Register, enrich_columns, set_dataset
from airflow_mlsec.register import tables as t
from tests import canaries
from tests.lineage.events import dataset, event, lineage
from tests.lineage.snapshot import snapshot
from tests.lineage.test_properties import declare

NOBODY = VerificationKeys([])


def ingest(register: Register, *items: dict[str, Any]) -> None:
    for item in items:
        ingest_event(item, register, NOBODY)


def edges(register: Register) -> set[tuple[str, str, str]]:
    """(source#column, target#column, kind) of every edge."""
    return {
        (f"{s[1]}#{s[2]}", f"{e[1]}#{e[2]}", step[0]) for s, e, step in snapshot(register)["edges"]
    }


def test_dataset_and_job_events_are_lineage_too(register: Register) -> None:
    out = dataset("/out", ["b"], columnLineage=lineage("/in", {"b": ["a"]}))
    ingest(register, {"eventTime": "2026-03-01T12:00:00Z", "dataset": out})
    assert edges(register) == {("/in#a", "/out#b", "direct")}
    job = {"namespace": "n", "name": "j"}
    ingest(register, {"eventTime": "2026-03-01T12:00:00Z", "job": job, "inputs": [dataset("/x")], "outputs": [dataset("/y")]})  # fmt: skip
    assert ("/x#<out of>", "/y#<into>", "assumed") in edges(register)
    assert {run[2] for run in snapshot(register)["runs"]} == {"declared"}


def test_transformations_of_every_version(register: Register) -> None:
    source = {"namespace": "file", "name": "/in", "field": "a"}
    facet = {
        "fields": {
            "old": {"inputFields": [source], "transformationType": "IDENTITY", "transformationDescription": "copied"},
            "bare": {"inputFields": [source]},
            "new": {"inputFields": [{**source, "transformations": [
                {"type": "DIRECT", "subtype": "AGGREGATION"},
                {"type": "INDIRECT", "subtype": "JOIN", "masking": True}]}]},
        },
        "dataset": [{**source, "field": "f", "transformations": [{"type": "INDIRECT", "subtype": "FILTER"}]}],
    }  # fmt: skip
    ingest(
        register, event("j", [dataset("/in", ["a", "f"])], [dataset("/out", columnLineage=facet)])
    )
    found = {(s[2], e[2], *step[:5]) for s, e, step in snapshot(register)["edges"]}
    assert found == {
        ("a", "old", "direct", None, "IDENTITY", "copied", False),
        ("a", "bare", "direct", "DIRECT", None, None, None),
        ("a", "new", "direct", "DIRECT", "AGGREGATION", None, None),
        ("a", "new", "indirect", "INDIRECT", "JOIN", None, True),
        ("f", "<into>", "indirect", "INDIRECT", "FILTER", None, None),
    }


def test_the_lineage_facet_of_datasets_jobs_and_runs(register: Register) -> None:
    given = {"namespace": "file", "name": "/in", "type": "DATASET"}
    out = dataset("/out", lineage={
        "inputs": [{**given, "field": "f"}],
        "fields": {"b": {"inputs": [{**given, "field": "a"}]}, "c": {"inputs": [given]}},
    })  # fmt: skip
    ingest(register, event("one", [], [out]))
    assert edges(register) == {
        ("/in#f", "/out#<into>", "direct"),
        ("/in#a", "/out#b", "direct"),
        ("/in#<out of>", "/out#c", "direct"),
    }
    made = event("two", [], [])
    other = {"namespace": "n", "name": "other job", "type": "JOB"}
    made["run"]["facets"] = {"lineage": {"entries": [
        {"namespace": "file", "name": "/x", "type": "DATASET", "fields": {"y": {"inputs": [{**given, "field": "a"}, other]}}},
        {"type": "JOB", "inputs": [{"namespace": "file", "name": "/read", "type": "DATASET"}]},
        {**other, "inputs": [{"namespace": "file", "name": "/read by other", "type": "DATASET"}]},
    ]}}  # fmt: skip
    ingest(register, made)
    found = edges(register)
    assert ("/in#a", "/x#y", "direct") in found
    assert ("/read#<out of>", "/x#<into>", "assumed") not in found, "the entry of /x says all"
    assert ("/read by other#<out of>", "/x#<into>", "assumed") in found, "through the other job"


def test_names_that_are_symlinks_are_one_dataset(register: Register) -> None:
    link = {"identifiers": [{"namespace": "hive", "name": "db.people", "type": "TABLE"}]}
    ingest(register, event("load", [], [dataset("/raw", ["email"], symlinks=link)]))
    copied = {"fields": {"mail": {"inputFields": [{"namespace": "hive", "name": "db.people", "field": "email"}]}}}  # fmt: skip
    ingest(register, event("copy", [], [dataset("/copy", ["mail"], columnLineage=copied)]))
    declare(register, "/raw")
    [node] = trace(register, "/raw#email", "down").nodes
    assert (node.dataset, node.column, node.state) == ("/copy", "mail", State.IDENTIFIED)
    up = {(n.dataset, n.column, n.aliases) for n in trace(register, "/copy#mail", "up").nodes}
    assert up == {("/raw", "email", ("hive/db.people",))}


def test_a_renamed_dataset_keeps_its_history(register: Register) -> None:
    ingest(register, event("load", [], [dataset("/old", ["email"], columnLineage=lineage("/raw", {"email": ["email"]}))]))  # fmt: skip
    change = {
        "lifecycleStateChange": "RENAME",
        "previousIdentifier": {"namespace": "file", "name": "/old"},
    }
    renamed = event("rename", [], [dataset("/new", lifecycleStateChange=change)], time="2026-03-02T12:00:00Z")  # fmt: skip
    ingest(register, renamed)
    up = {(n.dataset, n.column): n for n in trace(register, "/new#email", "up").nodes}
    assert set(up) == {("/old", "email"), ("/raw", "email")}
    assert up["/old", "email"].gone == "rename 2026-03-02T12:00:00.000000Z"
    assert [n.gone for n in trace(register, "/raw#email", "down", "2026-03-01").nodes] == [None]


def test_a_dropped_dataset_is_marked_and_stays_on_the_way(register: Register) -> None:
    def copy(name: str, source: str, at: str, **facets: Any) -> dict[str, Any]:
        out = dataset(name, ["x"], columnLineage=lineage(source, {"x": ["x"]}), **facets)
        return event(f"{source}{name}", [dataset(source, ["x"])], [out], time=at)

    ingest(register, copy("/b", "/a", "2026-03-01T00:00:00Z"), copy("/c", "/b", "2026-03-02T00:00:00Z"))  # fmt: skip
    drop = dataset("/b", lifecycleStateChange={"lifecycleStateChange": "DROP"})
    ingest(register, {"eventTime": "2026-03-03T00:00:00Z", "dataset": drop})
    nodes = {n.dataset: n.gone for n in trace(register, "/a#x", "down").nodes}
    assert nodes == {"/b": "drop 2026-03-03T00:00:00.000000Z", "/c": None}
    ingest(register, copy("/b", "/a", "2026-03-04T00:00:00Z"))
    assert {n.gone for n in trace(register, "/a#x", "down").nodes} == {None}, "written again"


def test_as_of_knows_what_was_known(register: Register) -> None:
    for day, name in enumerate(["/b", "/c"], 1):
        out = dataset(name, ["x"], columnLineage=lineage("/a", {"x": ["x"]}))
        ingest(register, event(name, [], [out], time=f"2026-03-0{day}T12:00:00Z"))
    ingest(register, event("w", [dataset("/a")], [dataset("/d")], time="2026-03-03T12:00:00Z"))
    for day, expected in (("2026-02-28", set()), ("2026-03-01", {"/b"}), ("2026-03-02T12:00:00+00:00", {"/b", "/c"}), ("2026-03-09", {"/b", "/c", "/d"})):  # fmt: skip
        assert {n.dataset for n in trace(register, "/a#x", "down", day).nodes} == expected
    with pytest.raises(UsageError, match="not a date"):
        trace(register, "/a", "down", "yesterday")
    node = trace(register, "/a#x", "down", "2026-03-01").nodes[0]
    assert (node.job, node.at, node.step) == ("/b", "2026-03-01T12:00:00.000000Z", "/a#x")


def test_personal_values_in_facets_are_not_kept(register: Register) -> None:
    metrics = {
        "rowCount": 3,
        "columnMetrics": {"x": {"nullCount": 1, "min": canaries.NAME, "quantiles": {"0.5": 7}}},
    }
    out = dataset(
        "/out", ["x"],
        dataQualityMetrics=metrics,
        dataQualityAssertions={"assertions": [{"assertion": "unique", "success": True, "column": "x", "actual": canaries.EMAIL}]},
        documentation={"description": canaries.STREET},
        columnLineage=lineage("/in", {"x": ["x"]}, description=f"CASE WHEN mail = '{canaries.EMAIL}' THEN 1 END"),
    )  # fmt: skip
    made = event("j", [dataset("/in", ["x"])], [out])
    made["run"]["facets"] = {"errorMessage": {"message": canaries.PHONE}}
    made["job"]["facets"] = {"sql": {"query": f"SELECT '{canaries.NAME}'"}}
    ingest(register, made)
    for table in t.metadata.sorted_tables:
        assert canaries.found_in(str(register.rows(sa.select(table)))) == [], table.name
    facets = {r.name: r.document for r in register.rows(sa.select(t.facet))}
    assert facets["dataQualityMetrics"] == {"rowCount": 3, "columns": {"x": {"nullCount": 1}}}
    assert facets["dataQualityAssertions"] == {
        "assertions": [{"assertion": "unique", "success": True, "column": "x"}]
    }


def test_runs_know_their_parent_time_and_dependencies(register: Register) -> None:
    made = event("j", [], [dataset("/x")])
    made["run"]["facets"] = {
        "parent": {"run": {"runId": "p"}, "job": {"namespace": "n", "name": "dag"}},
        "nominalTime": {"nominalStartTime": "2026-03-01T02:00:00+02:00"},
        "jobDependencies": {"upstream": [{"job": {"namespace": "n", "name": "before"}, "run": {"runId": "r0"}}]},
        "airflow": {"dag": {"dag_id": "d"}, "dagRun": {"run_id": "r"}, "task": {"task_id": "t"}, "taskInstance": {"try_number": 2}},
    }  # fmt: skip
    ingest(register, made)
    [run] = snapshot(register)["runs"]
    assert run[5:] == ("p", "2026-03-01T00:00:00.000000Z", None, '["d", "r", "t", -1, 2]')
    [needed] = snapshot(register)["dependencies"]
    assert needed[1:] == ("upstream", ("n", "before"), "r0")


def sql_event(query: str, outputs: list[str], **facets: Any) -> dict[str, Any]:
    def table(name: str, columns: list[str]) -> dict[str, Any]:
        return dataset(f"db.public.{name}", columns, namespace="postgres://h:5432")

    made = event("q", [table("people", ["email", "age", "city"]), table("orders", ["id", "buyer", "total"])], [table("out", outputs)])  # fmt: skip
    made["job"]["facets"] = {"sql": {"query": query}}
    return made


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(
            "INSERT INTO out (mail, spent) SELECT p.email, sum(o.total) FROM people p "
            "JOIN orders o ON o.buyer = p.email WHERE p.city = 'Rome' GROUP BY 1",
            {"people#email>mail IDENTITY", "orders#total>spent AGGREGATION", "people#city> FILTER",
             "orders#buyer> JOIN", "people#email> JOIN", "people#email> GROUP_BY"},
            id="join and group",
        ),
        pytest.param(
            "CREATE TABLE out AS WITH a AS (SELECT * FROM people) SELECT email AS mail, upper(city) AS spent FROM a",
            {"people#email>mail IDENTITY", "people#city>spent TRANSFORMATION"},
            id="common table expression, and a table that is not used",
        ),
        pytest.param("INSERT INTO out SELECT nope, 1 FROM people", {"people#>assumed", "orders#>assumed"}, id="unknown column"),
        pytest.param("INSERT INTO out SELECT people.email, m.x FROM people, missing m", {"people#email>mail IDENTITY", "missing#x>spent IDENTITY"}, id="a table that nobody has seen"),
        pytest.param("SELECT !!", {"people#>assumed", "orders#>assumed"}, id="not SQL"),
    ],
)  # fmt: skip
def test_sql_without_lineage_is_followed_and_marked_as_inferred(
    sqlite_register: Register, query: str, expected: set[str]
) -> None:
    ingest(sqlite_register, sql_event(query, ["mail", "spent"]))
    found = set()
    for source, target, step in snapshot(sqlite_register)["edges"]:
        table = source[1].rpartition(".")[2]
        if step[0] == "assumed":
            found.add(f"{table}#>assumed")
        else:
            assert step[5], "marked as inferred"
            found.add(f"{table}#{source[2]}>{target[2].replace('<into>', '')} {step[2]}")
    if "mail" in str(expected):
        expected |= {"people#email> GROUP_BY"} & found
    assert found == expected


def test_who_holds_a_category_and_what_reaches_a_model(register: Register) -> None:
    out = dataset("/copy", ["mail", "n"], columnLineage=lineage("/a", {"mail": ["x"]}))
    ingest(register, event("copy", [dataset("/a", ["x", "y"])], [out]))
    ingest(register, event("train", [dataset("/copy")], [dataset("/m.onnx")]))
    declare(register, "/a")

    def categorize(connection: sa.Connection) -> None:
        identifier = set_dataset(connection, "file", "/a", register.now())
        enrich_columns(connection, identifier, [{"name": "x", "category": "user.contact.email"}])

    register.write(categorize)
    for category in ("user.contact.email", "user.contact", "user"):
        found = {(h.dataset, h.column): h.declared for h in holders(register, category)}
        # Nothing says where n comes from.
        assert found == {("/a", "x"): "user.contact.email", ("/copy", "mail"): None, ("/copy", "n"): None, ("/m.onnx", ""): None}  # fmt: skip
    assert holders(register, "user.cont") == []
    reaching = {(n.dataset, n.column) for n in columns_reaching(register, "/m.onnx")}
    assert reaching == {("/copy", "mail"), ("/copy", "n"), ("/a", "x"), ("/a", "y")}


def test_what_changed_since(register: Register) -> None:
    first = dataset("/b", ["x"], columnLineage=lineage("/a", {"x": ["x"]}))
    ingest(register, event("j", [dataset("/a", ["x"])], [first], time="2026-03-01T12:00:00Z"))
    second = dataset("/b", ["x", "y"], columnLineage=lineage("/a", {"x": ["x"], "y": ["x"]}))
    again = event("j", [dataset("/a", ["x"])], [second], run="second", time="2026-03-05T12:00:00Z")
    ingest(register, again)
    dropped = dataset("/b", lifecycleStateChange={"lifecycleStateChange": "DROP"})
    ingest(register, {"eventTime": "2026-03-06T00:00:00Z", "dataset": dropped})
    assert [(c.what, c.detail) for c in changes_since(register, "2026-03-04")] == [
        ("edge", "/a#x now reaches /b#y"),
        ("drop", "drop by a run"),
    ]
    assert len(changes_since(register, "2026-03-01")) == 5


def test_runs_that_sent_no_lineage_are_named(register: Register) -> None:
    def run(task: str, number: int, attempt: int = 1) -> TaskRun:
        return TaskRun("dag", f"run{number}", task, -1, attempt, "success")

    for number in (1, 2):
        made = event(f"j{number}", [dataset("/a", ["x"])], [dataset("/b")])
        made["run"]["facets"] = {"airflow": {"dag": {"dag_id": "dag"}, "dagRun": {"run_id": f"run{number}"}, "task": {"task_id": "load"}, "taskInstance": {"try_number": 1, "map_index": -1}}}  # fmt: skip
        ingest(register, made)
    declare(register, "/a")
    from airflow_mlsec.datasets import DatasetName

    assets = {("dag", "by asset"): [DatasetName("file", "/a")], ("dag", "harmless"): [DatasetName("file", "/q")]}  # fmt: skip
    runs = [run("load", 1), run("load", 2), run("load", 3), run("by asset", 3), run("harmless", 1)]
    found = dark_list(register, runs, assets)
    assert found.touching == 4
    assert [(d.run.task_id, d.run.run_id, d.datasets, d.known_from) for d in found.dark] == [
        ("load", "run3", ("/a", "/b"), "its other runs' lineage"),
        ("by asset", "run3", ("/a",), "Airflow's assets"),
    ]
    with pytest.raises(UsageError, match="cannot be reached"):
        AirflowApi("http://127.0.0.1:9", "token").task_runs()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda e: e.pop("eventTime"),
        lambda e: e.update(eventTime="soon"),
        lambda e: e.update(eventType="DONE"),
        lambda e: e.pop("job"),
        lambda e: e.update(inputs={}),
        lambda e: e["outputs"].append(7),
        lambda e: e["outputs"].append({"namespace": "", "name": ""}),
        lambda e: e["outputs"].append({"namespace": "n", "name": "a\0b"}),
        lambda e: e["outputs"].append({"namespace": "n", "name": "x" * 3000}),
        lambda e: e["outputs"][0]["facets"].update(schema={"fields": [{"type": "int"}]}),
        lambda e: e["outputs"][0]["facets"].update(columnLineage={"fields": {"x": {"inputFields": [{"name": "y"}]}}}),
        lambda e: e["outputs"][0]["facets"].update(lifecycleStateChange={"lifecycleStateChange": "LOST"}),
        lambda e: e["outputs"][0]["facets"].update(symlinks={"identifiers": [{"name": "y"}]}),
        lambda e: e["outputs"][0]["facets"].update(lineage={"inputs": [{"type": "MAGIC"}]}),
    ],
)  # fmt: skip
def test_a_malformed_event_is_not_half_applied(
    sqlite_register: Register, keys: KeyRing, spoil: Any
) -> None:
    bad = event("bad", [dataset("/a", ["x"])], [dataset("/b", ["x"])])
    good = event("good", [dataset("/c")], [dataset("/d")])
    spoil(bad)
    quarantine = Quarantine(sqlite_register, lambda: keys)
    lines = [("bad", json.dumps(bad).encode()), ("good", json.dumps(good).encode())]
    report = Ingest(sqlite_register, NOBODY, quarantine).write(lines)
    assert (report.accepted, [source for source, _ in report.refused]) == (1, ["bad"])
    assert {row[1] for row in snapshot(sqlite_register)["datasets"]} == {"/c", "/d"}
    [held] = quarantine.held()
    assert json.loads(quarantine.content(held.id)) == bad


def test_an_event_of_ten_megabytes(register: Register, keys: KeyRing) -> None:
    columns = [f"column {i} {'x' * 60}" for i in range(40_000)]
    wide = dataset("/wide", columns, columnLineage=lineage("/a", {c: ["x"] for c in columns}))
    raw = json.dumps(event("wide", [dataset("/a", ["x"])], [wide])).encode()
    assert len(raw) > 10 * 2**20
    quarantine = Quarantine(register, lambda: keys)
    report = Ingest(register, NOBODY, quarantine).write([("wide", raw)])
    assert report.accepted == 1
    assert len(snapshot(register)["edges"]) == 40_000


def test_what_the_register_refuses_is_found_and_quarantined(
    sqlite_register: Register, keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_mlsec.register import graph

    monkeypatch.setattr(graph, "MOST_COLUMNS", 5)
    items = [event(f"j{i}", [], [dataset(f"/d{i}", ["x"])]) for i in range(9)]
    items[4] = event("wide", [], [dataset("/wide", [f"c{i}" for i in range(6)])])
    lines = [(str(i), json.dumps(item).encode()) for i, item in enumerate(items)]
    report = Ingest(sqlite_register, NOBODY, Quarantine(sqlite_register, lambda: keys)).write(lines)
    assert report.accepted == 8
    assert [source for source, _ in report.refused] == ["4"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda e: e.update(eventTime=[]),
        lambda e: e["run"].update(facets={"nominalTime": {"nominalStartTime": {}}}),
        lambda e: e["run"].update(facets={"airflow": {"taskInstance": {"try_number": float("inf")}, "dag": {"dag_id": "d"}, "dagRun": {"run_id": "r"}, "task": {"task_id": "t"}}}),
        lambda e: e["outputs"][0]["facets"].update(lineage={"inputs": [{"namespace": "n", "name": "x", "type": "DATASET", "field": []}]}),
        lambda e: e["outputs"][0]["facets"].update(mlsec_former_columns={"names": [{}]}),
        lambda e: e["outputs"][0]["facets"].update(symlinks={"identifiers": [{"namespace": "n", "name": str(i)} for i in range(100)]}),
        lambda e: e["run"].update(facets={"lineage": {"entries": [{"type": "JOB", "namespace": "n", "name": "j", "runId": "\ud800"}]}}),
        lambda e: e["outputs"][0]["facets"].update(dataQualityMetrics={"columnMetrics": {"\ud800": {"nullCount": 1}}}),
        lambda e: e["job"].update(facets={"sql": {"query": 'INSERT INTO b ("x\ud800") SELECT x FROM a'}}),
    ],
)  # fmt: skip
def test_an_event_of_any_shape_is_kept_or_quarantined_and_stops_no_other(
    sqlite_register: Register, keys: KeyRing, spoil: Any
) -> None:
    bad = event("bad", [dataset("/a", ["x"])], [dataset("/b", ["x"])])
    spoil(bad)
    good = event("good", [dataset("/c")], [dataset("/d")])
    lines = [("good", json.dumps(good).encode()), ("bad", json.dumps(bad).encode()), ("again", json.dumps(good).encode())]  # fmt: skip
    quarantine = Quarantine(sqlite_register, lambda: keys)
    report = Ingest(sqlite_register, NOBODY, quarantine).write(lines)
    assert report.accepted + len(report.refused) == 3
    assert report.accepted >= 2
    assert {"/c", "/d"} <= {row[1] for row in snapshot(sqlite_register)["datasets"]}
    assert len(quarantine.held()) == len(report.refused)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("UPDATE out SET spent = (SELECT email FROM people LIMIT 1)", "people#email>spent"),
        ("MERGE INTO out USING people p ON p.age = 1 WHEN MATCHED THEN UPDATE SET spent = p.email", "people#email>spent"),
        ("CALL fill(out)", "people#*>"),
        ("COPY out FROM 's3://bucket/people'", "people#*>"),
    ],
)  # fmt: skip
def test_every_statement_that_writes_counts(
    sqlite_register: Register, more: str, expected: str
) -> None:
    query = f"INSERT INTO out (mail) SELECT city FROM people; {more}"
    ingest(sqlite_register, sql_event(query, ["mail", "spent"]))
    found = {
        f"{s[1].rpartition('.')[2]}#{s[2].replace('<out of>', '*')}>{e[2].replace('<into>', '')}"
        for s, e, _ in snapshot(sqlite_register)["edges"]
    }
    assert {"people#city>mail", expected} <= found


def test_a_wide_query_is_followed_in_no_time(sqlite_register: Register) -> None:
    columns = [f"c{i}" for i in range(400)]
    made = event("wide", [dataset("/s", columns)], [dataset("/t", columns)])
    made["job"]["facets"] = {"sql": {"query": f"INSERT INTO t SELECT {', '.join(columns)} FROM s"}}
    ingest(sqlite_register, made)
    assert len(snapshot(sqlite_register)["edges"]) == 400


def test_literals_of_every_spelling_are_blanked() -> None:
    from airflow_mlsec.lineage.events._facets import without_literals

    for text in (canaries.EMAIL, f"'{canaries.NAME}'", f'"{canaries.NAME}"', f"$${canaries.NAME}$$", f"'it\\'s {canaries.NAME}'", f"x = '{canaries.NAME}"):  # fmt: skip
        assert canaries.found_in(without_literals(f"CASE WHEN {text} THEN 1")) == []
