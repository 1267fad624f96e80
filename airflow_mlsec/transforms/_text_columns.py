"""Columns of text, changed only where there is something to change."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc


def changed_where(
    text: pa.Array, rows: pa.Array, change: Callable[[pa.Array], pa.Array]
) -> pa.Array:
    """The texts, with those in some rows changed."""
    rows = rows.fill_null(False)
    number = pc.sum(rows).as_py() or 0
    if number == 0:
        return text
    if number == len(text):
        return change(text)
    return pc.replace_with_mask(text, rows, change(text.filter(rows)))


def replaced(text: pa.Array, pattern: str, by: str) -> pa.Array:
    return pc.replace_substring_regex(text, pattern=pattern, replacement=by)


def by_row(text: pa.Array, change: Callable[[str], str]) -> pa.Array:
    return pa.array([None if t is None else change(t) for t in text.to_pylist()], pa.large_string())


def matches(text: pa.Array, pattern: str) -> pa.Array:
    return pc.match_substring_regex(text, pattern)
