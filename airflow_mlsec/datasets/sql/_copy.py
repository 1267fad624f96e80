"""Rows between Arrow and PostgreSQL with COPY, whole columns at a time.

The form is CSV, which Arrow's compiled reader and writer speak: faster than binary COPY through Python values, and as
exact, since PostgreSQL prints numbers and times so that they read back as what they were. In it an empty field is NULL
and an empty text is ``""`` (PostgreSQL's documentation of COPY; Arrow quotes every text that is not null).
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Generator, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from airflow_mlsec.datasets.sql._values import inexact
from airflow_mlsec.errors import DatasetError

_BLOCK = 4 * 2**20
# How values are printed, whatever the role's or the database's settings are.
_PRINTED = (
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL DateStyle = 'ISO, YMD'",
    "SET LOCAL TimeZone = 'UTC'",
    "SET LOCAL bytea_output = 'hex'",
)
# Without the doubled % of a style in which it marks parameters: COPY has none.
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]


def copy_out(
    connection: sa.Connection,
    query: sa.Select[Any],
    schema: pa.Schema,
    batch_rows: int,
    uri: str,
    inexactly: frozenset[str] = frozenset(),
) -> Generator[pa.RecordBatch, None, None]:
    """Read the rows of a query, in one transaction, which is one snapshot.

    :param inexactly: Columns of NUMERIC without precision, whose numbers may be none that a float can hold.
    :raises DatasetError: if a value does not fit its column's type.
    """
    sql = query.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True})
    done = 0
    try:
        connection.exec_driver_sql("BEGIN")
        for setting in _PRINTED:
            connection.exec_driver_sql(setting)
        with _copy(connection, f"COPY ({sql}) TO STDOUT (FORMAT csv, ENCODING 'UTF8')") as copy:
            rows = _Rows(copy)
            # Arrow reads ahead in a thread of its own, which must not use the connection after this one goes on.
            with (
                contextlib.closing(rows),
                contextlib.closing(_read(rows, schema, inexactly)) as read,
            ):
                for batch in read:
                    for start in range(0, batch.num_rows, batch_rows):
                        part = batch.slice(start, batch_rows)
                        yield _as(part, schema, inexactly, uri)
                        done += part.num_rows
        connection.exec_driver_sql("COMMIT")
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, DatasetError):
            raise
        # Arrow's message quotes the value.
        raise DatasetError(
            f"'{uri}': a value in rows {done + 1} and following does not fit its column's type"
        ) from None


def copy_in(connection: sa.Connection, table: sa.Table, batch: pa.RecordBatch) -> None:
    """Add the rows of a batch to a table with the same columns."""
    prepared = _DIALECT.identifier_preparer
    named = prepared.format_table(table)
    columns = ", ".join(prepared.quote(name) for name in batch.schema.names)
    options = pa_csv.WriteOptions(include_header=False, quoting_style="needed")
    text = io.BytesIO()
    pa_csv.write_csv(_as_text(batch), text, options)
    sql = f"COPY {named} ({columns}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')"
    with _copy(connection, sql) as copy:
        copy.write(text.getvalue())


@contextlib.contextmanager
def _copy(connection: sa.Connection, sql: str) -> Iterator[Any]:
    """COPY on a connection; the driver's errors become SQLAlchemy's, as for every other statement."""
    import psycopg

    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(sql) as copy:
            yield copy
    except psycopg.Error as error:
        raise DBAPIError.instance(
            sql, None, error, psycopg.Error, hide_parameters=True, dialect=connection.dialect
        ) from None


class _Rows:
    """What COPY sends, as a file that ends when it is closed."""

    def __init__(self, copy: Any) -> None:
        self._copy, self._rest, self._lock = iter(copy), b"", threading.Lock()
        self.closed = False

    def close(self) -> None:
        """Read no more; waits until no other thread does."""
        with self._lock:
            self.closed = True

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            if self.closed:
                return b""
            parts, found = [self._rest], len(self._rest)
            while size < 0 or found < size:
                part = next(self._copy, None)
                if part is None:
                    break
                parts.append(part)
                found += len(part)
            whole = b"".join(parts)
            self._rest = b"" if size < 0 else whole[size:]
            return whole if size < 0 else whole[:size]

    def is_empty(self) -> bool:
        """Whether there is not one row."""
        self._rest = self.read(1) + self._rest
        return not self._rest


def _read(
    rows: _Rows, schema: pa.Schema, inexactly: frozenset[str]
) -> Generator[pa.RecordBatch, None, None]:
    if rows.is_empty():
        return
    # By position: two columns may have one name after Arrow's renaming, and names need no quoting here.
    names = [str(i) for i in range(len(schema))]
    reading = pa_csv.ReadOptions(column_names=names, block_size=_BLOCK, use_threads=False)
    parsing = pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    converting = pa_csv.ConvertOptions(
        column_types={
            name: pa.string() if _by_text(field, inexactly) else field.type
            for name, field in zip(names, schema, strict=True)
        },
        null_values=[""],
        true_values=["t"],
        false_values=["f"],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    with pa_csv.open_csv(pa.PythonFile(rows, "r"), reading, parsing, converting) as reader:
        yield from reader


def _by_text(field: pa.Field, inexactly: frozenset[str]) -> bool:
    return field.name in inexactly or pa.types.is_binary(field.type)


def _as(
    batch: pa.RecordBatch, schema: pa.Schema, inexactly: frozenset[str], uri: str
) -> pa.RecordBatch:
    arrays = [_value(a, f, inexactly, uri) for a, f in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _value(array: pa.Array, field: pa.Field, inexactly: frozenset[str], uri: str) -> pa.Array:
    if pa.types.is_binary(field.type):
        values = [None if v is None else bytes.fromhex(v[2:]) for v in array.to_pylist()]
        return pa.array(values, pa.binary())
    if field.name in inexactly:
        numbers = [None if v is None else Decimal(v) for v in array.to_pylist()]
        if any(inexact(number) for number in numbers):
            raise DatasetError(
                f"'{uri}', column '{field.name}': NUMERIC without precision holds numbers that no float "
                "can hold; declare it NUMERIC(precision, scale)"
            )
        return pa.array(numbers, pa.float64())
    return array


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with only such types as Arrow writes in a form that PostgreSQL reads."""
    arrays = []
    for array in batch.columns:
        kind = array.type
        if pa.types.is_dictionary(kind):
            array = array.dictionary_decode()
            kind = array.type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            values = [None if v is None else f"\\x{v.hex()}" for v in array.to_pylist()]
            array = pa.array(values, pa.string())
        elif pa.types.is_floating(kind):
            # A number in single precision has fewer digits than it is, as the column's double precision reads it.
            array = pc.cast(pc.cast(array, pa.float64()), pa.string())
        elif pa.types.is_decimal(kind) or pa.types.is_null(kind):
            array = pc.cast(array, pa.string())
        arrays.append(array)
    names = [str(i) for i in range(len(arrays))]
    return pa.RecordBatch.from_arrays(arrays, names=names)
