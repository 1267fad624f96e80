"""Files and objects: Parquet, CSV and JSON Lines, on the local disk or any filesystem of fsspec.

``/lake/people.parquet``, ``file:///lake/people.parquet``, ``s3://conn_id@bucket/people.csv``.

`_location` reads URIs, `_file` reads, replaces and changes what is there, `_formats` each format, `_rows` single rows (`_rows_parquet` of
Parquet), `_folders` says what belongs to a folder, `_artifact` has files of any format as streams, `_versions` what buckets keep of them,
`_staging` where other engines write, `_again` checks what was changed, with code of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._connector import (
    Capabilities,
    Connector,
    Grant,
    KeptBy,
    OldVersion,
    Reading,
    Versions,
)
from airflow_mlsec.datasets._dataset import Dataset
from airflow_mlsec.datasets._endpoint import ConnectionFacts, Endpoint
from airflow_mlsec.datasets._posix_grants import grants_of_path
from airflow_mlsec.datasets.connectors.files._again import read_again
from airflow_mlsec.datasets.connectors.files._location import file_uri
from airflow_mlsec.datasets.connectors.files._transport import AMAZON, GOOGLE, LOCAL, endpoint_of
from airflow_mlsec.datasets.connectors.files._versions import erase_versions, old_versions
from airflow_mlsec.errors import UnsupportedDataset
from airflow_mlsec.naming import SAME_STORES, DatasetName

# Filesystems that are on the machine.
_HERE = ("file", "local", "memory")
# Stores where the names of datasets are also their URIs.
_NAMED_BY_URI = ("s3", "gs", "abfss")


class StoreVersions(Versions):
    """What versioned buckets keep."""

    def of(self, uri: str, connections: Connections) -> list[OldVersion] | None:
        return None if file_uri(uri).protocol in _HERE else old_versions(uri, connections)

    def erase(self, uri: str, versions: Sequence[OldVersion], connections: Connections) -> int:
        return erase_versions(uri, versions, connections)


class Files(Connector):
    """Files, folders of Parquet files, and objects."""

    name = "files"
    schemes = ("", "file", "memory", "s3", "gs", "abfss", "wasbs", *SAME_STORES, "*")
    namespaces = ("file", *_NAMED_BY_URI, *SAME_STORES)
    container = None
    versions = StoreVersions()
    connection_types = (*LOCAL, *AMAZON, *GOOGLE)

    def capabilities(self, uri: str) -> Capabilities:
        local = file_uri(uri).protocol == "file"
        return Capabilities(
            local=local,
            files=True,
            # A store replaces whatever is there.
            keeps_writers_apart=local,
            # A disk may not be mounted.
            absence_is_proof=not local,
            typed=True,
            copies=KeptBy.FILESYSTEM if local else KeptBy.STORE,
        )

    def open(self, uri: str, connections: Connections) -> Dataset:
        from airflow_mlsec.datasets.connectors.files._file import FileDataset

        return FileDataset.of(file_uri(uri), connections)

    def dataset_name(self, uri: str) -> DatasetName:
        return file_uri(uri).name()

    def uri_of(self, name: DatasetName) -> str | None:
        if name.namespace == "file":
            return f"file://{quote(name.name)}" if name.name.startswith("/") else None
        scheme = name.namespace.partition("://")[0]
        named = scheme in _NAMED_BY_URI or SAME_STORES.get(scheme) in _NAMED_BY_URI
        return f"{name.namespace}/{quote(name.name)}" if named else None

    def connection_of(self, uri: str) -> str | None:
        location = file_uri(uri)
        if location.protocol in _HERE:
            return None
        if location.conn_id is None:
            raise UnsupportedDataset(
                f"'{location}' is elsewhere, but names no connection whose settings could be checked; "
                "write scheme://conn_id@…"
            )
        return location.conn_id

    def endpoint(self, connection: ConnectionFacts) -> Endpoint:
        return endpoint_of(connection)

    def local_path(self, uri: str) -> Path | None:
        location = file_uri(uri)
        return Path(location.path) if location.protocol == "file" else None

    def grants(self, uri: str, connections: Connections) -> list[Grant]:
        path = self.local_path(uri)
        if path is None:
            raise UnsupportedDataset(f"grants of '{uri}' cannot be read by this version")
        return grants_of_path(path)

    def read_again(self, uri: str, connections: Connections, left_out: Sequence[str]) -> Reading:
        return read_again(file_uri(uri), connections, left_out)
