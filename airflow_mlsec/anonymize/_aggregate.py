"""From rows to the distinct quasi-identifier tuples and how often each occurs.

Everything formal is computed from these weighted tuples, so memory grows with the distinct
tuples, not with the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from airflow_mlsec.anonymize._coding import one_zero

_COMPACT_ROWS = 500_000
_COUNT = "\0rows"  # cannot be a column's name in any format we read


class TupleCounter:
    """Adds up record batches that contain the quasi-identifiers."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._parts: list[pa.Table] = []
        self._pending = 0
        self.rows = 0

    def add(self, batch: pa.RecordBatch, weights: Any = None) -> None:
        """Count the rows of a batch whose columns are the quasi-identifiers; each as one, or as its weight."""
        self.rows += batch.num_rows
        names = self._schema.names
        table = pa.table([one_zero(batch.column(name)) for name in names], names=names)
        if weights is None:
            counted = table.group_by(names).aggregate([([], "count_all")])
        else:
            weighed = table.append_column(_COUNT, pa.array(weights, pa.float64()))
            counted = weighed.group_by(names).aggregate([(_COUNT, "sum")])
        self._parts.append(counted.rename_columns([*names, _COUNT]))
        self._pending += self._parts[-1].num_rows
        if self._pending > _COMPACT_ROWS and len(self._parts) > 1:
            self._compact()

    def result(self) -> tuple[pa.Table, pa.Array]:
        """The distinct tuples, and the number of rows of each (int64)."""
        if not self._parts:
            return self._schema.empty_table(), pa.array([], pa.int64())
        self._compact()
        table = self._parts[0].combine_chunks()
        counts = table.column(_COUNT)
        weights = counts.combine_chunks() if counts.num_chunks != 1 else counts.chunk(0)
        return table.drop_columns([_COUNT]), weights

    def _compact(self) -> None:
        merged = pa.concat_tables(self._parts)
        grouped = merged.group_by(self._schema.names).aggregate([(_COUNT, "sum")])
        self._parts = [grouped.rename_columns([*self._schema.names, _COUNT])]
        self._pending = 0


def count_tuples(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> TupleCounter:
    """A counter that has seen all batches."""
    counter = TupleCounter(schema)
    for batch in batches:
        counter.add(batch)
    return counter
