"""Connecting to the databases of Airflow connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from airflow_mlsec.connections import Connections
from airflow_mlsec.databases import described, may_pass
from airflow_mlsec.errors import DatabaseUnavailable, DatasetError, SettingError


def url_of(connections: Connections, conn_id: str) -> sa.URL:
    """The URL of a connection.

    :raises SettingError: if the connection is not a database's.
    """
    try:
        return sa.make_url(connections.sql_url(conn_id))
    except (SQLAlchemyError, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"connection '{conn_id}' is not a database URL") from None


def connected(
    connections: Connections, conn_id: str, driver: str | None = None, database: str = ""
) -> AbstractContextManager[sa.Connection]:
    """A connection to a database, by the id of an Airflow connection.

    :param driver: SQLAlchemy's name of the driver, if the connection's own is not to be used.
    :param database: Another database of the server.
    :raises SettingError: if the connection is not a database's, or its driver is not installed.
    :raises DatasetError: if the database cannot be reached, or refuses; without its message, which may quote anything.
    """
    url = url_of(connections, conn_id)
    url = url if driver is None else url.set(drivername=driver)
    url = url.set(database=database) if database else url
    return connected_to(url, f"connection '{conn_id}'")


@contextmanager
def connected_to(url: sa.URL, called: str) -> Iterator[sa.Connection]:
    """A connection to a database; see `connected`.

    :param called: How errors name it.
    """
    if url.host and url.host.startswith("%2F"):  # a socket's folder, as Airflow spells it
        url = url.set(host=unquote(url.host))
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    try:
        engine = sa.create_engine(url, poolclass=NullPool)
    except ImportError as error:
        raise SettingError(f"{called} needs the package {error.name}") from None
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        kind = DatabaseUnavailable if may_pass(error) else DatasetError
        raise kind(f"{called}: {described(error, url)}") from None
    finally:
        engine.dispose()
