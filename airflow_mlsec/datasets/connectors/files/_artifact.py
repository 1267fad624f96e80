"""Artifacts by URI: files and objects on any filesystem, read and replaced as streams."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from airflow_mlsec import files
from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._connections import EnvironmentConnections
from airflow_mlsec.datasets._registry import connector_of
from airflow_mlsec.datasets.connectors.files._filesystem import filesystem_of
from airflow_mlsec.datasets.connectors.files._location import FileUri, file_uri
from airflow_mlsec.datasets.connectors.files._target_folder import make_remote_folder, target_folder
from airflow_mlsec.errors import DatasetError, DatasetNotFound, UnsupportedDataset
from airflow_mlsec.naming import DatasetName

# Object stores where files are uploaded in parts and exist once the last part is confirmed.
_CONFIRMED = {"s3", "s3a", "gs", "gcs"}


@dataclass(frozen=True)
class Artifact:
    """A file of any format: on the local disk (``filesystem`` is None) or an fsspec filesystem."""

    location: FileUri
    filesystem: Any = None

    @property
    def name(self) -> DatasetName:
        """Its OpenLineage name."""
        return self.location.name()

    @property
    def file_name(self) -> str:
        """The last part of its path."""
        return self.location.path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def uri(self) -> str:
        """Its local path, or its URI."""
        return self.location.path if self.filesystem is None else str(self.location)

    @property
    def full_uri(self) -> str:
        """Its URI, also for local files."""
        path = Path(self.location.path)
        return path.as_uri() if self.filesystem is None else str(self.location)

    @property
    def local(self) -> Path | None:
        """Its path, if it is on the local disk."""
        return Path(self.location.path) if self.filesystem is None else None

    def beside(self, suffix: str) -> Artifact:
        """The artifact whose path is this one's with ``suffix``."""
        return replace(self, location=replace(self.location, path=f"{self.location.path}{suffix}"))

    def make_folder(self) -> None:
        """Create the folder for it, for the owner alone, if it is on the local disk and does not exist yet."""
        if self.local is not None:
            self.local.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def folder_made(self) -> contextlib.AbstractContextManager[None]:
        """Makes the folder for it, if it is on the local disk and ``[mlsec] create_folders`` allows it.

        :raises DatasetError: if it is missing and not to be made.
        """
        return contextlib.nullcontext() if self.local is None else target_folder(self.local)

    def exists(self) -> bool:
        """Whether there is such a file."""
        if self.filesystem is None:
            return Path(self.location.path).is_file()
        with self._clear_errors():
            return bool(self.filesystem.isfile(self.location.path))

    def modified(self) -> datetime | None:
        """When it was last written; for a folder, when its newest file was; None where this is not known."""
        if self.filesystem is None:
            path = Path(self.location.path)
            inside = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
            times = [p.lstat().st_mtime for p in inside]
            return datetime.fromtimestamp(max(times), UTC) if times else None
        try:
            found: datetime = self.filesystem.modified(self.location.path)
        except Exception:  # each client has its own kind; folders of object stores have no time
            return None
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

    def is_folder(self) -> bool:
        """Whether there is a folder of this name."""
        if self.filesystem is None:
            return Path(self.location.path).is_dir()
        with self._clear_errors():
            return bool(self.filesystem.isdir(self.location.path))

    def below(self) -> list[tuple[str, Artifact]]:
        """The files below a folder of another filesystem, each with its path within the folder.

        :raises DatasetError: if it cannot be listed, or there is a link or the like in it.
        """
        folder = self.location.path.rstrip("/")
        with self._clear_errors():
            root = self.filesystem._strip_protocol(folder)
            # As it is now, not as it was when this process listed it before.
            self.filesystem.invalidate_cache()
            found: dict[str, dict[str, Any]] = self.filesystem.find(folder, detail=True)
        entries = []
        for path, information in sorted(found.items()):
            name = path.removeprefix(root).removeprefix("/")
            # An object store's empty object that represents a folder.
            if (not name or name.endswith("/")) and not information.get("size"):
                continue
            if information.get("type", "file") != "file" or information.get("islink"):
                raise DatasetError(
                    f"'{name}' in {self.uri} is neither a plain file nor a folder; it is not encrypted"
                )
            place = replace(self.location, path=f"{folder}/{name}")
            entries.append((name, replace(self, location=place)))
        return entries

    def open(self) -> BinaryIO:
        """The file, to read.

        :raises DatasetNotFound: if it is not there.
        :raises DatasetError: if it cannot be read.
        """
        try:
            if self.filesystem is None:
                return Path(self.location.path).open("rb")
            file: BinaryIO = self.filesystem.open(self.location.path, "rb")
            return file
        except FileNotFoundError:
            raise DatasetNotFound(f"no file at {self.uri}") from None
        except Exception as error:
            raise self._failed(error) from None

    @contextlib.contextmanager
    def replacing(self) -> Iterator[BinaryIO]:
        """A stream whose content becomes the file's when the block ends without an error; otherwise the file
        is left as it was.

        :raises DatasetError: if it cannot be written.
        """
        if self.filesystem is None:
            path = Path(self.location.path)
            with target_folder(path), files.replacing(path) as file:
                yield file
        elif self.location.protocol in _CONFIRMED:
            with self._confirmed() as file:
                yield file
        else:
            with self._renamed() as file:
                yield file

    @contextlib.contextmanager
    def _confirmed(self) -> Iterator[BinaryIO]:
        """Parts are uploaded as they are written, and become the object at the end."""
        with self._clear_errors():
            file = self.filesystem.open(self.location.path, "wb", autocommit=False)
        try:
            yield file
            with self._clear_errors():
                file.close()
                file.commit()
        except BaseException:
            with contextlib.suppress(Exception):
                file.discard()
            # Otherwise it would be uploaded when it is garbage-collected.
            file.closed = True
            raise

    @contextlib.contextmanager
    def _renamed(self) -> Iterator[BinaryIO]:
        """Written under another name, which becomes the file's own at the end."""
        partial = f"{self.location.path}.{secrets.token_hex(4)}.partial"
        try:
            with self._clear_errors():
                make_remote_folder(self.filesystem, self.location.protocol, self.location.path)
                file = self.filesystem.open(partial, "wb")
            try:
                yield file
            finally:
                with self._clear_errors():
                    file.close()
            with self._clear_errors():
                self.filesystem.mv(partial, self.location.path)
        except BaseException:
            with contextlib.suppress(Exception):
                self.filesystem.rm(partial)
            raise

    def remove(self) -> None:
        """Remove it, if it is there.

        :raises DatasetError: if it cannot be removed.
        """
        if self.filesystem is None:
            Path(self.location.path).unlink(missing_ok=True)
        elif self.exists():
            with self._clear_errors():
                self.filesystem.rm_file(self.location.path)

    def read_bytes(self) -> bytes:
        """All of it.

        :raises DatasetNotFound: if it is not there.
        """
        with self.open() as file:
            return file.read()

    def write_bytes(self, content: bytes) -> None:
        """Replace it by ``content``."""
        with self.replacing() as file:
            file.write(content)

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Convert a filesystem's errors to ours. Clients have error types of their own, whose messages
        contain addresses and more."""
        try:
            yield
        except Exception as error:
            raise self._failed(error) from None

    def _failed(self, error: BaseException) -> DatasetError:
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number else type(error).__name__
        return DatasetError(f"{self.uri} cannot be reached ({reason})")


def as_artifact(place: Artifact | Path) -> Artifact:
    """An artifact, also for a local path."""
    return place if isinstance(place, Artifact) else open_artifact(str(place))


def open_artifact(uri: str, connections: Connections | None = None) -> Artifact:
    """The artifact that a URI or path names; it need not exist.

    :raises UnsupportedDataset: if it names a table.
    :raises SettingError: if there is no such filesystem or connection.
    """
    if not connector_of(uri).capabilities(uri).files:
        raise UnsupportedDataset(f"'{uri}' is a table; artifacts are files")
    location = file_uri(uri)
    if location.protocol == "file":
        return Artifact(location)
    found = connections or EnvironmentConnections()
    filesystem = filesystem_of(location, found)
    # Sizes that it cached before would cut off a file that has grown since.
    filesystem.invalidate_cache()
    return Artifact(location, filesystem)
