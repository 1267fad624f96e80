"""All connectors, by the schemes of their URIs: each folder of `connectors`, and entry points of others."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from airflow_mlsec.datasets._connections import Connections, EnvironmentConnections
from airflow_mlsec.datasets._connector import Connector, Container
from airflow_mlsec.datasets._dataset import Dataset
from airflow_mlsec.datasets._uri import parts_of
from airflow_mlsec.errors import SettingError, UnsupportedDataset
from airflow_mlsec.extensions import entries_of, load_entry
from airflow_mlsec.naming import DatasetName

ENTRY_POINTS = "airflow_mlsec.connectors"
_ANY_OTHER = "*"


@lru_cache(maxsize=1)
def all_connectors() -> tuple[Connector, ...]:
    """All connectors that are installed.

    :raises SettingError: if one of another package is none, or has the name, a scheme or a namespace of another.
    """
    entries = entries_of(ENTRY_POINTS).values()
    others = (load_entry(entry, Connector) for entry in entries)  # type: ignore[type-abstract]
    found = tuple(cls() for cls in [*_own(), *others])
    taken: dict[tuple[str, str], Connector] = {}
    for connector in found:
        said = [("name", connector.name), *(("scheme", s) for s in connector.schemes)]
        said += [("namespace", namespace) for namespace in connector.namespaces]
        for what in said:
            other = taken.setdefault(what, connector)
            if other is not connector:
                names = " and ".join(type(c).__qualname__ for c in (other, connector))
                raise SettingError(
                    f"two connectors have the {what[0]} '{what[1]}': {names}; uninstall the package of one"
                )
    return found


def connector_of(uri: str) -> Connector:
    """The connector of a URI or local path.

    :raises UnsupportedDataset: if it is neither, or nobody reads such URIs.
    """
    scheme = parts_of(uri).scheme
    by_scheme = _by_scheme()
    found = by_scheme.get(scheme) or by_scheme.get(_ANY_OTHER)
    if found is None:
        raise UnsupportedDataset(f"no connector of '{scheme}://' is installed")
    return found


def container_of(head: bytes) -> Container | None:
    """Whose files begin so; None of files that hold no tables."""
    return next((c for c in containers() if c.recognises(head)), None)


def containers() -> Iterator[Container]:
    """The kinds of local files that hold tables."""
    return (c.container for c in all_connectors() if c.container is not None)


def uri_of(name: DatasetName) -> str | None:
    """The URI that a dataset's OpenLineage name gives; None where it gives none."""
    scheme = name.namespace.partition("://")[0]
    for connector in all_connectors():
        if scheme in connector.namespaces:
            return connector.uri_of(name)
    return None


def open_dataset(uri: str, connections: Connections | None = None) -> Dataset:
    """The dataset that a URI or local path refers to; it need not exist yet.

    :raises UnsupportedDataset: if the URI is not one that this package can read.
    """
    connector = connector_of(uri)
    found = connector.open(uri, connections or EnvironmentConnections())
    if missing := _missing(type(found), found):
        raise SettingError(
            f"datasets of the connector '{connector.name}' have no {', '.join(missing)}: `Dataset` says what they need"
        )
    return found


def dataset_name(uri: str) -> DatasetName:
    """The OpenLineage name of a URI, as far as it can be told without opening a connection: of PostgreSQL the
    connection's id stands for its host."""
    return connector_of(uri).dataset_name(uri)


def connection_of(uri: str) -> str | None:
    """The Airflow connection that a URI is reached by; None if it does not leave the machine.

    :raises UnsupportedDataset: if it leaves the machine without naming a connection.
    """
    return connector_of(uri).connection_of(uri)


def local_path(uri: str) -> Path | None:
    """The file or folder that holds a dataset, if it is on this machine's disk."""
    return connector_of(uri).local_path(uri)


def keeps_writers_apart(uri: str | None) -> bool:
    """Whether of two who change a dataset at once the later sees what the earlier did, or is refused; of one that nobody
    opens there are none."""
    return uri is None or connector_of(uri).capabilities(uri).keeps_writers_apart


def same_place(one: Dataset, other: Dataset) -> bool:
    """Whether two datasets are one, also where links lead to it by two paths."""
    if one.name == other.name:
        return True
    local = all(connector_of(d.uri).capabilities(d.uri).local for d in (one, other))
    paths = (os.path.realpath(d.name.name) for d in (one, other))
    return local and one.name.namespace == other.name.namespace and len(set(paths)) == 1


def _own() -> Iterator[type[Connector]]:
    package = importlib.import_module("airflow_mlsec.datasets.connectors")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        loaded = importlib.import_module(f"{package.__name__}.{module.name}")
        for cls in vars(loaded).values():
            mine = isinstance(cls, type) and issubclass(cls, Connector)
            if mine and cls.__module__ == loaded.__name__:
                yield cls


@lru_cache(maxsize=1)
def _by_scheme() -> dict[str, Connector]:
    return {scheme: connector for connector in all_connectors() for scheme in connector.schemes}


_complete: dict[type, bool] = {}


def _missing(cls: type, found: Dataset) -> list[str]:
    """What a dataset of another package lacks, before it is half used."""
    if _complete.get(cls):
        return []
    wanted = [name for name in vars(Dataset) if not name.startswith("_")]
    missing = [name for name in wanted if not hasattr(found, name)]
    _complete[cls] = not missing
    return missing
