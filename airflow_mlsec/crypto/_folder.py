"""Whole folders as one encrypted artifact: a tar archive that is the same for the same files, within an age
file. ``age -d`` and ``tar -x`` (``tar --zstd -x``, if it is compressed) open it without us."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow as pa

from airflow_mlsec import files
from airflow_mlsec.crypto._age import Progress, Unwraps, Wraps, decrypt, encrypt
from airflow_mlsec.errors import DatasetError, DatasetNotFound, DecryptionFailed

_ZSTANDARD = bytes.fromhex("28b52ffd")  # RFC 8878, section 3.1.1
_BLOCK = 1 << 20


@dataclass(frozen=True)
class FolderEntry:
    """A file below a folder, or a folder below it, which has no ``open``. ``name`` is relative, with ``/``."""

    name: str
    open: Callable[[], BinaryIO] | None = None
    executable: bool = False


def encrypt_folder(
    source: Path,
    target: Path,
    recipients: Sequence[Wraps],
    progress: Progress = lambda done: None,
    compress: bool = False,
) -> None:
    """Encrypt the regular files and folders below ``source``, in constant memory and without a copy on
    disk; ``target`` appears when it is complete. Times and owners are left out.

    :raises DatasetNotFound: if there is no such folder.
    :raises DatasetError: if there is a link, a device or the like in it, or the target.
    """
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise DatasetError(f"{target} lies within the folder that is encrypted")
    entries = folder_entries(source)
    # A file that cannot be read is told when `packed` ends: before the target is published.
    with (
        files.replacing(target) as write,
        packed(entries) as plain,
        compressed(plain) if compress else nullcontext(plain) as read,
    ):
        encrypt(read, write, recipients, progress)


def folder_entries(source: Path) -> list[FolderEntry]:
    """The regular files and folders below a local folder.

    :raises DatasetNotFound: if there is no such folder.
    :raises DatasetError: if there is a link, a device or the like in it.
    """
    if not source.is_dir() or source.is_symlink():
        raise DatasetNotFound(f"{source}: no such folder")
    return [_entry(source, path) for path in source.rglob("*")]


def _entry(folder: Path, path: Path) -> FolderEntry:
    name = path.relative_to(folder).as_posix()
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        raise DatasetError(f"{path} is neither a plain file nor a folder; it is not encrypted")
    if path.is_dir():
        return FolderEntry(name)
    return FolderEntry(name, lambda: path.open("rb"), os.access(path, os.X_OK))


@contextmanager
def packed(entries: Iterable[FolderEntry]) -> Iterator[BinaryIO]:
    """A folder as a stream: a tar archive that is the same for the same files, wherever they are.

    :raises DatasetError: if a name leads out of the folder; when the block ends, if a file changed or
        could not be read.
    """
    given = {entry.name: entry for entry in entries}
    for name in given:
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise DatasetError(f"'{name}' cannot be the name of a file in a folder")
    parents = {str(parent) for name in given for parent in PurePosixPath(name).parents} - {"."}
    everything = {name: FolderEntry(name) for name in parents} | given
    ordered = [everything[name] for name in sorted(everything)]
    with _fed(lambda pipe: _pack(ordered, pipe)) as read:
        yield read


@contextmanager
def compressed(plain: BinaryIO) -> Iterator[BinaryIO]:
    """A stream compressed (Zstandard, RFC 8878) while it is read."""

    def write(pipe: BinaryIO) -> None:
        with pa.CompressedOutputStream(pa.PythonFile(pipe, "w"), "zstd") as packer:
            while data := plain.read(_BLOCK):
                packer.write(data)

    with _fed(write) as read:
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
        with source.open("rb") as read, unpacked(target) as write:
            decrypt(read, write, identities, progress)
    except FileNotFoundError:
        raise DatasetNotFound(f"{source}: no such file") from None


@contextmanager
def unpacked(target: Path) -> Iterator[BinaryIO]:
    """A stream to write an archive to, which is the new folder ``target`` when the block ends.

    :raises DatasetError: if ``target`` exists.
    :raises DecryptionFailed: when the block ends, if it was no archive of plain files.
    """
    if target.exists() or target.is_symlink():
        raise DatasetError(f"{target} exists; a folder is decrypted to a new one")
    if not target.parent.is_dir():
        raise DatasetError(f"folder {target.parent} does not exist; create it first")
    below = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        with _drained(lambda pipe: _unpack(pipe, below / "files")) as write:
            yield write
        (below / "files").rename(target)
    finally:
        shutil.rmtree(below, ignore_errors=True)


def _pack(entries: Sequence[FolderEntry], pipe: BinaryIO) -> None:
    with tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            head = tarfile.TarInfo(entry.name)
            head.mode = 0o755 if entry.open is None or entry.executable else 0o644
            if entry.open is None:
                head.type = tarfile.DIRTYPE
                archive.addfile(head)
                continue
            with entry.open() as file:
                head.size = file.seek(0, os.SEEK_END)
                file.seek(0)
                archive.addfile(head, file)


def _unpack(pipe: BinaryIO, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    plain: Any = pipe
    if cast(io.BufferedReader, pipe).peek(4).startswith(_ZSTANDARD):
        plain = pa.CompressedInputStream(pa.PythonFile(pipe, "r"), "zstd")
    with tarfile.open(fileobj=plain, mode="r|") as archive:
        for entry in archive:
            if not (entry.isreg() or entry.isdir()):
                raise tarfile.TarError
            # Refuses absolute paths, and those that lead out of the folder.
            archive.extract(entry, folder, filter="data")
    while plain.read(_BLOCK):  # to the end of what is decrypted
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
