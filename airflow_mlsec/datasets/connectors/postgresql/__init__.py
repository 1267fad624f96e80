"""Tables of PostgreSQL, reached with an Airflow connection: ``postgresql://conn_id/database.schema.table``, or as Airflow
writes its assets (``postgres://host:5432/database/schema/table``), if a connection has the host's name as its id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._connector import (
    Capabilities,
    Connector,
    Grant,
    KeptBy,
    Reading,
)
from airflow_mlsec.datasets._endpoint import ConnectionFacts, Endpoint
from airflow_mlsec.datasets._uri import parts_of
from airflow_mlsec.datasets.connectors.postgresql._again import read_again
from airflow_mlsec.datasets.connectors.postgresql._transport import endpoint_of
from airflow_mlsec.errors import DatasetNotFound, SettingError, UnsupportedDataset
from airflow_mlsec.naming import DatasetName

if TYPE_CHECKING:
    from airflow_mlsec.datasets.sql import SqlDataset


_PORT = re.compile(r":[0-9]*\Z")


@dataclass(frozen=True)
class TableUri:
    """A table behind an Airflow connection; ``database`` may come from the connection."""

    conn_id: str
    database: str | None
    schema: str
    table: str

    def __str__(self) -> str:
        parts = [self.database, self.schema, self.table]
        return f"postgresql://{self.conn_id}/{'.'.join(quote(p, safe='') for p in parts if p)}"

    def name(self, host: str | None = None, database: str | None = None) -> DatasetName:
        """The OpenLineage name, with the ``host`` (``host:port``) and ``database`` of the connection; without them, the
        connection's id is used in place of the host."""
        parts = (self.database or database, self.schema, self.table)
        named = ".".join(part for part in parts if part)
        return DatasetName(f"postgres://{host or self.conn_id}", named)


def table_uri(uri: str) -> TableUri:
    """Read a URI.

    :raises UnsupportedDataset: if it is not the URI of a table.
    """
    parts = parts_of(uri)
    slashes = parts.raw.strip("/").count("/")
    as_asset = slashes == 2
    names = [unquote(name) for name in parts.raw.strip("/").split("/" if as_asset else ".")]
    # Airflow adds the port to every asset; whose it is says the connection.
    authority = _PORT.sub("", parts.authority) if as_asset else parts.authority
    if any("." in name for name in names):
        # Its OpenLineage name would be another table's as well.
        raise UnsupportedDataset(
            f"'{uri}': a name with a dot in it cannot be told from two names; rename the table, or make a view"
        )
    half = slashes not in (0, 2) or not 1 <= len(names) <= 3 or not all(names)
    if half or not authority or set("@:/") & set(authority):
        raise UnsupportedDataset(
            "a PostgreSQL table is postgresql://conn_id/database.schema.table, where conn_id is an "
            "Airflow connection, or postgres://conn_id/database/schema/table"
        )
    padded = [*[None] * (3 - len(names)), *names]
    return TableUri(authority, padded[0], padded[1] or "public", names[-1])


class Postgresql(Connector):
    """Tables of PostgreSQL."""

    name = "postgresql"
    schemes = ("postgresql", "postgres")
    namespaces = ("postgres", "postgresql")
    container = None
    versions = None
    connection_types = ("postgres", "postgresql")

    def capabilities(self, uri: str) -> Capabilities:
        return Capabilities(
            local=False,
            files=False,
            keeps_writers_apart=True,
            absence_is_proof=False,
            typed=True,
            copies=KeptBy.DATABASE,
        )

    def open(self, uri: str, connections: Connections) -> SqlDataset:
        import sqlalchemy as sa
        from sqlalchemy.exc import SQLAlchemyError

        from airflow_mlsec.datasets.sql import SqlDataset

        parsed = table_uri(uri)
        try:
            url = sa.make_url(connections.sql_url(parsed.conn_id))
        except (SQLAlchemyError, ValueError) as error:
            if isinstance(error, SettingError):
                raise
            raise SettingError(f"connection '{parsed.conn_id}' is not a database URL") from None
        url = url.set(drivername="postgresql+psycopg")
        if parsed.database:
            url = url.set(database=parsed.database)
        if url.host and url.host.startswith("%2F"):  # a socket's folder, as Airflow spells it
            url = url.set(host=unquote(url.host))
        host = f"{url.host or url.query.get('host') or 'localhost'}:{url.port or 5432}"
        name = parsed.name(host, url.database)
        return SqlDataset(str(parsed), name, parsed.schema, parsed.table, url, "postgresql")

    def dataset_name(self, uri: str) -> DatasetName:
        return table_uri(uri).name()

    def uri_of(self, name: DatasetName) -> str | None:
        # A host and a port are not a connection.
        return None

    def connection_of(self, uri: str) -> str | None:
        return table_uri(uri).conn_id

    def endpoint(self, connection: ConnectionFacts) -> Endpoint:
        return endpoint_of(connection)

    def local_path(self, uri: str) -> Path | None:
        return None

    def grants(self, uri: str, connections: Connections) -> list[Grant]:
        from airflow_mlsec.postgresql import read_catalog, table_access

        table = self.open(uri, connections)
        if not table.exists():
            raise DatasetNotFound(f"no table at '{uri}'")
        with table.connect() as connection:
            found = table_access(read_catalog(connection), table.schema_name, table.table_name)
        return sorted({Grant(access.role, access.permission, access.path) for access in found})

    def read_again(self, uri: str, connections: Connections, left_out: Sequence[str]) -> Reading:
        said = table_uri(uri)
        rows = read_again(said.conn_id, said.database, said.schema, said.table, connections)
        return Reading(rows, "every column of the table")
