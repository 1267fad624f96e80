"""What an attacker found where kinds of dataset became connectors: names of tables that are no paths, names of other machines,
events that nobody can read, and containers of other packages that say nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Container, Part, _registry
from airflow_mlsec.errors import CheckFailed
from airflow_mlsec.lineage import ingest_event
from airflow_mlsec.register import Register, set_dataset
from airflow_mlsec.subjects import approve, get_request
from tests.actors import who
from tests.lineage.events import dataset, event, lineage
from tests.subjects.lake import Lake

HER, BEN = "anna@x.test", "ben@x.test"


@pytest.fixture
def lake(tmp_path: Path, sqlite_register: Register, keys: KeyRing) -> Lake:
    made = Lake(tmp_path / "lake", sqlite_register, keys)
    made.put("raw.parquet", [(HER, 7), (BEN, 1)])
    made.policy()
    return made


def copied(lake: Lake, namespace: str, name: str) -> None:
    """Another program says that it copied people's keys there."""
    raw = str(lake.folder / "raw.parquet")
    out = dataset(name, ["who"], namespace, columnLineage=lineage(raw, {"who": ["who"]}))
    told = event(f"job {namespace} {name}", [dataset(raw, ["who", "tag"])], [out])
    ingest_event(told, lake.register, lake.keys.verification_keys())


def tables(lake: Lake, rows: dict[str, str]) -> Path:
    """A SQLite file, its tables with one person each."""
    path = lake.folder / "x.db"
    with sqlite3.connect(path) as connection:
        for table, person in rows.items():
            connection.execute(f'create table "{table}" (who text)')
            connection.execute(f'insert into "{table}" values (?)', (person,))
    connection.close()
    return path


def steps(lake: Lake, number: int) -> dict[str, str]:
    return {s.name: s.status for s in get_request(lake.register, number).steps}


@pytest.mark.parametrize("table", ["/t", "./t", "../x.db/t", "../raw.parquet"])
def test_the_name_of_a_table_is_no_path_to_another(lake: Lake, table: str) -> None:
    path = tables(lake, {"t": BEN, table: HER})
    for name in ("t", table):
        copied(lake, "sqlite", f"{path}/{name}")
        uri = f"sqlite://{quote(str(path))}/{quote(name, safe='')}"
        named = ("sqlite", f"{path}/{name}", lake.register.now())
        lake.register.write(lambda c, named=named, uri=uri: set_dataset(c, *named, uri=uri))  # type: ignore[misc]
    number = lake.erase(HER)
    left = sqlite3.connect(path).execute(f'select * from "{table}"').fetchall()
    mine = steps(lake, number)[f"{path}/{table}"]
    if left:
        assert mine not in ("same", "none", "none by scan", "erased")
        with pytest.raises(CheckFailed):
            lake.handler.close(number)
    else:
        assert mine == "erased"


def test_what_another_machine_has_is_not_what_is_here(lake: Lake) -> None:
    path = tables(lake, {"t": HER})
    copied(lake, "sqlite://otherhost", f"{path}/t")
    number = lake.opened(HER).id
    name = f"sqlite://otherhost/{path}/t"
    assert steps(lake, number)[name] in ("failed", "unknown")
    approve(lake.register, number, who("dpo"), named=["*"])
    lake.handler.erase(number)
    assert steps(lake, number)[name] in ("failed", "unknown")
    assert sqlite3.connect(path).execute("select * from t").fetchall() == [(HER,)]


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("s3://[bucket", "k.parquet"),
        ("abfss://cont:x@acct", "k"),
        ("sqlite", "/x"),
        ("sqlite", "/lake/a.db/"),
        ("gs://a b", "k"),
    ],
)
def test_an_event_that_nobody_can_read_keeps_nobody_else_from_being_found(
    lake: Lake, namespace: str, name: str
) -> None:
    copied(lake, namespace, name)
    number = lake.opened(HER).id
    said = steps(lake, number)
    assert said[str(lake.folder / "raw.parquet")] == "found"
    known = {str(lake.folder / "raw.parquet"), str(lake.folder)}
    listed = get_request(lake.register, number).steps
    [odd] = [s for s in listed if s.name not in known and not s.name.startswith("airflow/")]
    assert odd.status in ("failed", "unknown")


class Greedy(Container):
    """Takes every file for its own, and says nothing of it."""

    def recognises(self, head: bytes) -> bool:
        return True

    def is_beside(self, path: Path) -> bool:
        return True

    def uri(self, path: Path, table: str) -> str:
        raise KeyError(table)

    def split(self, uri: str) -> tuple[Path, str]:
        raise KeyError(uri)

    def tables(self, path: Path) -> list[str]:
        return []

    def rows(self, path: Path, table: str) -> Iterator[pa.RecordBatch]:
        return iter(())

    def beside(self, path: Path, tables_are_searched: bool) -> list[Part]:
        return []


class Failing(Greedy):
    """Fails whatever it is asked."""

    def recognises(self, head: bytes) -> bool:
        raise KeyError(head)

    def is_beside(self, path: Path) -> bool:
        raise KeyError(path)


@pytest.mark.parametrize("container", [Greedy(), Failing()])
def test_a_container_of_another_package_hides_no_file(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, container: Container
) -> None:
    (lake.folder / "notes.txt").write_text(f"{HER} was here")
    real = _registry.containers
    monkeypatch.setattr(_registry, "containers", lambda: iter([*real(), container]))
    monkeypatch.setattr(
        "airflow_mlsec.subjects.search._scan.containers", lambda: iter([*real(), container])
    )
    said = steps(lake, lake.opened(HER).id)
    here: Any = {name: status for name, status in said.items() if name.startswith(str(lake.folder))}
    notes, root = str(lake.folder / "notes.txt"), str(lake.folder)
    assert here.get(notes) == "found" or here[root] == "unknown"
