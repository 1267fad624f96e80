"""Applying a local recoding: a row belongs to the first step of a plan that released its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec import hierarchies
from airflow_mlsec.anonymize._coding import Codes, combined, encoded, first_places, renumbered
from airflow_mlsec.anonymize.recoding._classes import Mask
from airflow_mlsec.hierarchies import Levels

# Keys that are kept for steps to share.
_MOST_KEYS = 1 << 23

Labels = tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True)
class ReleasedStep:
    """A node of the lattice, and the labels of the classes that were released there."""

    levels: tuple[int, ...]
    labels: Labels


@dataclass(frozen=True)
class LocalMatcher:
    """Finds the step of each row, and labels the row as the step does."""

    names: tuple[str, ...]
    hierarchies: tuple[Levels, ...]
    steps: tuple[ReleasedStep, ...]

    def match(self, arrays: Sequence[pa.Array]) -> tuple[list[pa.Array], Mask]:
        """The labels of the quasi-identifiers (null where no step has the row), and which rows
        have a step."""
        values = [encoded(array) for array in arrays]
        rows = len(arrays[0]) if arrays else 0
        key, _ = combined(((codes, len(distinct)) for codes, distinct in values), rows)
        tuple_of_row, number = renumbered(key)
        first = first_places(tuple_of_row, number)
        leaves = [codes[first] for codes, _ in values]
        labels = [self._labels(place, distinct) for place, (_, distinct) in enumerate(values)]
        step_of = self._steps_of(leaves, labels)
        made = []
        for place, at in enumerate(self._levels):
            parts = labels[place]
            height = len(values[place][1])
            level = np.array([at.index(step.levels[place]) for step in self.steps] or [0])
            where = level[np.maximum(step_of, 0)] * height + leaves[place]
            of_tuple = pa.array(where, mask=step_of < 0)
            table = pa.concat_arrays(parts) if parts else pa.array([], pa.string())
            made.append(table.take(of_tuple.take(pa.array(tuple_of_row))))
        released: Mask = step_of[tuple_of_row] >= 0
        return made, released

    @cached_property
    def _levels(self) -> list[list[int]]:
        """The levels of each column that some step uses."""
        return [
            sorted({step.levels[place] for step in self.steps}) for place in range(len(self.names))
        ]

    @cached_property
    def _columns(self) -> list[pa.Array]:
        """For each column the labels of all classes, step by step."""
        rows = [row for step in self.steps for row in step.labels]
        columns = zip(*rows, strict=True) if rows else [()] * len(self.names)
        return [pa.array(column, pa.string()) for column in columns]

    @cached_property
    def _known(self) -> list[pa.Array]:
        """For each column every label that some step has released."""
        return [column.unique() for column in self._columns]

    @cached_property
    def _released(self) -> list[Codes]:
        """For each step the keys of its classes, in order."""
        ends = np.cumsum([len(step.labels) for step in self.steps])[:-1]
        codes = [
            _places(column, known) for column, known in zip(self._columns, self._known, strict=True)
        ]
        key = np.zeros(len(codes[0]), self._key_type)
        for column, stride in zip(codes, self._strides, strict=True):
            key += column.astype(self._key_type) * stride
        return [np.sort(keys) for keys in np.split(key, ends)] if self.steps else []

    @cached_property
    def _strides(self) -> list[int]:
        """The factor of the places of labels, chosen so that sums of places differ if labels differ."""
        widths = [len(known) + 1 for known in self._known]
        return [prod(widths[place + 1 :]) for place in range(len(widths))]

    @cached_property
    def _key_type(self) -> type[Any]:
        """Integers of any size if 64-bit integers are too small for the keys."""
        return np.int64 if prod(len(known) + 1 for known in self._known) < 1 << 62 else object

    def _labels(self, place: int, distinct: pa.Array) -> list[pa.Array]:
        """The labels of a column's values at each level that is used."""
        hierarchy, name = self.hierarchies[place], self.names[place]
        return [
            hierarchies.label(hierarchy, distinct, level, name) for level in self._levels[place]
        ]

    def _steps_of(self, leaves: list[Codes], labels: list[list[pa.Array]]) -> Codes:
        """The first step that has each tuple; -1 if none has."""
        number = len(leaves[0]) if leaves else 0
        found = np.full(number, -1, np.int64)
        codes = [
            [_places(at, known) for at in listed]
            for listed, known in zip(labels, self._known, strict=True)
        ]
        halves: dict[tuple[int, tuple[int, ...]], Codes] = {}

        def key_of(start: int, levels: tuple[int, ...]) -> Codes:
            """What some columns add to the keys of all tuples; steps share it."""
            if (start, levels) not in halves:
                if len(halves) * number > _MOST_KEYS:
                    halves.clear()
                key = np.zeros(number, self._key_type)
                for column, level in enumerate(levels, start):
                    at = codes[column][self._levels[column].index(level)]
                    key += (at.astype(self._key_type) * self._strides[column])[leaves[column]]
                halves[start, levels] = key
            return halves[start, levels]

        half = len(self.names) // 2
        left = np.arange(number)
        for place, (step, released) in enumerate(zip(self.steps, self._released, strict=True)):
            if not len(left):
                break
            key = key_of(0, step.levels[:half])[left] + key_of(half, step.levels[half:])[left]
            at = np.minimum(np.searchsorted(released, key), len(released) - 1)
            hit = released[at] == key
            if hit.any():
                found[left[hit]] = place
                left = left[~hit]
        return found


def _places(labels: pa.Array, known: pa.Array) -> Codes:
    """The positions of labels among the known labels; one past the last for unknown labels."""
    places = pc.fill_null(pc.index_in(labels, known), len(known))
    found: Codes = places.to_numpy(zero_copy_only=False).astype(np.int64)
    return found
