"""The tuples that are in no class yet, and which of them would form a class at a node.

A node is examined only for classes whose loss is in a given range. Most examinations find nothing,
so many nodes are examined together: keys are hashed into buckets, and no class has more rows than
its bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from airflow_mlsec.anonymize._coding import Codes, combined, first_places, renumbered
from airflow_mlsec.anonymize.recoding._classes import (
    Classes,
    CodedColumn,
    Mask,
    Numbers,
    SensitiveColumn,
    Tuples,
    added_up,
)
from airflow_mlsec.anonymize.recoding._criteria import Criteria

# Tuples times nodes that are examined together; more do not fit into the processor's cache.
_CELLS = 1 << 15
_MOST_NODES = 64
# Tuples are compacted when less than this share of the rows that are held is left.
_COMPACT = 0.7
# Factors that spread the keys of each half of the columns over buckets (odd numbers, the golden
# ratio one).
_SPREAD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
_HASH_BITS = 32
# Above this many candidates a hash table is faster than sorting.
_SORTED = 4096
# Bytes that the halves of nodes may use, and bytes per tuple of one half.
_MOST_BYTES = 1 << 27
_HALF_BYTES = 8 + 4 + 4

Node = tuple[int, ...]


@dataclass(frozen=True)
class Leaves:
    """A column: its tuples as numbers of distinct values; labels and loss by level and value."""

    of_tuple: Codes
    labels: npt.NDArray[np.int64]
    loss: Numbers

    @cached_property
    def widths(self) -> list[int]:
        """One more than the largest label of each level."""
        found: list[int] = (self.labels.max(1, initial=-1) + 1).tolist()
        return found

    @staticmethod
    def of(column: CodedColumn) -> Leaves:
        codes, number = renumbered(column.codes[0])
        first = first_places(codes, number)
        return Leaves(
            codes,
            np.stack([labels[first] for labels in column.codes]),
            np.stack([loss[first] for loss in column.loss]),
        )


@dataclass(frozen=True)
class _Half:
    """The key and the loss of each tuple for one half of a node's levels."""

    key: Codes
    span: int
    hashed: npt.NDArray[np.uint32]
    loss: npt.NDArray[np.float32]

    def some(self, kept: Codes) -> _Half:
        return _Half(self.key[kept], self.span, self.hashed[kept], self.loss[kept])


@dataclass(frozen=True)
class Range:
    """A range of the total loss of a tuple's cells: above ``low``, up to ``high``."""

    low: np.float32
    high: np.float32

    def has(self, loss: npt.NDArray[np.float32]) -> Mask:
        found: Mask = (loss <= self.high) & (loss > self.low)
        return found


class Left:
    """Tuples that are not released yet. `release` removes those that form a class."""

    def __init__(self, tuples: Tuples) -> None:
        self.columns = [Leaves.of(column) for column in tuples.columns]
        self.places: Codes = np.arange(len(tuples.weights))
        # A tuple that was released has no rows left. Others may have no rows from the start: those
        # of the population of k-map.
        self.weights = tuples.weights.copy()
        self._waits = np.ones(len(tuples.weights), bool)
        self.rows = float(self.weights.sum())
        self._sensitive = list(tuples.sensitive)
        self._half_way = len(self.columns) // 2
        self._halves: dict[tuple[int, Node], _Half] = {}
        self._held_rows = self.rows

    @property
    def waiting(self) -> Codes:
        """The tuples that are left."""
        found: Codes = self.places[self._waits]
        return found

    def losses(self) -> list[tuple[Numbers, Numbers, Numbers]]:
        """The least, the mean and the greatest loss of what is left, by level of each column."""
        found = []
        for column in self.columns:
            rows = added_up(column.of_tuple, self.weights, column.loss.shape[1])
            there = column.loss[:, rows > 0]
            mean = column.loss @ rows / max(self.rows, 1.0)
            found.append((there.min(1, initial=np.inf), mean, there.max(1, initial=-np.inf)))
        return found

    def batch(self) -> int:
        """How many nodes to examine together."""
        return max(1, min(_MOST_NODES, _CELLS // max(1, len(self.weights))))

    def promising(self, nodes: Sequence[Node], losses: Range, k: int) -> list[Node]:
        """The nodes that may have a class of ``k`` rows in the range of losses, in their order."""
        if len(nodes) == 1:
            return list(nodes)
        bits = self._bits(0)
        halves = [self._both(node) for node in nodes]
        loss = np.stack([first.loss for first, _ in halves])
        loss += np.stack([second.loss for _, second in halves])
        hashed = np.stack([first.hashed for first, _ in halves])
        hashed += np.stack([second.hashed for _, second in halves])
        buckets = (hashed >> np.uint32(_HASH_BITS - bits)).astype(np.int64)
        buckets += (np.arange(len(nodes)) << bits)[:, None]
        weights = losses.has(loss) * self.weights
        rows = added_up(buckets.ravel(), weights.ravel(), len(nodes) << bits)
        most = rows.reshape(len(nodes), -1).max(1)
        return [nodes[place] for place in np.flatnonzero(most >= k).tolist()]

    def release(self, node: Node, losses: Range, criteria: Criteria) -> list[Codes]:
        """The tuples of each class of the node that satisfies the models, as table positions."""
        if self.rows < self._held_rows * _COMPACT:
            self._compact()
        first, second = self._both(node)
        there = losses.has(first.loss + second.loss) & self._waits
        bits = self._bits(2)
        hashed = (first.hashed + second.hashed) >> np.uint32(_HASH_BITS - bits)
        buckets = hashed.astype(np.int64)
        rows = added_up(buckets, self.weights * there, 0)
        # Only tuples whose bucket has enough rows can be in a class with enough rows.
        some = np.flatnonzero((rows[buckets] >= criteria.k) & there)
        if not len(some):
            return []
        key = first.key[some] * second.span + second.key[some]
        of_tuple, sizes = _grouped(key, self.weights[some])
        large = sizes >= criteria.k
        if not large.any():
            return []
        holds = large
        if criteria.models:
            holds = self._holding(some, of_tuple, sizes, large, criteria)
        going = holds[of_tuple]
        if not going.any():
            return []
        some, of_tuple = some[going], of_tuple[going]
        order = np.argsort(of_tuple, kind="stable")
        some, of_tuple = some[order], of_tuple[order]
        self.rows -= float(self.weights[some].sum())
        self.weights[some] = 0
        self._waits[some] = False
        starts = np.flatnonzero(np.diff(of_tuple)) + 1
        return np.split(self.places[some], starts)

    def _holding(
        self, some: Codes, of_tuple: Codes, sizes: Numbers, large: Mask, criteria: Criteria
    ) -> Mask:
        """Which classes satisfy every model."""
        kept = large[of_tuple]
        number = np.cumsum(large) - 1
        classes = Classes(number[of_tuple[kept]], sizes[large])
        sensitive = [
            chosen_sensitive(column, some[kept], len(self.weights)) for column in self._sensitive
        ]
        holds = np.zeros(len(sizes), bool)
        holds[large] = criteria.lost(classes, sensitive) == 0
        return holds

    def _bits(self, more: int) -> int:
        return min(20, max(8, (4 * len(self.weights) - 1).bit_length() + more))

    def _both(self, node: Node) -> tuple[_Half, _Half]:
        at = self._half_way
        return self._half(0, node[:at]), self._half(at, node[at:])

    def _half(self, start: int, levels: Node) -> _Half:
        """Nodes share halves, so each is computed once."""
        found = self._halves.get((start, levels))
        if found is None:
            columns = self.columns[start : start + len(levels)]
            pairs = list(zip(columns, levels, strict=True))
            loss = np.zeros(len(self.weights))
            for column, level in pairs:
                loss += column.loss[level][column.of_tuple]
            labels = ((c.labels[level][c.of_tuple], c.widths[level]) for c, level in pairs)
            key, span = combined(labels, len(self.weights))
            if span > 1 << 31:
                key, span = renumbered(key)
            spread = key.view(np.uint64) * _SPREAD[start > 0]
            hashed = (spread >> np.uint64(_HASH_BITS)).astype(np.uint32)
            if len(self._halves) * len(self.weights) * _HALF_BYTES > _MOST_BYTES:
                self._halves.clear()
            found = _Half(key, span, hashed, loss.astype(np.float32))
            self._halves[start, levels] = found
        return found

    def _compact(self) -> None:
        kept = np.flatnonzero(self._waits)
        number = len(self.weights)
        self._sensitive = [chosen_sensitive(column, kept, number) for column in self._sensitive]
        self.columns = [
            Leaves(column.of_tuple[kept], column.labels, column.loss) for column in self.columns
        ]
        self._halves = {name: half.some(kept) for name, half in self._halves.items()}
        self.places, self.weights = self.places[kept], self.weights[kept]
        self._waits = np.ones(len(kept), bool)
        self._held_rows = self.rows


def chosen_sensitive(column: SensitiveColumn, places: Codes, number: int) -> SensitiveColumn:
    """The sensitive values of some of ``number`` tuples, which are renumbered in this order."""
    new = np.full(number, -1, np.int64)
    new[places] = np.arange(len(places))
    found = new[column.tuples]
    kept = found >= 0
    return SensitiveColumn(
        column.name, found[kept], column.values[kept], column.weights[kept], column.count,
        column.parents,
    )  # fmt: skip


def _grouped(key: Codes, weights: Numbers) -> tuple[Codes, Numbers]:
    """The class of each tuple, and the rows of each class."""
    if len(key) > _SORTED:
        of_tuple, _ = renumbered(key)
    else:
        order = np.argsort(key)
        ordered = key[order]
        new = np.empty(len(key), bool)
        new[:1] = False
        np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
        of_tuple = np.empty(len(key), np.int64)
        of_tuple[order] = np.cumsum(new)
    return of_tuple, added_up(of_tuple, weights, 0)
