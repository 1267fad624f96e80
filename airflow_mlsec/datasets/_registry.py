"""All connectors, by the schemes of their URIs: each folder of `connectors`, and entry points of other packages."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._connections import EnvironmentConnections
from airflow_mlsec.datasets._connector import Capabilities, Connector, Container
from airflow_mlsec.datasets._dataset import Dataset
from airflow_mlsec.datasets._uri import parts_of
from airflow_mlsec.errors import DatasetError, MlsecError, SettingError, UnsupportedDataset
from airflow_mlsec.extensions import entries_of, load_entry
from airflow_mlsec.naming import DatasetName

ENTRY_POINTS = "airflow_mlsec.connectors"
_ANY_OTHER = "*"
# The number of bytes by which a file is recognised.
_RECOGNISED = 64


@lru_cache(maxsize=1)
def all_connectors() -> tuple[Connector, ...]:
    """All connectors that are installed.

    :raises SettingError: if one of another package is not a connector, or has the name, a scheme or a namespace of another.
    """
    entries = entries_of(ENTRY_POINTS).values()
    others = (load_entry(entry, Connector) for entry in entries)  # type: ignore[type-abstract]
    found = tuple(_made(cls) for cls in [*_own(), *others])
    taken: dict[tuple[str, str], Connector] = {}
    for connector in found:
        said = [("name", connector.name)]
        said += [("scheme", text) for text in connector.schemes]
        said += [("namespace", text) for text in connector.namespaces]
        said += [("connection type", text) for text in connector.connection_types]
        for what in said:
            other = taken.setdefault(what, connector)
            if other is not connector:
                names = " and ".join(type(c).__qualname__ for c in (other, connector))
                raise SettingError(
                    f"two connectors have the {what[0]} '{what[1]}': {names}; uninstall the package of one"
                )
    return found


def _made(cls: type[Connector]) -> Connector:
    """:raises SettingError: if it cannot be created, or what it declares is not a list of lower-case words."""
    try:
        connector = cls()
    except Exception as error:
        raise SettingError(
            f"connector {cls.__qualname__} cannot be created ({type(error).__name__})"
        ) from error
    for name in ("schemes", "namespaces", "connection_types"):
        said = getattr(connector, name)
        words = isinstance(said, tuple | list | set | frozenset)
        if not words or any(not isinstance(word, str) or word != word.lower() for word in said):
            raise SettingError(
                f"connector {cls.__qualname__}: `{name}` is not a tuple of lower-case words"
            )
    return connector


@contextlib.contextmanager
def _asking(connector: Connector) -> Iterator[None]:
    """Report a failure of another package's connector without its message, which may quote anything."""
    try:
        yield
    except MlsecError:
        raise
    except Exception as error:
        raise DatasetError(
            f"connector '{connector.name}' failed ({type(error).__name__})"
        ) from None


def connector_of(uri: str) -> Connector:
    """The connector of a URI or local path.

    :raises UnsupportedDataset: if it is neither, or no connector reads such URIs.
    """
    scheme = parts_of(uri).scheme
    by_scheme = _by_scheme()
    found = by_scheme.get(scheme) or by_scheme.get(_ANY_OTHER)
    if found is None:
        raise UnsupportedDataset(f"no connector of '{scheme}://' is installed")
    return found


def container_of(path: Path) -> Container | None:
    """The kind of tables that a local file holds, by its content; None if it holds none.

    :raises OSError: if it cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(_RECOGNISED)
    return next((c for c in containers() if c.recognises(head)), None)


def containers() -> Iterator[Container]:
    """The kinds of local files that hold tables."""
    return (c.container for c in all_connectors() if c.container is not None)


def uri_of(name: DatasetName) -> str | None:
    """The URI that a dataset's OpenLineage name gives; None where it gives none."""
    scheme = name.namespace.partition("://")[0]
    for connector in all_connectors():
        if scheme in connector.namespaces:
            with _asking(connector):
                return connector.uri_of(name)
    return None


def capabilities_of(uri: str) -> Capabilities:
    """The properties of a dataset where it is.

    :raises DatasetError: if the URI cannot be read.
    """
    connector = connector_of(uri)
    with _asking(connector):
        return connector.capabilities(uri)


def local_files(uri: str) -> Path | None:
    """The file or folder that a dataset is, if it is on this machine's disk and not a table in a file.

    :raises DatasetError: if the URI cannot be read.
    """
    return local_path(uri) if capabilities_of(uri).files else None


def place_of(uri: str) -> tuple[str, Path, str] | None:
    """Where a dataset on this machine's disk is, with links resolved: connector, file, and the table in it (empty for
    a file itself); None if it is elsewhere.

    :raises DatasetError: if the URI cannot be read.
    """
    connector = connector_of(uri)
    with _asking(connector):
        path, container = connector.local_path(uri), connector.container
        if path is None:
            return None
        # No part of a table's name is a path.
        table = "" if container is None else container.split(uri)[1]
    return connector.name, Path(os.path.realpath(path)), table


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
    """The OpenLineage name of a URI, as far as it is known without opening a connection: for PostgreSQL, the
    connection's id is used in place of its host."""
    return connector_of(uri).dataset_name(uri)


def connection_of(uri: str) -> str | None:
    """The Airflow connection used to reach a URI; None if it does not leave the machine.

    :raises UnsupportedDataset: if it leaves the machine without naming a connection.
    """
    return connector_of(uri).connection_of(uri)


def local_path(uri: str) -> Path | None:
    """The file or folder that holds a dataset, if it is on this machine's disk."""
    connector = connector_of(uri)
    with _asking(connector):
        return connector.local_path(uri)


def keeps_writers_apart(uri: str | None) -> bool:
    """Whether, if two change a dataset at once, the later one sees what the earlier one did, or is refused. Without a URI
    nobody opens the dataset, so nobody changes it."""
    return uri is None or capabilities_of(uri).keeps_writers_apart


def same_place(one: Dataset, other: Dataset) -> bool:
    """Whether two datasets are the same, even if links lead to it by two paths."""
    if one.name == other.name:
        return True
    here = place_of(one.uri)
    return here is not None and here == place_of(other.uri)


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
    """What a dataset of another package lacks, checked before it is used."""
    if _complete.get(cls):
        return []
    wanted = [name for name in vars(Dataset) if not name.startswith("_")]
    missing = [name for name in wanted if not hasattr(found, name)]
    _complete[cls] = not missing
    return missing
