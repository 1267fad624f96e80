"""Filesystems that an Airflow connection authenticates, in tasks and at the command line."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.sdk import BaseHook

from airflow_mlsec.errors import NoFilesystem, SettingError


def filesystem_of(protocol: str, conn_id: str) -> Any:
    """The fsspec filesystem of a protocol, as Airflow's provider for it makes it from a connection; where there is none,
    fsspec's own with the connection's extras as options. At the command line, this is the entry point ``airflow`` of
    ``airflow_mlsec.filesystems``.

    :raises SettingError: if the connection is not defined, or there is no such filesystem.
    """
    from airflow.sdk import ObjectStoragePath

    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise SettingError(
            f"connection '{conn_id}' is not defined: neither in AIRFLOW_CONN_{conn_id.upper()} nor in Airflow's secrets backends"
        ) from None
    try:
        return ObjectStoragePath(f"{protocol}://{conn_id}@/", conn_id=conn_id).fs
    except ValueError:
        return _plain_filesystem(protocol, connection)


def _plain_filesystem(protocol: str, connection: Any) -> Any:
    import fsspec

    given = {
        "host": connection.host,
        "port": connection.port,
        "username": connection.login,
        "password": connection.password,
    }
    options = {name: value for name, value in given.items() if value}
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        raise NoFilesystem(f"no filesystem for '{protocol}://'") from None
    except ImportError as error:  # it names the package to install
        raise SettingError(f"no filesystem for '{protocol}://': {error}") from None
    try:
        return fsspec.filesystem(protocol, **options, **connection.extra_dejson)
    except (ValueError, TypeError) as error:
        raise SettingError(
            f"no filesystem for '{protocol}://' with connection '{connection.conn_id}' "
            f"({type(error).__name__}); its extras are the options of fsspec's filesystem"
        ) from None
