"""What must hold whatever the events are: order, repetition and batches do not matter, export
reads back to the same graph, and nothing unproven makes a column less personal."""

from __future__ import annotations

import json
import random
import secrets
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlsec.crypto import KeyRing, VerificationKeys
from airflow_mlsec.lineage import (
    Ingest,
    Quarantine,
    State,
    column_states,
    export_events,
    reach,
)
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register, graph, record_policy, set_dataset
from tests.lineage.snapshot import names_of, snapshot

# One is a folder of another.
DATASETS = ["/a", "/b", "/c", "/a/d"]
COLUMNS = ["x", "y", "z"]
NOBODY = VerificationKeys([])

names = st.sampled_from(DATASETS)
columns = st.lists(st.sampled_from(COLUMNS), max_size=3, unique=True)
times = st.integers(0, 5).map(lambda n: f"2026-03-0{n + 1}T12:00:00Z")


@st.composite
def transformations(draw: Any) -> dict[str, Any]:
    return draw(
        st.sampled_from(
            [
                {"type": "DIRECT", "subtype": "IDENTITY"},
                {"type": "DIRECT", "subtype": "TRANSFORMATION", "masking": True},
                {"type": "INDIRECT", "subtype": "FILTER", "description": "x > 'somebody'"},
            ]
        )
    )


@st.composite
def inputs_of(draw: Any) -> dict[str, Any]:
    made = {"namespace": "file", "name": draw(names), "field": draw(st.sampled_from(COLUMNS))}
    if draw(st.booleans()):
        made["transformations"] = draw(st.lists(transformations(), max_size=2))
    return made


@st.composite
def sources(draw: Any) -> dict[str, Any]:
    """Of a lineage facet: a dataset, a job by its name, or the job itself."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return {"type": "JOB"}
    if kind == 1:
        return {"type": "JOB", "namespace": "n", "name": f"job{draw(st.integers(1, 4))}"}
    return {"namespace": "file", "name": draw(names), "type": "DATASET"}


@st.composite
def entries(draw: Any) -> dict[str, Any]:
    """Of a job's or run's lineage facet."""
    return {**draw(sources()), "inputs": draw(st.lists(sources(), max_size=2))}


@st.composite
def datasets(draw: Any, output: bool) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if listed := draw(columns):
        facets["schema"] = {"fields": [{"name": c, "type": draw(st.sampled_from(["int", "text"]))} for c in listed]}  # fmt: skip
    if draw(st.integers(0, 9)) < (5 if output else 1):
        facets["columnLineage"] = {
            "fields": draw(
                st.dictionaries(
                    st.sampled_from(COLUMNS),
                    st.fixed_dictionaries({"inputFields": st.lists(inputs_of(), max_size=2)}),
                    max_size=2,
                )
            ),
            "dataset": draw(st.lists(inputs_of(), max_size=1)),
        }
    if draw(st.integers(0, 5 if output else 11)) == 0:
        facets["lineage"] = {"inputs": draw(st.lists(sources(), max_size=2)), "fields": {}}
    if draw(st.integers(0, 7)) == 0:
        facets["symlinks"] = {"identifiers": [{"namespace": "hive", "name": draw(names), "type": "TABLE"}]}  # fmt: skip
    if draw(st.integers(0, 7)) == 0:
        change = draw(st.sampled_from(["DROP", "TRUNCATE", "RENAME", "CREATE"]))
        facets["lifecycleStateChange"] = {
            "lifecycleStateChange": change,
            "previousIdentifier": {"namespace": "file", "name": draw(names)},
        }
    if draw(st.integers(0, 4)) == 0:
        facets["version"] = {"datasetVersion": draw(st.sampled_from(["1", "2"]))}
    if draw(st.integers(0, 4)) == 0:
        facets["ownership"] = {"owners": [{"name": draw(st.sampled_from(["team-a", "team-b"]))}]}
    return {"namespace": "file", "name": draw(names), "facets": facets}


@st.composite
def events(draw: Any) -> dict[str, Any]:
    kind = draw(st.integers(0, 9))
    event: dict[str, Any] = {"eventTime": draw(times), "producer": "p", "schemaURL": "s"}
    if kind == 0:
        return {**event, "dataset": draw(datasets(True))}
    number = draw(st.integers(1, 3))
    event["job"] = {"namespace": "n", "name": f"job{number}", "facets": {}}
    event["inputs"] = draw(st.lists(datasets(False), max_size=2))
    event["outputs"] = draw(st.lists(datasets(True), max_size=2))
    if draw(st.integers(0, 4)) == 0:
        listed = draw(st.lists(entries(), max_size=2))
        event["job"]["facets"]["lineage"] = {"entries": listed}
    if kind == 1:
        return event
    event["eventType"] = draw(st.sampled_from(["START", "RUNNING", "COMPLETE", "FAIL", "ABORT", "OTHER"]))  # fmt: skip
    event["run"] = {"runId": f"00000000-0000-4000-8000-00000000000{number}", "facets": {}}
    if draw(st.booleans()):
        event["run"]["facets"]["parent"] = {"run": {"runId": draw(st.sampled_from(["p1", "p2"]))}}
    return event


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A register's file with its schema, to copy: migrating takes half a second."""
    path = tmp_path_factory.mktemp("empty") / "register.db"
    Register(f"sqlite:///{path}").upgrade()
    return path


@pytest.fixture
def new_register(tmp_path: Path, empty: Path) -> Callable[[], Register]:
    def make() -> Register:
        path = tmp_path / f"{secrets.token_hex(8)}.db"
        shutil.copyfile(empty, path)
        return Register(f"sqlite:///{path}")

    return make


def fill(register: Register, items: list[dict[str, Any]], folder: Path, batch: int = 100) -> None:
    lines = [(str(i), json.dumps(item).encode()) for i, item in enumerate(items)]
    report = Ingest(
        register, NOBODY, Quarantine(register, partial(KeyRing.create, folder / "keys"))
    ).write(lines, batch=batch)
    assert report.refused == []


def assert_same(one: Register, other: Register, but: tuple[str, ...] = ()) -> None:
    ours, theirs = snapshot(one), snapshot(other)
    for name in but:
        del ours[name], theirs[name]
    differing = {
        k: (ours[k] - theirs[k], theirs[k] - ours[k]) for k in ours if ours[k] != theirs[k]
    }
    assert differing == {}, repr(differing)


@given(items=st.lists(events(), min_size=1, max_size=7), seed=st.integers())
def test_order_repetition_and_batches_do_not_matter(
    new_register: Any, tmp_path: Path, items: list[dict[str, Any]], seed: int
) -> None:
    one, other = new_register(), new_register()
    fill(one, items, tmp_path)
    again = [*items, *items]
    random.Random(seed).shuffle(again)
    fill(other, again, tmp_path, batch=2)
    assert_same(one, other)


@given(items=st.lists(events(), min_size=1, max_size=7))
def test_an_export_reads_back_to_the_same_graph(
    new_register: Any, tmp_path: Path, items: list[dict[str, Any]]
) -> None:
    one, other = new_register(), new_register()
    fill(one, items, tmp_path)
    fill(other, [json.loads(line) for line in export_events(one)], tmp_path)
    # A run is exported with all that it touched at its end, so when a dataset was seen may widen.
    assert_same(one, other, but=("datasets",))
    assert {row[:2] for row in snapshot(one)["datasets"]} == {row[:2] for row in snapshot(other)["datasets"]}  # fmt: skip


def declare(register: Register, name: str) -> None:
    policy = parse_policy(
        "version: 1\ndataset: x\nowner: o\ncolumns:\n"
        "  x: {role: identifying, transform: {method: drop}}\n  y: {role: insensitive}\n"
    )

    def work(connection: Any) -> None:
        now = register.now()
        record_policy(connection, policy.digest, "p", policy.canonical(), now)
        set_dataset(connection, "file", name, now, policy_digest=policy.digest, stage="source")

    register.write(work)


def states(register: Register) -> dict[Any, State]:
    def work(connection: Any) -> dict[Any, State]:
        found, called = column_states(connection), names_of(connection)
        # Datasets of two namespaces may have one name here: the most personal counts.
        return {
            name: max(state for node, state in found.items() if called[node] == name)
            for name in {called[node] for node in found}
        }

    return register.read(work)


@given(items=st.lists(events(), min_size=1, max_size=6), more=events())
def test_no_further_event_makes_a_column_less_personal(
    new_register: Any, tmp_path: Path, items: list[dict[str, Any]], more: dict[str, Any]
) -> None:
    register = new_register()
    fill(register, items, tmp_path)
    declare(register, "/a")
    before = states(register)
    # What a run leaves open is assumed; to say it column by column is more precise, and not a
    # claim about what was said before. So the further event is of a run of its own.
    if "run" in more:
        more["run"]["runId"] = "00000000-0000-4000-8000-00000000ffff"
        more["job"]["name"] = "another"
    fill(register, [more], tmp_path)
    after = states(register)
    assert all(after.get(name, State.NONE) >= state for name, state in before.items())


@given(items=st.lists(events(), min_size=1, max_size=8))
@settings(max_examples=25)
def test_states_of_some_nodes_are_those_of_the_whole_graph(
    new_register: Any, tmp_path: Path, items: list[dict[str, Any]]
) -> None:
    register = new_register()
    fill(register, items, tmp_path)
    declare(register, "/a")

    def work(connection: Any) -> None:
        whole = column_states(connection)
        for dataset in range(1, 6):
            for ordinal in (graph.INTO, 1, 2):
                node = graph.node(dataset, ordinal)
                part = column_states(connection, [node])
                assert part.get(node, State.NONE) == whole.get(node, State.NONE)
                # Down to a node and up from it are the same ways.
                for reached in reach(connection, [node], "down"):
                    if graph.ordinal_of(reached) not in (graph.INTO, graph.OUT_OF):
                        assert _leads(connection, node, reached)

    register.read(work)


def _leads(connection: Any, node: int, reached: int) -> bool:
    """Whether the way up from a column leads to the node, to its dataset as a whole, or (from a
    dataset as a whole) to any of its columns."""
    above = reach(connection, [reached], "up")
    if graph.ordinal_of(node) == graph.INTO:
        return any(graph.dataset_of(n) == graph.dataset_of(node) for n in above)
    whole = graph.node(graph.dataset_of(node), graph.OUT_OF)
    return node in above or whole in above
