"""Where a file or object is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from airflow_mlsec.datasets._uri import parts_of
from airflow_mlsec.errors import UnsupportedDataset
from airflow_mlsec.naming import (
    DatasetName,
    canonical_key,
    canonical_path,
    canonical_store,
    is_store,
)

FILE_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


@dataclass(frozen=True)
class FileUri:
    """A file or object: fsspec protocol, Airflow connection (or None), path."""

    protocol: str
    conn_id: str | None
    path: str

    @property
    def format(self) -> str | None:
        return FILE_FORMATS.get(os.path.splitext(self.path)[1].lower())

    def name(self) -> DatasetName:
        if self.protocol == "file":
            return DatasetName("file", self.path)
        bucket, _, key = self.path.partition("/")
        namespace = canonical_store(f"{self.protocol}://{bucket}")
        return DatasetName(namespace, canonical_key(key) if is_store(namespace) else key or "/")

    def __str__(self) -> str:
        account = f"{self.conn_id}@" if self.conn_id else ""
        return f"{self.protocol}://{account}{quote(self.path)}"


def file_uri(uri: str) -> FileUri:
    """Read the URI or local path of a file, a folder or an object.

    :raises UnsupportedDataset: if it is not one.
    """
    parts = parts_of(uri)
    if not parts.scheme:
        return FileUri("file", None, canonical_path(str(Path(uri).expanduser().absolute())))
    if parts.scheme == "file":
        if parts.authority not in ("", "localhost") or not parts.path.startswith("/"):
            raise UnsupportedDataset(f"'{uri}': a file URI is file:///absolute/path")
        return FileUri("file", None, canonical_path(parts.path))
    account, _, bucket = parts.authority.rpartition("@")
    return FileUri(parts.scheme, account or None, f"{bucket}{parts.path}")


def file_path(uri: str) -> Path:
    """The local path of a ``file://`` URI or path.

    :raises UnsupportedDataset: if it is on another filesystem.
    """
    location = file_uri(uri)
    if location.protocol == "file":
        return Path(location.path)
    raise UnsupportedDataset(f"'{location}' is not a local file")
