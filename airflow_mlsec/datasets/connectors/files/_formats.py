"""Readers and writers of the file formats, each streaming.

CSV has no types, so a first pass over the whole file finds for each column the narrowest
type that every value fits without losing anything: a postcode ``01234`` stays text.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from airflow_mlsec.errors import ColumnType, DatasetError, EmptyDataset

_BLOCK = 4 * 2**20
_LINES = 16_384


class Format(Protocol):
    """How one file format is read and written."""

    def schema(self, file: BinaryIO) -> pa.Schema: ...

    def scan(
        self, file: BinaryIO, schema: pa.Schema, batch_rows: int, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """Some columns (at least one), in their order; ``schema`` is that of the whole file."""
        ...

    def check_writable(self, schema: pa.Schema, uri: str) -> None: ...

    def writer(self, file: BinaryIO, schema: pa.Schema) -> Any: ...


class Parquet:
    """Apache Parquet. Pandas and other metadata is neither read nor written."""

    def schema(self, file: BinaryIO) -> pa.Schema:
        return pq.read_schema(file).remove_metadata()

    def scan(
        self, file: BinaryIO, schema: pa.Schema, batch_rows: int, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        source = pq.ParquetFile(file, pre_buffer=False)
        found = source.schema_arrow.names
        missing = [name for name in schema.names if name not in found]
        if missing:
            # By its number: in a pivoted table, the names of columns are values.
            number = schema.names.index(missing[0]) + 1
            raise DatasetError(
                f"a file of the dataset lacks column number {number} of those that its files have"
            )
        wanted = pa.schema([schema.field(name) for name in columns])
        for batch in source.iter_batches(batch_size=batch_rows, columns=list(columns)):
            yield _as(batch.replace_schema_metadata(None).select(wanted.names), wanted)

    def check_writable(self, schema: pa.Schema, uri: str) -> None:
        del schema, uri  # Parquet writes every type that the transforms produce

    def writer(self, file: BinaryIO, schema: pa.Schema) -> Any:
        return pq.ParquetWriter(file, schema, compression="zstd", write_statistics=True)


def _as(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the dataset's types, where a file of a folder has narrower ones."""
    kinds = [field.type for field in schema]
    if all(array.type == kind for array, kind in zip(batch.columns, kinds, strict=True)):
        return batch
    arrays = [array.cast(kind) for array, kind in zip(batch.columns, kinds, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


class Csv:
    """UTF-8 text separated by commas, semicolons or tabs, with a header line; an empty unquoted
    field is null. Written with commas."""

    _PATTERNS: tuple[tuple[pa.DataType, str], ...] = (
        (pa.int64(), r"^-?[1-9][0-9]{0,17}$|^0$"),
        # As programs print numbers, or all with the same number of decimals: then two texts
        # that differ are two numbers. A column with both 1.1 and 1.10 stays text.
        (pa.float64(), r"^-?(0|[1-9][0-9]{0,14})(\.(0|[0-9]{0,16}[1-9]))?(e[-+][0-9]{2,3})?$"),
        *((pa.float64(), rf"^-?(0|[1-9][0-9]{{0,14}})\.[0-9]{{{n}}}$") for n in range(1, 7)),
        (pa.bool_(), r"^(true|false)$"),
        (pa.date32(), r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"),
    )

    def schema(self, file: BinaryIO) -> pa.Schema:
        header = file.readline()
        if not header.strip():
            raise DatasetError("the CSV file has no header line")
        file.seek(0)
        names = _csv_header(file)
        file.seek(0)
        possible = {name: [True] * len(self._PATTERNS) for name in names}
        seen = dict.fromkeys(names, False)
        text = pa.schema([pa.field(name, pa.string()) for name in names])
        for batch in self.scan(file, text, 0, text.names):
            for name, column in zip(names, batch.columns, strict=True):
                if column.null_count == len(column):
                    continue
                seen[name] = True
                for i, (kind, pattern) in enumerate(self._PATTERNS):
                    if possible[name][i]:
                        possible[name][i] = _fits(column, kind, pattern)
        fields = []
        for name in names:
            kinds = [
                kind for (kind, _), ok in zip(self._PATTERNS, possible[name], strict=True) if ok
            ]
            fields.append(pa.field(name, kinds[0] if kinds and seen[name] else pa.string()))
        return pa.schema(fields)

    def scan(
        self, file: BinaryIO, schema: pa.Schema, batch_rows: int, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        del batch_rows  # blocks of bytes bound the memory
        delimiter = csv_delimiter(file)
        reader = pacsv.open_csv(
            file,
            read_options=pacsv.ReadOptions(
                block_size=_BLOCK, use_threads=False, column_names=schema.names, skip_rows=0,
                skip_rows_after_names=1,
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter,
                newlines_in_values=True,
                # In a file of one column an empty line is a null.
                ignore_empty_lines=len(schema) > 1,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types={field.name: field.type for field in schema},
                include_columns=list(columns),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["true"],
                false_values=["false"],
            ),
        )  # fmt: skip
        yield from reader

    def check_writable(self, schema: pa.Schema, uri: str) -> None:
        for field in schema:
            if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
                raise ColumnType.unusable(
                    field.name, field.type, "text, number or date", f"'{uri}'"
                )

    def writer(self, file: BinaryIO, schema: pa.Schema) -> Any:
        return pacsv.CSVWriter(file, schema)


class JsonLines:
    """One JSON object per line, UTF-8. Types are those that fit every line of the file."""

    def schema(self, file: BinaryIO) -> pa.Schema:
        found: list[pa.Schema] = []
        for lines in _blocks(file):
            table = pajson.read_json(pa.BufferReader(lines), pajson.ReadOptions(block_size=_BLOCK))
            found = [pa.unify_schemas([*found, table.schema], promote_options="permissive")]
        if not found:
            raise EmptyDataset("the JSON Lines file has no rows, so its columns are unknown")
        if any(_is_rounded(f.type) for f in found[0]):
            _refuse_rounded(file, found[0])
        dates = _dates(file, [f.name for f in found[0] if pa.types.is_timestamp(f.type)])
        return pa.schema([pa.field(f.name, _json_kind(f, dates)) for f in found[0]])

    def scan(
        self, file: BinaryIO, schema: pa.Schema, batch_rows: int, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        del batch_rows
        # JSON has text where these types are; read it as such, then convert.
        as_text = pa.schema([pa.field(f.name, _json_type(f.type)) for f in schema])
        options = pajson.ParseOptions(explicit_schema=as_text, unexpected_field_behavior="error")
        for lines in _blocks(file):
            table = pajson.read_json(
                pa.BufferReader(lines), pajson.ReadOptions(block_size=_BLOCK), options
            )
            yield from table.select(schema.names).cast(schema).select(list(columns)).to_batches()

    def check_writable(self, schema: pa.Schema, uri: str) -> None:
        for field in schema:
            if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
                raise ColumnType.unusable(
                    field.name, field.type, "text, number or date", f"'{uri}'"
                )

    def writer(self, file: BinaryIO, schema: pa.Schema) -> Any:
        return _JsonLinesWriter(file)


# Floating-point numbers are not exact from 16 digits on.
_LONG_NUMBER = re.compile(rb"[0-9]{16}")


def _is_rounded(kind: pa.DataType) -> bool:
    if pa.types.is_floating(kind):
        return True
    fields = range(kind.num_fields) if pa.types.is_nested(kind) else ()
    return any(_is_rounded(kind.field(i).type) for i in fields)


def _refuse_rounded(file: BinaryIO, schema: pa.Schema) -> None:
    """:raises DatasetError: if a whole number would be read as another one, because its column also has
    fractions, or numbers beyond 64 bits."""
    kinds = {field.name: field.type for field in schema if _is_rounded(field.type)}
    file.seek(0)
    for lines in _blocks(file):
        for line in lines.splitlines() if _LONG_NUMBER.search(lines) else ():
            if not _LONG_NUMBER.search(line):
                continue
            row = json.loads(line, parse_int=Decimal, parse_float=_as_written)
            for name, kind in kinds.items():
                if _loses(row.get(name), kind):
                    number = schema.get_field_index(name) + 1
                    raise DatasetError(
                        f"column {number} of the JSON Lines file has whole numbers of 16 digits or more as well as "
                        "fractions or longer numbers, which could not be told apart: write long numbers as text"
                    )


def _as_written(text: str) -> Decimal | float:
    """A number with a decimal point as it is; a number with an exponent was meant as floating-point."""
    return float(text) if "e" in text.lower() else Decimal(text)


def _loses(value: Any, kind: pa.DataType) -> bool:
    """Whether a JSON value has a whole number that changes as a floating-point number."""
    if isinstance(value, Decimal):
        whole = value == value.to_integral_value()
        return pa.types.is_floating(kind) and whole and Decimal(float(value)) != value
    if isinstance(value, list) and pa.types.is_list(kind):
        return any(_loses(inner, kind.value_type) for inner in value)
    if isinstance(value, dict) and pa.types.is_struct(kind):
        return any(
            _loses(value.get(kind.field(i).name), kind.field(i).type)
            for i in range(kind.num_fields)
        )
    return False


class _JsonLinesWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, batch: pa.RecordBatch) -> None:
        lines = (
            json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=_json_value)
            for row in batch.to_pylist()
        )
        self._file.write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        self._file.flush()


FORMATS: dict[str, Format] = {"parquet": Parquet(), "csv": Csv(), "jsonl": JsonLines()}


def _fits(column: pa.Array, kind: pa.DataType, pattern: str) -> bool:
    if not pc.all(pc.match_substring_regex(column, pattern)).as_py():
        return False
    try:
        pc.cast(column, kind)
    except pa.ArrowException:  # 2021-02-30
        return False
    return True


def _dates(file: BinaryIO, columns: list[str]) -> set[str]:
    """Of the columns that the parser takes for timestamps, those that hold only dates."""
    dates = set(columns)
    if not dates:
        return dates
    file.seek(0)
    options = pajson.ParseOptions(
        explicit_schema=pa.schema([pa.field(name, pa.string()) for name in columns]),
        unexpected_field_behavior="ignore",
    )
    for lines in _blocks(file):
        table = pajson.read_json(
            pa.BufferReader(lines), pajson.ReadOptions(block_size=_BLOCK), options
        )
        for name in list(dates):
            only = pc.match_substring_regex(table.column(name), r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
            if not pc.all(only).as_py():
                dates.discard(name)
    return dates


def _json_kind(field: pa.Field, dates: set[str]) -> pa.DataType:
    if pa.types.is_null(field.type):  # null on every line: it has no type, so it is read as text
        return pa.string()
    return pa.date32() if field.name in dates else field.type


def _json_type(kind: pa.DataType) -> pa.DataType:
    spelled = (pa.types.is_date, pa.types.is_time, pa.types.is_decimal)
    return pa.string() if any(test(kind) for test in spelled) else kind


def _json_value(value: object) -> object:
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(type(value).__name__)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines, a bounded number at a time."""
    while block := b"".join(itertools.islice(file, _LINES)):
        if block.strip():
            yield block


def csv_delimiter(file: BinaryIO) -> str:
    """Comma, semicolon or tab: whichever occurs most in the header line."""
    header = file.readline()
    file.seek(0)
    return max(",;\t", key=lambda mark: header.count(mark.encode()))


def _csv_header(file: BinaryIO) -> list[str]:
    delimiter = csv_delimiter(file)
    text = (line.decode("utf-8-sig" if i == 0 else "utf-8") for i, line in enumerate(file))
    try:
        names = next(csv.reader(text, delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error, StopIteration):
        raise DatasetError("the CSV header is not UTF-8 text") from None
    blank = [i for i, name in enumerate(names, 1) if not re.search(r"\S", name)]
    if blank:
        raise DatasetError(f"the CSV header has no name for column {blank[0]}")
    return names
