"""Finding databases and filesystems by Airflow connection id, and which connections this process uses.

Airflow's adapters set Airflow's own when they are imported. Imports nothing, so that they can do so at no cost.
"""

from __future__ import annotations

from typing import Any, Protocol


class Connections(Protocol):
    """Finds databases and filesystems by Airflow connection id."""

    def sql_url(self, conn_id: str) -> str:
        """The database URL of a connection, password included: it must never be shown."""
        ...

    def filesystem(self, protocol: str, conn_id: str | None) -> Any:
        """The fsspec filesystem of a protocol, authenticated by a connection if one is named."""
        ...


_in_use: list[Connections] = []


def use_connections(connections: Connections) -> None:
    """Use these connections from now on, in this process, where nobody passes any."""
    _in_use[:] = [connections]


def connections_in_use() -> Connections | None:
    """The connections that were set; None if the environment's are to be used."""
    return _in_use[0] if _in_use else None
