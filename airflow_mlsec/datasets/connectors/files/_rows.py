"""Finding, changing and removing single rows in files, touching nothing else.

A file is rewritten only if it holds a row that is meant. In CSV and JSON Lines, the other
records keep their exact bytes; Parquet is in `_rows_parquet`.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from airflow_mlsec.datasets.connectors.files._formats import csv_delimiter

_RECORDS = 16_384
# Python's default of 128 KiB would make a long field unreadable, and its row not erasable.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class TypedCondition:
    """A `Condition` whose values are an Arrow array of the column's type."""

    column: str
    values: pa.Array = field(repr=False)
    has: bool = True


@dataclass(frozen=True)
class Rewrite:
    """What happens to the rows that meet every condition: they are removed or, with ``changes``,
    get these values in these columns."""

    conditions: Sequence[TypedCondition]
    changes: Mapping[str, object] | None = field(default=None, repr=False)

    def mask(self, values: Callable[[str], Any]) -> Any:
        """Which rows are meant, given the values of a column."""
        return masked(self.conditions, values)


def rewrite_csv(source: BinaryIO, target: BinaryIO, schema: pa.Schema, rewrite: Rewrite) -> int:
    """Rewrite CSV."""
    delimiter = csv_delimiter(source)
    records = _csv_records(source, delimiter)
    target.write(next(records))

    def row(record: bytes) -> list[str]:
        return next(csv.reader([record.decode("utf-8")], delimiter=delimiter), [])

    def values(rows: list[list[str]], column: str) -> pa.Array:
        place = schema.names.index(column)
        texts = [r[place] or None if place < len(r) else None for r in rows]
        return pa.array(texts, pa.string()).cast(schema.field(column).type)

    def changed(record: bytes, cells: list[str], changes: Mapping[str, object]) -> bytes:
        cells = cells + [""] * (len(schema.names) - len(cells))
        for column, value in changes.items():
            place = schema.names.index(column)
            text = pa.scalar(value, schema.field(column).type).cast(pa.string()).as_py()
            cells[place] = text or ""
        line = io.StringIO()
        csv.writer(line, delimiter=delimiter, lineterminator="").writerow(cells)
        return line.getvalue().encode() + record[len(record.rstrip(b"\r\n")) :]

    return _rewrite(records, target, row, values, changed, rewrite)


def rewrite_json_lines(
    source: BinaryIO, target: BinaryIO, schema: pa.Schema, rewrite: Rewrite
) -> int:
    """Rewrite JSON Lines."""

    def row(line: bytes) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(line, parse_float=_Written) if line.strip() else {}
        return found

    def values(rows: list[dict[str, Any]], column: str) -> pa.Array:
        kind = schema.field(column).type
        found = [r.get(column) for r in rows]
        if pa.types.is_string(kind) or pa.types.is_temporal(kind):
            return pa.array(found, pa.string()).cast(kind)
        return pa.array(found, kind)

    def changed(line: bytes, cells: dict[str, Any], changes: Mapping[str, object]) -> bytes:
        for column, value in changes.items():
            printed = isinstance(value, (date, time, Decimal))
            cells[column] = str(value) if printed else value
        text = re.sub(f'"{_MARK}([^"]*)"', r"\1", json.dumps(_marked(cells), ensure_ascii=False))
        return text.encode() + line[len(line.rstrip(b"\r\n")) :]

    return _rewrite(iter(source), target, row, values, changed, rewrite)


class _Written(float):
    """A number, and how it is written: possibly with more digits than it has as a float."""

    def __new__(cls, text: str) -> _Written:
        made = super().__new__(cls, text)
        made.text = text
        return made

    text: str


# Precedes the text of a number that is to be written as it was; it cannot occur in the data.
_MARK = secrets.token_hex(16)


def _marked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _marked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_marked(inner) for inner in value]
    return f"{_MARK}{value.text}" if isinstance(value, _Written) else value


def matches(values: Any, wanted: pa.Array) -> Any:
    """Which values are among the wanted ones; null never is."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        plain = pa.string() if pa.types.is_string_view(kind) else pa.binary()
        values, kind = values.cast(plain), plain
    return pc.is_in(values, wanted.cast(kind), skip_nulls=True)


def masked(conditions: Sequence[TypedCondition], values: Callable[[str], Any]) -> Any:
    """Which rows meet every condition, given the values of a column."""
    mask: Any = None
    for condition in conditions:
        one = matches(values(condition.column), condition.values)
        one = one if condition.has else pc.invert(one)
        mask = one if mask is None else pc.and_(mask, one)
    return mask


def _rewrite(
    records: Iterator[bytes],
    target: BinaryIO,
    row: Callable[[bytes], Any],
    values: Callable[[list[Any], str], pa.Array],
    changed: Callable[[bytes, Any, Mapping[str, object]], bytes],
    rewrite: Rewrite,
) -> int:
    meant = 0
    while part := list(itertools.islice(records, _RECORDS)):
        rows = [row(record) for record in part]
        mask = rewrite.mask(lambda column, rows=rows: values(rows, column)).to_pylist()  # type: ignore[misc]
        for record, cells, hit in zip(part, rows, mask, strict=True):
            if not hit:
                target.write(record)
            elif rewrite.changes is not None:
                target.write(changed(record, cells, rewrite.changes))
        meant += sum(mask)
    return meant


def _csv_records(file: BinaryIO, delimiter: str) -> Iterator[bytes]:
    """Records as they are in the file: a line break within quotes does not end a record. A quote within a field that
    does not begin with a quote is an ordinary character."""
    other = b"[^%b\\r\\n]" % re.escape(delimiter.encode())
    first = b'[^"%b\\r\\n]' % re.escape(delimiter.encode())
    field = b'(?:"(?:[^"]|"")*+"%b*+|%b%b*+)?' % (other, first, other)
    whole = re.compile(b"%b(?:%b%b)*+\\r?\\n?" % (field, re.escape(delimiter.encode()), field))
    record = b""
    for line in file:
        record += line
        if b'"' not in record or whole.fullmatch(record):
            yield record
            record = b""
    if record:
        yield record
