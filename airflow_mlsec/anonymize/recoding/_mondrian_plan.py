"""Applying a multidimensional recoding: the cuts lead each row to its class, which then has to
cover it; a row with a value that its class does not have is suppressed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.anonymize._coding import Codes, combined, encoded, first_places, renumbered
from airflow_mlsec.anonymize.recoding._classes import Mask
from airflow_mlsec.anonymize.recoding._mondrian import FIRST_CLASS
from airflow_mlsec.errors import ColumnType
from airflow_mlsec.values import canonical_text

Kind = Literal["set", "interval", "fixed"]
# What a class shows for a set column: places of values. For an interval column: the lowest and highest
# value (None if there is none), and whether values are missing.
Cell = tuple[Any, ...]


@dataclass(frozen=True)
class RegionColumn:
    """A quasi-identifier: for a set or fixed column the values in their order; and the distinct
    cells that classes have in it, with their labels."""

    name: str
    kind: Kind
    values: tuple[str | None, ...]
    cells: tuple[Cell, ...]
    labels: tuple[str | None, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "values": list(self.values),
            "cells": [list(cell) for cell in self.cells],
            "labels": list(self.labels),
        }


@dataclass(frozen=True)
class Regions:
    """The columns, the first node of each combination of fixed values, the cuts (column, at, below,
    above; see `_mondrian.Cuts`), and the cell of each column in each class.

    ``at`` is, for a set column, the place of the last value below; for an interval column, the
    first number above."""

    columns: tuple[RegionColumn, ...]
    roots: tuple[tuple[tuple[int, ...], int], ...]
    cuts: tuple[tuple[int, Any, int, int], ...]
    classes: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "columns": [column.to_json() for column in self.columns],
            "roots": [[list(values), node] for values, node in self.roots],
            "cuts": [list(cut) for cut in self.cuts],
            "classes": [list(cells) for cells in self.classes],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Regions:
        """Read plain data."""
        return cls(
            tuple(
                RegionColumn(
                    c["name"],
                    c["kind"],
                    tuple(c["values"]),
                    tuple(tuple(cell) for cell in c["cells"]),
                    tuple(c["labels"]),
                )
                for c in data["columns"]
            ),
            tuple((tuple(values), int(node)) for values, node in data["roots"]),
            tuple((int(c), at, int(below), int(above)) for c, at, below, above in data["cuts"]),
            tuple(tuple(cells) for cells in data["classes"]),
        )


@dataclass(frozen=True)
class RegionMatcher:
    """Finds the class of each row, and labels the row as the class is labelled."""

    names: tuple[str, ...]
    regions: Regions

    def match(self, arrays: Sequence[pa.Array]) -> tuple[list[pa.Array], Mask]:
        """The labels of the quasi-identifiers (null where no class covers the row), and which rows
        a class covers."""
        values = [encoded(array) for array in arrays]
        rows = len(arrays[0]) if arrays else 0
        key, _ = combined(((codes, len(distinct)) for codes, distinct in values), rows)
        tuple_of_row, number = renumbered(key)
        first = first_places(tuple_of_row, number)
        columns = [
            _Placed.of(column, distinct, codes[first])
            for column, (codes, distinct) in zip(self.regions.columns, values, strict=True)
        ]
        found = self._classes(columns, number)
        found = self._covered(columns, found)
        made = []
        for place, column in enumerate(self.regions.columns):
            cell = self._cells[place][np.maximum(found, 0)]
            labels = pa.array(column.labels, pa.string())
            of_tuple = labels.take(pa.array(cell, mask=found < 0))
            made.append(of_tuple.take(pa.array(tuple_of_row)))
        released: Mask = found[tuple_of_row] >= 0
        return made, released

    def _classes(self, columns: Sequence[_Placed], number: int) -> Codes:
        """The class that the cuts lead each tuple to; negative if it has no first node."""
        node = self._begin(columns, number)
        column_of, below, above = self._cuts
        while len(going := np.flatnonzero(node >= 0)):
            at_node = node[going]
            side = np.zeros(len(going), bool)
            for place, placed in enumerate(columns):
                here = np.flatnonzero(column_of[at_node] == place)
                if len(here):
                    side[here] = placed.above(self._at[place][at_node[here]], going[here])
            node[going] = np.where(side, above[at_node], below[at_node])
        return FIRST_CLASS - node

    def _begin(self, columns: Sequence[_Placed], number: int) -> Codes:
        """The first node for each tuple's fixed values; -1 if their rows have been suppressed."""
        fixed = [i for i, column in enumerate(self.regions.columns) if column.kind == "fixed"]
        targets = np.array([node for _, node in self.regions.roots], np.int64)
        if not len(targets) or not fixed:
            return np.full(number, targets[0] if len(targets) else -1)
        known = np.array([values for values, _ in self.regions.roots], np.int64)
        # An unknown value counts as one more value.
        both = [
            np.concatenate([known[:, i], columns[place].code]) % columns[place].width
            for i, place in enumerate(fixed)
        ]
        widths = [columns[place].width for place in fixed]
        key, _ = combined(zip(both, widths, strict=True), len(known) + number)
        order = np.argsort(key[: len(known)])
        ordered, wanted = key[: len(known)][order], key[len(known) :]
        at = np.minimum(np.searchsorted(ordered, wanted), len(known) - 1)
        found: Codes = np.where(ordered[at] == wanted, targets[order][at], -1)
        return found

    def _covered(self, columns: Sequence[_Placed], found: Codes) -> Codes:
        """The class of each tuple; -1 if the class does not have all of the tuple's values."""
        covered = found >= 0
        for place, placed in enumerate(columns):
            here = np.flatnonzero(covered)
            cell = self._cells[place][found[here]]
            covered[here] = placed.within(cell, here)
        result: Codes = np.where(covered, found, -1)
        return result

    @cached_property
    def _cells(self) -> list[Codes]:
        """Column by column the cell of each class."""
        classes = np.array(self.regions.classes, np.int64).reshape(-1, len(self.names))
        return [np.append(column, 0) for column in classes.T]

    @cached_property
    def _cuts(self) -> tuple[Codes, Codes, Codes]:
        column, _, below, above = (
            zip(*self.regions.cuts, strict=True) if self.regions.cuts else ((),) * 4
        )
        return np.array(column, np.int64), np.array(below, np.int64), np.array(above, np.int64)

    @cached_property
    def _at(self) -> list[npt.NDArray[Any]]:
        """Column by column the position of each cut; 0 if the cut is in another column."""
        return [
            np.array([at if column == place else 0 for column, at, _, _ in self.regions.cuts])
            for place in range(len(self.names))
        ]


@dataclass(frozen=True)
class _Placed:
    """The values of a column in its regions: the place, or the number, of each tuple."""

    column: RegionColumn
    code: Codes
    number: npt.NDArray[Any]
    missing: Mask

    @classmethod
    def of(cls, column: RegionColumn, distinct: pa.Array, codes: Codes) -> _Placed:
        if column.kind == "interval":
            number, missing = numbers(distinct, column.name)
            return cls(column, codes, number[codes], missing[codes])
        text = canonical_text(distinct, column.name).cast(pa.string())
        known = pa.array(column.values, pa.string())
        found = pc.fill_null(pc.index_in(text, known), -1)
        place = found.to_numpy(zero_copy_only=False).astype(np.int64)[codes]
        return cls(column, place, place, place < 0)

    @property
    def width(self) -> int:
        return len(self.column.values) + 1

    def above(self, at: npt.NDArray[Any], tuples: Codes) -> Mask:
        """Which tuples are above their cut."""
        if self.column.kind == "interval":
            found: Mask = ~self.missing[tuples] & (self.number[tuples] >= at)
        else:
            found = self.code[tuples] > at
        return found

    def within(self, cell: Codes, tuples: Codes) -> Mask:
        """Which tuples have a value that their cell contains."""
        if not len(cell):
            return np.zeros(0, bool)
        if self.column.kind == "interval":
            low, high, gaps = (
                np.array([each[i] if each[i] is not None else 0 for each in self.column.cells])
                for i in range(3)
            )
            empty = np.array([each[0] is None for each in self.column.cells])
            value = self.number[tuples]
            inside = ~empty[cell] & (low[cell] <= value) & (value <= high[cell])
            return np.where(self.missing[tuples], gaps[cell].astype(bool), inside)
        pairs = np.array(
            [number * self.width + place for number, each in enumerate(self.column.cells) for place in each],
            np.int64,
        )  # fmt: skip
        found: Mask = np.isin(cell * self.width + self.code[tuples], pairs)
        return found & (self.code[tuples] >= 0)


def numbers(values: pa.Array, column: str) -> tuple[npt.NDArray[Any], Mask]:
    """Numbers, dates and times as numbers in their order, and which are missing; numbers that are
    not finite count as missing.

    :raises ColumnType: if the values have no such order.
    """
    kind = values.type
    if pa.types.is_null(kind):
        return np.zeros(len(values), np.int64), np.ones(len(values), bool)
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        values = values.cast(pa.int32()).cast(pa.int64())
    elif pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        values = values.cast(pa.int64())
    elif pa.types.is_uint64(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        values = values.cast(pa.float64(), safe=False)
    elif pa.types.is_integer(kind):
        values = values.cast(pa.int64())
    else:
        raise ColumnType.unusable(column, kind, "a number or date", "multidimensional intervals")
    missing = np.asarray(values.is_null().to_numpy(zero_copy_only=False), bool)
    found = values.fill_null(0).to_numpy(zero_copy_only=False)
    if found.dtype == np.float64:
        missing |= ~np.isfinite(found)
        found = np.where(missing, 0.0, found)
    return found, missing


def quoted(value: str | None) -> str:
    """A value as written in a set: a missing one is ``null``, and one that could be misread is
    quoted as in JSON."""
    if value is None:
        return "null"
    plain = value and value not in ("null", "*") and value == value.strip()
    if plain and not any(c in value for c in '{}[],"'):
        return value
    return json.dumps(value, ensure_ascii=False)
