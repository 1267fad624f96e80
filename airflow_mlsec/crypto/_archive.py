"""Tar archives of folders (POSIX.1-2017, ``pax``): the same for the same files, wherever they are. The library does what
is out of the ordinary, such as long names; plain headers, of which a folder may have millions, are made and read here.
"""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from airflow_mlsec.errors import DatasetError

_ZSTANDARD = bytes.fromhex("28b52ffd")  # RFC 8878, section 3.1.1
_BLOCK = 1 << 20
_HEADER = tarfile.BLOCKSIZE
_END = 2 * tarfile.BLOCKSIZE
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE)
_LARGEST_HEADER = 1 << 20
# Of all headers of an archive together.
_MOST_HEADERS = 4 << 30
# Headers that say more of one entry; and those that say something of all entries that follow, which are kept.
_MOST_OF_ONE, _MOST_OF_ALL = 4, 16
# What fills the last record, and what all links together say.
_MOST_ZEROS, _MOST_LINKS = 16 << 20, 64 << 20
# PATH_MAX of Linux.
_LONGEST_PATH = 4_096
# Where a plain header (POSIX.1-2017, "ustar Interchange Format") has its fields.
_NAME, _MODE, _SIZE, _TIME = slice(0, 100), slice(100, 108), slice(124, 136), slice(136, 148)
_SUM, _KIND, _LINK, _MAGIC, _PREFIX = slice(148, 156), slice(156, 157), slice(157, 257), slice(257, 265), slice(345, 500)  # fmt: skip
_LONGEST = 100
_LARGEST = 8**11
_NUMBER = re.compile(rb" *([0-7]{1,11})[ \0]*")


@dataclass(frozen=True)
class UnpackLimits:
    """How much an archive may become on disk: files and folders, and bytes. A few kilobytes can become terabytes."""

    entries: int = 1_000_000
    bytes: int = 100 * 1000**3

    @classmethod
    def of(cls, size: int) -> UnpackLimits:
        """Limits for so many bytes: the more there may be, the more files."""
        return cls(max(1_000_000, size // 100_000), size)


UNPACK_LIMITS = UnpackLimits()


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A file below a folder; a folder below it, which has neither ``open`` nor ``link``; or a symbolic link to a file or
    folder below it: ``link`` is the way there from the link's own folder. ``name`` is relative, with ``/``."""

    name: str
    open: Callable[[], BinaryIO] | None = None
    link: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.open is None and self.link is None


def pack(entries: Sequence[FolderEntry], pipe: BinaryIO) -> None:
    """Write an archive. A file is executable in it if its owner may execute it; times and owners are left out.

    :raises DatasetError: if a file changed while it was read, or something else is in its place.
    """
    written = 0
    for entry in entries:
        if entry.link is not None:
            written += pipe.write(_header(entry.name, tarfile.SYMTYPE, 0o777, 0, entry.link))
        elif entry.open is None:
            written += pipe.write(_header(entry.name, tarfile.DIRTYPE, 0o755, 0))
        else:
            with entry.open() as file:
                written += _pack_file(entry.name, file, pipe)
    pipe.write(bytes(_END + -(written + _END) % tarfile.RECORDSIZE))


def _pack_file(name: str, file: BinaryIO, pipe: BinaryIO) -> int:
    before = _status(file)
    if before is not None and not stat.S_ISREG(before.st_mode):
        raise DatasetError(f"'{name}' is no longer a regular file")
    size = file.seek(0, os.SEEK_END) if before is None else before.st_size
    if before is None:
        file.seek(0)
    mode = 0o755 if before is not None and before.st_mode & 0o100 else 0o644
    header, padding = _header(name, tarfile.REGTYPE, mode, size), bytes(-size % _HEADER)
    pending, left = header, size
    while left and (data := file.read(min(left, _BLOCK))):
        pipe.write(pending + data if pending else data)
        pending, left = b"", left - len(data)
    after = None if before is None else _status(file)
    changed = before is not None and (after is None or _stamp(after) != _stamp(before))
    if left or changed or (before is None and file.read(1)):
        raise DatasetError(f"'{name}' changed while it was encrypted")
    pipe.write(pending + padding)
    return len(header) + size + len(padding)


def _status(file: BinaryIO) -> os.stat_result | None:
    """A local file's; None for others."""
    try:
        return os.fstat(file.fileno())
    except (OSError, AttributeError):
        return None


def _stamp(status: os.stat_result) -> tuple[int, int]:
    """What changes whenever a local file does."""
    return status.st_size, status.st_mtime_ns


def _by_library(name: str, kind: bytes, mode: int, size: int, link: str = "") -> bytes:
    head = tarfile.TarInfo(name)
    head.type, head.mode, head.size, head.linkname = kind, mode, size, link
    return head.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


# What all plain headers have in common. The sum of a header's bytes counts those of the checksum's field as spaces.
_TEMPLATE = _by_library("", tarfile.REGTYPE, 0, 0)
_OWNER, _NO_TIME, _REST = _TEMPLATE[108:124], _TEMPLATE[_TIME], _TEMPLATE[257:]
_SUM_OF_REST = sum(_NO_TIME) + sum(_REST) + 8 * ord(" ")


def _header(name: str, kind: bytes, mode: int, size: int, link: str = "") -> bytes:
    path = f"{name}/" if kind == tarfile.DIRTYPE else name
    plain = path.isascii() and link.isascii() and "\0" not in path
    if not plain or len(path) > _LONGEST or len(link) > _LONGEST or size >= _LARGEST:
        return _by_library(name, kind, mode, size, link)
    start = path.encode().ljust(_LONGEST, b"\0") + b"%07o\0" % mode + _OWNER + b"%011o\0" % size
    end = kind + link.encode().ljust(_LONGEST, b"\0")
    total = _SUM_OF_REST + sum(start) + sum(end)
    return start + _NO_TIME + b"%06o\0 " % total + end + _REST


def unpack(pipe: BinaryIO, folder: Path, limits: UnpackLimits) -> None:
    """Unpack an archive, compressed (Zstandard) or not, into a new folder.

    :raises DatasetError: if it exceeds the limits.
    :raises tarfile.TarError: if it is not a whole archive of regular files, folders and links to them.
    """
    folder.mkdir(mode=0o700)
    source: Any = pipe
    if cast(io.BufferedReader, pipe).peek(4).startswith(_ZSTANDARD):
        packed: Any = pa.CompressedInputStream(pa.PythonFile(pipe, "r"), "zstd")
        source = io.BufferedReader(packed, _BLOCK)
    made = _Unpacked(folder, limits)
    while (entry := _plain_entry(block := source.read(_HEADER))) is not None:
        made.take(entry, source)
        source.read(-entry.size % _HEADER)
    if len(block) == _HEADER and not any(block):
        # Two blocks of zeros, and nothing but zeros after them, are the end.
        rest = source.read(_HEADER)
        if len(rest) < _HEADER:
            raise tarfile.ReadError
        _read_zeros(rest, source)
    else:
        _unpack_by_library(block, source, made)
    made.make_links()


def _read_zeros(first: bytes, source: Any) -> None:
    """Read what follows the end, which is zeros; programs fill their last record with them."""
    rest, done = first, 0
    while rest:
        done += len(rest)
        if rest != bytes(len(rest)) or done > _MOST_ZEROS:
            raise tarfile.ReadError
        rest = source.read(_BLOCK)


@dataclass(frozen=True, slots=True)
class _Head:
    """What an archive says of a file, a folder or a link."""

    name: str
    kind: bytes
    size: int
    mode: int
    time: float
    link: str


def _plain_entry(block: bytes) -> _Head | None:
    """The entry of a header that has nothing special; None for any other block."""
    kind = block[_KIND]
    if len(block) != _HEADER or block[_MAGIC] != b"ustar\x0000" or block[345]:
        return None
    numbers = [_NUMBER.fullmatch(block[field]) for field in (_MODE, _SIZE, _TIME, _SUM)]
    if None in numbers or kind not in (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE):
        return None
    mode, size, time, total = (int(found[1], 8) for found in numbers if found)
    if total != sum(block) - sum(block[_SUM]) + 8 * ord(" ") or (size and kind != tarfile.REGTYPE):
        return None
    name, link = (
        block[field].partition(b"\0")[0].decode("utf-8", "surrogateescape")
        for field in (_NAME, _LINK)
    )
    return _Head(name, kind, size, mode, time, link)


class _Unpacked:
    """A folder that an archive is unpacked into."""

    def __init__(self, folder: Path, limits: UnpackLimits) -> None:
        self._folder, self._limits = str(folder), limits
        self._entries = self._bytes = self._linked = 0
        self._known = {""}
        self._links: dict[str, str] = {}

    def take(self, entry: _Head, content: Any) -> None:
        """Write a file, whose content is read; make a folder; or note a link.

        :raises DatasetError: if the limits are exceeded.
        :raises tarfile.TarError: if its name leads out of the folder, or its content is not whole.
        """
        self._entries, self._bytes = self._entries + 1, self._bytes + entry.size
        self._check_limits()
        if entry.name[:1] == "/" or max(len(entry.name), len(entry.link)) > _LONGEST_PATH:
            raise tarfile.ReadError
        parts = [part for part in entry.name.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in entry.name:
            raise tarfile.ReadError
        name, above = "/".join(parts), "/".join(parts[:-1])
        if entry.kind == tarfile.DIRTYPE:
            self._entries -= name not in self._known
            self._make_folder(name)
            return
        if not parts:
            raise tarfile.ReadError
        self._make_folder(above)
        if entry.kind == tarfile.SYMTYPE:
            self._links[name] = entry.link
            self._linked += len(entry.name) + len(entry.link)
            if self._linked > _MOST_LINKS:
                raise tarfile.ReadError
            return
        self._links.pop(name, None)
        mode = 0o755 if entry.mode & 0o100 else 0o644
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        path = f"{self._folder}/{name}"
        descriptor = os.open(path, flags, mode)
        try:
            left = entry.size
            while left:
                data = content.read(min(left, _BLOCK))
                if not data:
                    raise tarfile.ReadError
                left -= len(data)
                while data:
                    data = data[os.write(descriptor, data) :]
            if entry.time:
                os.utime(descriptor, (entry.time, entry.time))
        finally:
            os.close(descriptor)

    def _check_limits(self, headers: int = 0) -> None:
        limits = self._limits
        if self._entries > limits.entries or self._bytes > limits.bytes or headers > _MOST_HEADERS:
            what = (
                f"{limits.entries} files and folders"
                if self._entries > limits.entries
                else f"{limits.bytes} bytes"
            )
            raise DatasetError(
                f"the archive has more than {what}; nothing was unpacked. If you trust whoever made it, raise [mlsec] unpack_limit"
            )

    def check_headers(self, read: int) -> None:
        """
        :raises DatasetError: if headers alone make up more of what was read than is allowed.
        """
        self._check_limits(read - self._bytes)

    def _make_folder(self, name: str) -> None:
        missing = []
        while name not in self._known:
            missing.append(name)
            name = name.rpartition("/")[0]
        for each in reversed(missing):
            path = f"{self._folder}/{each}"
            try:
                os.mkdir(path, 0o755)
            except FileExistsError:
                if not os.path.isdir(path):
                    raise tarfile.ReadError from None
            self._known.add(each)
            # Those that no entry names take room as well.
            self._entries += 1
            self._check_limits()

    def make_links(self) -> None:
        """Make the links: only now, so that nothing was written, and no target is looked for, through one.

        :raises tarfile.TarError: if one does not lead to a file or folder of the archive.
        """
        for name, target in self._links.items():
            steps = target.split("/")
            up = next((n for n, step in enumerate(steps) if step != ".."), len(steps))
            parts = name.split("/")[:-1]
            inside = target[:1] != "/" and up <= len(parts) and ".." not in steps[up:]
            there = [*parts[: len(parts) - up], *(step for step in steps[up:] if step != ".")]
            if not inside or not there or not os.path.exists("/".join((self._folder, *there))):
                raise tarfile.ReadError
        for name, target in self._links.items():
            try:
                os.symlink(target, f"{self._folder}/{name}")
            except FileExistsError:
                raise tarfile.ReadError from None


class _Entry(tarfile.TarInfo):
    """An entry whose headers fit into memory, whatever an archive says. One class for each archive: it counts."""

    of_one = of_all = 0

    @classmethod
    def frombuf(cls, *arguments: Any, **named: Any) -> _Entry:
        entry = super().frombuf(*arguments, **named)
        if entry.type in _PLAIN:
            cls.of_one = 0
            return entry
        cls.of_one += 1
        cls.of_all += entry.type == tarfile.XGLTYPE
        too_many = cls.of_one > _MOST_OF_ONE or cls.of_all > _MOST_OF_ALL
        if entry.type not in _HEADERS or entry.size > _LARGEST_HEADER or too_many:
            raise tarfile.ReadError
        return entry


class _Kept:
    """A stream that begins with a block, and remembers the last part of what was read."""

    def __init__(self, first: bytes, stream: Any) -> None:
        self._first, self._stream, self.bytes = first, stream, 0
        self._last: deque[bytes] = deque(maxlen=4)

    def read(self, size: int) -> bytes:
        # In full, so that the last few reads are more than the library can have read ahead.
        data, self._first = self._first[:size], self._first[size:]
        while len(data) < size and (more := self._stream.read(size - len(data))):
            data = data + more if data else more
        self.bytes += len(data)
        self._last.append(data)
        return data

    def since(self, place: int) -> bytes:
        """What was read from this place on."""
        last = b"".join(self._last)
        return last[place - (self.bytes - len(last)) :]


def _unpack_by_library(first: bytes, source: Any, made: _Unpacked) -> None:
    plain = _Kept(first, source)
    opened: Any = tarfile.open
    kind = type("_CountedEntry", (_Entry,), {})
    with opened(fileobj=plain, mode="r|", tarinfo=kind, bufsize=_BLOCK) as archive:
        for entry in archive:
            # The library remembers every entry with its headers.
            archive.members.clear()
            head = _head_of(entry)
            made.take(head, archive.extractfile(entry) if head.size else None)
            made.check_headers(plain.bytes)
        # The library takes a damaged header, and the end of the file, for the end of the archive. The real
        # end is two blocks of zeros, and nothing else after them.
        end = plain.since(archive.offset)
    if len(end) < _END:
        end += plain.read(_END - len(end))
    if len(end) < _END:
        raise tarfile.ReadError
    _read_zeros(end, plain)


def _head_of(entry: tarfile.TarInfo) -> _Head:
    if entry.issparse() or not (entry.isreg() or entry.isdir() or entry.issym()):
        raise tarfile.ReadError
    kind = tarfile.REGTYPE if entry.isreg() else entry.type
    size = entry.size if entry.isreg() else 0
    return _Head(entry.name, kind, size, entry.mode, entry.mtime, entry.linkname)
