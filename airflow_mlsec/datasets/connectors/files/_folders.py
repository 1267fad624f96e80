"""What a folder of files is, according to its content and the names of its folders.

Tables of Delta Lake, Iceberg and Hudi are more than the Parquet files in them: these files still
contain deleted rows, and rewriting a file breaks the table. They are recognised by their logs and
refused. Folders called ``name=value`` (Hive's partitions) hold a column in their names.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from airflow_mlsec.errors import DatasetError, UnsupportedDataset

# Hive's name for a missing value.
_NULL = "__HIVE_DEFAULT_PARTITION__"
# What is in the folder of a table, and the format that it belongs to.
_LOGS = (("_delta_log", "Delta Lake"), (".hoodie", "Hudi"))


def refuse_tables(path: str, filesystem: Any, uri: str) -> None:
    """:raises UnsupportedDataset: if a path is a table of Delta Lake, Iceberg or Hudi, or is in one, or one
    is in it."""
    # The target of a link counts, not its name.
    whole = (os.path.realpath(path) if filesystem is None else path).rstrip("/")
    above = [whole]
    while (parent := posixpath.dirname(above[-1])) not in ("", "/", above[-1]):
        above.append(parent)
    for folder in above:
        for name, kind in _LOGS:
            if _is_folder(f"{folder}/{name}", filesystem):
                raise _refused(uri, kind)
        if _has_iceberg(f"{folder}/metadata", filesystem):
            raise _refused(uri, "Iceberg")


def refuse_tables_among(names: list[str], uri: str) -> None:
    """:raises UnsupportedDataset: if the files below a folder are those of such a table, or have one among
    them."""
    for name in names:
        parts = name.split("/")
        for log, kind in _LOGS:
            if log in parts[:-1]:
                raise _refused(uri, kind)
        if parts[-1].endswith(".metadata.json") and parts[-2:-1] == ["metadata"]:
            raise _refused(uri, "Iceberg")


def is_hidden(relative: str) -> bool:
    """Whether writers hide a file, by its name or that of a folder that it is in (``_temporary``)."""
    return any(
        part.startswith((".", "_")) and "=" not in part for part in relative.split("/") if part
    )


def partition_values(path: str) -> dict[str, str | None]:
    """The columns that are in the names of the folders of a path, with their values."""
    found: dict[str, str | None] = {}
    for part in path.split("/")[:-1]:
        name, equals, value = part.partition("=")
        if equals and name:
            found[unquote(name)] = None if value == _NULL else unquote(value)
    return found


def _is_folder(path: str, filesystem: Any) -> bool:
    if filesystem is None:
        return Path(path).is_dir()
    return bool(filesystem.isdir(path))


def _has_iceberg(folder: str, filesystem: Any) -> bool:
    if filesystem is None:
        found = Path(folder)
        return found.is_dir() and any(p.name.endswith(".metadata.json") for p in found.iterdir())
    if not filesystem.isdir(folder):
        return False
    return any(str(p).endswith(".metadata.json") for p in filesystem.ls(folder, detail=False))


def _refused(uri: str, kind: str) -> UnsupportedDataset:
    return UnsupportedDataset(
        f"'{uri}' is, or is in, a table of {kind}, which this version does not read: rows that were deleted are still in "
        "its files, and rewriting one breaks the table. Export it to plain Parquet first"
    )


def visible_files(folder: Path) -> list[Path]:
    """The Parquet files below a folder that are read as its rows.

    :raises DatasetError: as `files_below`.
    """
    return [
        path
        for path in map(Path, files_below(str(folder), f"file://{folder}"))
        if path.suffix.lower() in (".parquet", ".pq")
        and not is_hidden(str(path.relative_to(folder)))
    ]


def files_below(folder: str, uri: str) -> list[str]:
    """All files below a folder, links to folders followed, as readers of partitions do.

    :raises DatasetError: if a folder cannot be listed, or a link leads back to a folder above it, or nowhere: its
        target may be on a disk that is not mounted.
    """

    def unlisted(error: OSError) -> None:
        raise DatasetError(f"'{uri}': a folder of it cannot be listed ({error.strerror})")

    found: list[str] = []
    for at, folders, names in os.walk(folder, onerror=unlisted, followlinks=True):
        here = os.path.realpath(at)
        for name in folders:
            inner = os.path.realpath(os.path.join(at, name))
            if here == inner or here.startswith(f"{inner}/"):
                raise DatasetError(f"'{uri}': a link in it leads back to a folder above it")
        for name in names:
            path = os.path.join(at, name)
            if os.path.isfile(path):
                found.append(path)
            elif os.path.islink(path) and not name.startswith("."):
                raise DatasetError(
                    f"'{uri}': a link in it leads to nothing: what was there may be on a disk that is not mounted"
                )
    return found
