"""Tables in SQLite and PostgreSQL.

A replacement is staged in a temporary table of the writer's own connection, which the
database drops when the connection ends however it ends, and swapped in within one
transaction. Where the columns stay the same the table is kept (``DELETE`` and ``INSERT …
SELECT``), with its grants, indexes and views; where they change it is created anew.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from airflow_mlsec.datasets._connections import Connections
from airflow_mlsec.datasets._rows import Found
from airflow_mlsec.datasets._uri import (
    DatasetName,
    PostgresUri,
    SqliteUri,
    dataset_name,
)
from airflow_mlsec.errors import (
    ColumnMissing,
    ColumnType,
    DatasetError,
    DatasetNotFound,
    SettingError,
)

_INSERT_ROWS = 5_000
_KEYS = 500
_CASCADES = ("CASCADE", "SET NULL", "SET DEFAULT")


@dataclass(frozen=True)
class SqlDataset:
    """One table. Connections are opened per use and never shared over a fork."""

    uri: str
    name: DatasetName
    schema_name: str | None
    table_name: str
    url: sa.URL = field(repr=False)
    dialect: str = "sqlite"

    @classmethod
    def sqlite(cls, parsed: SqliteUri) -> SqlDataset:
        url = sa.URL.create("sqlite", database=parsed.database)
        return cls(str(parsed), parsed.name(), None, parsed.table, url)

    @classmethod
    def postgres(cls, parsed: PostgresUri, connections: Connections) -> SqlDataset:
        try:
            url = sa.make_url(connections.sql_url(parsed.conn_id))
        except (SQLAlchemyError, ValueError) as error:
            if isinstance(error, SettingError):
                raise
            raise SettingError(f"connection '{parsed.conn_id}' is not a database URL") from None
        url = url.set(drivername="postgresql+psycopg")
        if parsed.database:
            url = url.set(database=parsed.database)
        if url.host and url.host.startswith("%2F"):  # a socket's folder, as Airflow spells it
            url = url.set(host=unquote(url.host))
        socket = url.query.get("host")
        host = f"{url.host or socket or 'localhost'}:{url.port or 5432}"
        name = dataset_name(str(parsed), host, url.database)
        return cls(str(parsed), name, parsed.schema, parsed.table, url, "postgresql")

    def exists(self) -> bool:
        if self.dialect == "sqlite" and not Path(self.url.database or "").is_file():
            return False
        with self._connect() as connection:
            return sa.inspect(connection).has_table(self.table_name, schema=self.schema_name)

    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(name, _arrow_type(kind)) for name, kind in self._columns()])

    def scan(
        self, columns: Sequence[str] | None = None, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        found = dict(self._columns())
        wanted = list(found) if columns is None else list(columns)
        if missing := [name for name in wanted if name not in found]:
            raise ColumnMissing.among(missing, found, f"of '{self.uri}'")
        schema = pa.schema([pa.field(name, _arrow_type(found[name])) for name in wanted])
        values = self._values(found)
        query = sa.select(*(values[name].label(name) for name in wanted))
        with self._connect() as connection:
            yield from _read(connection, query, schema, batch_rows, self.uri)

    def find_in(self, column: str, values: Sequence[object], keep: bool = True) -> Found:
        found, table = Found(), dict(self._columns())
        target = self._named(table)
        columns = {name: _value(target.c[name], kind) for name, kind in table.items()}
        names = list(table) if keep else [column]
        schema = pa.schema([pa.field(name, _arrow_type(table[name])) for name in names])
        with self._connect() as connection:
            for part in self._matching(column, values, table, target):
                if not keep:
                    query = sa.select(sa.func.count()).select_from(target).where(part)
                    found.rows += connection.execute(query).scalar_one()
                    continue
                rows = sa.select(*(columns[name].label(name) for name in names)).where(part)
                for batch in _read(connection, rows, schema, 65_536, self.uri):
                    found.batches.append(batch)
                    found.rows += batch.num_rows
        found.rows_read = found.rows
        return found

    def delete_in(
        self,
        column: str,
        values: Sequence[object],
        unless: tuple[str, Sequence[object]] | None = None,
    ) -> int:
        table, removed = dict(self._columns()), 0
        target = self._named(table)
        parts = self._matching(column, values, table, target)
        staying = self._matching(*unless, table, target) if unless else []
        with self._connect(write=True) as connection:
            if self.dialect == "sqlite":
                # Deleted rows are overwritten, not only unlinked; and parents keep their children.
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
                connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if self.dialect == "sqlite" else "BEGIN")
            try:
                for part in parts:
                    kept = sa.and_(
                        part, *(sa.func.coalesce(sa.not_(s), sa.true()) for s in staying)
                    )
                    self._refuse_cascades(connection, target, kept)
                    removed += connection.execute(sa.delete(target).where(kept)).rowcount
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            if parts:
                # Also if nothing was removed: an earlier try may have ended before it came to this.
                self._purge(connection)
        return removed

    def _named(self, table: Mapping[str, Any]) -> sa.TableClause:
        named = [sa.column(name, kind) for name, kind in table.items()]
        return sa.table(self.table_name, *named, schema=self.schema_name)

    def _matching(
        self,
        column: str,
        values: Sequence[object],
        table: Mapping[str, Any],
        target: sa.TableClause,
    ) -> list[sa.ColumnElement[bool]]:
        """Conditions that together are true of the rows with one of the values. A column of SQLite
        holds values of any type, so that texts are compared with what it prints as well."""
        if column not in table:
            raise ColumnMissing.among([column], table, f"of '{self.uri}'")
        kind, typed = _arrow_type(table[column]), []
        for value in values:
            with contextlib.suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
                typed.append(pa.array([value], kind)[0].as_py())
        parts: list[sa.ColumnElement[bool]] = [
            _value(target.c[column], table[column]).in_(typed[start : start + _KEYS])
            for start in range(0, len(typed), _KEYS)
        ]
        texts = [value for value in values if isinstance(value, str)]
        if self.dialect == "sqlite" and texts:
            printed = sa.cast(target.c[column], sa.Text)
            loose = [printed.in_(texts[i : i + _KEYS]) for i in range(0, len(texts), _KEYS)]
            return [sa.or_(*parts, *loose)]
        return parts

    def _refuse_cascades(
        self, connection: sa.Connection, target: sa.TableClause, condition: sa.ColumnElement[bool]
    ) -> None:
        """Rows of other tables must not go, or change, with these: they may have to be kept.

        :raises DatasetError: if some would.
        """
        for name, columns, referred, action in self._referring(connection):
            if action not in _CASCADES:
                continue
            child = sa.table(name, *(sa.column(c) for c in columns), schema=self.schema_name)
            pairs = zip(columns, referred, strict=True)
            joined = sa.and_(*(child.c[one] == target.c[other] for one, other in pairs))
            query = sa.select(sa.func.count()).select_from(child)
            gone = sa.select(sa.literal(1)).select_from(target).where(joined, condition)
            if rows := connection.execute(query.where(sa.exists(gone))).scalar_one():
                raise DatasetError(
                    f"'{self.uri}': {rows} rows of table '{name}' refer to these rows and would change "
                    f"with them (ON DELETE {action}); erase or settle those first"
                )

    def _referring(
        self, connection: sa.Connection
    ) -> Iterator[tuple[str, list[str], list[str], str]]:
        """Foreign keys to this table: child table, its columns, ours, and the action on delete."""
        inspector = sa.inspect(connection)
        own = inspector.get_pk_constraint(self.table_name, schema=self.schema_name)
        for name in inspector.get_table_names(schema=self.schema_name):
            if self.dialect == "sqlite":
                quoted = connection.dialect.identifier_preparer.quote_identifier(name)
                found: dict[int, list[Any]] = {}
                for row in connection.exec_driver_sql(f"PRAGMA foreign_key_list({quoted})"):
                    if str(row[2]).lower() == self.table_name.lower():
                        found.setdefault(row[0], []).append(row)
                for rows in found.values():
                    keys = own["constrained_columns"]
                    referred = [row[4] or keys[row[1]] for row in rows]
                    yield name, [row[3] for row in rows], referred, str(rows[0][6]).upper()
                continue
            for key in inspector.get_foreign_keys(name, schema=self.schema_name):
                if key["referred_table"] == self.table_name:
                    action = str(key.get("options", {}).get("ondelete", "")).upper()
                    yield name, key["constrained_columns"], key["referred_columns"], action

    def _purge(self, connection: sa.Connection) -> None:
        """Leave nothing of deleted rows in the database's files.

        :raises DatasetError: if a reader keeps earlier rows alive.
        """
        if self.dialect == "sqlite":
            for step in (
                "PRAGMA wal_checkpoint(TRUNCATE)",
                "VACUUM",
                "PRAGMA wal_checkpoint(TRUNCATE)",
            ):
                outcome = connection.exec_driver_sql(step)
                row = outcome.fetchone() if outcome.returns_rows else None
                if row is not None and row[0] != 0:
                    raise DatasetError(
                        f"'{self.uri}': rows are deleted, but a reader keeps the database's log from being "
                        "emptied of them; end it and try again"
                    )
        else:
            name = connection.dialect.identifier_preparer.quote
            connection.exec_driver_sql(
                f"VACUUM {name(self.schema_name or 'public')}.{name(self.table_name)}"
            )

    def _columns(self) -> list[tuple[str, Any]]:
        if not self.exists():
            raise DatasetNotFound(f"no table at '{self.uri}'")
        with self._connect() as connection:
            columns = sa.inspect(connection).get_columns(self.table_name, schema=self.schema_name)
        return [(str(c["name"]), c["type"]) for c in columns]

    def _values(self, columns: Mapping[str, Any]) -> dict[str, sa.ColumnElement[Any]]:
        """The SQL of each column's value, the same for reading and for finding it."""
        named = [sa.column(name, kind) for name, kind in columns.items()]
        table = sa.table(self.table_name, *named, schema=self.schema_name)
        return {name: _value(table.c[name], kind) for name, kind in columns.items()}

    @contextlib.contextmanager
    def replacing(self, schema: pa.Schema) -> Iterator[StagedRows]:
        if self.dialect == "sqlite" and not Path(self.url.database or "").parent.is_dir():
            raise DatasetError(f"the folder of '{self.uri}' does not exist; create it first")
        same = self.exists() and self.schema().equals(_stored(schema))
        with self._connect(write=True) as connection:
            staged = StagedRows(self, connection, schema)
            yield staged
            self._swap(connection, staged, same)

    def privileges(self) -> list[tuple[str, str, str]]:
        """Who may do what with the table: (role, privilege, granted by).

        :raises DatasetNotFound: if the table does not exist.
        """
        if not self.exists():
            raise DatasetNotFound(f"no table at '{self.uri}'")
        query = sa.text(
            "SELECT coalesce(g.rolname, 'PUBLIC'), a.privilege_type, 'granted by ' || o.rolname "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, "
            "LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a "
            "LEFT JOIN pg_roles g ON g.oid = a.grantee JOIN pg_roles o ON o.oid = a.grantor "
            "WHERE n.nspname = :schema AND c.relname = :table"
        )
        names = {"schema": self.schema_name, "table": self.table_name}
        with self._connect() as connection:
            return [
                (str(a), str(b).lower(), str(c)) for a, b, c in connection.execute(query, names)
            ]

    def _swap(self, connection: sa.Connection, staged: StagedRows, same: bool) -> None:
        target = self._table(staged.schema)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if self.dialect == "sqlite" else "BEGIN")
        try:
            if same:
                connection.execute(sa.delete(target))
            else:
                target.drop(connection, checkfirst=True)
                target.create(connection)
            names = [column.name for column in target.columns]
            rows = sa.select(*(staged.table.c[name] for name in names))
            connection.execute(sa.insert(target).from_select(names, rows))
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise

    def _table(self, schema: pa.Schema) -> sa.Table:
        columns = [sa.Column(f.name, _sql_type(f, self.dialect), nullable=True) for f in schema]
        return sa.Table(self.table_name, sa.MetaData(), *columns, schema=self.schema_name)

    @contextlib.contextmanager
    def _connect(self, write: bool = False) -> Iterator[sa.Connection]:
        url, arguments = self.url, {}
        if self.dialect == "sqlite":
            arguments["timeout"] = 60
            if not write:
                # A reader must not create an empty database.
                url = url.set(
                    database=f"file:{_quoted(url.database)}",
                    query={"mode": "ro", "uri": "true"},
                )
        engine = sa.create_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            connect_args=arguments,
        )
        try:
            with engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise DatasetError(f"'{self.uri}': the database refused ({_reason(error)})") from None
        finally:
            engine.dispose()


class StagedRows:
    """The rows in a temporary table that only this connection sees."""

    def __init__(self, dataset: SqlDataset, connection: sa.Connection, schema: pa.Schema) -> None:
        self.schema = schema
        self._dataset = dataset
        self._connection = connection
        self.table = sa.Table(
            f"mlsec_staged_{secrets.token_hex(6)}",
            sa.MetaData(),
            *(sa.Column(f.name, _sql_type(f, dataset.dialect), nullable=True) for f in schema),
            prefixes=["TEMPORARY"],
        )
        self.table.create(connection, checkfirst=False)

    def write(self, batch: pa.RecordBatch) -> None:
        if self._dataset.dialect == "postgresql":
            _refuse_nul(batch, self._dataset.uri)
        insert, batch = sa.insert(self.table), _in_utc(batch)
        try:
            self._connection.exec_driver_sql("BEGIN")
            for start in range(0, batch.num_rows, _INSERT_ROWS):
                self._connection.execute(insert, batch.slice(start, _INSERT_ROWS).to_pylist())
            self._connection.exec_driver_sql("COMMIT")
        except (ValueError, TypeError, OverflowError) as error:
            raise DatasetError(
                f"'{self._dataset.uri}': a value is out of the range that the database's type has "
                f"({type(error).__name__})"
            ) from None

    def scan(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        schema = (
            self.schema if columns is None else pa.schema([self.schema.field(c) for c in columns])
        )
        query = sa.select(*(self.table.c[name] for name in schema.names))
        yield from _read(self._connection, query, schema, 65_536, self._dataset.uri)


def _value(column: sa.ColumnElement[Any], kind: Any) -> sa.ColumnElement[Any]:
    if isinstance(kind, sa.CHAR) and not isinstance(kind, sa.VARCHAR):
        return sa.func.rtrim(sa.cast(column, sa.Text), type_=sa.Text())
    if _arrow_type(kind) == pa.string() and not isinstance(kind, sa.String):
        # UUIDs, addresses, JSON, columns without a type: as the database prints them.
        return sa.cast(column, sa.Text)
    return column


def _read(
    connection: sa.Connection,
    query: sa.Select[Any],
    schema: pa.Schema,
    batch_rows: int,
    uri: str,
) -> Iterator[pa.RecordBatch]:
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
    if pa.types.is_floating(field.type) and any(_inexact(value) for value in values):
        raise DatasetError(
            f"'{uri}', column '{field.name}': NUMERIC without precision holds numbers that no float "
            "can; declare it NUMERIC(precision, scale)"
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


def _inexact(value: object) -> bool:
    return isinstance(value, Decimal) and value.is_finite() and Decimal(repr(float(value))) != value


def _arrow_type(kind: Any) -> pa.DataType:
    if isinstance(kind, sa.Boolean):
        return pa.bool_()
    if isinstance(kind, sa.Integer):
        return pa.int64()
    if isinstance(kind, sa.Float):
        return pa.float64()
    if isinstance(kind, sa.Numeric):
        if kind.precision and kind.precision <= 38:
            return pa.decimal128(kind.precision, kind.scale or 0)
        return pa.float64()
    if isinstance(kind, sa.DateTime):
        return pa.timestamp("us", "UTC" if kind.timezone else None)
    if isinstance(kind, sa.Date):
        return pa.date32()
    if isinstance(kind, sa.Time):
        return pa.time64("us")
    if isinstance(kind, sa.LargeBinary):
        return pa.binary()
    return pa.string()


def _sql_type(field: pa.Field, dialect: str) -> Any:
    kind = field.type
    if pa.types.is_boolean(kind):
        return sa.Boolean()
    if pa.types.is_integer(kind):
        return sa.BigInteger()
    if pa.types.is_floating(kind):
        return sa.Double() if dialect == "postgresql" else sa.Float()
    if pa.types.is_decimal(kind):
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


def _stored(schema: pa.Schema) -> pa.Schema:
    """The schema as it reads back from the database."""
    return pa.schema([pa.field(f.name, _arrow_type(_sql_type(f, "postgresql"))) for f in schema])


def _in_utc(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times with a zone in UTC: SQLite keeps the clock's reading and forgets the zone."""
    arrays = [
        a.cast(pa.timestamp(a.type.unit, "UTC"))
        if pa.types.is_timestamp(a.type) and a.type.tz
        else a
        for a in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _refuse_nul(batch: pa.RecordBatch, uri: str) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if text and pc.any(pc.match_substring(column, "\0")).as_py():
            raise DatasetError(
                f"'{uri}', column '{name}': PostgreSQL text cannot hold a NUL character; "
                "write to Parquet, or remove it from the source"
            )


def _quoted(path: str | None) -> str:
    return (path or "").replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _reason(error: SQLAlchemyError) -> str:
    """What went wrong, without the driver's message, which may quote a row."""
    original = getattr(error, "orig", None)
    state = getattr(original, "sqlstate", None)
    name = type(original or error).__name__
    return f"{name}, SQLSTATE {state}" if state else name
