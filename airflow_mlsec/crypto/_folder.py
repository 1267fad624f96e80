"""Whole folders as one encrypted artifact: a tar archive that is the same for the same files, within an age
file. ``age -d`` and ``tar -x`` open it without us."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from airflow_mlsec import files
from airflow_mlsec.crypto._age import Progress, Unwraps, Wraps, decrypt, encrypt
from airflow_mlsec.errors import DatasetError, DatasetNotFound, DecryptionFailed

SUFFIX = ".tar.age"


def encrypt_folder(
    source: Path,
    target: Path,
    recipients: Sequence[Wraps],
    progress: Progress = lambda done: None,
) -> None:
    """Encrypt the regular files and folders below ``source``, in constant memory and without a copy on
    disk; ``target`` appears when it is complete. Times and owners are left out.

    :raises DatasetNotFound: if there is no such folder.
    :raises DatasetError: if there is a link, a device or the like in it, or the target.
    """
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise DatasetError(f"{target} lies within the folder that is encrypted")
    with packed_folder(source) as read, files.replacing(target) as write:
        encrypt(read, write, recipients, progress)


@contextmanager
def packed_folder(source: Path) -> Iterator[BinaryIO]:
    """A folder as a stream: a tar archive that is the same for the same files.

    :raises DatasetNotFound: if there is no such folder.
    :raises DatasetError: if there is a link, a device or the like in it; when the block ends, if a file
        could not be read.
    """
    if not source.is_dir() or source.is_symlink():
        raise DatasetNotFound(f"{source}: no such folder")
    names = list(_names(source))
    with _fed(lambda pipe: _pack(source, names, pipe)) as read:
        yield read


def decrypt_folder(
    source: Path,
    target: Path,
    identities: Iterable[Unwraps],
    progress: Progress = lambda done: None,
) -> None:
    """Decrypt into a new folder, which appears when the last byte verified.

    :raises DecryptionFailed: for any cause, also if what was encrypted is no archive of plain files.
    :raises DatasetError: if ``target`` exists.
    """
    try:
        with source.open("rb") as read:
            decrypt_to_folder(read, target, identities, progress)
    except FileNotFoundError:
        raise DatasetNotFound(f"{source}: no such file") from None


def decrypt_to_folder(
    read: BinaryIO,
    target: Path,
    identities: Iterable[Unwraps],
    progress: Progress = lambda done: None,
) -> None:
    """As `decrypt_folder`, from a stream."""
    if target.exists() or target.is_symlink():
        raise DatasetError(f"{target} exists; a folder is decrypted to a new one")
    if not target.parent.is_dir():
        raise DatasetError(f"folder {target.parent} does not exist; create it first")
    below = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        with _drained(lambda pipe: _unpack(pipe, below / "files")) as write:
            decrypt(read, write, identities, progress)
        (below / "files").rename(target)
    finally:
        shutil.rmtree(below, ignore_errors=True)


def _names(folder: Path) -> Iterator[str]:
    """Everything below a folder, in one order."""
    for path in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise DatasetError(f"{path} is neither a plain file nor a folder; it is not encrypted")
        yield path.relative_to(folder).as_posix()


def _pack(folder: Path, names: Sequence[str], pipe: BinaryIO) -> None:
    with tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name in names:
            path = folder / name
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644
            if path.is_dir():
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
                continue
            with path.open("rb") as file:
                entry.size = os.fstat(file.fileno()).st_size
                archive.addfile(entry, file)


def _unpack(pipe: BinaryIO, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    with tarfile.open(fileobj=pipe, mode="r|") as archive:
        for entry in archive:
            if not (entry.isreg() or entry.isdir()):
                raise tarfile.TarError
            # Refuses absolute paths, and those that lead out of the folder.
            archive.extract(entry, folder, filter="data")
    while pipe.read(1 << 16):  # to the end of what is decrypted
        continue


@contextmanager
def _fed(write: Callable[[BinaryIO], None]) -> Iterator[BinaryIO]:
    """A stream of what ``write`` writes, in a thread of its own."""
    taken, given = os.pipe()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with os.fdopen(given, "wb") as pipe:
                write(pipe)
        except BrokenPipeError:
            return  # nobody reads any more
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    with os.fdopen(taken, "rb") as source:
        thread.start()
        try:
            yield source
        finally:
            source.close()
            thread.join()
    if failed:
        raise DatasetError("a file changed, or could not be read, while it was encrypted") from None


@contextmanager
def _drained(read: Callable[[BinaryIO], None]) -> Iterator[BinaryIO]:
    """A stream that ``read`` reads, in a thread of its own."""
    taken, given = os.pipe()
    failed: list[BaseException] = []

    def run() -> None:
        with os.fdopen(taken, "rb") as pipe:
            try:
                read(pipe)
            except BaseException as error:
                failed.append(error)
                while pipe.read(1 << 16):
                    continue

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        with os.fdopen(given, "wb") as target:
            yield target
    finally:
        thread.join()
    if failed:
        raise DecryptionFailed from None
