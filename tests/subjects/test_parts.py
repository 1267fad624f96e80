"""A folder is one dataset with parts, and other names of a place are the place."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import DatasetName, dataset_name, open_dataset
from airflow_mlsec.errors import CheckFailed, UsageError
from airflow_mlsec.ledger import Place, TrainedOn
from airflow_mlsec.lineage import (
    State,
    column_states,
    ingest_event,
    record_evidence,
)
from airflow_mlsec.policy import matches, parse_policy
from airflow_mlsec.register import Register, dataset_id, graph, set_dataset
from airflow_mlsec.register import tables as t
from airflow_mlsec.subjects import (
    Calendar,
    Finding,
    Handler,
    Person,
    approve,
    get_request,
    locate,
    open_request,
    verify_identity,
)
from airflow_mlsec.subjects.search._reasons import SubjectKey
from tests.actors import who
from tests.lineage.events import dataset, event
from tests.subjects.lake import signed_artifact

POLICY = """\
version: 1
dataset: "{uri}"
owner: shop
subject: {{kind: customer, key: email}}
columns:
  email: {{role: identifying, transform: {{method: drop}}}}
  n: {{role: insensitive}}
"""
PEOPLE = [f"p{i}@parts.example" for i in range(6)]
HER = PEOPLE[2]


class Lake:
    def __init__(self, folder: Path, register: Register, keys: KeyRing) -> None:
        self.folder, self.register, self.keys = folder, register, keys
        folder.mkdir()
        self.put("customers.parquet")
        self.declare("customers.parquet")

    def put(self, name: str, people: list[str] = PEOPLE) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"email": people, "n": list(range(len(people)))}), path)
        return str(path)

    def declare(self, name: str, pattern: str | None = None) -> None:
        policy = parse_policy(POLICY.format(uri=pattern or self.folder / name), "p")
        at = open_dataset(str(self.folder / name))
        record_results(self.register, policy, at, "source", [], None)

    def copied(self, source: str, target: str) -> None:
        fields = {
            "email": {"inputFields": [{"namespace": "file", "name": f"{self.folder}/{source}", "field": "email",
                                       "transformations": [{"type": "DIRECT", "subtype": "IDENTITY"}]}]},
            "n": {"inputFields": []},
        }  # fmt: skip
        out = dataset(f"{self.folder}/{target}", ["email", "n"], columnLineage={"fields": fields})
        self.emit(event(f"copy {target}", [dataset(f"{self.folder}/{source}")], [out]))

    def made(self, source: str, target: str) -> None:
        self.emit(event(f"make {target}", [dataset(f"{self.folder}/{source}")], [dataset(f"{self.folder}/{target}")]))  # fmt: skip

    def emit(self, item: dict[str, Any]) -> None:
        ingest_event(item, self.register, self.keys.verification_keys())

    def found(self, key: str = HER) -> dict[str, Finding]:
        answer = locate(self.register, self.keys, "customer", key, roots=(str(self.folder),))
        return {f.dataset.removeprefix(f"{self.folder}/"): f for f in answer.findings}

    def state(self, name: str) -> State:
        def read(connection: Any) -> State:
            at = dataset_id(connection, "file", f"{self.folder}/{name}", "x")
            states = column_states(connection)
            return max(
                (s for n, s in states.items() if graph.dataset_of(n) == at), default=State.NONE
            )

        return self.register.read(read)


@pytest.fixture
def lake(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Lake:
    return Lake(tmp_path / "lake", sqlite_register, keys)


DAYS = ("orders/2026-01-01/a.parquet", "orders/2026-01-02/a.parquet")


def partitions(lake: Lake) -> None:
    lake.put(DAYS[0], PEOPLE[:3])
    lake.put(DAYS[1], PEOPLE[2:])
    for day in DAYS:
        lake.copied("customers.parquet", day)


def test_a_folder_is_as_personal_as_its_parts_and_leads_on(lake: Lake) -> None:
    partitions(lake)
    lake.put("mart.parquet")
    lake.copied("orders", "mart.parquet")
    lake.made("orders", "model.onnx")
    assert lake.state("orders") is State.IDENTIFIED
    answers = lake.found()
    assert answers["mart.parquet"].status == "found"
    assert answers["model.onnx"].status == "unknown", "it was trained on the folder"
    assert {answers[day].rows for day in DAYS} == {1}
    assert answers["orders"].status == "none", "every file in it is a place of its own"
    assert "all 2 parts" in str(answers["orders"].words)


def test_the_order_of_events_makes_no_difference(tmp_path: Path, keys: KeyRing) -> None:
    def edges(order: tuple[int, ...]) -> list[Any]:
        name = "".join(map(str, order))
        register = Register(f"sqlite:///{tmp_path}/{name}.db")
        steps = [
            event("w", [dataset("/c")], [dataset("/l/orders/1.parquet", ["a"])]),
            event("r", [dataset("/l/orders", ["a"])], [dataset("/m", ["a"])]),
            event("f", [dataset("/d")], [dataset("/l/orders/", ["a"])]),
        ]
        for i in order:
            ingest_event(steps[i], register, keys.verification_keys())
        names = {r.id: r.name for r in register.rows(t.dataset.select())}
        steps_by_id = {r.id: r.kind for r in register.rows(t.transformation.select())}
        return sorted(
            (names[graph.dataset_of(a)], graph.ordinal_of(a), names[graph.dataset_of(b)], graph.ordinal_of(b), steps_by_id[s])
            for a, b, s in register.rows(t.edge.select())
        )  # fmt: skip

    first, *others = (edges(order) for order in itertools.permutations(range(3)))
    assert any(row[0] == "/l/orders/1.parquet" and row[2] == "/l/orders" for row in first)
    assert any(row[0] == "/l/orders" and row[2] == "/l/orders/1.parquet" for row in first), (
        "written whole"
    )
    assert all(other == first for other in others)


def test_one_who_reads_a_part_of_what_was_written_whole_has_it(lake: Lake) -> None:
    lake.put("export/part-0.parquet")
    lake.copied("customers.parquet", "export")
    lake.put("down.parquet")
    lake.copied("export/part-0.parquet", "down.parquet")
    assert lake.found()["down.parquet"].status == "found"
    assert lake.state("down.parquet") is State.IDENTIFIED


def test_one_who_reads_a_part_of_a_declared_folder_has_it(lake: Lake) -> None:
    lake.put("people/one.parquet")
    lake.declare("people")
    lake.put("down.parquet")
    lake.copied("people/one.parquet", "down.parquet")
    assert lake.found()["down.parquet"].status == "found"


def test_a_part_of_other_data_is_not_made_personal_by_its_neighbour(lake: Lake) -> None:
    lake.put("mixed/a.parquet")
    lake.put("mixed/b.parquet", ["x"])
    lake.copied("customers.parquet", "mixed/a.parquet")
    lake.copied("public.parquet", "mixed/b.parquet")
    lake.copied("mixed", "down.parquet")
    assert lake.state("mixed/b.parquet") is State.NONE
    assert lake.state("down.parquet") is State.IDENTIFIED


def test_each_file_is_erased_once_and_looked_at_again(lake: Lake) -> None:
    partitions(lake)
    lake.put("orders/late.parquet", PEOPLE[1:4])
    lake.copied("orders", "mart.parquet")
    lake.put("mart.parquet", PEOPLE)
    handler = Handler(lake.register, lake.keys, who("dpo"), roots=(str(lake.folder),))
    request = open_request(lake.register, lake.keys, "gdpr", "erasure", Person("customer", (HER,)), who("clerk"),
                           Calendar(), datetime.now(UTC))  # fmt: skip
    verify_identity(lake.register, request.id, True, "seen", who("clerk"))
    handler.locate(request.id)
    steps = {
        s.name.removeprefix(f"{lake.folder}/"): s
        for s in get_request(lake.register, request.id).steps
    }
    assert (steps["orders"].status, steps["orders"].rows) == ("found", 1), (
        "the file that no event names"
    )
    approve(lake.register, request.id, who("dpo"), named=["*"])
    done = handler.erase(request.id)
    assert {s.status for s in done.steps if s.kind != "scan"} == {"erased"}
    assert handler.close(request.id)[0].status == "closed"
    left = {p.relative_to(lake.folder): pq.read_table(p).column("email").to_pylist() for p in lake.folder.rglob("*.parquet")}  # fmt: skip
    for path, people in left.items():
        assert HER not in people, path
    assert sum(len(people) for people in left.values()) == 6 + 3 + 4 + 3 + 6 - 5


def test_a_row_put_back_into_a_part_keeps_the_request_open(lake: Lake) -> None:
    partitions(lake)
    lake.copied("orders", "mart.parquet")
    lake.put("mart.parquet", PEOPLE)
    handler = Handler(lake.register, lake.keys, who("dpo"), roots=(str(lake.folder),))
    request = open_request(lake.register, lake.keys, "gdpr", "erasure", Person("customer", (HER,)), who("clerk"),
                           Calendar(), datetime.now(UTC))  # fmt: skip
    verify_identity(lake.register, request.id, True, "seen", who("clerk"))
    handler.locate(request.id)
    approve(lake.register, request.id, who("dpo"), named=["*"])
    handler.erase(request.id)
    lake.put("orders/new.parquet", [HER])
    with pytest.raises(CheckFailed, match="orders"):
        handler.close(request.id)


def test_what_a_model_was_trained_on_by_signed_evidence_is_lineage(lake: Lake) -> None:
    partitions(lake)
    lake.copied("orders", "other.parquet")
    (lake.folder / "model.age").write_bytes(b"age-encryption.org/v1\n")
    target = DatasetName("file", f"{lake.folder}/model.age")
    trained = Place(namespace="file", name=f"{lake.folder}/{DAYS[0]}")
    now = lake.register.now()
    trained_on = (TrainedOn(dataset=trained, plan="p"),)
    source = DatasetName("file", f"{lake.folder}/model.onnx")
    envelope = signed_artifact(lake, source, target, "model", trained_on=trained_on)

    def write(connection: Any) -> None:
        at = set_dataset(
            connection,
            target.namespace,
            target.name,
            now,
            uri=f"file://{target.name}",
            kind="model",
        )
        record_evidence(connection, at, envelope, lake.keys.verification_keys(), None, now)

    lake.register.write(write)
    assert lake.found()["model.age"].status == "unknown"
    assert lake.state("model.age") is State.IDENTIFIED


def _signing() -> Any:
    from airflow_mlsec.crypto import KeyKind

    return KeyKind.SIGNING


def test_a_link_is_another_name_and_not_another_place(lake: Lake) -> None:
    lake.put("real.parquet")
    (lake.folder / "link.parquet").symlink_to(lake.folder / "real.parquet")
    lake.copied("customers.parquet", "link.parquet")
    lake.put("down.parquet")
    lake.copied("real.parquet", "down.parquet")
    answers = lake.found()
    assert (answers["real.parquet"].status, answers["real.parquet"].rows) == ("found", 1)
    assert answers["link.parquet"].status == "same"
    assert answers["down.parquet"].status == "found", "reached over the other name"


@pytest.mark.parametrize(
    ("one", "other"),
    [("s3://bucket/a/b.parquet", "s3a://bucket/a/b.parquet"), ("s3://bucket/a", "s3://conn@bucket/a/"),
     ("gs://bucket/a", "gcs://bucket/a/"), ("/lake/a", "file:///lake/a/"), ("s3://bucket/a", "s3n://bucket/a")],
)  # fmt: skip
def test_spellings_of_one_place_have_one_name(one: str, other: str) -> None:
    assert dataset_name(one) == dataset_name(other)


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("s3a://bucket", "a/b"),
        ("s3://bucket/", "/a/b/"),
        ("s3://key@bucket", "a/b"),
        ("s3n://bucket", "a/b/"),
    ],
)
def test_events_name_one_place_in_one_way(lake: Lake, namespace: str, name: str) -> None:
    lake.emit(event("x", [dataset(f"{lake.folder}/customers.parquet")], [dataset(name, namespace=namespace)]))  # fmt: skip
    assert "s3://bucket/a/b" in {f.dataset for f in lake.found().values()}


def test_a_table_named_without_its_database_is_perhaps_the_same(lake: Lake) -> None:
    space = "postgres://db:5432"
    lake.emit(event("x", [dataset(f"{lake.folder}/customers.parquet")], [dataset("crm.public.people", ["email"], namespace=space)]))  # fmt: skip
    lake.emit(event("y", [dataset("public.people", ["email"], namespace=space)], [dataset("crm.public.mart", ["e"], namespace=space)]))  # fmt: skip
    names = set(lake.found())
    assert f"{space}/crm.public.mart" in names, "what was made from the shorter name"
    lake.emit(event("z", [dataset("other.public.people", ["email"], namespace=space)], [dataset("z", ["e"], namespace=space)]))  # fmt: skip
    assert f"{space}/public.people" in set(lake.found())


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("/lake/orders/{{ ds }}", "/lake/orders/2026-01-01", True),
        ("/lake/orders/{{ ds }}/", "/lake/orders/2026-01-01", True),
        ("/lake/orders/{{ ds }}", "/lake/orders/2026/01", False),
        ("/lake/orders/{{ ds_nodash }}.parquet", "/lake/orders/20260101.parquet", True),
        ("/lake/orders/*.parquet", "/lake/orders/a.parquet", True),
        ("/lake/orders/*.parquet", "/lake/orders/a/b.parquet", False),
        ("/lake/**/people.csv", "/lake/a/b/people.csv", True),
        ("/lake/day-[0-9]", "/lake/day-7", True),
        ("/lake/day-[0-9]", "/lake/day-x", False),
        ("/lake/a.parquet", "/lake/aXparquet", False),
        ("s3://conn@bucket/day={{ ds }}/", "s3://bucket/day=2026-01-01", True),
        ("/lake/a(b)/{{ macros.ds_add(ds, -1) }}", "/lake/a(b)/2026-01-01", True),
    ],
)
def test_patterns_of_policies(pattern: str, name: str, fits: bool) -> None:
    assert matches(pattern, name) is fits


@pytest.mark.parametrize("pattern", ["orders/{{ ds }}/a.parquet", "orders/*/a.parquet"])
def test_a_policy_of_partitions_declares_those_that_nobody_has_checked(
    lake: Lake, pattern: str
) -> None:
    for day in DAYS:
        lake.put(day)
    lake.declare(DAYS[0], str(lake.folder / pattern))
    lake.put("down.parquet")
    lake.copied(DAYS[1], "down.parquet")
    assert lake.state(DAYS[1]) is State.IDENTIFIED
    answers = lake.found()
    assert answers[DAYS[1]].reasons[0] == SubjectKey()
    assert answers["down.parquet"].status == "found"


def test_a_policy_of_partitions_asks_which_one(lake: Lake) -> None:
    from airflow_mlsec.policy import require_one

    with pytest.raises(UsageError, match="names many: say which"):
        require_one("/lake/{{ ds }}", "say which")
    assert require_one("/lake/a", "") == "/lake/a"
    assert json.dumps(POLICY)
