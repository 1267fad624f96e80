"""Where a key ring is kept: a folder, or anything that keeps two texts and changes both at once.

A ring is a document of wrapped key versions under an HMAC, and a mark of how far it had grown. The root key that opens
it is a file next to it, is kept by a key service, or is supplied by those who open the ring.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from airflow_mlsec import files
from airflow_mlsec.crypto._ring_file import (
    bytes_of,
    has_root,
    overwritten_after,
    refuse_ring_writable_by_others,
    remove_overwritten,
    root_of,
    write_root,
)
from airflow_mlsec.errors import CryptoError, KeyNotFound, MlsecError

Result = TypeVar("Result")


class RingStore(Protocol):
    """What a key ring needs from the place where it is kept."""

    @property
    def where(self) -> str:
        """The place, for messages."""
        ...

    @property
    def folder(self) -> Path | None:
        """The folder, if it is one."""
        ...

    def exists(self) -> bool:
        """Whether there is a ring."""
        ...

    def change(self, work: Callable[[], Result]) -> Result:
        """Run ``work``, which reads and writes the ring, while nobody else changes it. What it wrote is kept as a
        whole, or not at all if it fails."""
        ...

    def read(self) -> bytes:
        """The ring's document.

        :raises KeyNotFound: if there is none.
        :raises UnsafePermissions: if others can change it.
        """
        ...

    def newest(self) -> bytes | None:
        """The mark of how far the ring had grown; None if there is none."""
        ...

    def write(self, ring: bytes, newest: bytes) -> None:
        """Store both; nothing is left of the previous document. Called within `change`."""
        ...

    def has_root(self) -> bool:
        """Whether the root key is kept here, as it is or wrapped."""
        ...

    def root(self) -> bytes:
        """The root key that is kept here.

        :raises KeyNotFound: if none is.
        :raises UnsafePermissions: if anyone other than the owner can read it.
        """
        ...

    def keep_root(self, root: bytes, service: str | None) -> None:
        """Keep the root key: as it is, or wrapped by a key service.

        :raises CryptoError: if it may not be kept here as it is, or the service does not accept it.
        """
        ...

    def forget_plain_root(self, root: bytes) -> None:
        """Overwrite a root key that is kept as it is, if a key service returns the same one."""
        ...


@dataclass(frozen=True)
class FolderStore:
    """A folder: ``ring.json``, ``ring.newest``, and ``root.key`` or ``root.kms``."""

    path: Path

    @property
    def where(self) -> str:
        return str(self.path)

    @property
    def folder(self) -> Path | None:
        return self.path

    def exists(self) -> bool:
        return (self.path / "ring.json").exists()

    def change(self, work: Callable[[], Result]) -> Result:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with files.locked(self.path / ".lock"):
            return work()

    def read(self) -> bytes:
        path = self.path / "ring.json"
        try:
            refuse_ring_writable_by_others(self.path)
            return bytes_of(path)
        except FileNotFoundError:
            raise KeyNotFound(f"no key ring in {self.path}; `mlsec keys init` makes one") from None
        except MlsecError:
            raise
        except OSError as error:
            raise CryptoError(f"{path} cannot be read ({error.strerror})") from None

    def newest(self) -> bytes | None:
        try:
            return (self.path / "ring.newest").read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            return b""

    def write(self, ring: bytes, newest: bytes) -> None:
        path = self.path / "ring.json"
        with overwritten_after(path):
            files.write_bytes(path, ring)
        # After the ring: if the process is killed in between, the ring is newer than the mark.
        files.write_bytes(self.path / "ring.newest", newest)

    def has_root(self) -> bool:
        return has_root(self.path)

    def root(self) -> bytes:
        return root_of(self.path)

    def keep_root(self, root: bytes, service: str | None) -> None:
        write_root(self.path, root, service)

    def forget_plain_root(self, root: bytes) -> None:
        # Before the file is removed: what the service returns must open the ring.
        if not hmac.compare_digest(root_of(self.path), root):
            raise CryptoError(
                f"the key service returned another root key; {self.path / 'root.key'} stays"
            )
        if (self.path / "root.key").exists():
            remove_overwritten(self.path / "root.key")


def store_of(place: Path | RingStore) -> RingStore:
    """The store of a folder, or the store itself."""
    return FolderStore(place) if isinstance(place, Path) else place
