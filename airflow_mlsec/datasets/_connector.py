"""The interface of a kind of dataset: one folder of `connectors`, or one class of another package.

Code outside never checks the kind of a dataset: it asks the dataset's connector.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._dataset import Dataset
from airflow_mlsec.datasets._endpoint import ConnectionFacts, Endpoint
from airflow_mlsec.extensions import Extension
from airflow_mlsec.naming import DatasetName


class KeptBy(StrEnum):
    """Who keeps copies of a dataset that cannot be reached from here."""

    FILESYSTEM = "filesystem"
    STORE = "store"
    DATABASE = "database"


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """The properties of a dataset where it is. None has a default: that would be a promise that nobody made.

    :ivar local: It is on this machine's disk. Links may lead to it by several paths, and a missing one may be on a
        disk that is not mounted, or on another machine.
    :ivar files: It is a file, or a folder of files: a name below its own is a part of it, and changing a row means
        replacing a file as a whole.
    :ivar keeps_writers_apart: If two change it at once, the later one sees what the earlier one did, or is refused.
    :ivar absence_is_proof: If nothing is there, it was removed.
    :ivar typed: Each value has its column's type.
    :ivar copies: Who keeps copies that are out of reach.
    """

    local: bool
    files: bool
    keeps_writers_apart: bool
    absence_is_proof: bool
    typed: bool
    copies: KeptBy


@dataclass(frozen=True, order=True)
class Grant:
    """A permission that somebody has here, because of ``origin``."""

    principal: str
    permission: str
    origin: str


@dataclass(frozen=True)
class OldVersion:
    """What a store keeps of a dataset that was replaced or removed."""

    bucket: str
    key: str
    version: str


@dataclass(frozen=True)
class Reading:
    """A dataset as read by code that shares nothing with the code that changes it.

    :ivar rows: The rows, each with what its location (a folder's name) says about it.
    :ivar how: What was examined, in readable form: ``every column of 3 files``.
    """

    rows: Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]] = field(repr=False)
    how: str


@dataclass(frozen=True)
class Part:
    """Something in a file other than the rows of its tables, or the whole file.

    :ivar name: Its name within the file; empty for the file as a whole.
    :ivar size: In bytes, as far as known.
    :ivar read: Its content, as rows or chunks of bytes; None if it cannot be read.
    :ivar unread: What cannot be read of it, in readable form.
    """

    name: str
    size: int
    read: Callable[[], Iterator[pa.RecordBatch | bytes]] | None = field(repr=False, default=None)
    unread: str = ""


class Container(Extension):
    """Local files that hold tables, such as those of SQLite: recognised by content, whatever their names."""

    @abstractmethod
    def recognises(self, head: bytes) -> bool:
        """Whether a file that begins with ``head`` (64 bytes, or all of it) holds tables."""

    @abstractmethod
    def is_beside(self, path: Path) -> bool:
        """Whether a file is a log or an index that is kept next to such a file; judged by its content, since any
        file can have such a name."""

    @abstractmethod
    def uri(self, path: Path, table: str) -> str:
        """The URI of a table."""

    @abstractmethod
    def split(self, uri: str) -> tuple[Path, str]:
        """The file and the table of a URI."""

    @abstractmethod
    def tables(self, path: Path) -> list[str]:
        """The tables of a file."""

    @abstractmethod
    def rows(self, path: Path, table: str) -> Iterator[pa.RecordBatch]:
        """The content of a table, whatever its columns are declared as."""

    @abstractmethod
    def beside(self, path: Path, tables_are_searched: bool) -> list[Part]:
        """What a file holds in addition to its tables: rows that were deleted, views, defaults. If its tables are not
        searched separately, it may be the file as a whole."""


class Versions(Extension):
    """What a store keeps of datasets that were replaced or removed."""

    @abstractmethod
    def of(self, uri: str, connections: Connections) -> list[OldVersion] | None:
        """What is kept of a dataset in addition to what is there; None where nothing can be kept.

        :raises DatasetError: if the store cannot be queried.
        """

    @abstractmethod
    def erase(self, uri: str, versions: Sequence[OldVersion], connections: Connections) -> int:
        """Remove old versions permanently; returns how many there were.

        :raises DatasetError: if the store refuses.
        """


class Connector(Extension):
    """A kind of dataset.

    :cvar name: Its name.
    :cvar schemes: Of its URIs; ``*`` for those that no other connector has.
    :cvar namespaces: The schemes of the OpenLineage namespaces of its datasets.
    :cvar container: The local files that its datasets are tables of; None if they are not.
    :cvar connection_types: The types of the Airflow connections that its stores are reached with.
    :cvar versions: What its stores keep of what was replaced; None if they keep nothing.
    """

    name: ClassVar[str]
    schemes: ClassVar[Collection[str]]
    namespaces: ClassVar[Collection[str]]
    container: ClassVar[Container | None]
    versions: ClassVar[Versions | None]
    connection_types: ClassVar[Collection[str]]

    @abstractmethod
    def capabilities(self, uri: str) -> Capabilities:
        """The properties of a dataset."""

    @abstractmethod
    def open(self, uri: str, connections: Connections) -> Dataset:
        """The dataset of a URI; it need not exist yet.

        :raises UnsupportedDataset: if the URI is not of this kind, or what is there is only partly known.
        """

    @abstractmethod
    def dataset_name(self, uri: str) -> DatasetName:
        """The OpenLineage name of a URI, as far as it is known without opening a connection."""

    @abstractmethod
    def uri_of(self, name: DatasetName) -> str | None:
        """The URI that an OpenLineage name gives; None if a connection is needed that it does not name."""

    @abstractmethod
    def connection_of(self, uri: str) -> str | None:
        """The Airflow connection used to reach a URI; None if it does not leave the machine.

        :raises UnsupportedDataset: if it leaves the machine without naming a connection.
        """

    @abstractmethod
    def endpoint(self, connection: ConnectionFacts) -> Endpoint:
        """The server of a connection of one of its types, and the TLS protection that it requires.

        :raises Local: if it does not leave the machine.
        :raises Unknown: if this cannot be determined.
        """

    @abstractmethod
    def local_path(self, uri: str) -> Path | None:
        """The file or folder that holds it, if it is on this machine's disk."""

    @abstractmethod
    def grants(self, uri: str, connections: Connections) -> list[Grant]:
        """Everybody who can read or write it.

        :raises DatasetNotFound: if nothing is there.
        :raises UnsupportedDataset: if grants cannot be read there.
        """

    @abstractmethod
    def read_again(self, uri: str, connections: Connections, left_out: Sequence[str]) -> Reading:
        """Every column of every row, by code that shares nothing with what finds and changes rows.

        :param left_out: Paths below a folder that are examined separately.
        :raises DatasetError: if it cannot be read: what was not examined is not clean.
        """
