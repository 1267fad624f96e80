"""Tables of SQLite files: ``sqlite:///lake/people.db/persons``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._connector import (
    Capabilities,
    Connector,
    Grant,
    KeptBy,
    Reading,
)
from airflow_mlsec.datasets._dataset import Dataset
from airflow_mlsec.datasets._endpoint import ConnectionFacts, Endpoint, Local
from airflow_mlsec.datasets._posix_grants import grants_of_path
from airflow_mlsec.datasets._uri import file_and_table
from airflow_mlsec.datasets.connectors.sqlite._again import read_again
from airflow_mlsec.datasets.connectors.sqlite._inside import SqliteFiles, split
from airflow_mlsec.naming import DatasetName


class Sqlite(Connector):
    """Tables of SQLite files."""

    name = "sqlite"
    schemes = ("sqlite",)
    namespaces = ("sqlite",)
    container = SqliteFiles()
    versions = None
    connection_types = ("sqlite",)

    def capabilities(self, uri: str) -> Capabilities:
        return Capabilities(
            local=True,
            files=False,
            keeps_writers_apart=True,
            absence_is_proof=False,
            # A column holds values of any type, whatever it is declared as.
            typed=False,
            copies=KeptBy.FILESYSTEM,
        )

    def open(self, uri: str, connections: Connections) -> Dataset:
        import sqlalchemy as sa

        from airflow_mlsec.datasets.sql import SqlDataset

        database, table = split(uri)
        url = sa.URL.create("sqlite", database=database)
        canonical = self.container.uri(Path(database), table)
        return SqlDataset(canonical, self.dataset_name(uri), None, table, url, "sqlite")

    def dataset_name(self, uri: str) -> DatasetName:
        database, table = split(uri)
        return DatasetName("sqlite", f"{database}/{table}")

    def uri_of(self, name: DatasetName) -> str | None:
        # Files of another machine are not here.
        found = file_and_table(name.name) if name.namespace == "sqlite" else None
        if found is None:
            return None
        uri = self.container.uri(*found)
        # If several files and tables could have this name, nobody can tell which is meant.
        return uri if self.dataset_name(uri) == name else None

    def connection_of(self, uri: str) -> str | None:
        return None

    def endpoint(self, connection: ConnectionFacts) -> Endpoint:
        raise Local

    def local_path(self, uri: str) -> Path | None:
        return Path(split(uri)[0])

    def grants(self, uri: str, connections: Connections) -> list[Grant]:
        return grants_of_path(Path(split(uri)[0]))

    def read_again(self, uri: str, connections: Connections, left_out: Sequence[str]) -> Reading:
        return Reading(read_again(*split(uri)), "every column of the table")
