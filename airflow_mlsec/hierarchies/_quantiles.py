"""Hierarchies of numbers computed from the data: intervals with about the same number of rows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from airflow_mlsec.errors import ColumnType
from airflow_mlsec.values import simplest_between


@dataclass(frozen=True)
class Quantiles:
    """Intervals between ``edges``; each level merges pairs of neighbours. The first and the last are unbounded,
    so that every number is in one. Values that are not finite become null."""

    edges: tuple[float, ...]

    @property
    def height(self) -> int:
        # One level more than it takes until two intervals are left.
        return max(1, len(self.edges).bit_length() + 1)

    def label(self, array: pa.Array, level: int, column: str) -> pa.Array:
        """The interval of each number, as text."""
        numbers = _numbers(array, column)
        finite = np.isfinite(numbers)
        width = 1 << (level - 1)
        place = np.searchsorted(np.array(self.edges), np.where(finite, numbers, 0.0), side="right")
        kept = self.edges[width - 1 :: width]
        labels = [
            *(f"< {_written(edge)}" for edge in kept[:1]),
            *(f"[{_written(a)}, {_written(b)})" for a, b in itertools.pairwise(kept)),
            *(f">= {_written(edge)}" for edge in kept[-1:]),
        ]
        return pa.array(labels or ["*"], pa.string()).take(
            pa.array(np.minimum(place // width, len(kept)), mask=~finite)
        )

    def to_json(self) -> dict[str, Any]:
        return {"kind": "automatic", "edges": list(self.edges)}


def fit_quantiles(values: pa.Array, rows: npt.NDArray[Any], bins: int, column: str) -> Quantiles:
    """At most ``bins`` intervals with about the same rows each, given values and the rows of each.

    :raises ColumnType: if the values are no numbers.
    """
    numbers = _numbers(values, column)
    good = np.isfinite(numbers)
    known, place = np.unique(numbers[good], return_inverse=True)
    if len(known) < 2:
        return Quantiles(())
    running: npt.NDArray[np.float64] = np.cumsum(np.bincount(place, rows[good], len(known)))
    wanted = running[-1] * np.arange(1, bins) / bins
    # An interval begins at the first value whose running total of rows exceeds the share before it.
    edges = known[np.minimum(np.searchsorted(running, wanted, side="right"), len(known) - 1)]
    # If most rows have the lowest value, the other values are still separated from it.
    places = np.unique(np.maximum(np.searchsorted(known, edges), 1))
    return Quantiles(tuple(simplest_between(known[p - 1], known[p]) for p in places.tolist()))


def _numbers(array: pa.Array, column: str) -> npt.NDArray[np.float64]:
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise ColumnType.unusable(column, kind, "a number", "an automatic hierarchy")
    found: npt.NDArray[np.float64] = array.cast(pa.float64(), safe=False).to_numpy(
        zero_copy_only=False
    )
    return found


def _written(edge: float) -> str:
    text = format(Decimal(repr(edge)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
