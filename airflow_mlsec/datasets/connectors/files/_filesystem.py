"""The filesystem in which a file is."""

from __future__ import annotations

from typing import Any

from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._registry import all_connectors
from airflow_mlsec.datasets.connectors.files._location import FileUri
from airflow_mlsec.errors import NoFilesystem


def filesystem_of(location: FileUri, connections: Connections) -> Any:
    """The fsspec filesystem of a file that is not on the local disk.

    :raises NoFilesystem: if nothing reads such URIs; the message lists what is read.
    """
    try:
        return connections.filesystem(location.protocol, location.conn_id)
    except NoFilesystem as error:
        schemes = sorted({s for c in all_connectors() for s in c.schemes if s.isalnum()})
        listed = ", ".join(f"{scheme}://" for scheme in schemes)
        raise NoFilesystem(
            f"{error}: datasets are local paths, {listed}, and files in any other store that fsspec has a filesystem for; other "
            "packages can add connectors"
        ) from None
