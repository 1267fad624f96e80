"""Names and entry bundles of a log as files, as https://c2sp.org/tlog-tiles lays them out."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from airflow_mlsec.errors import BrokenLog
from airflow_mlsec.merkle_log._tree import HASH_BYTES, WIDTH

CHECKPOINT = "checkpoint"


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """The path of a tile of ``width`` hashes, relative to a log's folder."""
    return f"tile/{level}/{_number(index)}{_partial(width)}"


def entries_path(index: int, width: int = WIDTH) -> str:
    """The path of the bundle with a leaf tile's entries."""
    return f"tile/entries/{_number(index)}{_partial(width)}"


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """Level, index and width of all tiles of a tree."""
    level, count = 0, size
    while count:
        full, rest = divmod(count, WIDTH)
        yield from ((level, index, WIDTH) for index in range(full))
        if rest:
            yield level, full, rest
        level, count = level + 1, full


def bundle(entries: Sequence[bytes]) -> bytes:
    """Entries, encoded as a bundle."""
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def entries_in(content: bytes, name: str) -> list[bytes]:
    """The entries of a bundle; ``name`` is the name of its file.

    :raises BrokenLog: if it ends within an entry.
    """
    found, start = [], 0
    while start < len(content):
        end = start + 2
        if end <= len(content):
            end += struct.unpack(">H", content[start:end])[0]
        if end > len(content):
            raise BrokenLog(f"{name} ends within an entry")
        found.append(content[start + 2 : end])
        start = end
    return found


def hashes_in(content: bytes, width: int, name: str) -> bytes:
    """The hashes of a tile.

    :raises BrokenLog: if it does not have ``width`` of them.
    """
    if len(content) != width * HASH_BYTES:
        raise BrokenLog(f"{name} has {len(content)} bytes, but should have {width * HASH_BYTES}")
    return content


def _number(index: int) -> str:
    digits = [f"{index % 1000:03d}"]
    while index := index // 1000:
        digits.append(f"x{index % 1000:03d}")
    return "/".join(reversed(digits))


def _partial(width: int) -> str:
    return f".p/{width}" if width < WIDTH else ""
