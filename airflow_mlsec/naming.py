"""Names of datasets, as in OpenLineage, and what kind of thing a namespace contains.

https://openlineage.io/docs/spec/naming
"""

from __future__ import annotations

import os
from dataclasses import dataclass

# The namespace of this machine's files.
LOCAL = "file"
# Alternative schemes for the same stores.
SAME_STORES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "abfss", "wasb": "wasbs"}
_STORES = ("s3", "gs", "abfss", "wasbs")
# Namespaces of files and folders, and of streams; all others are namespaces of tables.
_FILES = (LOCAL, *_STORES, "az", "hdfs", "dbfs", "oss", "cos")
_STREAMS = ("kafka", "pubsub")
# Namespaces with tables called catalog.schema.table, whose first parts may be left out.
_DOTTED = (
    "postgres", "postgresql", "mysql", "mariadb", "mssql", "redshift", "snowflake", "trino", "oracle",
)  # fmt: skip


@dataclass(frozen=True)
class DatasetName:
    """The OpenLineage identity of a dataset."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return self.name if self.namespace in (LOCAL, "sqlite") else f"{self.namespace}/{self.name}"


def canonical_store(namespace: str) -> str:
    """The canonical namespace of an object store: ``s3a://conn_id@bucket/`` is ``s3://bucket``."""
    scheme, found, rest = namespace.partition("://")
    scheme = SAME_STORES.get(scheme.lower(), scheme)
    if not found or scheme not in _STORES:
        return namespace
    # Azure's namespaces are container@account.
    bucket = rest if scheme in ("abfss", "wasbs") else rest.rpartition("@")[2]
    return f"{scheme}://{bucket.rstrip('/')}"


def canonical_path(path: str) -> str:
    """The canonical form of an absolute local path. POSIX lets two slashes at its beginning mean something else; Linux and
    macOS do not."""
    return os.path.normpath(f"/{path.lstrip('/')}")


def canonical_key(name: str) -> str:
    """The canonical form of an object's key, or of a prefix of keys."""
    return name.strip("/") or "/"


def is_store(namespace: str) -> bool:
    """Whether a namespace is an object store's."""
    return namespace.partition("://")[0] in _STORES


def names_files(namespace: str) -> bool:
    """Whether names in a namespace are those of files, and what is below a name is part of it."""
    scheme = namespace.partition("://")[0].rstrip(":").lower()
    return SAME_STORES.get(scheme, scheme) in _FILES


def names_tables(namespace: str) -> bool:
    """Whether names in a namespace are those of tables; True if the namespace is not known."""
    return not names_files(namespace) and namespace.partition(":")[0] not in _STREAMS


def names_in_schemas(namespace: str) -> bool:
    """Whether names in a namespace are ``catalog.schema.table``, whose first parts may be left out."""
    return namespace.partition("://")[0] in _DOTTED
