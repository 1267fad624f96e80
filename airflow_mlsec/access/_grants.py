"""Grants as the storage system itself records them; each kind of dataset reads its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from airflow_mlsec.datasets import (
    Connections,
    EnvironmentConnections,
    Grant,
    connector_of,
    local_files,
)


def read_grants(location: str, connections: Connections | None = None) -> list[Grant]:
    """Everybody who can read or write ``location``, a dataset URI or local path.

    :raises DatasetNotFound: if nothing is there.
    :raises UnsupportedDataset: if grants cannot be read there.
    """
    return connector_of(location).grants(location, connections or EnvironmentConnections())


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
