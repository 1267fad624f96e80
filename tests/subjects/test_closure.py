"""Where a person's data can be is worked out once for what is done in one go, and anew when somebody changes it."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.errors import Refused
from airflow_mlsec.lineage import ingest_event
from airflow_mlsec.policy import parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import Handler, approve, get_request
from airflow_mlsec.subjects.handling import _work
from tests.actors import who
from tests.approvals import agreed
from tests.lineage.events import dataset, event, lineage
from tests.subjects.lake import POLICY, Lake

HER = "anna@x.test"


def with_copies(lake: Lake, number: int, her: str = HER) -> list[str]:
    """A release, and copies of the raw rows, each with a second column of names."""
    lake.put("raw.parquet", [(her, 7), ("bob@x.test", 1)])
    lake.release(lake.policy())
    names = [str(lake.folder / f"copy{i}.parquet") for i in range(number)]
    for name in names:
        rows = {"who": [her, "bob@x.test"], "other": ["x", "y"], "tag": [7, 1]}
        pq.write_table(pa.table(rows), name)
        copied(lake.register, lake, name, {"who": ["who"], "tag": ["tag"]}, "copy")
    return names


def copied(
    register: Register, lake: Lake, name: str, columns: dict[str, list[str]], job: str
) -> None:
    raw = str(lake.folder / "raw.parquet")
    facets = {"columnLineage": lineage(raw, columns)}
    out = dataset(name, list(columns), **facets)
    told = event(f"{job} {name}", [dataset(raw, ["who", "tag"])], [out])
    ingest_event(told, register, lake.keys.verification_keys())


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every time that places are worked out."""
    found: list[int] = []
    real = _work.places_of

    def places(*given: Any) -> Any:
        found.append(1)
        return real(*given)

    monkeypatch.setattr(_work, "places_of", places)
    return found


def test_places_are_worked_out_as_often_for_many_as_for_few(
    tmp_path: Path, prepared_register: Path, counted: list[int]
) -> None:
    asked = {}
    for number in (2, 12):
        shutil.copy(prepared_register, tmp_path / f"{number}.db")
        register = Register(f"sqlite:///{tmp_path}/{number}.db")
        lake = Lake(tmp_path / f"lake{number}", register, KeyRing.create(tmp_path / f"{number}"))
        names = with_copies(lake, number)
        request = lake.opened(HER)
        approve(register, request.id, who("dpo"), named=["*"])
        counted.clear()
        lake.handler.erase(request.id)
        asked[number] = len(counted)
        states = {s.name: s.status for s in get_request(register, request.id).steps}
        mine = [*names, str(lake.folder / "raw.parquet"), str(lake.folder / "safe.parquet")]
        assert {states[name] for name in mine} == {"erased"}
        assert lake.handler.close(request.id)[0].status == "closed"
    assert asked[12] == asked[2] <= 5


@pytest.mark.parametrize("by", ["another object", "the same object", "another thread"])
@pytest.mark.parametrize("changed_by", ["lineage", "policy"])
def test_what_somebody_else_changes_in_between_counts(
    tmp_path: Path, register: Register, keys: KeyRing, changed_by: str, by: str
) -> None:
    """Lineage names another column of a copy, or a duty to keep the rows is declared, when some are erased already;
    whoever does it, and by whatever object: only the evidence of what is erased is the erasure's own."""
    lake = Lake(tmp_path / "lake", register, keys)
    with_copies(lake, 4)
    request = lake.opened(HER)
    approve(register, request.id, who("dpo"), named=["*"])
    another = register
    if by == "another object":
        another = Register(register._url.render_as_string(hide_password=False))
    told: list[str] = []

    def change() -> None:
        raw = str(lake.folder / "raw.parquet")
        if changed_by == "lineage":
            for i in range(4):
                name = str(lake.folder / f"copy{i}.parquet")
                copied(another, lake, name, {"who": ["who"], "other": ["who"]}, "again")
            return
        text = POLICY.format(raw=raw, normalize="", method="pseudonymize")
        kept = parse_policy(f"{text}erasure: {{retain: tax law}}\n", "p")
        agreed(register, kept, lake.at("raw.parquet").name)
        record_results(another, kept, lake.at("raw.parquet"), "source", [], None)

    def progress(message: str) -> None:
        if "rows erased" in message and not told:
            told.append(message)
            if by == "another thread":
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(change).result()
            else:
                change()

    handler = Handler(register, keys, who("dpo"), roots=(str(lake.folder),), progress=progress)
    if changed_by == "lineage":
        with pytest.raises(Refused, match="by column other"):
            handler.erase(request.id)
    else:
        done = handler.erase(request.id)
        assert next(s for s in done.steps if s.name.endswith("raw.parquet")).status == "retained"
    assert told
    # It was not gone on with by what was known before.
    assert HER in pq.read_table(lake.folder / "raw.parquet").column("who").to_pylist()
