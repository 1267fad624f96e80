"""Grants as the storage system itself records them; each kind of dataset reads its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from airflow_mlsec.access._collector import collect, collector_of, source_of
from airflow_mlsec.datasets import (
    Connections,
    EnvironmentConnections,
    Grant,
    connector_of,
    local_files,
)
from airflow_mlsec.errors import UnsupportedDataset


def read_grants(location: str, connections: Connections | None = None) -> list[Grant]:
    """Everybody who can read or write ``location``, a dataset URI or local path. Where its connector does not know, the
    system that does is read (`Collector`).

    :raises DatasetNotFound: if nothing is there.
    :raises UnsupportedDataset: if grants cannot be read there, or not all of them.
    """
    connections = connections or EnvironmentConnections()
    try:
        return connector_of(location).grants(location, connections)
    except UnsupportedDataset as error:
        no_connector = error
    source = source_of(location, connections)
    if source is None:
        raise no_connector
    found = collect(source, connections)
    if found.unread:
        raise UnsupportedDataset(
            f"who can reach '{location}' can only be read in part ({found.unread[0]}): review it in a campaign"
        )
    resources = frozenset(e.resource for e in found.entitlements)
    about = set(collector_of(source).concerned(resources, location, connections))
    return sorted(
        {Grant(e.account, e.permission, e.path) for e in found.entitlements if e.resource in about}
    )


def one_spelling(location: str) -> str:
    """The canonical form of a location, under which its reviews are found: for a local file or folder its path."""
    path = local_files(location)
    return location if path is None else str(path)


def spellings_of(location: str) -> list[str]:
    """How a location may be written in the register: as given, and for a local file or folder as its path and URI."""
    one = one_spelling(location)
    path = Path(one)
    return list(dict.fromkeys([location, one, *([path.as_uri()] if path.is_absolute() else [])]))


def grants_digest(grants: Iterable[Grant]) -> str:
    """SHA-256, hexadecimal, of a set of grants: changes exactly when the set does."""
    return hashlib.sha256(json.dumps([asdict(g) for g in sorted(grants)]).encode()).hexdigest()
