"""Which rows are searched for, and what was found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

# Called with what a file will be (its SHA-256; None for a table) before it is changed.
Announce = Callable[[str | None], None]

# In a field's metadata: its numbers are of single precision, whatever type they are read as.
SINGLE = b"single"


@dataclass
class Found:
    """Rows that were found, and what had to be read for it."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    rows_read: int = 0
    rows_pruned: int = 0
    # Files that lack some of the columns used in the search: it is not known whose rows they hold.
    lacking: int = 0

    def add(self, other: Found) -> None:
        """Add what was found elsewhere."""
        self.batches += other.batches
        self.rows += other.rows
        self.rows_read += other.rows_read
        self.rows_pruned += other.rows_pruned
        self.lacking += other.lacking

    def effort(self) -> str:
        """In readable form."""
        total = self.rows_read + self.rows_pruned
        if not self.rows_pruned:
            return f"{self.rows_read} rows read"
        return f"{self.rows_read} of {total} rows read, the others ruled out by statistics and bloom filters"


@dataclass(frozen=True)
class Condition:
    """Rows that have one of ``values`` (of the column's type) in ``column``; with ``has=False``
    the rows that have none of them."""

    column: str
    values: Sequence[object] = field(repr=False)
    has: bool = True

    def typed(self, kind: pa.DataType) -> pa.Array:
        """The values converted to a column's type. A value that cannot be converted is in no row; null is not included."""
        unfit = (pa.ArrowException, TypeError, ValueError, OverflowError)
        with contextlib.suppress(*unfit):
            return pa.array(self.values, kind).drop_null()
        fit = []
        for value in self.values:
            with contextlib.suppress(*unfit):
                fit.append(pa.array([value], kind))
        return pa.concat_arrays(fit).drop_null() if fit else pa.array([], kind)


def fulfilled(batch: pa.RecordBatch, conditions: Sequence[Condition]) -> pa.BooleanArray:
    """Which rows of a batch fulfil every condition; for connectors whose store cannot be queried for them."""
    mask = pa.array([True] * batch.num_rows, pa.bool_())
    for condition in conditions:
        column = batch.column(condition.column)
        hit = pc.is_in(column, condition.typed(column.type), skip_nulls=True)
        mask = pc.and_(mask, hit if condition.has else pc.invert(hit))
    return mask
