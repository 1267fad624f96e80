"""The folder that a file is written to, if it is not there yet."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_mlsec.errors import DatasetError
from airflow_mlsec.settings import ALWAYS, NEVER, PARTITIONS, Settings

# A partition in the style of Hive: day=2026-11-29.
_PARTITION = re.compile(r"[^/=]+=[^/]*")
# Stores of objects have no folders: making one may make a bucket, or an object that stands for it.
_NO_FOLDERS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "memory"}


@contextlib.contextmanager
def target_folder(path: Path) -> Iterator[None]:
    """Make the folder of a local file if it is missing and ``[mlsec] create_folders`` allows it, with the permissions of the
    folder above; if the block fails it is removed again.

    :raises DatasetError: if it is missing and not to be made, or cannot be made.
    """
    missing: list[Path] = []
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    if missing:
        _require_allowed(missing, path)
    made: list[Path] = []
    try:
        try:
            for each in reversed(missing):
                each.mkdir(folder.stat().st_mode & 0o777, exist_ok=True)
                made.insert(0, each)
        except OSError as error:
            raise DatasetError(f"folder {path.parent} cannot be created ({error.strerror})") from None  # fmt: skip
        yield
    except BaseException:
        for each in made:
            # Only what is still empty: another writer may use it by now.
            with contextlib.suppress(OSError):
                each.rmdir()
        raise


def _require_allowed(missing: list[Path], path: Path) -> None:
    rule = Settings.load().create_folders
    if rule == ALWAYS:
        return
    if rule == PARTITIONS and all(_PARTITION.fullmatch(folder.name) for folder in missing):
        return
    raise DatasetError(
        f"folder {path.parent} does not exist; create it before writing {path.name}, or let it be created: "
        "[mlsec] create_folders = always"
    )


def make_remote_folder(filesystem: Any, protocol: str, path: str) -> None:
    """Make the folder of a file of another filesystem, unless that has none or ``[mlsec] create_folders`` is never.

    :raises Exception: of the client's own kind, if it cannot be made.
    """
    above = path.rpartition("/")[0]
    if protocol in _NO_FOLDERS or not above or filesystem.isdir(above):
        return
    if Settings.load().create_folders != NEVER:
        filesystem.makedirs(above, exist_ok=True)
