"""Profiles a sample of each column: number of values, number of distinct values, type."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.datasets import Dataset

SAMPLE = 50_000
_VALUES = 2_000
_LONGEST = 400


@dataclass(frozen=True)
class Profile:
    """A column of a sample. ``values`` are up to 2,000 of its distinct values, as text; long values are
    truncated."""

    name: str
    type: pa.DataType
    rows: int
    missing: int
    distinct: int
    values: tuple[str, ...]

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @property
    def uniqueness(self) -> float:
        """Distinct values divided by values: 1 if no two are alike."""
        return self.distinct / self.present if self.present else 0.0

    @property
    def is_number(self) -> bool:
        return bool(
            pa.types.is_integer(self.type)
            or pa.types.is_floating(self.type)
            or pa.types.is_decimal(self.type)
        )

    @property
    def is_date(self) -> bool:
        return bool(pa.types.is_date(self.type) or pa.types.is_timestamp(self.type))


def take_sample(dataset: Dataset, rows: int = SAMPLE) -> pa.Table:
    """The first rows of a dataset."""
    batches, seen = [], 0
    for batch in dataset.scan():
        batches.append(batch.slice(0, rows - seen))
        seen += batches[-1].num_rows
        if seen >= rows:
            break
    return pa.Table.from_batches(batches, dataset.schema())


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values of a type are bytes, not text."""
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def profile(name: str, column: pa.ChunkedArray) -> Profile:
    """The profile of a column."""
    kind = column.type
    if pa.types.is_nested(kind) or is_bytes(kind):
        return Profile(name, kind, len(column), column.null_count, 0, ())
    plain = pc.drop_null(column)
    distinct = plain.unique()
    texts = distinct.slice(0, _VALUES).cast(pa.string()).to_pylist()
    values = tuple(text[:_LONGEST].strip() for text in texts if text.strip())
    return Profile(name, kind, len(column), column.null_count, len(distinct), values)
