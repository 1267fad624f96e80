"""The Merkle tree of RFC 9162 (section 2.1), kept as tiles of 256 hashes.

A tile at level 0 has the hashes of 256 leaves; each full tile at level 0 becomes one hash at level 1, and so on
(https://c2sp.org/tlog-tiles). Appending touches the last tile of each level, and a proof reads two tiles of
each level: the cost of both grows only with the logarithm of the log's size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol

from airflow_mlsec.errors import BrokenLog

HASH_BYTES = 32
WIDTH = 256
_HEIGHT = 8
_LEAF, _NODE = b"\x00", b"\x01"

EMPTY_ROOT = hashlib.sha256().digest()


class Tiles(Protocol):
    """Reads hashes of a tree."""

    def __call__(self, level: int, index: int) -> bytes:
        """The hashes of a tile, one after the other; fewer than `WIDTH` at the end of the tree.

        :raises BrokenLog: if there is no such tile.
        """
        ...


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node over two others."""
    return hashlib.sha256(_NODE + left + right).digest()


def append(tiles: Tiles, size: int, leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """The tiles that change, by level and index, when leaves (their hashes) are added to a tree of ``size``."""
    changed: dict[tuple[int, int], bytes] = {}
    level, new, count = 0, list(leaves), size
    while new:
        index, used = divmod(count, WIDTH)
        buffer = (tiles(level, index) if used else b"") + b"".join(new)
        upper: list[bytes] = []
        for start in range(0, len(buffer), WIDTH * HASH_BYTES):
            tile = buffer[start : start + WIDTH * HASH_BYTES]
            changed[level, index] = tile
            index += 1
            if len(tile) == WIDTH * HASH_BYTES:
                upper.append(_subtree(tile))
        level, new, count = level + 1, upper, count // WIDTH
    return changed


def root(tiles: Tiles, size: int) -> bytes:
    """The root of the first ``size`` leaves."""
    return _range(_Nodes(tiles), 0, size) if size else EMPTY_ROOT


def inclusion_proof(tiles: Tiles, index: int, size: int) -> list[bytes]:
    """The proof that a leaf is in the tree of ``size``, from its sibling up (RFC 9162, section 2.1.3.1)."""
    _require(0 <= index < size, f"there is no entry {index} in a log of {size}")
    nodes, low, high, path = _Nodes(tiles), 0, size, list[bytes]()
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range(nodes, middle, high))
            high = middle
        else:
            path.append(_range(nodes, low, middle))
            low = middle
    return path[::-1]


def consistency_proof(tiles: Tiles, old: int, new: int) -> list[bytes]:
    """The proof that the tree of size ``new`` begins with that of ``old`` (RFC 9162, section 2.1.4.1)."""
    _require(0 < old <= new, f"a log of {new} entries does not begin with one of {old}")
    nodes, low, high, path, whole = _Nodes(tiles), 0, new, list[bytes](), True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range(nodes, middle, high))
            high = middle
        else:
            path.append(_range(nodes, low, middle))
            low, whole = middle, False
    if not whole:
        path.append(_range(nodes, low, high))
    return path[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes
) -> None:
    """Verify that a leaf (its hash) is number ``index`` of the tree with this root (RFC 9162, section 2.1.3.2).

    :raises BrokenLog: if it is not.
    """
    _require(0 <= index < size, f"there is no entry {index} in a log of {size}")
    position, last, found = index, size - 1, leaf
    for sibling in path:
        _require(last > 0, "the proof is too long")
        if position % 2 or position == last:
            found = node_hash(sibling, found)
            while not position % 2 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        position, last = position >> 1, last >> 1
    _require(last == 0, "the proof is too short")
    _require(found == expected, f"entry {index} is not the one in the signed log")


def verify_consistency(
    old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Verify that the tree of size ``new`` begins with that of ``old`` (RFC 9162, section 2.1.4.2).

    :raises BrokenLog: if it does not.
    """
    _require(0 <= old <= new, f"a log of {new} entries does not begin with one of {old}")
    if old in (0, new):
        _require(not path, "the proof is too long")
        _require(old == 0 or old_root == new_root, f"two logs of {new} entries differ")
        return
    _require(bool(path), "the proof is empty")
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    position, last = old - 1, new - 1
    while position % 2:
        position, last = position >> 1, last >> 1
    was = now = hashes[0]
    for sibling in hashes[1:]:
        _require(last > 0, "the proof is too long")
        if position % 2 or position == last:
            was, now = node_hash(sibling, was), node_hash(sibling, now)
            while not position % 2 and position:
                position, last = position >> 1, last >> 1
        else:
            now = node_hash(now, sibling)
        position, last = position >> 1, last >> 1
    _require(last == 0, "the proof is too short")
    _require(was == old_root, f"the first {old} entries are not what was signed")
    _require(now == new_root, f"the log of {new} entries is not what was signed")


class Growing:
    """A tree that grows leaf by leaf and keeps only its perfect subtrees' roots in memory."""

    def __init__(self) -> None:
        self.size = 0
        # Perfect subtrees: height and root, the highest first.
        self._parts: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        """Add a leaf (its hash)."""
        height, found = 0, leaf
        while self._parts and self._parts[-1][0] == height:
            height, found = height + 1, node_hash(self._parts.pop()[1], found)
        self._parts.append((height, found))
        self.size += 1

    def root(self) -> bytes:
        """The root of the leaves added so far."""
        if not self._parts:
            return EMPTY_ROOT
        *higher, (_, found) = self._parts
        for _, part in reversed(higher):
            found = node_hash(part, found)
        return found


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """The root of leaves (their hashes)."""
    tree = Growing()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


class _Nodes:
    """Hashes of perfect subtrees, each tile read and hashed once."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles
        self._read: dict[tuple[int, int], bytes] = {}

    def node(self, height: int, index: int) -> bytes:
        """The hash over leaves ``index << height`` to ``(index + 1) << height``."""
        level, above = divmod(height, _HEIGHT)
        first = index << above
        tile, offset = divmod(first, WIDTH)
        hashes = self._tile(level, tile)
        part = hashes[offset * HASH_BYTES : (offset + (1 << above)) * HASH_BYTES]
        _require(len(part) == HASH_BYTES << above, f"tile {level}/{tile} lacks hashes")
        return _subtree(part)

    def _tile(self, level: int, index: int) -> bytes:
        if (level, index) not in self._read:
            self._read[level, index] = self._tiles(level, index)
        return self._read[level, index]


def _subtree(hashes: bytes) -> bytes:
    """The root of 2^n concatenated hashes."""
    sha256 = hashlib.sha256
    while len(hashes) > HASH_BYTES:
        hashes = b"".join(
            sha256(_NODE + hashes[start : start + 2 * HASH_BYTES]).digest()
            for start in range(0, len(hashes), 2 * HASH_BYTES)
        )
    return hashes


def _range(nodes: _Nodes, low: int, high: int) -> bytes:
    """The hash over leaves ``low`` to ``high``; ``low`` is a multiple of the largest power of 2 below their number."""
    parts: list[bytes] = []
    while low < high:
        height = (high - low).bit_length() - 1
        parts.append(nodes.node(height, low >> height))
        low += 1 << height
    found = parts.pop()
    while parts:
        found = node_hash(parts.pop(), found)
    return found


def _split(size: int) -> int:
    """The largest power of 2 below a size of 2 or more."""
    return 1 << ((size - 1).bit_length() - 1)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenLog(otherwise)
