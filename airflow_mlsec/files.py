"""Local files that appear whole or not at all.

A writer works on ``.NAME.<random>.partial`` in the target's folder, under a lock that
the kernel drops when the process dies, and renames it over the target when everything
has been written and synced. A reader sees the old file or the new one, even after
``kill -9``; what a killed writer left is removed by the next writer of the same target.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from airflow_mlsec.errors import ChangedMeanwhile, DatasetError, StorageFull, is_full

_SUFFIX = ".partial"


@contextlib.contextmanager
def replacing(
    target: Path, mode: int = 0o600, unless_changed_since: os.stat_result | None = None
) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces ``target`` when the block ends without an error.

    ``mode`` is the permission of a new file; an existing target keeps its own. The yielded file is readable as well, so
    that a caller can verify what it wrote before it is published; ``.name`` is its path.

    With ``unless_changed_since`` the target must still be the file of that ``stat``: replacing a
    file by a part of itself must not undo what another writer has done in the meantime.

    :raises ChangedMeanwhile: if it is not.
    :raises DatasetError: if the target's folder does not exist, or the target is a
        symbolic link or not a regular file.
    :raises StorageFull: if no space is left on its device.
    """
    folder = target.parent
    if not folder.is_dir():
        raise DatasetError(
            f"folder {folder} does not exist; create it before writing {target.name}"
        )
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise DatasetError(f"{target} is not a regular file; it is not replaced")
    remove_abandoned(target)
    if target.exists():
        mode = target.stat().st_mode & 0o777
    file = _create_locked(target, mode)
    partial = Path(file.name)
    published = False
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            # Writers publish one at a time, so that what was checked is what is replaced.
            with _locked_folder(folder):
                if unless_changed_since is not None:
                    _check_unchanged(target, unless_changed_since)
                os.replace(partial, target)
            published = True
            _sync_folder(folder)
    except OSError as error:
        if is_full(error):
            raise StorageFull.while_writing(target.name, str(folder)) from None
        raise
    finally:
        if not published:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_unchanged(target: Path, before: os.stat_result) -> None:
    try:
        now = target.stat()
    except FileNotFoundError:
        raise ChangedMeanwhile(f"{target} was removed while it was being rewritten") from None
    same = (before.st_ino, before.st_size, before.st_mtime_ns)
    if (now.st_ino, now.st_size, now.st_mtime_ns) != same:
        raise ChangedMeanwhile(
            f"{target} was written by another program while it was being rewritten"
        )


def _create_locked(target: Path, mode: int) -> BinaryIO:
    while True:
        partial = target.parent / f"{_prefix(target)}{secrets.token_hex(8)}{_SUFFIX}"
        file = open(  # noqa: SIM115 - the caller closes it
            partial,
            "x+b",
            opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, mode),
        )
        os.fchmod(file.fileno(), mode)
        fcntl.flock(file, fcntl.LOCK_EX)
        # Between creation and lock, another writer may have removed it as abandoned.
        if partial.exists():
            return file
        file.close()


@contextlib.contextmanager
def unnamed() -> Iterator[tuple[BinaryIO, Path]]:
    """A temporary file that disappears with this process, however the process ends, and a path by which this process can
    reopen it. It has no name where the system supports that (Linux): a killed process leaves nothing behind."""
    if not Path("/proc/self/fd").is_dir():
        with tempfile.NamedTemporaryFile("w+b") as named:
            yield cast(BinaryIO, named), Path(named.name)
        return
    with tempfile.TemporaryFile("w+b") as file:
        yield cast(BinaryIO, file), Path(f"/proc/self/fd/{file.fileno()}")


def remove_abandoned(target: Path) -> int:
    """Remove temporary files of ``target`` whose writer has died; return how many."""
    removed = 0
    prefix = _prefix(target)
    for left in target.parent.glob(f"{_escape(prefix)}*{_SUFFIX}"):
        if len(left.name) != len(prefix) + 16 + len(_SUFFIX):
            continue
        # Anything else with such a name (a pipe, a folder, a link) is not ours.
        with contextlib.suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb"):
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()
                    removed += 1
    return removed


def _prefix(target: Path) -> str:
    name = target.name
    # A file name has at most 255 bytes, and a prefix and an ending are added.
    if len(name.encode()) > 180:
        name = hashlib.sha256(name.encode()).hexdigest()
    return f".{name}."


def write_bytes(target: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace ``target`` by ``content``, as a whole or not at all."""
    with replacing(target, mode) as file:
        file.write(content)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (created if missing) while the block runs."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _escape(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_rest(
    source: BinaryIO, target: BinaryIO, progress: Callable[[int], None] = lambda done: None
) -> None:
    """Copy the rest of a file to another, through the operating system where possible: it shares the blocks
    on filesystems that support this, and copies within the kernel on others."""
    target.flush()
    start, done = source.tell(), 0
    size = os.fstat(source.fileno()).st_size - start
    position = target.tell()
    while done < size:
        try:
            count = os.copy_file_range(
                source.fileno(),
                target.fileno(),
                min(size - done, _COPIED),
                start + done,
                position + done,
            )
        except OSError:
            break
        if not count:
            break
        done += count
        progress(done)
    source.seek(start + done)
    target.seek(position + done)
    while data := source.read(_COPIED_BY_HAND):
        target.write(data)
        done += len(data)
        progress(done)


_COPIED, _COPIED_BY_HAND = 1 << 28, 1 << 20


def everything_below(folder: Path) -> Iterator[Path]:
    """Files and folders below one, links not followed.

    :raises OSError: if one cannot be read; it is not skipped.
    """

    def fail(error: OSError) -> None:
        raise error

    for above, folders, names in os.walk(folder, onerror=fail):
        for name in (*folders, *names):
            yield Path(above) / name
