"""Single rows of Parquet files. Row groups that cannot hold them, by their statistics or their
bloom filters, are not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_mlsec.datasets._found import Found
from airflow_mlsec.datasets.connectors.files._rows import Rewrite, TypedCondition, masked

# Each value is looked up in each row group's filter; for more values it is faster to read them.
_MOST_PROBES = 64


def find_in_parquet(
    file: BinaryIO,
    path: str | None,
    conditions: Sequence[TypedCondition],
    keep: bool,
    plain: Callable[[pa.RecordBatch], pa.RecordBatch],
) -> Found:
    """Rows of a Parquet file that meet every condition; with ``keep`` the rows themselves,
    otherwise their number. ``path`` is the file's path if it is on the local disk."""
    source, found = pq.ParquetFile(file, pre_buffer=False), Found()
    names = list(dict.fromkeys(c.column for c in conditions))
    if not names:  # all of its rows are meant
        found.rows = found.rows_read = source.metadata.num_rows
        if keep:
            whole = _without_views(source.read()).replace_schema_metadata(None)
            found.batches = [plain(batch) for batch in whole.to_batches()]
        return found
    if any(name not in source.schema_arrow.names for name in names):
        # Another file of the folder has it; people in this file are listed under another column, or none.
        found.lacking = 1
        return found
    wanted = [c for c in conditions if c.has]
    groups = [
        group
        for group in range(source.num_row_groups)
        if not any(_ruled_out(source, group, c.column, c.values) for c in wanted)
    ]
    if path is not None:
        for condition in wanted:
            groups = _left_by_bloom_filters(path, source, groups, condition)
    left = set(groups)
    for group in range(source.num_row_groups):
        rows = source.metadata.row_group(group).num_rows
        if group not in left:
            found.rows_pruned += rows
            continue
        found.rows_read += rows
        mask = masked(conditions, source.read_row_group(group, names).column)
        hits = pc.sum(mask).as_py() or 0
        found.rows += hits
        if keep and hits:
            table = _without_views(source.read_row_group(group)).filter(mask)
            table = table.replace_schema_metadata(None)
            found.batches += [plain(batch) for batch in table.to_batches()]
    return found


def rewrite_parquet(source_file: BinaryIO, target: BinaryIO, rewrite: Rewrite) -> int:
    """Rewrite a Parquet file, row group by row group, with the schema, metadata, compression and
    bloom filters that it had; returns how many rows were meant."""
    source = pq.ParquetFile(source_file, pre_buffer=False)
    schema, meant = _writable(source.schema_arrow), 0

    def rewritten(group: int) -> tuple[pa.Table, int]:
        table = _without_views(source.read_row_group(group))
        mask = rewrite.mask(table.column)
        rows = pc.sum(mask).as_py() or 0
        if rewrite.changes is None:
            return table.filter(pc.invert(mask)), rows
        return _changed(table, mask, rewrite.changes), rows

    coded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    left = _left_values(source, rewritten, coded) if coded else {}
    with pq.ParquetWriter(
        target, schema, compression=_compression(source), version="2.6", write_statistics=True,
        bloom_filter_options=_bloom_filters(source),
    ) as writer:  # fmt: skip
        for group in range(source.num_row_groups):
            table, rows = rewritten(group)
            meant += rows
            if table.num_rows:
                for name, values in left.items():
                    place = table.schema.get_field_index(name)
                    coded_anew = _coded(table.column(place), values, schema.field(name).type)
                    table = table.set_column(place, schema.field(name), coded_anew)
                table = table.cast(schema)
                writer.write_table(table, row_group_size=table.num_rows)
    return meant


def _writable(schema: pa.Schema) -> pa.Schema:
    """The schema that a file is written with: dictionaries within structures become plain values, since
    values that no row has any more cannot be removed from them."""
    for place, field in enumerate(schema):
        if pa.types.is_nested(field.type):
            schema = schema.set(place, field.with_type(_without_dictionaries(field.type)))
    return schema


def _without_dictionaries(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct([f.with_type(_without_dictionaries(f.type)) for f in fields])
    if pa.types.is_map(kind):
        return pa.map_(_without_dictionaries(kind.key_type), _without_dictionaries(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        inner = kind.value_field
        return make(inner.with_type(_without_dictionaries(inner.type)))
    if pa.types.is_fixed_size_list(kind):
        inner = kind.value_field
        return pa.list_(inner.with_type(_without_dictionaries(inner.type)), kind.list_size)
    return kind


def _left_values(
    source: Any, rewritten: Callable[[int], tuple[pa.Table, int]], coded: list[str]
) -> dict[str, pa.Array]:
    """The values that rows have in dictionary columns (pandas' categories), in the order of the file's
    dictionaries: all row groups get the same dictionary, since readers combine them, and a deleted row
    leaves no value in it."""
    order: dict[str, list[pa.Array]] = {name: [] for name in coded}
    used: dict[str, list[pa.Array]] = {name: [] for name in coded}
    for group in range(source.num_row_groups):
        before, (after, _) = source.read_row_group(group, coded), rewritten(group)
        for name in coded:
            kind = before.schema.field(name).type.value_type
            order[name] += [chunk.dictionary for chunk in before.column(name).chunks]
            used[name].append(after.column(name).cast(kind).unique())
    found = {}
    for name in coded:
        values = pa.concat_arrays(used[name])
        # A value that replaced another one comes last.
        every = pa.concat_arrays([*order[name], values]).unique().drop_null()
        found[name] = every.filter(pc.is_in(every, values))
    return found


def _coded(column: pa.ChunkedArray, values: pa.Array, kind: pa.DataType) -> pa.ChunkedArray:
    plain = column.cast(kind.value_type).combine_chunks()
    whole = pa.concat_arrays(plain.chunks) if isinstance(plain, pa.ChunkedArray) else plain
    at = pc.index_in(whole, values, skip_nulls=True).cast(kind.index_type)
    return pa.chunked_array([pa.DictionaryArray.from_arrays(at, values, ordered=kind.ordered)])


def _without_views(table: pa.Table) -> pa.Table:
    """With texts in the form that Arrow's other functions accept."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type) or pa.types.is_binary_view(field.type):
            plain = pa.large_string() if pa.types.is_string_view(field.type) else pa.large_binary()
            named = pa.field(field.name, plain, field.nullable, field.metadata)
            table = table.set_column(place, named, table.column(place).cast(plain))
    return table


def _changed(table: pa.Table, mask: Any, changes: Mapping[str, object]) -> pa.Table:
    for column, value in changes.items():
        place = table.schema.get_field_index(column)
        kind = table.schema.field(place).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        values = pc.if_else(mask, pa.scalar(value, plain), table.column(place).cast(plain))
        if pa.types.is_dictionary(kind):
            values = values.dictionary_encode().cast(kind)
        table = table.set_column(place, table.schema.field(place), values)
    return table


def _ruled_out(source: Any, group: int, column: str, wanted: pa.Array) -> bool:
    """Whether the statistics of a row group say that none of the wanted values is in it."""
    metadata = source.metadata.row_group(group)
    if pa.types.is_timestamp(wanted.type) or pa.types.is_uint64(wanted.type):
        return False  # their statistics are read back less precisely than they were written
    leaf = _leaf(source.schema_arrow, column)
    if leaf is None or leaf >= metadata.num_columns:
        return False
    chunk = metadata.column(leaf)
    statistics = chunk.statistics
    if chunk.path_in_schema != column or statistics is None:
        return False
    if not statistics.has_min_max:
        # A row group with only nulls has neither.
        return bool(statistics.has_null_count and statistics.null_count == metadata.num_rows)
    try:
        low, high = (pa.scalar(v).cast(wanted.type) for v in (statistics.min, statistics.max))
        inside = pc.and_(pc.greater_equal(wanted, low), pc.less_equal(wanted, high))
    except (pa.ArrowException, TypeError, ValueError):
        return False
    return not (pc.any(inside).as_py() or False)


def _leaf(schema: pa.Schema, column: str) -> int | None:
    """The position of a plain column among the file's leaves; None if it is nested. A name with a
    dot is a plain column too, even next to a structure whose field has the same path."""
    leaf = 0
    for field in schema:
        if field.name == column:
            return None if pa.types.is_nested(field.type) else leaf
        leaf += _leaves(field.type)
    return None


def _leaves(kind: pa.DataType) -> int:
    if not pa.types.is_nested(kind):
        return 1
    return sum(_leaves(kind.field(i).type) for i in range(kind.num_fields))


def _left_by_bloom_filters(
    path: str, source: Any, groups: list[int], condition: TypedCondition
) -> list[int]:
    """The row groups whose bloom filters do not rule out all of the values
    (https://parquet.apache.org/docs/file-format/bloomfilter/)."""
    kind = condition.values.type
    known = pa.types.is_signed_integer(kind) or pa.types.is_string(kind)
    if not known or len(condition.values) > _MOST_PROBES or not groups:
        return groups
    if condition.column not in _filtered_columns(source):
        return groups
    # DuckDB finds a column by its place among the fields, and by its name in any letter case.
    schema = source.schema_arrow
    folded = {name.casefold() for name in schema.names}
    if len(folded) < len(schema.names) or any(pa.types.is_nested(f.type) for f in schema):
        return groups
    import duckdb

    excluded = set(groups)
    with duckdb.connect(":memory:") as connection:
        for value in condition.values.to_pylist():
            rows = connection.execute(
                "SELECT row_group_id FROM parquet_bloom_probe(?, ?, ?) WHERE bloom_filter_excludes",
                [_literal_path(path), condition.column, value],
            ).fetchall()
            excluded &= {row[0] for row in rows}
    return [group for group in groups if group not in excluded]


def _bloom_filters(source: Any) -> dict[str, dict[str, int]] | None:
    """The options that write a file with the same filters."""
    rows = [source.metadata.row_group(group).num_rows for group in range(source.num_row_groups)]
    return {name: {"ndv": max(rows)} for name in _filtered_columns(source)} or None


def _literal_path(path: str) -> str:
    """A path that DuckDB does not read as a pattern."""
    return re.sub(r"([*?[])", r"[\1]", path)


def _filtered_columns(source: Any) -> set[str]:
    """Columns that have a bloom filter in some row group."""
    found = set()
    for group in range(source.num_row_groups):
        metadata = source.metadata.row_group(group)
        for i in range(metadata.num_columns):
            chunk = metadata.column(i)
            if chunk.bloom_filter_offset:
                found.add(chunk.path_in_schema)
    return found


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
