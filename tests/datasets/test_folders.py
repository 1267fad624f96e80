"""What a folder is, by its content: tables of lakes are refused, folders' names are columns."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.anonymize import anonymize
from airflow_mlsec.controls import check_dataset, record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Condition, open_dataset
from airflow_mlsec.errors import UndeclaredColumn, UnsupportedDataset
from airflow_mlsec.policy import Policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    Calendar,
    Handler,
    Person,
    approve,
    locate,
    open_request,
    rescan,
    verify_identity,
)
from tests.actors import who

TABLE = pa.table({"email": ["a@x.test", "b@x.test"], "age": [1, 2]})


def delta(folder: Path) -> Path:
    """A table of Delta Lake as its own writer leaves it: the deleted rows' file is there still."""
    (folder / "_delta_log").mkdir(parents=True)
    pq.write_table(TABLE, folder / "part-0.parquet")
    pq.write_table(TABLE.slice(1), folder / "part-1.parquet")
    log = [{"add": {"path": "part-1.parquet"}}, {"remove": {"path": "part-0.parquet"}}]
    text = "".join(f"{json.dumps(line)}\n" for line in log)
    (folder / "_delta_log" / "00000000000000000000.json").write_text(text)
    return folder


def iceberg(folder: Path) -> Path:
    (folder / "metadata").mkdir(parents=True)
    (folder / "data").mkdir()
    pq.write_table(TABLE, folder / "data" / "0.parquet")
    (folder / "metadata" / "v1.metadata.json").write_text('{"format-version": 2}')
    return folder


def hudi(folder: Path) -> Path:
    (folder / ".hoodie").mkdir(parents=True)
    (folder / ".hoodie" / "hoodie.properties").write_text("hoodie.table.name=t")
    pq.write_table(TABLE, folder / "0.parquet")
    return folder


@pytest.mark.parametrize("make", [delta, iceberg, hudi])
@pytest.mark.parametrize("where", ["itself", "a file in it", "a folder above"])
def test_a_table_of_a_lake_is_refused_at_every_door(
    tmp_path: Path, make: Callable[[Path], Path], where: str
) -> None:
    table = make(tmp_path / "lake" / "customers")
    before = {p: p.read_bytes() for p in table.rglob("*") if p.is_file()}
    [inside] = sorted(table.rglob("*0.parquet"))[:1]
    path = {"itself": table, "a file in it": inside, "a folder above": tmp_path / "lake"}[where]
    dataset = open_dataset(str(path))
    doors: list[Callable[[], Any]] = [
        dataset.schema,
        lambda: list(dataset.scan()),
        lambda: dataset.find_in("email", ["a@x.test"]),
        lambda: dataset.delete_in("email", ["a@x.test"]),
        lambda: dataset.update_in("email", ["a@x.test"], {"age": 3}),
    ]
    if where != "a folder above":
        doors.append(lambda: rescan(dataset.uri, ["a@x.test"]))
        target = open_dataset(str(table / "new.parquet"))
        doors.append(lambda: target.replacing(TABLE.schema).__enter__())
    for door in doors:
        with pytest.raises(UnsupportedDataset, match=r"Delta Lake|Iceberg|Hudi"):
            door()
    assert {p: p.read_bytes() for p in table.rglob("*") if p.is_file()} == before


def test_a_lake_is_refused_on_every_filesystem() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    with memory.open("/lake/t/_delta_log/0.json", "wb") as file:
        file.write(b"{}")
    with memory.open("/lake/t/0.parquet", "wb") as file:
        pq.write_table(TABLE, file)
    for path in ("memory://lake/t", "memory://lake/t/0.parquet", "memory://lake"):
        with pytest.raises(UnsupportedDataset, match="Delta Lake"):
            open_dataset(path).schema()
    memory.rm("/lake", recursive=True)


def test_what_writers_hide_is_data_on_no_storage(tmp_path: Path) -> None:
    import fsspec

    for name in ("0.parquet", "_temporary/0/1.parquet", ".cache/2.parquet", "_SUCCESS.parquet"):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(TABLE, tmp_path / "t" / name)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "t"), "/hidden", recursive=True)
    for uri in (str(tmp_path / "t"), "memory://hidden"):
        assert sum(b.num_rows for b in open_dataset(uri).scan()) == 2, uri
    memory.rm("/hidden", recursive=True)


# --- folders whose names hold a column


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    folder = tmp_path / "lake"
    for person in ("id1", "id 2", "__HIVE_DEFAULT_PARTITION__"):
        part = folder / f"patient_id={person.replace(' ', '%20')}" / "year=2024"
        part.mkdir(parents=True)
        pq.write_table(pa.table({"ill": [f"of {person}"] * 2}), part / "part-0.parquet")
    return folder


def test_partitions_are_columns(lake: Path) -> None:
    dataset = open_dataset(str(lake))
    assert dataset.schema().names == ["ill", "patient_id", "year"]
    rows = [row for batch in dataset.scan() for row in batch.to_pylist()]
    assert {(r["ill"], r["patient_id"], r["year"]) for r in rows} == {
        ("of id1", "id1", "2024"), ("of id 2", "id 2", "2024"),
        ("of __HIVE_DEFAULT_PARTITION__", None, "2024"),
    }  # fmt: skip
    assert [b.schema.names for b in dataset.scan(["patient_id"])] == [["patient_id"]] * 3
    assert dataset.find_in("patient_id", ["id1"]).rows == 2
    found = dataset.find_in("patient_id", ["id1"], also=[Condition("ill", ["of id1"])])
    assert [r["patient_id"] for b in found.batches for r in b.to_pylist()] == ["id1", "id1"]
    assert dataset.find_in("patient_id", ["id1"], also=[Condition("ill", ["x"])]).rows == 0
    assert dataset.find_in("patient_id", ["id1"], also=[Condition("year", ["1999"])]).rows == 0
    with pytest.raises(UnsupportedDataset, match="names of folders"):
        dataset.update_in("patient_id", ["id1"], {"patient_id": "id9"})
    assert dataset.delete_in("patient_id", ["id1"]) == 2
    assert not (lake / "patient_id=id1").exists(), "its name is hers as well"
    assert dataset.find_in("ill", ["of id 2"]).rows == 2
    assert dataset.delete_in("ill", ["of id 2"], [Condition("patient_id", ["id1"])]) == 0


def test_an_undeclared_partition_is_refused(
    lake: Path, make_policy: Callable[..., Policy], keys: KeyRing, tmp_path: Path
) -> None:
    policy = make_policy("ill: {role: sensitive}", dataset=str(lake))
    target = open_dataset(str(tmp_path / "safe.parquet"))
    for source in (str(lake), str(lake / "patient_id=id1" / "year=2024" / "part-0.parquet")):
        dataset = open_dataset(source)
        with pytest.raises(UndeclaredColumn, match="patient_id"):
            anonymize(policy, dataset, target, keys)
        results = {c.id: r.passed for c, r in check_dataset(policy, dataset, "source")}
        assert not results["columns-declared"]


def test_a_person_in_a_folder_s_name_is_found_and_erased(
    lake: Path, make_policy: Callable[..., Policy], keys: KeyRing, sqlite_register: Register
) -> None:
    policy = make_policy(
        "ill: {role: sensitive}\nyear: {role: insensitive}\n"
        "patient_id: {role: identifying, transform: {method: drop}}",
        dataset=str(lake), subject={"kind": "patient", "key": "patient_id"},
    )  # fmt: skip
    record_results(sqlite_register, policy, open_dataset(str(lake)), "source", [], None)
    [finding] = locate(sqlite_register, keys, "patient", "id1").findings
    assert (finding.status, finding.rows) == ("found", 2)
    request = open_request(
        sqlite_register,
        keys,
        "gdpr",
        "erasure",
        Person("patient", ("id1",)),
        who("c"),
        Calendar("UTC"),
    )
    verify_identity(sqlite_register, request.id, True, "seen", who("c"))
    handler = Handler(sqlite_register, keys, who("dpo"))
    handler.locate(request.id)
    approve(sqlite_register, request.id, who("dpo"))
    handler.erase(request.id)
    closed, _ = handler.close(request.id)
    assert closed.status == "closed"
    assert not any("id1" in str(path) for path in lake.rglob("*"))


def test_a_key_that_cannot_be_read_has_failed(
    tmp_path: Path, make_policy: Callable[..., Policy], keys: KeyRing, sqlite_register: Register
) -> None:
    path = tmp_path / "nested.parquet"
    pq.write_table(pa.table({"contact": [{"email": "a@x.test"}], "age": [1]}), path)
    policy = make_policy(
        "contact: {role: identifying, transform: {method: drop}}\nage: {role: insensitive}",
        dataset=str(path), subject={"kind": "person", "key": "contact"},
    )  # fmt: skip
    record_results(sqlite_register, policy, open_dataset(str(path)), "source", [], None)
    found = locate(sqlite_register, keys, "person", "a@x.test")
    assert [f.status for f in found.findings] == ["failed"]
    assert not found.complete


def test_the_command_line_refuses_a_lake(
    tmp_path: Path, mlsec: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    table = delta(tmp_path / "t")
    policy = tmp_path / "p.yaml"
    policy.write_text(
        f"version: 1\ndataset: {table}\nowner: o\ncolumns:\n"
        "  email: {role: identifying, transform: {method: drop}}\n  age: {role: insensitive}\n"
    )
    done = mlsec("anonymize", policy, table, tmp_path / "safe.parquet")
    assert done.returncode == 2
    assert "Delta Lake" in done.stderr
    assert not (tmp_path / "safe.parquet").exists()
