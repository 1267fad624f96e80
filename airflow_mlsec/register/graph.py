"""Nodes and edges of the lineage graph as the register stores them.

A node is one integer: ``dataset_id << 20 | ordinal``. Ordinal 0 is the target of dataset-level
edges, which influence every column of the dataset; the highest ordinal is their source, all
columns together. Neither has a row in any table. So a model, which has no columns, depends on
everything it was trained on, no column is assumed to depend on its neighbours, and linking
a dataset to its columns costs neither rows nor joins.

A *flow* is the set of column edges that one run gave for one output, packed as unsigned
LEB128 numbers: the target dataset, then per edge in order (source node minus the previous one,
target ordinal, transformation id).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

SHIFT = 20
INTO = 0
OUT_OF = (1 << SHIFT) - 1
# Ordinals of real columns lie between the two.
FIRST_COLUMN = 1
MOST_COLUMNS = OUT_OF - 1

Edge = tuple[int, int, int]


def node(dataset: int, ordinal: int) -> int:
    """The node of a column, or of a dataset as a whole (`INTO`, `OUT_OF`)."""
    return dataset << SHIFT | ordinal


# Marks a flow whose run has declared everything: no other input of the run reached the dataset.
EXPLAINED: Edge = (0, INTO, 0)


def dataset_of(identifier: int) -> int:
    """The dataset that a node belongs to."""
    return identifier >> SHIFT


def ordinal_of(identifier: int) -> int:
    """A node's place within its dataset."""
    return identifier & OUT_OF


def pack_flow(target: int, edges: Iterable[Edge]) -> bytes:
    """Edges (source node, target ordinal, transformation id) into dataset ``target``."""
    out = bytearray()
    _put(out, target)
    before = 0
    for source, ordinal, transformation in sorted(edges):
        _put(out, source - before)
        _put(out, ordinal)
        _put(out, transformation)
        before = source
    return bytes(out)


def unpack_flow(packed: bytes) -> tuple[int, list[Edge]]:
    """The target dataset, and its edges as they were packed."""
    numbers = _numbers(packed)
    target, before, edges = next(numbers), 0, []
    for step in numbers:
        before += step
        edges.append((before, next(numbers), next(numbers)))
    return target, edges


def _put(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _numbers(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
        else:
            yield number
            number = shift = 0
