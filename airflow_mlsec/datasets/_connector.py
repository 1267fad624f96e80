"""What a kind of dataset has to be: one folder of `connectors`, or one class of another package.

Nothing outside asks of what kind a dataset is: it asks its connector.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from airflow_mlsec.datasets._connections import Connections
from airflow_mlsec.datasets._dataset import Dataset
from airflow_mlsec.datasets._endpoint import ConnectionFacts, Endpoint
from airflow_mlsec.extensions import Extension
from airflow_mlsec.naming import DatasetName


class KeptBy(StrEnum):
    """Who keeps copies of a dataset that nobody reaches from here."""

    FILESYSTEM = "filesystem"
    STORE = "store"
    DATABASE = "database"


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What holds of a dataset, wherever it is. None has a default: it would be a promise that nobody made.

    :ivar local: It is on this machine's disk. Links may lead to it by several paths, and what is not here may be on a
        disk that is not mounted, or on another machine.
    :ivar files: It is a file, or a folder of files: a name below its own is a part of it, and to change a row is to
        replace a file as a whole.
    :ivar keeps_writers_apart: Of two who change it at once the later sees what the earlier did, or is refused.
    :ivar absence_is_proof: That nothing is there means that it was removed.
    :ivar typed: Each value is of its column's type.
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
    """Somebody may do something here, because of ``origin``."""

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
    """A dataset as code reads it that shares nothing with what changes it.

    :ivar rows: The rows, each with what the place where it lies (a folder's name) says of it.
    :ivar how: What was looked at, as people read it: ``every column of 3 files``.
    """

    rows: Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]] = field(repr=False)
    how: str


@dataclass(frozen=True)
class Part:
    """Something in a file beside the rows of its tables, or all of the file.

    :ivar name: How it is called within the file; empty of the file as a whole.
    :ivar size: In bytes, as far as known.
    :ivar read: Its content, as rows or chunks of bytes; None of what cannot be read.
    :ivar unread: What cannot be read of it, as people read it.
    """

    name: str
    size: int
    read: Callable[[], Iterator[pa.RecordBatch | bytes]] | None = field(repr=False, default=None)
    unread: str = ""


class Container(Extension):
    """Local files that hold tables, such as those of SQLite: recognised by content, whatever they are called."""

    @abstractmethod
    def recognises(self, head: bytes) -> bool:
        """Whether a file that begins so (64 bytes, or all of it) holds tables."""

    @abstractmethod
    def is_beside(self, path: Path) -> bool:
        """Whether a file is a log or an index that is kept beside such a file; by its content, since a name can be
        anything's."""

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
        """What stands in a table, whatever its columns are declared as."""

    @abstractmethod
    def beside(self, path: Path, tables_are_searched: bool) -> list[Part]:
        """What a file holds beside its tables: rows that were deleted, views, defaults. If its tables are not searched
        by themselves it may be the file as a whole."""


class Versions(Extension):
    """What a store keeps of datasets that were replaced or removed."""

    @abstractmethod
    def of(self, uri: str, connections: Connections) -> list[OldVersion] | None:
        """What is kept of a dataset beside what is there; None where nothing can be kept.

        :raises DatasetError: if the store cannot be asked.
        """

    @abstractmethod
    def erase(self, uri: str, versions: Sequence[OldVersion], connections: Connections) -> int:
        """Remove old versions for good; how many there were.

        :raises DatasetError: if the store refuses.
        """


class Connector(Extension):
    """A kind of dataset.

    :cvar name: Its name.
    :cvar schemes: Of its URIs; ``*`` for those that are nobody else's.
    :cvar namespaces: The schemes of the OpenLineage namespaces of its datasets.
    :cvar container: The local files that its datasets are tables of; None if they are not.
    :cvar connection_types: The types of the Airflow connections by which its stores are reached.
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
        """What holds of a dataset."""

    @abstractmethod
    def open(self, uri: str, connections: Connections) -> Dataset:
        """The dataset of a URI; it need not exist yet.

        :raises UnsupportedDataset: if the URI is none of this kind, or what is there is half known only.
        """

    @abstractmethod
    def dataset_name(self, uri: str) -> DatasetName:
        """The OpenLineage name of a URI, as far as it can be told without opening a connection."""

    @abstractmethod
    def uri_of(self, name: DatasetName) -> str | None:
        """The URI that an OpenLineage name gives; None if a connection is needed that it does not name."""

    @abstractmethod
    def connection_of(self, uri: str) -> str | None:
        """The Airflow connection that a URI is reached by; None if it does not leave the machine.

        :raises UnsupportedDataset: if it leaves the machine without naming a connection.
        """

    @abstractmethod
    def endpoint(self, connection: ConnectionFacts) -> Endpoint:
        """The server of a connection of one of its types, and what the connection asks of TLS.

        :raises Local: if it does not leave the machine.
        :raises Unknown: if it cannot be told.
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

        :param left_out: Paths below a folder that are looked at by themselves.
        :raises DatasetError: if it cannot be read: what was not looked at is not clean.
        """
