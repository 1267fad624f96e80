"""Whole folders as one encrypted artifact: a tar archive that is the same for the same files, within an age
file. ``age -d`` and ``tar -x`` (``tar --zstd -x``, if it is compressed) open it without us."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import stat
import tarfile
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow as pa

from airflow_mlsec import files
from airflow_mlsec.crypto._age import Progress, Unwraps, Wraps, decrypt, encrypt
from airflow_mlsec.errors import (
    DatasetError,
    DatasetNotFound,
    DecryptionFailed,
    MlsecError,
    StorageFull,
    is_full,
)

_ZSTANDARD = bytes.fromhex("28b52ffd")  # RFC 8878, section 3.1.1
_BLOCK = 1 << 20
_END = 2 * tarfile.BLOCKSIZE
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LARGEST_HEADER = 1 << 20
_LONGEST_NAME = 255
# Of all headers of an archive together.
_MOST_HEADERS = 4 << 30
# The number of characters that `tempfile.mkdtemp` puts in between.
_PARTIAL, _RANDOM = ".partial", 8


@dataclass(frozen=True)
class UnpackLimits:
    """How much an archive may become on disk: files and folders, and bytes. A few kilobytes can become terabytes."""

    entries: int = 1_000_000
    bytes: int = 100 * 1000**3


UNPACK_LIMITS = UnpackLimits()


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
    # A file that cannot be read is reported when `packed` ends: before the target is published.
    with (
        files.replacing(target) as write,
        packed(entries) as plain,
        compressed(plain) if compress else nullcontext(plain) as read,
    ):
        encrypt(read, write, recipients, progress)


def folder_entries(source: Path) -> list[FolderEntry]:
    """The regular files and folders below a local folder.

    :raises DatasetNotFound: if there is no such folder.
    :raises DatasetError: if there is a link, a device or the like in it, or a folder cannot be read.
    """
    if not source.is_dir() or source.is_symlink():
        raise DatasetNotFound(f"{source}: no such folder")
    try:
        return [_entry(source, path) for path in files.everything_below(source)]
    except OSError as error:
        raise DatasetError(f"{source} cannot be read as a whole ({error.strerror})") from None


def _entry(folder: Path, path: Path) -> FolderEntry:
    name = path.relative_to(folder).as_posix()
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        raise DatasetError(f"{path} is neither a plain file nor a folder; it is not encrypted")
    if path.is_dir():
        return FolderEntry(name)
    return FolderEntry(name, lambda: _opened(folder, name), os.access(path, os.X_OK))


def _opened(folder: Path, name: str) -> BinaryIO:
    """A file below a folder, not through a link that has since replaced any part of its path."""
    above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        *folders, last = name.split("/")
        for part in folders:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            os.close(above)
            above = below
        descriptor = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=above)
    finally:
        os.close(above)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DatasetError(f"{folder / name} is no longer a regular file")
    return os.fdopen(descriptor, "rb")


@contextmanager
def packed(entries: Iterable[FolderEntry]) -> Iterator[BinaryIO]:
    """A folder as a stream: a tar archive that is the same for the same files, wherever they are.

    :raises DatasetError: if a name leads out of the folder, or could not be unpacked again; when the block
        ends, if a file changed or could not be read.
    """
    given: dict[str, FolderEntry] = {}
    for entry in entries:
        parts = entry.name.split("/")
        if any(part in ("", ".", "..") or len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
            raise DatasetError(f"'{entry.name}' cannot be the name of a file in a folder")
        if "\0" in entry.name or entry.name in given:
            raise DatasetError(
                f"there are two files named '{entry.name}', or no file can have this name"
            )
        given[entry.name] = entry
    parents = {str(parent) for name in given for parent in PurePosixPath(name).parents} - {"."}
    for name in parents & set(given):
        if given[name].open is not None:
            raise DatasetError(f"'{name}' is a file and a folder at once; a disk cannot hold both")
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
            lambda pipe: _unpack(pipe, below / "files", limits), str(target.parent)
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
            lock = os.open(below, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Before it was locked, another process may have removed it as abandoned.
        if below.exists():
            return below, lock
        os.close(lock)


def _remove_abandoned(target: Path) -> None:
    length = len(f".{target.name}.") + _RANDOM + len(_PARTIAL)
    for left in target.parent.iterdir():
        name = left.name
        if not (name.startswith(f".{target.name}.") and name.endswith(_PARTIAL)):
            continue
        if len(name) != length:
            continue
        with suppress(OSError):
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


def _archive(**options: Any) -> tarfile.TarFile:
    """An archive that is read and written in large blocks, which leaves its content as it is."""
    made: Any = tarfile.open
    archive: tarfile.TarFile = made(bufsize=_BLOCK, copybufsize=_BLOCK, **options)
    return archive


def _pack(entries: Sequence[FolderEntry], pipe: BinaryIO) -> None:
    with _archive(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            head = tarfile.TarInfo(entry.name)
            head.mode = 0o755 if entry.open is None or entry.executable else 0o644
            if entry.open is None:
                head.type = tarfile.DIRTYPE
                archive.addfile(head)
                continue
            with entry.open() as file:
                before = _stamp(file)
                head.size = file.seek(0, os.SEEK_END)
                file.seek(0)
                archive.addfile(head, file)
                if file.read(1) or _stamp(file) != before:
                    raise DatasetError(f"'{entry.name}' changed while it was encrypted")


def _stamp(file: BinaryIO) -> tuple[int, int] | None:
    """What changes whenever a local file does; None for other files."""
    try:
        status = os.fstat(file.fileno())
    except (OSError, AttributeError):
        return None
    return status.st_size, status.st_mtime_ns


class _Entry(tarfile.TarInfo):
    """An entry whose headers fit into memory, whatever an archive says."""

    @classmethod
    def frombuf(cls, *arguments: Any, **named: Any) -> _Entry:
        entry = super().frombuf(*arguments, **named)
        plain = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
        if not plain and (entry.type not in _HEADERS or entry.size > _LARGEST_HEADER):
            raise tarfile.ReadError
        return entry


class _Kept:
    """A stream that remembers the last part of what was read."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.bytes = stream, 0
        self._last: deque[bytes] = deque(maxlen=4)

    def read(self, size: int) -> bytes:
        # In full, so that the last few reads are more than the library can have read ahead.
        data = b""
        while len(data) < size and (more := self._stream.read(size - len(data))):
            data = data + more if data else more
        self.bytes += len(data)
        self._last.append(data)
        return data

    def since(self, place: int) -> bytes:
        """What was read from this place on."""
        last = b"".join(self._last)
        return last[place - (self.bytes - len(last)) :]


def _unpack(pipe: BinaryIO, folder: Path, limits: UnpackLimits) -> None:
    folder.mkdir(mode=0o700)
    entries = size = 0
    source: Any = pipe
    if cast(io.BufferedReader, pipe).peek(4).startswith(_ZSTANDARD):
        source = pa.CompressedInputStream(pa.PythonFile(pipe, "r"), "zstd")
    plain = _Kept(source)
    with _archive(fileobj=plain, mode="r|", tarinfo=_Entry) as archive:
        for entry in archive:
            if not (entry.isreg() or entry.isdir()) or entry.issparse() or entry.name[:1] == "/":
                raise tarfile.ReadError
            # The library remembers every entry with its headers.
            archive.members.clear()  # type: ignore[attr-defined]
            entries, size = entries + 1, size + entry.size
            too_much = size > limits.bytes or plain.bytes - size > _MOST_HEADERS
            if entries > limits.entries or too_much:
                raise DatasetError(
                    f"the archive has more than {limits.entries} files or {limits.bytes} bytes; nothing was unpacked. If "
                    "you trust whoever made it, raise [mlsec] unpack_limit"
                )
            # Refuses paths that lead out of the folder.
            archive.extract(entry, folder, filter="data")
        # The library takes a damaged header, and the end of the file, for the end of the archive. The real
        # end is two blocks of zeros, and nothing else after them.
        end = plain.since(archive.offset)
    rest = len(end)
    while not any(end) and (end := plain.read(_BLOCK)):
        rest += len(end)
    if any(end) or rest < _END:
        raise tarfile.ReadError


def _wide_pipe() -> tuple[int, int]:
    """A pipe that holds as much as the machine allows: it wakes its ends less often."""
    taken, given = os.pipe()
    with suppress(OSError):
        fcntl.fcntl(given, fcntl.F_SETPIPE_SZ, _BLOCK)
    return taken, given


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
            with os.fdopen(given, "wb") as pipe:
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
            yield source
        finally:
            ended.set()
            source.close()
            thread.join()
    for error in failed:
        if isinstance(error, MlsecError):
            raise error from None
        raise DatasetError("a file changed, or could not be read, while it was encrypted") from None


@contextmanager
def _drained(read: Callable[[BinaryIO], None], where: str) -> Iterator[BinaryIO]:
    """A stream that ``read`` reads, in a thread of its own, into the folder ``where``."""
    taken, given = _wide_pipe()
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
    for error in failed:
        if isinstance(error, DatasetError):
            raise error from None
        if isinstance(error, OSError) and is_full(error):
            raise StorageFull.while_writing("the unpacked folder", where) from None
        raise DecryptionFailed from None
