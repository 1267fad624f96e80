"""Dataset URIs, and the OpenLineage name of what they refer to.

| URI | what |
|---|---|
| ``/lake/people.parquet``, ``file:///lake/people.parquet`` | local file, or folder of Parquet files |
| ``s3://bucket/people.csv`` and any other fsspec scheme | object or file of that filesystem; ``s3://conn_id@bucket/…`` names the Airflow connection |
| ``sqlite:///lake/people.db/persons`` | table ``persons`` of the SQLite file ``/lake/people.db`` |
| ``postgresql://conn_id/database.schema.table`` | PostgreSQL table reached by an Airflow connection |

Naming: https://openlineage.io/docs/spec/naming
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from airflow_mlsec.errors import UnsupportedDataset

FILE_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}

# Schemes under which clients reach the same stores.
_SAME_STORES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "abfss", "wasb": "wasbs"}
_STORES = ("s3", "gs", "abfss", "wasbs")
# Filesystems that are on the machine.
_HERE = ("file", "local", "memory")


def canonical_store(namespace: str) -> str:
    """One spelling of an object store's namespace: ``s3a://conn_id@bucket/`` is ``s3://bucket``."""
    scheme, found, rest = namespace.partition("://")
    scheme = _SAME_STORES.get(scheme.lower(), scheme)
    if not found or scheme not in _STORES:
        return namespace
    # Azure's namespaces are container@account.
    bucket = rest if scheme in ("abfss", "wasbs") else rest.rpartition("@")[2]
    return f"{scheme}://{bucket.rstrip('/')}"


def is_store(namespace: str) -> bool:
    """Whether a namespace is an object store's."""
    return namespace.partition("://")[0] in _STORES


def canonical_key(name: str) -> str:
    """One spelling of an object's key, or of what lies below one."""
    return name.strip("/") or "/"


@dataclass(frozen=True)
class DatasetName:
    """The OpenLineage identity of a dataset."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return (
            self.name if self.namespace in ("file", "sqlite") else f"{self.namespace}/{self.name}"
        )


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


@dataclass(frozen=True)
class SqliteUri:
    """A table of a SQLite file."""

    database: str
    table: str

    def name(self) -> DatasetName:
        return DatasetName("sqlite", f"{self.database}/{self.table}")

    def __str__(self) -> str:
        return f"sqlite://{quote(self.database)}/{quote(self.table, safe='')}"


@dataclass(frozen=True)
class PostgresUri:
    """A PostgreSQL table behind an Airflow connection; ``database`` may come from there."""

    conn_id: str
    database: str | None
    schema: str
    table: str

    def __str__(self) -> str:
        parts = [self.database, self.schema, self.table]
        return f"postgresql://{self.conn_id}/{'.'.join(quote(p, safe='') for p in parts if p)}"


AnyUri = FileUri | SqliteUri | PostgresUri


def parse_uri(uri: str) -> AnyUri:
    """Read a dataset URI or local path.

    :raises UnsupportedDataset: if it is neither, or carries a password.
    """
    if "\0" in uri or not uri.strip():
        raise UnsupportedDataset("a dataset URI is empty or holds a NUL character")
    if "://" not in uri:
        return FileUri("file", None, os.path.normpath(Path(uri).expanduser().absolute()))
    try:
        parts = urlsplit(uri)
        password = parts.password
    except ValueError:
        raise UnsupportedDataset(
            "a dataset URI cannot be parsed; percent-encode brackets"
        ) from None
    scheme = parts.scheme.lower()
    if password is not None:
        raise UnsupportedDataset(
            f"a {scheme} URI carries a password; name an Airflow connection instead "
            f"({scheme}://conn_id…), which keeps it secret"
        )
    # '#' and '?' may stand in file and table names.
    path = unquote(uri.split("://", 1)[1][len(parts.netloc) :])
    if scheme == "file":
        if parts.netloc not in ("", "localhost") or not path.startswith("/"):
            raise UnsupportedDataset(f"'{uri}': a file URI is file:///absolute/path")
        return FileUri("file", None, os.path.normpath(path))
    if scheme == "sqlite":
        database, _, table = path.rpartition("/")
        if parts.netloc or not table or database in ("", "/"):
            raise UnsupportedDataset(f"'{uri}': a SQLite table is sqlite:///path/file.db/table")
        return SqliteUri(os.path.normpath(database), table)
    if scheme in ("postgresql", "postgres"):
        names = [unquote(name) for name in path.strip("/").split(".")]
        if (
            not parts.netloc
            or not 1 <= len(names) <= 3
            or not all(names)
            or set("@:") & set(parts.netloc)
        ):
            raise UnsupportedDataset(
                "a PostgreSQL table is postgresql://conn_id/database.schema.table, where conn_id is an "
                "Airflow connection"
            )
        padded = [*[None] * (3 - len(names)), *names]
        return PostgresUri(parts.netloc, padded[0], padded[1] or "public", names[-1])
    account, _, bucket = parts.netloc.rpartition("@")
    return FileUri(scheme, account or None, f"{bucket}{path}")


def dataset_name(uri: str, host: str | None = None, database: str | None = None) -> DatasetName:
    """The OpenLineage name of a URI.

    For PostgreSQL, ``host`` (``host:port``) and ``database`` are those of the connection;
    without them the connection id stands for the host.
    """
    parsed = parse_uri(uri)
    if isinstance(parsed, PostgresUri):
        where = f"postgres://{host or parsed.conn_id}"
        parts = (parsed.database or database, parsed.schema, parsed.table)
        return DatasetName(where, ".".join(part for part in parts if part))
    return parsed.name()


def file_path(uri: str) -> Path:
    """The local path of a ``file://`` URI or path.

    :raises UnsupportedDataset: if it is on another filesystem.
    """
    parsed = parse_uri(uri)
    if isinstance(parsed, FileUri) and parsed.protocol == "file":
        return Path(parsed.path)
    raise UnsupportedDataset(f"'{parsed}' is not a local file")


def connection_of(uri: str) -> str | None:
    """The Airflow connection that a URI is reached by; None if it does not leave the machine.

    :raises UnsupportedDataset: if it leaves the machine without naming a connection.
    """
    parsed = parse_uri(uri)
    if isinstance(parsed, SqliteUri) or (isinstance(parsed, FileUri) and parsed.protocol in _HERE):
        return None
    if parsed.conn_id is None:
        raise UnsupportedDataset(
            f"'{parsed}' is elsewhere, but names no connection whose settings could be looked at; "
            "write scheme://conn_id@…"
        )
    return parsed.conn_id
