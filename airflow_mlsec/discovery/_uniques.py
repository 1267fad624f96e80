"""Combinations of columns that single people out: minimal sample uniques.

A row is a minimal sample unique for a combination if no other row has its values there, while for
every smaller part of the combination another row has. Source: Elliot, Manning, Ford, "A
Computational Algorithm for Handling the Special Uniques Problem" (2002), the basis of SUDA.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

LARGEST = 4
_MOST_COLUMNS = 18
_MOST_ROWS = 20_000

Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SinglingOut:
    """A combination of columns, how many rows only it singles out (no subset of it does), and how many
    rows it singles out in total."""

    columns: tuple[str, ...]
    rows: int
    rows_in_all: int


def minimal_uniques(
    table: pa.Table, columns: Sequence[str], largest: int = LARGEST
) -> list[SinglingOut]:
    """The combinations of at most ``largest`` columns that single rows out, those of most rows first. Only
    the first 18 columns and 20,000 rows are examined."""
    names = list(columns)[:_MOST_COLUMNS]
    some = table.slice(0, _MOST_ROWS)
    codes = {name: _codes(some.column(name)) for name in names}
    keys: dict[tuple[str, ...], Codes] = {}
    unique: dict[tuple[str, ...], Mask] = {}
    found: list[SinglingOut] = []
    for size in range(1, largest + 1):
        for combination in itertools.combinations(names, size):
            key = _joined(keys, codes, combination)
            alone = np.bincount(key)[key] == 1
            unique[combination] = alone
            fresh = alone.copy()
            for part in itertools.combinations(combination, size - 1):
                if part:
                    fresh &= ~unique[part]
            if rows := int(fresh.sum()):
                found.append(SinglingOut(combination, rows, int(alone.sum())))
        keys = {c: k for c, k in keys.items() if len(c) == size}
    return sorted(found, key=lambda each: (-each.rows, len(each.columns), each.columns))


def _joined(
    keys: dict[tuple[str, ...], Codes], codes: Mapping[str, Codes], combination: tuple[str, ...]
) -> Codes:
    """Numbers that are equal for rows in which all columns of a combination are equal."""
    import pandas as pd  # type: ignore[import-untyped]

    last = codes[combination[-1]]
    before = keys.get(combination[:-1])
    if before is None:
        key = last
    else:
        wide = before * (int(last.max(initial=0)) + 1) + last
        key = pd.factorize(wide)[0]
    keys[combination] = key
    return key


def _codes(column: pa.ChunkedArray) -> Codes:
    made = column.combine_chunks().dictionary_encode(null_encoding="encode")
    if isinstance(made, pa.ChunkedArray):
        made = (
            made.unify_dictionaries().chunk(0)
            if made.num_chunks
            else pa.array([]).dictionary_encode()
        )
    found: Codes = made.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return found
