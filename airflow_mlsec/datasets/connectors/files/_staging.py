"""Where other engines' tasks write what will become a dataset: on the store where it will be, which all of
them can reach, and never on the disk of one of them."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from airflow_mlsec.datasets._dataset import Dataset
from airflow_mlsec.datasets.connectors.files._file import FileDataset, engine_location, is_parquet
from airflow_mlsec.errors import UsageError

_PREFIX = ".mlsec-spark-"


@dataclass(frozen=True)
class Staging:
    """A folder for one run."""

    # Its name for engines, and its name for the filesystem.
    for_engines: str
    path: str
    filesystem: Any = None  # fsspec filesystem, or None for the local disk

    def parts(self) -> Iterator[BinaryIO]:
        """The Parquet files that were written, opened, in the order of their names."""
        if self.filesystem is None:
            for part in sorted(Path(self.path).rglob("*.parquet")):
                yield part.open("rb")
            return
        # An earlier listing in the cache may not include what another program wrote.
        self.filesystem.invalidate_cache(self.path)
        for found in sorted(p for p in self.filesystem.find(self.path) if is_parquet(p)):
            yield self.filesystem.open(found, "rb")

    def remove(self) -> None:
        """Remove it with all that is in it."""
        if self.filesystem is None:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        with contextlib.suppress(OSError):
            self.filesystem.rm(self.path, recursive=True)


def staging_beside(target: Dataset, tasks_are_here: bool) -> Staging:
    """A new folder next to a target, hidden from readers of the folder that it is in.

    :param tasks_are_here: Whether the engine's tasks run on this machine.
    :raises UsageError: if the target is not a file, and tasks on other machines have no store to write to.
    """
    name = f"{_PREFIX}{secrets.token_hex(8)}"
    if isinstance(target, FileDataset):
        beside = target.location.path.rstrip("/").rpartition("/")[0]
        if target.filesystem is None:
            folder = Path(beside or ".").absolute() / name
            folder.mkdir(mode=0o700, parents=True)
            return Staging((folder / "parts").as_uri(), str(folder))
        path = f"{beside}/{name}"
        return Staging(
            f"{engine_location(target.location.protocol, path)}/parts", path, target.filesystem
        )
    if not tasks_are_here:
        raise UsageError(
            f"tasks on other machines have nowhere to write what is to become '{target.uri}': release to a Parquet file "
            "on a store that all of them reach, or use the local engine"
        )
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    return Staging((folder / "parts").as_uri(), str(folder))
