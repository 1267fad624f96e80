"""Finding and removing single rows in files, touching nothing else.

Parquet is pruned by the statistics of its row groups; a file is written anew only if it holds a
row that goes. Of CSV and JSON Lines the records that stay keep their very bytes.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_mlsec.datasets._formats import csv_delimiter

_RECORDS = 16_384
# Python's default of 128 KiB would make a long field unreadable, and its row not erasable.
csv.field_size_limit(2**31 - 1)


@dataclass
class Found:
    """Rows that were found, and what had to be read for it."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    rows_read: int = 0
    rows_pruned: int = 0

    def add(self, other: Found) -> None:
        """Take in what was found elsewhere."""
        self.batches += other.batches
        self.rows += other.rows
        self.rows_read += other.rows_read
        self.rows_pruned += other.rows_pruned

    def effort(self) -> str:
        """As people read it."""
        total = self.rows_read + self.rows_pruned
        if not self.rows_pruned:
            return f"{self.rows_read} rows read"
        return f"{self.rows_read} of {total} rows read, the others ruled out by statistics"


@dataclass(frozen=True)
class Going:
    """Rows by the values of one column."""

    column: str
    values: pa.Array


def find_in_parquet(
    file: BinaryIO,
    column: str,
    wanted: pa.Array,
    keep: bool,
    plain: Callable[[pa.RecordBatch], pa.RecordBatch],
) -> Found:
    """Rows of a Parquet file whose ``column`` is among ``wanted``; with ``keep`` the rows
    themselves, else their number."""
    source, found = pq.ParquetFile(file, pre_buffer=False), Found()
    if column not in source.schema_arrow.names:
        return found  # another file of the folder has it
    for group in range(source.num_row_groups):
        rows = source.metadata.row_group(group).num_rows
        if _ruled_out(source, group, column, wanted):
            found.rows_pruned += rows
            continue
        found.rows_read += rows
        values = source.read_row_group(group, [column]).column(0)
        mask = matches(values, wanted)
        hits = pc.sum(mask).as_py() or 0
        found.rows += hits
        if keep and hits:
            table = source.read_row_group(group).filter(mask).replace_schema_metadata(None)
            found.batches += [plain(batch) for batch in table.to_batches()]
    return found


def without_in_parquet(
    source_file: BinaryIO, target: BinaryIO, going: Going, staying: Going | None
) -> int:
    """Write a Parquet file without the rows that go, row group by row group, with the schema,
    metadata and compression that it had; how many rows went."""
    source = pq.ParquetFile(source_file, pre_buffer=False)
    schema, removed = source.schema_arrow, 0
    with pq.ParquetWriter(
        target, schema, compression=_compression(source), version="2.6", write_statistics=True
    ) as writer:
        for group in range(source.num_row_groups):
            table = source.read_row_group(group)
            mask = matches(table.column(going.column), going.values)
            if staying is not None:
                held = matches(table.column(staying.column), staying.values)
                mask = pc.and_(mask, pc.invert(held))
            left = table.filter(pc.invert(mask))
            removed += table.num_rows - left.num_rows
            if left.num_rows:
                writer.write_table(left.cast(schema), row_group_size=left.num_rows)
    return removed


def without_in_csv(
    source: BinaryIO, target: BinaryIO, schema: pa.Schema, going: Going, staying: Going | None
) -> int:
    """Write CSV without the records that go."""
    delimiter = csv_delimiter(source)
    records = _csv_records(source)
    target.write(next(records))

    def row(record: bytes) -> list[str]:
        return next(csv.reader([record.decode("utf-8")], delimiter=delimiter), [])

    def values(rows: list[list[str]], column: str) -> pa.Array:
        place = schema.names.index(column)
        texts = [r[place] or None if place < len(r) else None for r in rows]
        return pa.array(texts, pa.string()).cast(schema.field(column).type)

    return _without(records, target, row, values, going, staying)


def without_in_json_lines(
    source: BinaryIO, target: BinaryIO, schema: pa.Schema, going: Going, staying: Going | None
) -> int:
    """Write JSON Lines without the lines that go."""

    def row(line: bytes) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(line) if line.strip() else {}
        return found

    def values(rows: list[dict[str, Any]], column: str) -> pa.Array:
        kind = schema.field(column).type
        found = [r.get(column) for r in rows]
        if pa.types.is_string(kind) or pa.types.is_temporal(kind):
            return pa.array(found, pa.string()).cast(kind)
        return pa.array(found, kind)

    return _without(iter(source), target, row, values, going, staying)


def matches(values: Any, wanted: pa.Array) -> Any:
    """Which values are among the wanted ones; null is none of them."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    return pc.is_in(values, wanted.cast(kind))


def _without(
    records: Iterator[bytes],
    target: BinaryIO,
    row: Callable[[bytes], Any],
    values: Callable[[list[Any], str], pa.Array],
    going: Going,
    staying: Going | None,
) -> int:
    removed = 0
    while part := list(itertools.islice(records, _RECORDS)):
        rows = [row(record) for record in part]
        mask = matches(values(rows, going.column), going.values)
        if staying is not None:
            mask = pc.and_(mask, pc.invert(matches(values(rows, staying.column), staying.values)))
        gone = mask.to_pylist()
        target.writelines(record for record, out in zip(part, gone, strict=True) if not out)
        removed += sum(gone)
    return removed


def _csv_records(file: BinaryIO) -> Iterator[bytes]:
    """Records as they stand in the file: a line break within quotes ends none."""
    record = b""
    for line in file:
        record += line
        if record.count(b'"') % 2 == 0:
            yield record
            record = b""
    if record:
        yield record


def _ruled_out(source: Any, group: int, column: str, wanted: pa.Array) -> bool:
    """Whether the statistics of a row group say that none of the wanted values is in it."""
    metadata = source.metadata.row_group(group)
    if pa.types.is_timestamp(wanted.type) or pa.types.is_uint64(wanted.type):
        return False  # their statistics are read back less precisely than they were written
    for i in range(metadata.num_columns):
        chunk = metadata.column(i)
        if chunk.path_in_schema != column:
            continue
        statistics = chunk.statistics
        if statistics is None:
            return False
        if not statistics.has_min_max:
            # Nothing but nulls has neither.
            return bool(statistics.has_null_count and statistics.null_count == metadata.num_rows)
        try:
            low, high = (pa.scalar(v).cast(wanted.type) for v in (statistics.min, statistics.max))
            inside = pc.and_(pc.greater_equal(wanted, low), pc.less_equal(wanted, high))
        except (pa.ArrowException, TypeError, ValueError):
            return False
        return not (pc.any(inside).as_py() or False)
    return False


def _compression(source: Any) -> Any:
    if not source.num_row_groups:
        return "zstd"
    group = source.metadata.row_group(0)
    found: dict[str, str] = {}
    for i in range(group.num_columns):
        chunk = group.column(i)
        found[chunk.path_in_schema] = (
            "NONE" if chunk.compression == "UNCOMPRESSED" else chunk.compression
        )
    return found
