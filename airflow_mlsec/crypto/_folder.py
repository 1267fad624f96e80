"""Whole folders as one encrypted artifact: a tar archive that is the same for the same files, within an age
file. ``age -d`` and ``tar -x`` (``tar --zstd -x``, if it is compressed) open it without us."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from airflow_mlsec import files
from airflow_mlsec.crypto._age import Progress, Unwraps, Wraps, decrypt, encrypt
from airflow_mlsec.crypto._archive import UNPACK_LIMITS, FolderEntry, UnpackLimits, pack, unpack
from airflow_mlsec.errors import (
    DatasetError,
    DatasetNotFound,
    DecryptionFailed,
    MlsecError,
    StorageFull,
    is_full,
)

_BLOCK = 1 << 20
_LONGEST_NAME = 255
# The number of characters that `tempfile.mkdtemp` puts in between.
_PARTIAL, _RANDOM = ".partial", 8
_LOCK = ".lock"
# Seconds from making a folder to locking it, at the most.
_JUST_MADE = 3_600


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
    # A file that cannot be read is reported when `packed` ends: before the target is published.
    with (
        files.replacing(target) as write,
        packed(entries) as plain,
        compressed(plain) if compress else nullcontext(plain) as read,
    ):
        encrypt(read, write, recipients, progress)


def folder_entries(source: Path) -> list[FolderEntry]:
    """The regular files and folders below a local folder, and links within it.

    :raises DatasetNotFound: if there is no such folder.
    :raises DatasetError: if there is a link that leads out of it or nowhere, a device or the like in it, or a folder cannot
        be read.
    """
    if not source.is_dir():
        raise DatasetNotFound(f"{source}: no such folder")
    opened = _Below(source)
    try:
        return list(_entries(opened, os.path.realpath(source)))
    except OSError as error:
        raise DatasetError(f"{source} cannot be read as a whole ({error.strerror})") from None


def _entries(opened: _Below, real: str) -> Iterator[FolderEntry]:
    """What is below a folder, whose real path is ``real``, however deep."""
    folders = [""]
    while folders:
        above = folders.pop()
        with os.scandir(f"{opened.folder}/{above}") as found:
            for entry in found:
                name = f"{above}{entry.name}"
                if entry.is_symlink():
                    yield FolderEntry(name, link=_within(opened.folder, real, name))
                elif entry.is_dir(follow_symlinks=False):
                    yield FolderEntry(name)
                    folders.append(f"{name}/")
                elif entry.is_file(follow_symlinks=False):
                    yield FolderEntry(name, partial(opened.open, name))
                else:
                    raise DatasetError(
                        f"{opened.folder}/{name} is neither a file nor a folder; it is not encrypted"
                    )


def _within(folder: Path, real: str, name: str) -> str:
    """Where a link leads to, from its own folder; through other links to what they lead to."""
    target = os.path.realpath(f"{folder}/{name}")
    if not target.startswith(f"{real}/") or not os.path.exists(target):
        raise DatasetError(
            f"{folder}/{name} is a link that leads out of the folder, or nowhere; put a copy of the file in its place"
        )
    above = os.path.dirname(f"{real}/{name}")
    return os.path.relpath(target, above)


class _Below:
    """Opens files below a folder, not through a link that has since replaced any part of their paths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The folder that the last file was in: those of one folder come one after the other.
        self._last: tuple[str, int] | None = None

    def open(self, name: str) -> BinaryIO:
        """A file, unbuffered."""
        above, _, last = name.rpartition("/")
        if self._last is None or self._last[0] != above:
            opened = self._opened(above)
            self.close()
            self._last = above, opened
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return cast(BinaryIO, io.FileIO(os.open(last, flags, dir_fd=self._last[1])))

    def _opened(self, above: str) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        folder = os.open(self.folder, flags)
        for part in above.split("/") if above else ():
            try:
                below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=folder)
            finally:
                os.close(folder)
            folder = below
        return folder

    def close(self) -> None:
        if self._last is not None:
            os.close(self._last[1])
            self._last = None

    __del__ = close


@contextmanager
def packed(entries: Iterable[FolderEntry]) -> Iterator[BinaryIO]:
    """A folder as a stream: a tar archive that is the same for the same files, wherever they are.

    :raises DatasetError: if a name leads out of the folder, or could not be unpacked again; when the block
        ends, if a file changed or could not be read.
    """
    given: dict[str, FolderEntry] = {}
    parents: set[str] = set()
    for entry in entries:
        if entry.name in given:
            raise DatasetError(f"there are two files named '{entry.name}'")
        given[entry.name] = entry
        above, _, last = entry.name.rpartition("/")
        _check_name(entry.name, last)
        while above and above not in parents:
            parents.add(above)
            higher, _, last = above.rpartition("/")
            _check_name(entry.name, last)
            above = higher
        if entry.name.startswith("/"):
            raise DatasetError(f"'{entry.name}' cannot be the name of a file in a folder")
    for name in parents & set(given):
        if not given[name].is_folder:
            raise DatasetError(f"'{name}' is a file and a folder at once; a disk cannot hold both")
    everything = {name: FolderEntry(name) for name in parents} | given
    ordered = [everything[name] for name in sorted(everything)]
    with _fed(lambda pipe: pack(ordered, pipe)) as read:
        yield read


def _check_name(name: str, part: str) -> None:
    """
    :raises DatasetError: if a part of a name cannot be the name of a file.
    """
    length = len(part) if part.isascii() else len(os.fsencode(part))
    if part in ("", ".", "..") or "\0" in part or length > _LONGEST_NAME:
        raise DatasetError(f"'{name}' cannot be the name of a file in a folder")


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
    limits: UnpackLimits = UNPACK_LIMITS,
) -> None:
    """Decrypt into a new folder, which appears when the last byte is verified.

    :raises DecryptionFailed: for any cause, also if what was encrypted is not an archive of regular files.
    :raises DatasetError: if ``target`` exists, or the folder would exceed the limits.
    """
    try:
        with source.open("rb") as read, unpacked(target, limits) as write:
            decrypt(read, write, identities, progress)
    except FileNotFoundError:
        raise DatasetNotFound(f"{source}: no such file") from None
    except IsADirectoryError:
        raise DatasetError(f"{source} is a folder; what is decrypted is a file") from None


@contextmanager
def unpacked(target: Path, limits: UnpackLimits = UNPACK_LIMITS) -> Iterator[BinaryIO]:
    """A stream to write an archive to, which becomes the new folder ``target`` when the block ends. What a
    killed process left of an earlier attempt is removed.

    :raises DatasetError: if ``target`` exists or cannot be created, or if the archive exceeds the limits: then nothing of
        it is left.
    :raises StorageFull: if no space is left.
    :raises DecryptionFailed: when the block ends, if it was not a whole archive of regular files.
    """
    if target.exists() or target.is_symlink():
        raise DatasetError(f"{target} exists; a folder is decrypted to a new one")
    if not target.parent.is_dir():
        raise DatasetError(f"folder {target.parent} does not exist; create it first")
    _remove_abandoned(target)
    below, lock = _locked_folder(target)
    try:
        with _drained(
            lambda pipe: unpack(pipe, below / "files", limits), str(target.parent)
        ) as write:
            yield write
        try:
            (below / "files").rename(target)
        except OSError as error:
            raise DatasetError(
                f"{target} was created by somebody else meanwhile ({error.strerror})"
            ) from None
    finally:
        os.close(lock)
        shutil.rmtree(below, ignore_errors=True)


def _locked_folder(target: Path) -> tuple[Path, int]:
    """A new folder next to the target, and a lock on it for as long as this process works on it."""
    while True:
        try:
            made = tempfile.mkdtemp(prefix=f".{target.name}.", suffix=_PARTIAL, dir=target.parent)
        except OSError as error:
            raise DatasetError(f"{target} cannot be created ({error.strerror})") from None
        below = Path(made)
        try:
            # A file, which servers of files lock between machines, as they do not lock folders.
            lock = os.open(below / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Before it was locked, another process may have removed it as abandoned.
        if (below / _LOCK).exists():
            return below, lock
        os.close(lock)


def _lock_of(left: Path) -> int:
    """
    :raises OSError: if another process has only just made the folder.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(left / _LOCK, flags)
    except FileNotFoundError:
        if time.time() - left.lstat().st_mtime < _JUST_MADE:
            raise
        return os.open(left / _LOCK, flags | os.O_CREAT, 0o600)


def _remove_abandoned(target: Path) -> None:
    length = len(f".{target.name}.") + _RANDOM + len(_PARTIAL)
    for left in target.parent.iterdir():
        name = left.name
        if not (name.startswith(f".{target.name}.") and name.endswith(_PARTIAL)):
            continue
        if len(name) != length:
            continue
        with suppress(OSError):
            lock = _lock_of(left)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


def _wide_pipe() -> tuple[int, int]:
    """A pipe that holds as much as the machine allows: it wakes its ends less often."""
    taken, given = os.pipe()
    with suppress(OSError):
        fcntl.fcntl(given, fcntl.F_SETPIPE_SZ, _BLOCK)
    return taken, given


class _Whole:
    """What another thread writes. If that failed, its end is not the end: whoever reads to it would take it for whole."""

    def __init__(self, source: BinaryIO, failed: Sequence[BaseException]) -> None:
        self._source, self._failed = source, failed

    def read(self, size: int = -1) -> bytes:
        """As of any stream."""
        data = self._source.read(size)
        if (not data and size) or size < 0:
            self._check()
        return data

    def readinto(self, buffer: Any) -> int:
        """As of any stream."""
        count = cast(io.BufferedReader, self._source).readinto(buffer)
        if not count:
            self._check()
        return count

    def _check(self) -> None:
        for error in self._failed:
            raise _unreadable(error) from None


def _unreadable(error: BaseException) -> MlsecError:
    if isinstance(error, MlsecError):
        return error
    return DatasetError("a file changed, or could not be read, while it was encrypted")


@contextmanager
def _fed(write: Callable[[BinaryIO], None]) -> Iterator[BinaryIO]:
    """A stream of what ``write`` writes, in a thread of its own."""
    taken, given = _wide_pipe()
    failed: list[BaseException] = []
    ended = threading.Event()

    def note(error: BaseException) -> None:
        # If nobody reads any more, this is not a failure of what is read.
        if not (ended.is_set() and isinstance(error, BrokenPipeError)):
            failed.append(error)

    def run() -> None:
        try:
            with os.fdopen(given, "wb", _BLOCK) as pipe:
                try:
                    write(pipe)
                except BaseException as error:
                    # Before the pipe is closed: else its reader would finish first, and a source that broke off would
                    # be taken for a pipe that nobody reads.
                    note(error)
        except BaseException as error:
            note(error)

    thread = threading.Thread(target=run, daemon=True)
    with os.fdopen(taken, "rb") as source:
        thread.start()
        try:
            yield cast(BinaryIO, _Whole(source, failed))
        finally:
            ended.set()
            source.close()
            thread.join()
    for error in failed:
        raise _unreadable(error) from None


@contextmanager
def _drained(read: Callable[[BinaryIO], None], where: str) -> Iterator[BinaryIO]:
    """A stream that ``read`` reads, in a thread of its own, into the folder ``where``."""
    taken, given = _wide_pipe()
    failed: list[BaseException] = []

    def run() -> None:
        with os.fdopen(taken, "rb", _BLOCK) as pipe:
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
    for error in failed:
        if isinstance(error, DatasetError):
            raise error from None
        if isinstance(error, OSError) and is_full(error):
            raise StorageFull.while_writing("the unpacked folder", where) from None
        raise DecryptionFailed from None
