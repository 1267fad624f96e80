"""The folder of a file that is written, if it is not there yet."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from airflow_mlsec.datasets import open_artifact, open_dataset
from airflow_mlsec.datasets.connectors.files._target_folder import (
    make_remote_folder,
    target_folder,
)
from airflow_mlsec.errors import DatasetError, SettingError

ROWS = pa.table({"a": [1, 2]})
OPTION = "AIRFLOW__MLSEC__CREATE_FOLDERS"


def write_table(path: Path) -> None:
    with open_dataset(str(path)).replacing(ROWS.schema) as staged:
        for batch in ROWS.to_batches():
            staged.write(batch)


def write_artifact(path: Path) -> None:
    open_artifact(str(path)).write_bytes(b"x")


@pytest.mark.parametrize("write", [write_table, write_artifact])
def test_a_partition_is_made_and_nothing_else(tmp_path: Path, write: Any) -> None:
    lake = tmp_path / "lake"
    lake.mkdir(mode=0o750)
    path = lake / "day=2026-11-29" / "region=eu" / "part.parquet"
    write(path)
    assert path.exists()
    assert path.parent.stat().st_mode & 0o777 == 0o750
    for other in (
        lake / "typo" / "x.parquet",
        lake / "typo" / "day=1" / "x.parquet",
        lake / "=1" / "x.parquet",
    ):
        with pytest.raises(
            DatasetError, match=r"does not exist; create it .* create_folders = always"
        ):
            write(other)
        assert [p.name for p in lake.iterdir()] == ["day=2026-11-29"]


def test_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTION, "always")
    write_table(tmp_path / "a" / "b" / "x.parquet")
    monkeypatch.setenv(OPTION, "never")
    for missing in (tmp_path / "c" / "x.parquet", tmp_path / "day=1" / "x.parquet"):
        with pytest.raises(DatasetError, match="does not exist"):
            write_table(missing)
    write_table(tmp_path / "a" / "x.parquet")
    monkeypatch.setenv(OPTION, "sometimes")
    with pytest.raises(SettingError, match="always, partitions or never, not 'sometimes'"):
        write_table(tmp_path / "c" / "x.parquet")


def test_what_fails_leaves_no_folder(tmp_path: Path) -> None:
    """An empty partition would be taken for a day without people."""
    with pytest.raises(KeyboardInterrupt), target_folder(tmp_path / "day=1" / "hour=2" / "x"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), target_folder(tmp_path / "day=1" / "hour=2" / "x"):
        # Another writer's, meanwhile.
        (tmp_path / "day=1" / "other").touch()
        raise KeyboardInterrupt
    assert [p.name for p in (tmp_path / "day=1").iterdir()] == ["other"]


def test_two_writers_of_one_partition(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            write_artifact(tmp_path / "day=1" / "hour=1" / f"{number}")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(list((tmp_path / "day=1" / "hour=1").iterdir())) == 8


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "day=1").touch()
    with pytest.raises(DatasetError):
        write_artifact(tmp_path / "day=1" / "x")
    with pytest.raises(DatasetError):
        write_artifact(tmp_path / "day=1" / "hour=1" / "x")
    assert (tmp_path / "day=1").is_file()


def test_other_filesystems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of a file server are made; stores of objects have none, and are not asked."""
    local = fsspec.filesystem("file")
    make_remote_folder(local, "sftp", f"{tmp_path}/a/b/x.parquet")
    assert (tmp_path / "a" / "b").is_dir()
    make_remote_folder(local, "s3", f"{tmp_path}/bucket/x.parquet")
    assert not (tmp_path / "bucket").exists()
    monkeypatch.setenv(OPTION, "never")
    make_remote_folder(local, "sftp", f"{tmp_path}/c/x.parquet")
    assert not (tmp_path / "c").exists()
