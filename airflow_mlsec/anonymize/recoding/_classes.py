"""Equivalence classes of weighted tuples under one node of the lattice.

Everything formal depends on the distinct quasi-identifier tuples, how many rows each has, and
how often each sensitive value occurs with it; nothing here sees a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from airflow_mlsec.anonymize._coding import Codes, combined, first_places, renumbered

Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Node = Sequence[int]

# Above this many possible keys for each tuple, sorting beats counting in an array.
_DENSE_PER_TUPLE = 4
_DENSE_AT_LEAST = 1 << 12
_MOST_BYTES = 1 << 26
# Cells of a histogram that is held in memory at once.
_MOST_CELLS = 1 << 25


def whole_persons(weight: float) -> int:
    """A weight of persons, some of them counted in fractions, as a whole number that leaves nobody out: rounded
    up, except for the rounding error of adding fractions."""
    return math.ceil(weight * (1 - 2e-9) - 1e-9)


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
    leaves: int = 1

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
    """Distinct tuples, the rows of each, and their sensitive values."""

    columns: Sequence[CodedColumn]
    weights: Numbers
    sensitive: Sequence[SensitiveColumn] = ()
    # Keys and `kept` of some columns at some levels, by their place and levels.
    _parts: dict[tuple[int, Node], tuple[Codes, Numbers]] = field(default_factory=dict, repr=False)

    def group(self, node: Node, compact: bool) -> Classes:
        """The classes under ``node``; with ``compact`` no number is missing."""
        tuples, widths = len(self.weights), self._widths(node)
        span = prod(widths)
        if not compact and span <= max(_DENSE_AT_LEAST, _DENSE_PER_TUPLE * tuples):
            key, _ = self._combined(node)
            return Classes(key, added_up(key, self.weights, span))
        key = self._combined(node)[0] if self._strides is None else self._sum(node, 0)
        key, number = renumbered(key)
        return Classes(key, added_up(key, self.weights, number))

    def kept(self, node: Node) -> Numbers:
        """The information that each tuple's cells keep under ``node``: rows times (1 - loss),
        summed over all columns."""
        found: Numbers = self._sum(node, 1)
        return found

    def _sum(self, node: Node, which: int) -> Any:
        half = len(self.columns) // 2
        first, second = self._part(0, tuple(node[:half])), self._part(half, tuple(node[half:]))
        return first[which] + second[which]

    def _part(self, start: int, levels: Node) -> tuple[Codes, Numbers]:
        """Keys and `kept` of some columns; nodes share them, so they are computed once."""
        found = self._parts.get((start, levels))
        if found is None:
            key, kept = np.zeros(len(self.weights), np.int64), np.zeros(len(self.weights))
            for place, level in enumerate(levels, start):
                column = self.columns[place]
                if self._strides is not None:
                    key += column.codes[level] * self._strides[place]
                kept += (1.0 - column.loss[level]) * self.weights
            if len(self._parts) * len(self.weights) * 16 > _MOST_BYTES:
                self._parts.clear()
            found = self._parts[start, levels] = key, kept
        return found

    @cached_property
    def _strides(self) -> list[int] | None:
        """The factor of each column's codes, chosen so that sums of codes differ if tuples differ;
        None if they would overflow."""
        widest = [
            max(width for width, codes in zip(c.widths, c.codes, strict=True) if codes is not _NONE)
            for c in self.columns
        ]
        strides = [prod(widest[place + 1 :]) for place in range(len(widest))]
        return strides if prod(widest) < 1 << 62 else None

    def _combined(self, node: Node) -> tuple[Codes, int]:
        codes = (column.codes[level] for column, level in zip(self.columns, node, strict=True))
        return combined(zip(codes, self._widths(node), strict=True), len(self.weights))

    def _widths(self, node: Node) -> list[int]:
        return [column.widths[level] for column, level in zip(self.columns, node, strict=True)]

    def merged(self, node: Node, classes: Classes) -> Tuples:
        """The classes (numbered without gaps) of ``node`` as tuples: all that is needed to examine
        coarser nodes. Finer levels are no longer available."""
        first = first_places(classes.of_tuple, len(classes.sizes))
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
    """The sum of the weights by key."""
    return np.bincount(keys, weights, number).astype(np.float64, copy=False)


_NONE = np.zeros(0, np.int64)
_NO_LOSS = np.zeros(0)


def _merged(column: SensitiveColumn, classes: Classes) -> SensitiveColumn:
    keys = classes.of_tuple[column.tuples] * column.count + column.values
    codes, number = renumbered(keys)
    distinct = np.empty(number, np.int64)
    distinct[codes] = keys
    weights = added_up(codes, column.weights, number)
    tuples, values = np.divmod(distinct, column.count)
    return SensitiveColumn(column.name, tuples, values, weights, column.count, column.parents)
