"""Values and types between Arrow and the databases."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Generator, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import UserDefinedType

from airflow_mlsec.errors import ColumnType, DatasetError

# Of a decimal number that is read as such.
_DIGITS = 38


def sql_value(column: sa.ColumnElement[Any], kind: Any) -> sa.ColumnElement[Any]:
    if isinstance(kind, sa.CHAR) and not isinstance(kind, sa.VARCHAR):
        return sa.func.rtrim(sa.cast(column, sa.Text), type_=sa.Text())
    if isinstance(kind, postgresql.INET):
        # An address of one host is written without the size of its network.
        whole = sa.case((sa.func.family(column) == 4, 32), else_=128)
        text = sa.cast(column, sa.Text)
        return sa.case((sa.func.masklen(column) == whole, sa.func.host(column)), else_=text)
    if isinstance(kind, sa.JSON) and not isinstance(kind, sqlite.JSON):
        # A text in JSON without its quotation marks.
        return column.op("#>>", return_type=sa.Text())(sa.literal_column("'{}'::text[]"))
    if isinstance(kind, sa.REAL):
        # As it is printed and read, not the nearest number in double precision.
        return sa.cast(sa.cast(column, sa.Text), sa.Double)
    if arrow_type(kind) == pa.string() and not isinstance(kind, sa.String):
        # UUIDs, addresses, JSON, columns without a type: as the database prints them.
        return sa.cast(column, sa.Text)
    return column


class _Named(UserDefinedType[Any]):
    """A type of the database, by the name that it gives it."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """See SQLAlchemy."""
        return self.name


# Without its length: a cast to that would cut a value off, where putting it into the column is refused. `bit` alone is
# one bit.
_TYPES = (
    "SELECT attname, CASE atttypid WHEN 'bit'::regtype THEN 'bit varying' ELSE format_type(atttypid, NULL) END FROM pg_attribute "
    "WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped"
)


def as_stored(
    connection: sa.Connection, target: sa.TableClause, changes: Mapping[str, object]
) -> dict[str, Any]:
    """Values that are given as the database prints them, for columns that are no text: it reads them as their own types. A
    driver would make a JSON text of what is JSON, and an array of a text's characters."""
    odd = {n for n, v in changes.items() if isinstance(v, str) and _is_odd(target.c[n].type)}
    if connection.dialect.name != "postgresql" or not odd:
        return dict(changes)
    kinds = _types_of(connection, target)
    return {
        name: _read_as(target.c[name], kinds[name], value) if name in odd else value
        for name, value in changes.items()
    }


def rows_as_stored(
    connection: sa.Connection,
    target: sa.TableClause,
    staged: sa.Table,
    there: Mapping[str, Any],
    uri: str,
) -> list[sa.ColumnElement[Any]]:
    """The columns of staged rows for a table's columns: texts for columns that are no text are read as the database would
    print them.

    :param there: The types of the table's columns, as SQLAlchemy knows them.
    :raises DatasetError: if some of the texts are no such values.
    """
    columns: dict[str, sa.ColumnElement[Any]] = {c.name: staged.c[c.name] for c in target.columns}
    odd = [n for n in columns if n in there and _is_odd(there[n])]
    if connection.dialect.name != "postgresql" or not odd:
        return [*columns.values()]
    kinds = _types_of(connection, target)
    for name in odd:
        text = columns[name]
        # Since PostgreSQL 16; before, the database says which type it is, and not in which column.
        if (connection.dialect.server_version_info or ()) >= (16,):
            wrong = sa.not_(sa.func.pg_input_is_valid(text, kinds[name]))
            query = sa.select(sa.func.count()).select_from(staged).where(wrong)
            if rows := connection.execute(query).scalar_one():
                raise DatasetError(
                    f"'{uri}': column '{name}' is of the type {kinds[name]} in the table, and the texts of {rows} rows there are "
                    "no such values; nothing was replaced. Make the column a text, or write to another table"
                )
        columns[name] = sa.cast(text, _Named(kinds[name]))
    return [*columns.values()]


def _is_odd(kind: Any) -> bool:
    """Whether a column's values are read as the database prints them, though they are no texts."""
    # An enumeration is a text to SQLAlchemy, and none to PostgreSQL.
    is_text = isinstance(kind, sa.String) and not isinstance(kind, sa.Enum)
    return arrow_type(kind) == pa.string() and not is_text


def _types_of(connection: sa.Connection, target: sa.TableClause) -> dict[str, str]:
    named = connection.dialect.identifier_preparer.format_table(target)
    return {str(n): str(k) for n, k in connection.execute(sa.text(_TYPES), {"table": named})}


def _read_as(column: sa.ColumnElement[Any], kind: str, value: object) -> sa.ColumnElement[Any]:
    text = sa.literal(value, sa.Text())
    if not isinstance(column.type, sa.JSON):
        return sa.cast(text, _Named(kind))
    # A text in JSON is printed without its quotation marks, and replaced by a text. Nothing of the row is added to the other
    # case: it would be computed when the query is planned, and a text is no JSON.
    of_row = sa.func.coalesce(sa.func.left(sa.cast(column, sa.Text()), 0), "")
    whole = sa.func.jsonb_typeof(sa.cast(column, _Named("jsonb")))
    quoted = sa.cast(sa.func.to_jsonb(text), _Named(kind))
    other = sa.cast(sa.func.concat(text, of_row), _Named(kind))
    return sa.case((whole == "string", quoted), else_=other)


def printed_as(column: str, texts: list[str]) -> sa.ColumnElement[bool]:
    """Whether a value of a SQLite column, of whatever type it is, prints as one of the texts.

    Comparing what ``CAST`` prints would read the whole table; values that could print this way are
    found through an index first.
    """
    # Without a type SQLAlchemy leaves the values as they are.
    raw: sa.ColumnElement[Any] = sa.column(column)
    whole = [int(text) for text in texts if re.fullmatch(r"-?[0-9]{1,18}", text)]
    candidates = [raw.in_(texts), raw.in_([text.encode() for text in texts])]
    if whole:
        candidates.append(raw.in_(whole))
    for text in texts:
        with contextlib.suppress(ValueError):
            number = float(text)
            if not math.isfinite(number):
                candidates.append(raw.in_([number]))
                continue
            # SQLite prints 15 digits.
            margin = abs(number) * 1e-14
            candidates.append(raw.between(number - margin, number + margin))
    # A column may be declared to compare without letter case or trailing spaces; a key is exact.
    printed = sa.cast(raw, sa.Text).collate("BINARY")
    return sa.and_(sa.or_(*candidates), printed.in_(texts))


def read_rows(
    connection: sa.Connection,
    query: sa.Select[Any],
    schema: pa.Schema,
    batch_rows: int,
    uri: str,
) -> Generator[pa.RecordBatch, None, None]:
    streaming = {"stream_results": True, "max_row_buffer": batch_rows}
    done = 0
    # A server-side cursor of PostgreSQL lives in a transaction, which is also one snapshot.
    snapshot = connection.dialect.name == "postgresql"
    try:
        if snapshot:
            connection.exec_driver_sql("BEGIN")
        result = connection.execute(query, execution_options=streaming)
        for rows in result.partitions(batch_rows):
            arrays = [
                _array([row[i] for row in rows], field, done, uri) for i, field in enumerate(schema)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            done += len(rows)
        if snapshot:
            connection.exec_driver_sql("COMMIT")
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"'{uri}': a value in rows {done + 1} and following does not fit its column's type"
        ) from None


def _array(values: list[Any], field: pa.Field, done: int, uri: str) -> pa.Array:
    if pa.types.is_floating(field.type) and any(inexact(value) for value in values):
        raise DatasetError(
            f"'{uri}', column '{field.name}': NUMERIC without precision holds numbers that no float "
            "can hold; declare it NUMERIC(precision, scale)"
        )
    try:
        if pa.types.is_string(field.type):
            values = [v if v is None or isinstance(v, str) else str(v) for v in values]
        return pa.array(values, field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        for number, value in enumerate(values, done + 1):
            try:
                pa.array([value], field.type)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                raise DatasetError(
                    f"'{uri}', column '{field.name}', row {number}: the value does not fit the "
                    f"column's type {field.type}"
                ) from None
        raise


def inexact(value: object) -> bool:
    return isinstance(value, Decimal) and value.is_finite() and Decimal(repr(float(value))) != value


def arrow_type(kind: Any) -> pa.DataType:
    if isinstance(kind, sa.Boolean):
        return pa.bool_()
    if isinstance(kind, sa.Integer):
        return pa.int64()
    if isinstance(kind, sa.Float):
        return pa.float64()
    if isinstance(kind, sa.Numeric):
        if kind.precision and kind.precision <= _DIGITS:
            return pa.decimal128(kind.precision, kind.scale or 0)
        return pa.float64()
    if isinstance(kind, sa.DateTime):
        return pa.timestamp("us", "UTC" if kind.timezone else None)
    if isinstance(kind, sa.Date):
        return pa.date32()
    if isinstance(kind, sa.Time):
        # A clock time with its zone is a text: no type of Arrow has both.
        return pa.string() if kind.timezone else pa.time64("us")
    if isinstance(kind, sa.LargeBinary):
        return pa.binary()
    return pa.string()


def is_loose(kind: Any) -> bool:
    """Whether it is NUMERIC without a precision that decimals have: its numbers are read as floats."""
    return (
        isinstance(kind, sa.Numeric)
        and not isinstance(kind, sa.Float)
        and arrow_type(kind) == pa.float64()
    )


def sql_type(field: pa.Field, dialect: str) -> Any:
    kind = field.type
    if pa.types.is_boolean(kind):
        return sa.Boolean()
    if pa.types.is_integer(kind):
        return sa.BigInteger()
    if pa.types.is_floating(kind):
        return sa.Double() if dialect == "postgresql" else sa.Float()
    if pa.types.is_decimal(kind):
        if kind.precision > _DIGITS:
            # It would be written, and could not be read again.
            raise ColumnType.unusable(field.name, kind, f"at most {_DIGITS} digits", "a table")
        return sa.Numeric(kind.precision, kind.scale)
    if pa.types.is_timestamp(kind):
        return sa.DateTime(timezone=kind.tz is not None)
    if pa.types.is_date(kind):
        return sa.Date()
    if pa.types.is_time(kind):
        return sa.Time()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return sa.LargeBinary()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return sa.Text()
    raise ColumnType.unusable(
        field.name, kind, "a plain text, number, date or binary type", "a table"
    )


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """The schema as it reads back from the database."""
    return pa.schema([pa.field(f.name, arrow_type(sql_type(f, "postgresql"))) for f in schema])


def in_utc(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times with a zone, converted to UTC: SQLite keeps the clock time and drops the zone."""
    arrays = [
        a.cast(pa.timestamp(a.type.unit, "UTC"))
        if pa.types.is_timestamp(a.type) and a.type.tz
        else a
        for a in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def refuse_finer(batch: pa.RecordBatch, uri: str) -> None:
    """Refuse times that a database would round: it keeps microseconds."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = column.type
        if not (pa.types.is_timestamp(kind) or pa.types.is_time(kind)) or kind.unit != "ns":
            continue
        number = column.cast(pa.int64())
        if not pc.all(pc.equal(pc.multiply(pc.divide(number, 1000), 1000), number)).as_py():
            raise DatasetError(
                f"'{uri}', column '{name}': a database keeps microseconds, and the values are finer; round them, or write to Parquet"
            )


def refuse_nul(batch: pa.RecordBatch, uri: str) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if text and pc.any(pc.match_substring(column, "\0")).as_py():
            raise DatasetError(
                f"'{uri}', column '{name}': PostgreSQL text cannot hold a NUL character; "
                "write to Parquet, or remove it from the source"
            )


def quoted_path(path: str | None) -> str:
    return (path or "").replace("%", "%25").replace("?", "%3f").replace("#", "%23")
