"""Where it is known by construction where each person is, the answer must be that, exactly."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import DatasetName, open_dataset
from airflow_mlsec.lineage import TaskRun, dark_list
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import (
    Calendar,
    Handler,
    Person,
    approve,
    locate,
    open_request,
    settle,
    verify_identity,
)
from tests import canaries
from tests.actors import who
from tests.conftest import SLOW
from tests.subjects.planted import World


@pytest.fixture(scope="module", params=range(6 if SLOW else 1))
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp(f"planted{request.param}")
    register = Register(f"sqlite:///{folder}/register.db")
    return World(folder / "lake", register, KeyRing.create(folder / "keys"), request.param)


def found(world: World, person: int) -> dict[str, str]:
    location = locate(
        world.register, world.keys, "person", world.emails[person], roots=(str(world.folder),)
    )
    assert all(f.likeness == (Path(f.dataset).name == "dark.parquet") for f in location.findings)
    return {Path(f.dataset).name: f.status for f in location.findings if f.kind != "scan"}


def test_the_world_is_as_large_as_it_should_be(world: World) -> None:
    assert len(world.tables) >= 50
    assert world.columns >= 300
    kinds = {t.name.rpartition(".")[2] for t in world.tables}
    assert kinds == {"parquet", "csv", "jsonl"}
    assert sum(t.people is None for t in world.tables) >= 1, "aggregates"
    assert sum(t.dropped for t in world.tables) == 2


@pytest.mark.parametrize("person", [0, 3, 7, 19, 29])
def test_every_place_is_found_and_no_other(world: World, person: int) -> None:
    answer = found(world, person)
    expected = {}
    for table in world.tables:
        if table.dropped:
            expected[table.name] = "none"
            continue
        people = table.people if table.people is not None else world.listed(table)
        # Groups of rows say nothing of one person; that no key stands there a scan can tell.
        status = "none by scan" if people is None else "found" if person in people else "none"
        expected[table.name] = status
    if person in (world.tables[0].people or ()):
        expected["dark.parquet"] = "found"
    for path, people in world.models.items():
        status = "unknown" if people is None else "found" if person in people else "none"
        expected[Path(path).name] = status
    assert answer == expected


def test_the_task_without_lineage_is_named(world: World) -> None:
    def run(task: str) -> TaskRun:
        return TaskRun("planted", "r", task, -1, 1, "success")

    tasks = [t.name for t in world.tables if t.made_from]
    assets = {("planted", "dark"): [DatasetName("file", f"{world.folder}/source0.parquet")]}
    answer = dark_list(world.register, [run(task) for task in [*tasks, "dark"]], assets)
    assert [d.run.task_id for d in answer.dark] == ["dark"]
    assert answer.touching == len(tasks) + 1


def rows(world: World) -> dict[str, list[dict[str, Any]]]:
    answer = {}
    for table in world.tables:
        if not table.dropped:
            batches = list(open_dataset(f"file://{world.folder}/{table.name}").scan())
            answer[table.name] = pa.Table.from_batches(batches).to_pylist() if batches else []
    return answer


def test_erasure_leaves_no_byte_of_her_and_nobody_else_notices(world: World) -> None:
    """Last, since she is gone afterwards."""
    before, person = rows(world), Person("person", (canaries.EMAIL,))
    token = next(t for t, i in world._tokens().items() if i == 3)
    handler = Handler(world.register, world.keys, who("dpo"), roots=(str(world.folder),))
    now = datetime.now(UTC)
    request = open_request(
        world.register, world.keys, "gdpr", "erasure", person, who("clerk"), Calendar(), now
    )
    verify_identity(world.register, request.id, True, "seen", who("clerk"))
    handler.locate(request.id)
    approve(world.register, request.id, who("dpo"), named=["*"])
    done = handler.erase(request.id)
    after = rows(world)
    for table in world.tables:
        if table.dropped:
            continue
        hers = (canaries.EMAIL, token)
        left = [
            row for row in before[table.name] if table.key is None or row[table.key] not in hers
        ]
        assert after[table.name] == left, table.name
    dark = world.folder / "dark.parquet"
    assert canaries.found_below(world.folder, [dark]) == []
    [left] = [s for s in done.steps if s.name == str(dark)]
    assert (left.status, left.likeness) == ("found", True), "no lineage names it: a scan does"
    handler.confirm(request.id, str(dark), "email", "the copy that the nightly job makes")
    approve(world.register, request.id, who("officer"), named=["*"])
    done = handler.erase(request.id)
    assert canaries.found_below(world.folder) == []
    for path in world.folder.iterdir():
        if path.suffix in (".csv", ".jsonl"):
            assert token.encode() not in path.read_bytes()
    for step in done.open_steps():
        table = next((t for t in world.tables if step.name.endswith(f"/{t.name}")), None)
        assert table is None or table.people is None, step.name
        settle(world.register, request.id, step.name, "rebuilt", "by hand, on 3 May", who("dpo"))
    closed, _ = handler.close(request.id)
    assert closed.status == "closed"
