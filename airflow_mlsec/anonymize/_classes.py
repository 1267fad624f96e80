"""Equivalence classes of weighted tuples under one node of the lattice.

Everything formal depends on the distinct quasi-identifier tuples, how many rows each has, and
how often each sensitive value occurs with it; nothing here sees a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Node = Sequence[int]

# Above this many possible keys for each tuple, sorting beats counting in an array.
_DENSE_PER_TUPLE = 4
_DENSE_AT_LEAST = 1 << 12
_LARGEST_KEY = 1 << 40
# Cells of a histogram that is held at once.
_MOST_CELLS = 1 << 25


@dataclass(frozen=True)
class CodedColumn:
    """One quasi-identifier of the weighted tuples.

    ``codes[level]`` is the label of each tuple at that level; ``loss[level]`` the loss of
    each tuple's cell, between 0 and 1.
    """

    name: str
    codes: list[Codes]
    loss: list[Numbers]
    # How many labels each level has, if that is known.
    known_widths: tuple[int, ...] = ()

    @property
    def height(self) -> int:
        return len(self.codes) - 1

    @cached_property
    def widths(self) -> Sequence[int]:
        """How many labels each level has."""
        return self.known_widths or [int(codes.max(initial=0)) + 1 for codes in self.codes]


@dataclass(frozen=True)
class SensitiveColumn:
    """How often each value of a sensitive column occurs with each tuple: ``weights[i]`` rows have
    value ``values[i]`` with tuple ``tuples[i]``. Values are numbered in their own order;
    ``parents`` gives, level by level, the node above each value or node of a hierarchy."""

    name: str
    tuples: Codes
    values: Codes
    weights: Numbers
    count: int
    parents: tuple[Codes, ...] = ()

    @cached_property
    def overall(self) -> Numbers:
        """The share of each value in the whole table."""
        found: Numbers = added_up(self.values, self.weights, self.count)
        return found / max(1.0, float(found.sum()))


@dataclass(frozen=True)
class Classes:
    """Classes of a node: the class of each tuple (numbers may be missing), and the rows of each."""

    of_tuple: Codes
    sizes: Numbers

    def histogram_chunks(self, column: SensitiveColumn) -> Iterator[tuple[int, int, Numbers]]:
        """(from, to, rows) of a sensitive column's values by class, some classes at a time."""
        number = len(self.sizes)
        classes = self.of_tuple[column.tuples]
        step = max(1, _MOST_CELLS // column.count)
        if number <= step:
            keys = classes * column.count + column.values
            cells = added_up(keys, column.weights, number * column.count)
            yield 0, number, cells.reshape(number, column.count)
            return
        order = np.argsort(classes, kind="stable")
        classes, values, weights = classes[order], column.values[order], column.weights[order]
        for start in range(0, number, step):
            end = min(number, start + step)
            low, high = np.searchsorted(classes, (start, end))
            keys = (classes[low:high] - start) * column.count + values[low:high]
            cells = added_up(keys, weights[low:high], (end - start) * column.count)
            yield start, end, cells.reshape(end - start, column.count)


@dataclass(frozen=True)
class Tuples:
    """Distinct tuples, the rows of each, and the sensitive values beside them."""

    columns: Sequence[CodedColumn]
    weights: Numbers
    sensitive: Sequence[SensitiveColumn] = ()
    _kept: dict[tuple[int, int], Numbers] = field(default_factory=dict, repr=False)

    def group(self, node: Node, compact: bool) -> Classes:
        """The classes under ``node``; with ``compact`` no number is missing."""
        tuples = len(self.weights)
        key, span = np.zeros(tuples, np.int64), 1
        for column, level in zip(self.columns, node, strict=True):
            width = column.widths[level]
            if width == 1:
                continue
            if span * width > _LARGEST_KEY:
                key, span = _renumbered(key)
            key = key * width + column.codes[level]
            span *= width
        if compact or span > max(_DENSE_AT_LEAST, _DENSE_PER_TUPLE * tuples):
            key, span = _renumbered(key)
        return Classes(key, added_up(key, self.weights, span))

    def kept(self, column: int, level: int) -> Numbers:
        """What each tuple's cells in a column still tell at a level: rows by (1 - loss)."""
        found = self._kept.get((column, level))
        if found is None:
            found = (1.0 - self.columns[column].loss[level]) * self.weights
            self._kept[column, level] = found
        return found

    def merged(self, node: Node, classes: Classes) -> Tuples:
        """The classes (numbered without gaps) of ``node`` as tuples: what it takes to look at
        coarser nodes. Finer levels are not there any more."""
        first = np.empty(len(classes.sizes), np.int64)
        # Written backwards, so that each class keeps its first tuple.
        first[classes.of_tuple[::-1]] = np.arange(len(classes.of_tuple))[::-1]
        columns = [
            CodedColumn(
                column.name,
                [codes[first] if at >= level else _NONE for at, codes in enumerate(column.codes)],
                [loss[first] if at >= level else _NO_LOSS for at, loss in enumerate(column.loss)],
                tuple(column.widths),
            )
            for column, level in zip(self.columns, node, strict=True)
        ]
        sensitive = [_merged(column, classes) for column in self.sensitive]
        return Tuples(columns, classes.sizes, sensitive)


def added_up(keys: Codes, weights: Numbers, number: int) -> Numbers:
    """The weights by key."""
    return np.bincount(keys, weights, number).astype(np.float64, copy=False)


_NONE = np.zeros(0, np.int64)
_NO_LOSS = np.zeros(0)


def _merged(column: SensitiveColumn, classes: Classes) -> SensitiveColumn:
    keys = classes.of_tuple[column.tuples] * column.count + column.values
    codes, number = _renumbered(keys)
    distinct = np.empty(number, np.int64)
    distinct[codes] = keys
    weights = added_up(codes, column.weights, number)
    tuples, values = np.divmod(distinct, column.count)
    return SensitiveColumn(column.name, tuples, values, weights, column.count, column.parents)


def _renumbered(key: Codes) -> tuple[Codes, int]:
    """The same classes, numbered without gaps. Sorting the numbers together with their places is
    several times as fast as sorting places by number."""
    if not len(key):
        return key, 0
    bits = len(key).bit_length()
    if int(key.max()) >= 1 << (62 - bits):
        _, codes = np.unique(key, return_inverse=True)
        return codes.astype(np.int64), int(codes.max()) + 1
    packed = key << bits | np.arange(len(key))
    packed.sort()
    ordered, places = packed >> bits, packed & ((1 << bits) - 1)
    numbers = np.zeros(len(key), np.int64)
    np.cumsum(ordered[1:] != ordered[:-1], out=numbers[1:])
    codes = np.empty(len(key), np.int64)
    codes[places] = numbers
    return codes, int(numbers[-1]) + 1
