"""Values and tuples as numbers, so that numpy can group them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.int64]

_LARGEST_KEY = 1 << 40


def encoded(values: pa.Array | pa.ChunkedArray) -> tuple[Codes, pa.Array]:
    """The number of each value, and the distinct values; a missing value counts as a value."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    values = one_zero(values)
    made = values.dictionary_encode(null_encoding="encode")
    if isinstance(made, pa.ChunkedArray):
        made = made.unify_dictionaries().chunk(0)
    codes: Codes = made.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, made.dictionary


def one_zero(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Values in which -0.0 is 0.0: they have one text, and are one value."""
    if not pa.types.is_floating(values.type) or pa.types.is_float16(values.type):
        return values
    return pc.add(values, pa.scalar(0.0, values.type))


def combined(columns: Iterable[tuple[Codes, int]], rows: int) -> tuple[Codes, int]:
    """A number for each row, the same if all columns are the same, and the (exclusive) upper bound of the
    numbers; each column is given with the upper bound of its codes."""
    key, span = np.zeros(rows, np.int64), 1
    for codes, width in columns:
        if width == 1:
            continue
        if span * width > _LARGEST_KEY:
            key, span = renumbered(key)
        key, span = key * width + codes, span * width
    return key, span


def renumbered(key: Codes) -> tuple[Codes, int]:
    """The same classes, numbered without gaps; pandas' hash table is several times as fast as
    sorting."""
    import pandas as pd  # type: ignore[import-untyped]

    codes, distinct = pd.factorize(key)
    return codes, len(distinct)


def first_places(numbers: Codes, count: int) -> Codes:
    """The first position of each number."""
    found = np.zeros(count, np.int64)
    # Written backwards, so that the first position remains.
    found[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return found
