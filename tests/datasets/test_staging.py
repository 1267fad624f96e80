"""Tasks of other engines write to the store where the dataset will be."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_mlsec.datasets import open_dataset, staging_beside
from airflow_mlsec.datasets.connectors.files._file import engine_location
from airflow_mlsec.errors import UsageError


def test_beside_a_local_file_and_gone_afterwards(tmp_path: Path) -> None:
    target = open_dataset(str(tmp_path / "new" / "safe.parquet"))
    staging = staging_beside(target, tasks_are_here=False)
    folder = Path(staging.path)
    assert folder.parent == tmp_path / "new"
    assert (folder.name.startswith(".mlsec-spark-"), folder.stat().st_mode & 0o777) == (True, 0o700)
    assert staging.for_engines == (folder / "parts").as_uri()
    (folder / "parts").mkdir()
    for i in (1, 0):
        pq.write_table(pa.table({"a": [i]}), folder / "parts" / f"part-{i}.parquet")
    (folder / "parts" / "_SUCCESS").touch()
    assert [pq.read_table(part).column("a").to_pylist() for part in staging.parts()] == [[0], [1]]
    staging.remove()
    assert list((tmp_path / "new").iterdir()) == []


def test_beside_an_object_of_a_store() -> None:
    memory = fsspec.filesystem("memory")
    target = open_dataset("memory://lake/day/safe.parquet")
    staging = staging_beside(target, tasks_are_here=False)
    assert staging.for_engines.startswith("memory://lake/day/.mlsec-spark-")
    with memory.open(f"{staging.path}/parts/part-0.parquet", "wb") as file:
        pq.write_table(pa.table({"a": [1]}), file)
    [part] = staging.parts()
    assert pq.read_table(part).column("a").to_pylist() == [1]
    staging.remove()
    assert not memory.exists(staging.path)
    assert engine_location("s3", "b/x") == "s3a://b/x"


def test_a_database_is_no_store_for_tasks_on_other_machines(tmp_path: Path) -> None:
    target = open_dataset(f"sqlite://{tmp_path}/safe.db/people")
    with pytest.raises(UsageError, match="nowhere to write"):
        staging_beside(target, tasks_are_here=False)
    staging = staging_beside(target, tasks_are_here=True)
    staging.remove()
    assert not Path(staging.path).exists()
