"""Tables in SQLite and PostgreSQL.

A replacement is staged in a temporary table of the writer's own connection, which the
database drops when the connection ends, however it ends, and swapped in within one
transaction (``DELETE`` and ``INSERT … SELECT``). The table is kept, with its grants, indexes and views; if the columns
change, it is altered (`_alter`).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from airflow_mlsec import databases, files
from airflow_mlsec.datasets._found import SINGLE, Announce, Condition, Found
from airflow_mlsec.datasets.sql._alter import (
    Alteration,
    alteration,
    refuse_long_names,
    refuse_lost_columns,
)
from airflow_mlsec.datasets.sql._copy import copy_in, copy_out
from airflow_mlsec.datasets.sql._references import (
    alone,
    count_of,
    is_view,
    leaves,
    lock_out_readers,
    refers_to_no_key,
    refuse_cascades,
    refuse_left,
    refuse_views,
    side_effects,
    warnings_of,
)
from airflow_mlsec.datasets.sql._values import (
    arrow_type,
    as_stored,
    in_utc,
    is_loose,
    printed_as,
    quoted_path,
    read_rows,
    refuse_finer,
    refuse_nul,
    rows_as_stored,
    sql_type,
    sql_value,
)
from airflow_mlsec.errors import (
    ColumnMissing,
    DatabaseUnavailable,
    DatasetError,
    DatasetNotFound,
)
from airflow_mlsec.naming import DatasetName

log = logging.getLogger(__name__)
# Types whose values are all that PostgreSQL has of theirs.
_EXACT = (pa.string(), pa.bool_(), pa.int64(), pa.binary())

_INSERT_ROWS = 5_000
_KEYS = 500


# How long to wait for another writer or reader of a SQLite file, in seconds.
_PATIENCE = 60


@dataclass(frozen=True)
class SqlDataset:
    """One table. Connections are opened per use and never shared across a fork.

    :ivar dialect: ``sqlite`` or ``postgresql``.
    """

    uri: str
    name: DatasetName
    schema_name: str | None
    table_name: str
    url: sa.URL = field(repr=False)
    dialect: str

    def without(self, paths: Sequence[str]) -> SqlDataset:
        del paths
        return self

    def exists(self) -> bool:
        if self.dialect == "sqlite" and not Path(self.url.database or "").is_file():
            return False
        with self._connect() as connection:
            return sa.inspect(connection).has_table(self.table_name, schema=self.schema_name)

    def schema(self) -> pa.Schema:
        return pa.schema([_field(name, kind) for name, kind in self._columns()])

    def scan(
        self, columns: Sequence[str] | None = None, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        found = dict(self._columns())
        wanted = list(found) if columns is None else list(columns)
        if missing := [name for name in wanted if name not in found]:
            raise ColumnMissing.among(missing, found, f"of '{self.uri}'", found)
        # Rows without any column still count.
        read = wanted or list(found)[:1]
        schema = pa.schema([pa.field(name, arrow_type(found[name])) for name in read])
        values = self._values(found)
        query = sa.select(*(values[name].label(name) for name in read))
        with self._connect() as connection:
            if self.dialect == "postgresql":
                loose = frozenset(name for name in read if is_loose(found[name]))
                batches = copy_out(connection, query, schema, batch_rows, self.uri, loose)
            else:
                batches = read_rows(connection, query, schema, batch_rows, self.uri)
            # Before the connection, if whoever reads stops early.
            with contextlib.closing(batches):
                for batch in batches:
                    yield batch.select(wanted)

    def find_in(
        self,
        column: str,
        values: Sequence[object],
        keep: bool = True,
        also: Sequence[Condition] = (),
    ) -> Found:
        try:
            return self._find(column, values, keep, also, ())
        except DatasetError as error:
            if self.dialect != "postgresql" or error.retry or isinstance(error, ColumnMissing):
                raise
            # A row may have what no type here can hold, such as a date that is infinite. It is the person's all the same.
            table = dict(self._columns())
            as_text = [name for name, kind in table.items() if arrow_type(kind) not in _EXACT]
            if not (keep and as_text):
                raise
            return self._find(column, values, keep, also, as_text)

    def _find(
        self,
        column: str,
        values: Sequence[object],
        keep: bool,
        also: Sequence[Condition],
        as_text: Collection[str],
    ) -> Found:
        """See `find_in`; some columns as the database prints them."""
        found, table = Found(), dict(self._columns())
        target = self._named(table)
        columns = {name: sql_value(target.c[name], kind) for name, kind in table.items()}
        columns |= {name: sa.cast(target.c[name], sa.Text) for name in as_text}
        names = list(table) if keep else [column]
        kinds = {n: pa.string() if n in as_text else arrow_type(table[n]) for n in names}
        schema = pa.schema([pa.field(name, kinds[name]) for name in names])
        with self._connect() as connection:
            for part in self._meant(column, values, also, table, target):
                if not keep:
                    query = sa.select(sa.func.count()).select_from(target).where(part)
                    found.rows += connection.execute(query).scalar_one()
                    continue
                rows = sa.select(*(columns[name].label(name) for name in names)).where(part)
                for batch in read_rows(connection, rows, schema, 65_536, self.uri):
                    found.batches.append(batch)
                    found.rows += batch.num_rows
        found.rows_read = found.rows
        return found

    def delete_in(
        self,
        column: str,
        values: Sequence[object],
        also: Sequence[Condition] = (),
        announce: Announce | None = None,
    ) -> int:
        table = dict(self._columns())
        target = self._named(table)
        parts = self._meant(column, values, also, table, target)

        def delete(connection: sa.Connection, part: sa.ColumnElement[bool]) -> int:
            refuse_views(self, connection)
            refuse_cascades(self, connection, target, part)
            rows = alone(self, connection, sa.delete(target).where(part), target, part)
            refuse_left(self, connection, target, part, rows)
            return rows

        return self._in_one_transaction(parts, delete, announce)

    def update_in(
        self,
        column: str,
        values: Sequence[object],
        changes: Mapping[str, object],
        also: Sequence[Condition] = (),
        announce: Announce | None = None,
    ) -> int:
        table = dict(self._columns())
        if missing := [name for name in changes if name not in table]:
            raise ColumnMissing.among(missing, table, f"of '{self.uri}'", table)
        target = self._named(table)
        parts = self._meant(column, values, also, table, target)

        def change(connection: sa.Connection, part: sa.ColumnElement[bool]) -> int:
            refuse_views(self, connection)
            refuse_cascades(self, connection, target, part, changes)
            given = as_stored(connection, target, changes)
            update = sa.update(target).values({target.c[n]: value for n, value in given.items()})
            meant = count_of(connection, target, part)
            rows = alone(self, connection, update.where(part), target, part)
            if rows != meant:
                raise DatasetError(
                    f"'{self.uri}': {rows} of {meant} rows were changed, and none is now: a trigger or a rule of the table "
                    "keeps the others as they are, or somebody writes to them"
                )
            return rows

        return self._in_one_transaction(parts, change, announce)

    def _in_one_transaction(
        self,
        parts: list[sa.ColumnElement[bool]],
        step: Callable[[sa.Connection, sa.ColumnElement[bool]], int],
        announce: Announce | None,
    ) -> int:
        """Change the rows of all parts, and leave no trace of their earlier content."""
        with self._connect(write=True) as connection:
            if self.dialect == "sqlite":
                # Deleted rows are overwritten, not only unlinked; and foreign keys are enforced.
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
                connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            try:
                done = self._try(connection, parts, step, announce)
            except OperationalError as error:
                if not refers_to_no_key(error):
                    raise
                # A foreign key to columns without a unique index: nothing is deleted along with rows, and nothing could
                # be deleted while foreign keys are enforced.
                connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
                done = self._try(connection, parts, step, announce)
            rows, transaction = done
            # Even if nothing changed: an earlier try may have ended before reaching this.
            self._purge(connection, transaction)
        return rows

    def _try(
        self,
        connection: sa.Connection,
        parts: list[sa.ColumnElement[bool]],
        step: Callable[[sa.Connection, sa.ColumnElement[bool]], int],
        announce: Announce | None,
    ) -> tuple[int, str | None]:
        """Change the rows of all parts in one transaction; returns how many, and its id in PostgreSQL."""
        transaction = None
        connection.exec_driver_sql("BEGIN IMMEDIATE" if self.dialect == "sqlite" else "BEGIN")
        try:
            if self.dialect == "sqlite" and announce is not None:
                # Nobody else writes from here on, and what is changed may lock out readers.
                announce(None)
            rows = sum(step(connection, part) for part in parts)
            if self.dialect == "postgresql":
                current = sa.text("SELECT pg_current_xact_id()::xid::text")
                transaction = connection.execute(current).scalar_one()
                if announce is not None:
                    announce(None)
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        return rows, transaction

    def _meant(
        self,
        column: str,
        values: Sequence[object],
        also: Sequence[Condition],
        table: Mapping[str, Any],
        target: sa.TableClause,
    ) -> list[sa.ColumnElement[bool]]:
        """Conditions, each of which also requires every other one."""
        others: list[sa.ColumnElement[bool]] = []
        for condition in also:
            parts = self._matching(condition.column, condition.values, table, target)
            if condition.has:
                others.append(sa.or_(sa.false(), *parts))
            else:
                others += [sa.func.coalesce(sa.not_(part), sa.true()) for part in parts]
        return [sa.and_(part, *others) for part in self._matching(column, values, table, target)]

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
        """Conditions that together are true for the rows with one of the values. A column of SQLite
        holds values of any type, so texts are also compared with what a value prints as."""
        if column not in table:
            raise ColumnMissing.among([column], table, f"of '{self.uri}'", table)
        if isinstance(table[column], sa.Uuid):
            values = [_uuid(value) for value in values]
        kind, typed = arrow_type(table[column]), []
        for value in values:
            with contextlib.suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
                typed.append(pa.array([value], kind)[0].as_py())
        parts: list[sa.ColumnElement[bool]] = [
            sql_value(target.c[column], table[column]).in_(typed[start : start + _KEYS])
            for start in range(0, len(typed), _KEYS)
        ]
        texts = [value for value in values if isinstance(value, str)]
        if self.dialect == "sqlite" and texts:
            if arrow_type(table[column]) == pa.string():
                parts = []  # the texts are all that could be meant
            loose = [printed_as(column, texts[i : i + _KEYS]) for i in range(0, len(texts), _KEYS)]
            return [sa.or_(*parts, *loose)]
        return parts

    def _purge(self, connection: sa.Connection, transaction: str | None) -> None:
        """Clear the database's files of rows that were deleted up to a transaction of PostgreSQL.

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
            # Queried first: a transaction that ends after it has kept the rows from being removed.
            kept_by = self._earlier_readers(connection, transaction)
            dead = sa.text("SELECT pg_stat_get_dead_tuples(CAST(:table AS regclass))")
            # Rows are in its partitions, and in what inherits from it.
            for table in leaves(self, connection):
                # Else keys of few dead rows would stay in indexes, and frequent values in the planner's statistics.
                with warnings_of(connection) as said:
                    connection.exec_driver_sql(f"VACUUM (INDEX_CLEANUP ON) {table}")
                if said:
                    raise DatasetError(
                        f"'{self.uri}': rows are deleted, and stay in the table's file: this role may not vacuum it; "
                        f"let its owner run VACUUM (INDEX_CLEANUP ON) {table}, or grant MAINTAIN, and try again"
                    )
                if kept_by and connection.execute(dead, {"table": table}).scalar_one():
                    raise DatasetError(f"'{self.uri}': rows are deleted, but {kept_by}")
                # Not earlier: it would count rows that a reader keeps alive as gone.
                connection.exec_driver_sql(f"ANALYZE {table}")

    def _earlier_readers(self, connection: sa.Connection, transaction: str | None) -> str | None:
        """What may still see rows that were deleted up to a transaction, and what to do about it."""
        query = sa.text(
            "SELECT count(*) FILTER (WHERE age(backend_xmin) >= age(CAST(:transaction AS xid))), "
            "count(*) FILTER (WHERE query = '<insufficient privilege>') "
            "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            # Vacuuming keeps nothing alive.
            "AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)"
        )
        earlier, hidden = connection.execute(query, {"transaction": transaction}).one()
        if earlier:
            return "a transaction that began before keeps them in the table's file; end it and try again"
        if hidden:
            return (
                "it cannot be seen whether a transaction of another role keeps them in the table's file; grant "
                "pg_read_all_stats, or try again"
            )
        return None

    def is_view(self) -> bool:
        with self._connect() as connection:
            return is_view(self, connection)

    def side_effects(self) -> list[str]:
        """What may keep deleted rows, or does something when rows are deleted: triggers, materialized views."""
        with self._connect() as connection:
            return side_effects(self, connection)

    def digest(self) -> str | None:
        return None

    def _columns(self) -> list[tuple[str, Any]]:
        if not self.exists():
            raise DatasetNotFound(f"no table at '{self.uri}'")
        with self._connect() as connection:
            return [(str(c["name"]), c["type"]) for c in self._described(connection)]

    def _described(self, connection: sa.Connection) -> list[Any]:
        """The columns of the table as it is now."""
        return sa.inspect(connection).get_columns(self.table_name, schema=self.schema_name)

    def _values(self, columns: Mapping[str, Any]) -> dict[str, sa.ColumnElement[Any]]:
        """The SQL of each column's value, the same for reading and for finding it."""
        named = [sa.column(name, kind) for name, kind in columns.items()]
        table = sa.table(self.table_name, *named, schema=self.schema_name)
        return {name: sql_value(table.c[name], kind) for name, kind in columns.items()}

    @contextlib.contextmanager
    def replacing(self, schema: pa.Schema) -> Iterator[StagedRows]:
        if self.dialect == "sqlite" and not Path(self.url.database or "").parent.is_dir():
            raise DatasetError(f"the folder of '{self.uri}' does not exist; create it first")
        if self.dialect == "postgresql":
            refuse_long_names(self.uri, schema.names)
        with self._connect(write=True) as connection:
            if self.exists():
                alteration(
                    self, connection, schema, trial=True
                )  # refused before any work, if it is
            staged = StagedRows(self, connection, schema)
            with staged.held:
                yield staged
                staged.reserve()
                replaced = self._swap(connection, staged)
            if replaced and self.dialect == "postgresql":
                self._tidy(connection)

    def require_replaceable(self, columns: Collection[str]) -> None:
        """Refuse what `replacing` would refuse, as far as the names of the columns show it.

        :raises DatasetError: if the table could not take the rows without losing something.
        """
        if self.dialect == "postgresql":
            refuse_long_names(self.uri, columns)
        if self.exists():
            with self._connect() as connection:
                refuse_lost_columns(self, connection, columns)

    def connect(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """A connection on which the server's catalogues can be read."""
        return self._connect()

    @contextlib.contextmanager
    def held(self, connection: sa.Connection) -> Iterator[None]:
        """Be the only one that replaces the table. Readers do not have to wait, unless columns change, nor do writers
        elsewhere in the database: the register may be there."""
        if self.dialect == "sqlite":
            database = Path(self.url.database or "")
            name = hashlib.sha256(self.table_name.encode()).hexdigest()[:16]
            with files.locked(database.with_name(f".{database.name}.{name}.lock")):
                connection.exec_driver_sql("BEGIN")
                yield
            return
        target = self._table(pa.schema([]))
        named = connection.dialect.identifier_preparer.format_table(target)
        # Without it, each of two writers would remove the rows that it sees, and add its own to the other's. If two
        # create a new table, the database refuses one.
        connection.exec_driver_sql("BEGIN")
        if self.exists():
            connection.exec_driver_sql(f"LOCK TABLE {named} IN EXCLUSIVE MODE")
        yield

    def _swap(self, connection: sa.Connection, staged: StagedRows) -> bool:
        """Put the staged rows in the place of the table's; returns whether there was a table."""
        target = self._table(staged.schema)
        try:
            there = self.exists()
            if there:
                # Again: somebody may have changed the table meanwhile.
                found = alteration(self, connection, staged.schema)
                if found.changes and self.dialect == "postgresql":
                    lock_out_readers(self, connection)
                refuse_cascades(self, connection, target, sa.true())
                rows_gone = alone(self, connection, sa.delete(target), target, sa.true())
                refuse_left(self, connection, target, sa.true(), rows_gone)
                self._alter(connection, target, found)
            else:
                target.create(connection)
            names = [column.name for column in target.columns]
            kinds = (
                {str(c["name"]): c["type"] for c in self._described(connection)} if there else {}
            )
            rows = sa.select(*rows_as_stored(connection, target, staged.table, kinds, self.uri))
            connection.execute(sa.insert(target).from_select(names, rows))
            meant = count_of(connection, staged.table, sa.true())
            if (done := count_of(connection, target, sa.true())) != meant:
                raise DatasetError(
                    f"'{self.uri}': {done} rows would be there, and {meant} were written: a trigger or a rule of the table changes "
                    "what is put into it; nothing was replaced"
                )
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        return there

    def _alter(self, connection: sa.Connection, target: sa.Table, found: Alteration) -> None:
        if found.dropped:
            log.warning(
                "'%s': columns %s are dropped: the rows do not have them any more, and nothing depends on them",
                self.uri,
                ", ".join(f"'{name}'" for name in found.dropped),
            )
        if found.is_anew(connection.dialect):
            target.drop(connection)
            target.create(connection)
            return
        named = connection.dialect.identifier_preparer.format_table(target)
        for statement in found.statements(connection.dialect, named):
            connection.exec_driver_sql(statement)

    def _tidy(self, connection: sa.Connection) -> None:
        """Remove the rows that were replaced from the table's files, and count the new ones for the planner. The new rows
        are published already, so what does not succeed is only said."""
        for table in leaves(self, connection):
            try:
                with warnings_of(connection) as said:
                    connection.exec_driver_sql(f"VACUUM (ANALYZE) {table}")
            except SQLAlchemyError as error:
                said = [databases.described(error, self.url)]
            if said:
                log.warning(
                    "'%s': the rows that were replaced stay in the table's files as dead rows until it is vacuumed: this role may "
                    "not do that (%s); let its owner run VACUUM (ANALYZE), or grant MAINTAIN",
                    self.uri,
                    ", ".join(said),
                )

    def _table(self, schema: pa.Schema) -> sa.Table:
        columns = [sa.Column(f.name, sql_type(f, self.dialect), nullable=True) for f in schema]
        return sa.Table(self.table_name, sa.MetaData(), *columns, schema=self.schema_name)

    @contextlib.contextmanager
    def _connect(self, write: bool = False) -> Iterator[sa.Connection]:
        url, arguments = self.url, {}
        if self.dialect == "sqlite":
            arguments["timeout"] = _PATIENCE
            if not write:
                # A reader must not create an empty database, but it may have to roll
                # back what a killed writer left, which "ro" refuses.
                url = url.set(
                    database=f"file:{quoted_path(url.database)}",
                    query={"mode": "rw", "uri": "true"},
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
                if self.dialect == "sqlite" and not write:
                    connection.exec_driver_sql("PRAGMA query_only = ON")
                if self.dialect == "postgresql":
                    # Rows that a policy hides from this role would be missing: the database refuses instead.
                    connection.exec_driver_sql("SET row_security = off")
                yield connection
        except SQLAlchemyError as error:
            what = databases.described(error, self.url)
            if databases.may_pass(error):
                raise DatabaseUnavailable(
                    f"'{self.uri}': the database is not available ({what}); it may be later"
                ) from None
            raise DatasetError(f"'{self.uri}': the database refused ({what})") from None
        finally:
            engine.dispose()


def _field(name: str, kind: Any) -> pa.Field:
    """A column; single precision is marked, whatever type its values are read as."""
    single = {SINGLE: b"1"} if isinstance(kind, sa.REAL) else None
    return pa.field(name, arrow_type(kind), metadata=single)


def _uuid(value: object) -> object:
    """A UUID as the database prints it, however it was written."""
    with contextlib.suppress(ValueError):
        return str(uuid.UUID(str(value)))
    return value


class StagedRows:
    """The rows in a temporary table that only this connection sees."""

    def __init__(self, dataset: SqlDataset, connection: sa.Connection, schema: pa.Schema) -> None:
        self.schema = schema
        self._dataset = dataset
        self._connection = connection
        self.reserved = False
        # Until the rows are published.
        self.held = contextlib.ExitStack()
        self.table = sa.Table(
            f"mlsec_staged_{secrets.token_hex(6)}",
            sa.MetaData(),
            *(sa.Column(f.name, sql_type(f, dataset.dialect), nullable=True) for f in schema),
            prefixes=["TEMPORARY"],
        )
        self.table.create(connection, checkfirst=False)

    def write(self, batch: pa.RecordBatch) -> None:
        refuse_finer(batch, self._dataset.uri)
        batch = in_utc(batch)
        try:
            if self._dataset.dialect == "postgresql":
                refuse_nul(batch, self._dataset.uri)
                self._connection.exec_driver_sql("BEGIN")
                copy_in(self._connection, self.table, batch)
            else:
                insert = sa.insert(self.table)
                self._connection.exec_driver_sql("BEGIN")
                for start in range(0, batch.num_rows, _INSERT_ROWS):
                    self._connection.execute(insert, batch.slice(start, _INSERT_ROWS).to_pylist())
            self._connection.exec_driver_sql("COMMIT")
        except DatasetError:
            raise
        except (ValueError, TypeError, OverflowError) as error:
            raise DatasetError(
                f"'{self._dataset.uri}': a value is out of the range of the database's type "
                f"({type(error).__name__})"
            ) from None

    def reserve(self) -> None:
        if not self.reserved:
            self.reserved = True
            self.held.enter_context(self._dataset.held(self._connection))

    def digest(self) -> str | None:
        return None

    def scan(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        schema = (
            self.schema if columns is None else pa.schema([self.schema.field(c) for c in columns])
        )
        query = sa.select(*(self.table.c[name] for name in schema.names))
        read = copy_out if self._dataset.dialect == "postgresql" else read_rows
        rows = read(self._connection, query, schema, 65_536, self._dataset.uri)
        with contextlib.closing(rows):
            yield from rows
