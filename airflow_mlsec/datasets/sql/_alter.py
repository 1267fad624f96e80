"""A table that takes rows with other columns than it has: altered in place, or refused by name before any work.

Nothing that others have put on the table is lost: grants, row security, comments, constraints, indexes, defaults, triggers
and views stay. New columns are added; a column whose type changes is altered; a column that the rows no longer have is
dropped, which is said, if nothing depends on it, and stays if it fills itself (a default, an identity, a generated
column). SQLite can only add columns; a table on which nobody has put anything is made anew.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from airflow_mlsec import databases
from airflow_mlsec.column_names import shown
from airflow_mlsec.datasets.sql._references import quoted_name, refuse_views
from airflow_mlsec.datasets.sql._values import arrow_type, sql_type, stored_schema
from airflow_mlsec.errors import DatasetError

if TYPE_CHECKING:
    from airflow_mlsec.datasets.sql._table import SqlDataset

_TRIAL = "mlsec_trial"
# Bytes of a name (NAMEDATALEN - 1).
_LONGEST = 63
_ADVICE = "drop that first, or write to another table"
# In the statement that made a table of SQLite.
_CONSTRAINT = re.compile(
    r"\b(PRIMARY\s+KEY|UNIQUE|CHECK|REFERENCES|GENERATED|NOT\s+NULL|COLLATE)\b|\b(STRICT|WITHOUT\s+ROWID)\s*\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Alteration:
    """What has to change before a table can take the rows.

    :ivar added: Columns by name, with their types.
    :ivar retyped: Columns by name, with their new types.
    :ivar dropped: Columns that the rows no longer have.
    """

    added: Mapping[str, Any]
    retyped: Mapping[str, Any]
    dropped: tuple[str, ...]

    @property
    def changes(self) -> bool:
        """Whether anything has to change."""
        return bool(self.added or self.retyped or self.dropped)

    def is_anew(self, dialect: sa.Dialect) -> bool:
        """Whether the table has to be made anew: SQLite alters neither types nor all columns."""
        return dialect.name == "sqlite" and bool(self.retyped or self.dropped)

    def statements(self, dialect: sa.Dialect, table: str) -> Iterator[str]:
        """The statements for a table without rows."""
        quote = dialect.identifier_preparer.quote
        for name in self.dropped:
            yield f"ALTER TABLE {table} DROP COLUMN {quote(name)}"
        for name, kind in self.added.items():
            yield f"ALTER TABLE {table} ADD COLUMN {quote(name)} {kind.compile(dialect)}"
        for name, kind in self.retyped.items():
            # There is no row whose value could be converted: `refuse_left` has seen to that.
            yield (
                f"ALTER TABLE {table} ALTER COLUMN {quote(name)} TYPE {kind.compile(dialect)} USING NULL"
            )


def alteration(
    dataset: SqlDataset, connection: sa.Connection, schema: pa.Schema, trial: bool = False
) -> Alteration:
    """What has to change in an existing table so that it takes rows of this schema.

    :param trial: Whether to try it on an empty copy, outside any transaction.
    :raises DatasetError: if it cannot take them without losing something; the message names it.
    """
    refuse_views(dataset, connection)
    _refuse_heirs(dataset, connection)
    there = _columns(dataset, connection)
    wanted = {field.name: field for field in stored_schema(schema)}
    kinds = {field.name: sql_type(field, dataset.dialect) for field in schema}
    if computed := [n for n in wanted if n in there and there[n].get("computed")]:
        raise DatasetError(f"'{dataset.uri}': the table computes column '{computed[0]}' itself; {_ADVICE}")  # fmt: skip
    added = {name: kinds[name] for name in wanted if name not in there}
    retyped = {
        name: kinds[name]
        for name, field in wanted.items()
        if name in there and arrow_type(there[name]["type"]) != field.type
    }
    found = Alteration(added, retyped, _dropped(there, wanted))
    if dataset.dialect == "sqlite":
        if found.is_anew(connection.dialect):
            _refuse_losses(dataset, connection, [*found.dropped, *found.retyped])
        return found
    _refuse_dependents(dataset, connection, found.dropped, "would be dropped", _USES)
    if retyped:
        _refuse_dependents(dataset, connection, retyped, "would change its type", _SHOWS)
        if trial:
            _try(dataset, connection, found)
    return found


def refuse_lost_columns(
    dataset: SqlDataset, connection: sa.Connection, names: Collection[str]
) -> None:
    """Refuse a table that could not take rows with these columns, whatever their types.

    :raises DatasetError: see `alteration`.
    """
    refuse_views(dataset, connection)
    _refuse_heirs(dataset, connection)
    dropped = _dropped(_columns(dataset, connection), names)
    if dataset.dialect != "sqlite":
        _refuse_dependents(dataset, connection, dropped, "would be dropped", _USES)
    elif dropped:
        _refuse_losses(dataset, connection, dropped)


def refuse_long_names(uri: str, columns: Collection[str]) -> None:
    """Refuse names that PostgreSQL would cut off: two columns could become one.

    :raises DatasetError: naming them.
    """
    if long := [name for name in columns if len(name.encode()) > _LONGEST]:
        raise DatasetError(
            f"'{uri}': PostgreSQL keeps {_LONGEST} bytes of a name, and {shown(long, columns)} "
            f"{'has' if len(long) == 1 else 'have'} more; choose shorter names"
        )


def _refuse_heirs(dataset: SqlDataset, connection: sa.Connection) -> None:
    """Refuse a table from which others inherit: deleting its rows deletes theirs, with columns that only they have."""
    if dataset.dialect != "postgresql":
        return
    query = sa.text(
        "SELECT i.inhrelid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = to_regclass(:table) AND NOT c.relispartition ORDER BY 1"
    )
    found = connection.execute(query, {"table": quoted_name(dataset, connection)}).scalars().first()
    if found is not None:
        raise DatasetError(
            f"'{dataset.uri}': table {found} inherits from it, and its rows would be deleted along with those that are replaced; "
            "write to another table"
        )


def _columns(dataset: SqlDataset, connection: sa.Connection) -> dict[str, Any]:
    found = sa.inspect(connection).get_columns(dataset.table_name, schema=dataset.schema_name)
    return {str(column["name"]): column for column in found}


def _dropped(there: Mapping[str, Any], names: Collection[str]) -> tuple[str, ...]:
    """The columns that the rows do not have and that do not fill themselves."""
    return tuple(
        name
        for name, column in there.items()
        if name not in names
        and not (column.get("default") or column.get("identity") or column.get("computed"))
    )


# What uses a column of a table, but for its own default; PostgreSQL would drop indexes and constraints along with it.
_USES = (
    "SELECT a.attname, coalesce('view ' || v.relname, pg_describe_object(d.classid, d.objid, d.objsubid)) "
    "FROM pg_attribute a JOIN pg_depend d ON d.refobjid = a.attrelid AND d.refobjsubid = a.attnum "
    "AND d.refclassid = 'pg_class'::regclass "
    "LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid "
    "LEFT JOIN pg_class v ON v.oid = r.ev_class "
    "WHERE a.attrelid = to_regclass(:table) AND a.attname = ANY(:names) "
)
# Those of them that PostgreSQL cannot alter along with a column's type.
_SHOWS = f"{_USES} AND d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_trigger'::regclass) "


def _refuse_dependents(
    dataset: SqlDataset, connection: sa.Connection, names: Collection[str], how: str, query: str
) -> None:
    if not names:
        return
    given = {"table": quoted_name(dataset, connection), "names": list(names)}
    for column, what in connection.execute(sa.text(f"{query} ORDER BY 1, 2"), given):
        raise DatasetError(
            f"'{dataset.uri}': column '{column}' {how}, and {what} uses it; {_ADVICE}"
        )


def _refuse_losses(dataset: SqlDataset, connection: sa.Connection, names: Collection[str]) -> None:
    """Refuse to make a table of SQLite anew on which somebody has put something."""
    query = sa.text(
        "SELECT type, name, sql FROM sqlite_master WHERE lower(tbl_name) = lower(:name) AND sql IS NOT NULL ORDER BY 1, 2"
    )
    for kind, name, sql in connection.execute(query, {"name": dataset.table_name}):
        constraint = _CONSTRAINT.search(str(sql)) if kind == "table" else None
        what = (
            f"{kind} '{name}'"
            if kind != "table"
            else constraint and f"{constraint[0].upper()} of the table"
        )
        if what:
            raise DatasetError(
                f"'{dataset.uri}': the columns change ({', '.join(names)}), which SQLite cannot do without losing {what}; "
                "make the table anew yourself, or write to another table"
            )


def _try(dataset: SqlDataset, connection: sa.Connection, found: Alteration) -> None:
    """Alter an empty copy of the table, with its constraints, defaults and indexes."""
    table = quoted_name(dataset, connection)
    connection.exec_driver_sql("BEGIN")
    try:
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {_TRIAL} (LIKE {table} INCLUDING ALL)")
        for statement in found.statements(connection.dialect, _TRIAL):
            connection.exec_driver_sql(statement)
    except SQLAlchemyError as error:
        if databases.may_pass(error):
            raise
        what = databases.described(error, dataset.url)
        names = ", ".join(f"'{name}'" for name in found.retyped)
        raise DatasetError(
            f"'{dataset.uri}': the type of {names} would change, and the database refuses that ({what}): a default, "
            f"constraint or index depends on it; {_ADVICE}"
        ) from None
    finally:
        connection.exec_driver_sql("ROLLBACK")
