"""What else changes when rows of a table are deleted or changed: rows that refer to them, and what triggers do."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from airflow_mlsec import databases
from airflow_mlsec.errors import DatabaseUnavailable, DatasetError

if TYPE_CHECKING:
    from airflow_mlsec.datasets.sql._table import SqlDataset

# How long everybody waits for one try, and how long between two: five minutes in all.
_MOMENT = "1s"
_PAUSES = (0.5, 1, 2, 4, 8, *[15] * 18)
_CASCADES = ("CASCADE", "SET NULL", "SET DEFAULT")
_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


@dataclass(frozen=True)
class _Reference:
    """A foreign key to a table: the child, its columns, ours, and what happens to the child."""

    schema: str | None
    table: str
    columns: tuple[str, ...]
    referred: tuple[str, ...]
    on_delete: str
    on_update: str


def refuse_cascades(
    dataset: SqlDataset,
    connection: sa.Connection,
    target: sa.TableClause,
    condition: sa.ColumnElement[bool],
    changed: Collection[str] = (),
) -> None:
    """Other rows must not be deleted or changed with these: they may have to be kept, or belong to other people. Checked
    for rows that are deleted, or whose columns are ``changed``. SQLite has collations and spellings of its own for this:
    see `alone`.

    :raises DatasetError: if some would be.
    """
    if dataset.dialect == "sqlite":
        return
    inspector = sa.inspect(connection)
    own = inspector.get_pk_constraint(dataset.table_name, schema=dataset.schema_name)
    for key in _referring(dataset, connection):
        action = key.on_update if changed else key.on_delete
        if action not in _CASCADES or (changed and not set(changed) & set(key.referred)):
            continue
        listed = dict.fromkeys([*key.columns, *own["constrained_columns"]])
        table = sa.table(key.table, *(sa.column(c) for c in listed), schema=key.schema)
        child = table.alias("child")
        pairs = zip(key.columns, key.referred, strict=True)
        joined = sa.and_(*(child.c[one] == target.c[other] for one, other in pairs))
        query = sa.select(sa.func.count()).select_from(child)
        query = query.where(sa.exists(sa.select(sa.literal(1)).select_from(target).where(joined, condition)))  # fmt: skip
        same = (key.schema, key.table) == (dataset.schema_name, dataset.table_name)
        if same and not changed and own["constrained_columns"]:
            # Rows that are deleted themselves do not matter.
            mine = [child.c[c] == target.c[c] for c in own["constrained_columns"]]
            meant = sa.select(sa.literal(1)).select_from(target).where(*mine, condition)
            query = query.where(sa.not_(sa.exists(meant)))
        if rows := connection.execute(query).scalar_one():
            verb = f"ON UPDATE {action}" if changed else f"ON DELETE {action}"
            raise DatasetError(
                f"'{dataset.uri}': {rows} rows of table '{key.table}' refer to these rows and would change "
                f"with them ({verb}); erase or settle those first"
            )


def alone(
    dataset: SqlDataset,
    connection: sa.Connection,
    change: sa.UpdateBase,
    target: sa.TableClause,
    condition: sa.ColumnElement[bool],
) -> int:
    """Change rows, within a transaction; returns how many. In SQLite, rows of other tables that change with them through a
    foreign key are detected afterwards: it counts them, by whatever collation and spelling they refer.

    :raises DatasetError: if there were any; then the transaction must be rolled back.
    """
    if dataset.dialect != "sqlite":
        return connection.execute(change).rowcount
    raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    before = raw.total_changes
    meant = sa.select(sa.func.count()).select_from(target).where(condition)
    expected = connection.execute(meant).scalar_one()
    rows = connection.execute(change).rowcount
    # Less the rows that were meant, and were deleted along with others that were meant.
    others = raw.total_changes - before - max(rows, expected)
    if others and (tables := _cascading(dataset, connection)):
        raise DatasetError(
            f"'{dataset.uri}': {others} rows of table {', '.join(tables)} refer to these rows and would change with them; "
            "erase or settle those first"
        )
    return rows


def count_of(
    connection: sa.Connection, table: sa.FromClause, condition: sa.ColumnElement[bool]
) -> int:
    """How many rows of a table there are."""
    query = sa.select(sa.func.count()).select_from(table).where(condition)
    return int(connection.execute(query).scalar_one())


def refuse_left(
    dataset: SqlDataset,
    connection: sa.Connection,
    target: sa.TableClause,
    condition: sa.ColumnElement[bool],
    deleted: int,
) -> None:
    """Check that what was to be deleted is gone: a trigger may mark rows instead, and a rule do something else.

    :raises DatasetError: if some is still there; then the transaction must be rolled back.
    """
    if left := count_of(connection, target, condition):
        raise DatasetError(
            f"'{dataset.uri}': {left} rows are still there after {deleted} were deleted: a trigger or a rule of the table keeps "
            "them, or somebody writes to it. Nothing was changed"
        )


def lock_out_readers(dataset: SqlDataset, connection: sa.Connection) -> None:
    """Wait until nobody reads a table of PostgreSQL whose columns are to change, within a transaction. Everybody who comes
    after waits too, so it is tried for a moment at a time.

    :raises DatabaseUnavailable: if somebody reads it all the time.
    """
    table = quoted_name(dataset, connection)
    for pause in (*_PAUSES, None):
        connection.exec_driver_sql("SAVEPOINT mlsec_lock")
        try:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_MOMENT}'")
            connection.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != databases.LOCK_NOT_AVAILABLE:
                raise
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT mlsec_lock")
        else:
            connection.exec_driver_sql("SET LOCAL lock_timeout = DEFAULT")
            return
        if pause is None:
            break
        time.sleep(pause)
    raise DatabaseUnavailable(
        f"'{dataset.uri}': its columns have to change, and somebody has been reading it all the time (a transaction that is "
        "open?); nothing was replaced"
    )


def refers_to_no_key(error: sa.exc.OperationalError) -> bool:
    """Whether SQLite refuses a change because a foreign key refers to columns without a unique index."""
    return "foreign key mismatch" in str(error.orig)


def _cascading(dataset: SqlDataset, connection: sa.Connection) -> list[str]:
    """Tables of SQLite whose foreign keys to a table change rows there."""
    found: dict[str, None] = {}
    for name in sa.inspect(connection).get_table_names():
        quoted = connection.dialect.identifier_preparer.quote_identifier(name)
        for row in connection.exec_driver_sql(f"PRAGMA foreign_key_list({quoted})"):
            actions = ("ON UPDATE", str(row[5]).upper()), ("ON DELETE", str(row[6]).upper())
            said = ", ".join(f"{on} {action}" for on, action in actions if action in _CASCADES)
            if str(row[2]).lower() == dataset.table_name.lower() and said:
                found[f"'{name}' ({said})"] = None
    return list(found)


def is_view(dataset: SqlDataset, connection: sa.Connection) -> bool:
    """Whether it is not a table of this database."""
    if dataset.dialect == "sqlite":
        query = sa.text(
            "SELECT 1 FROM sqlite_master WHERE lower(name) = lower(:name) AND type = 'view'"
        )
        found = connection.execute(query, {"name": dataset.table_name}).scalar_one_or_none()
    else:
        query = sa.text("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(:name) AND relkind IN ('v', 'm', 'f')")  # fmt: skip
        found = connection.execute(query, {"name": quoted_name(dataset, connection)}).scalar_one_or_none()  # fmt: skip
    return found is not None


def refuse_views(dataset: SqlDataset, connection: sa.Connection) -> None:
    """Rows are changed in tables: for a view, it cannot be determined from here what is left elsewhere.

    :raises DatasetError: if it is not a table.
    """
    if is_view(dataset, connection):
        raise DatasetError(
            f"'{dataset.uri}' is a view, or a table elsewhere: rows are changed in the tables that it shows, each with a "
            "policy of its own"
        )


def side_effects(dataset: SqlDataset, connection: sa.Connection) -> list[str]:
    """What may have copies of rows that are deleted from a table or changed, or does something when that happens:
    triggers, rules, and materialized views over it, over views of it, and over what it is a partition of."""
    if dataset.dialect == "sqlite":
        query = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(:name)")  # fmt: skip
        rows = connection.execute(query, {"name": dataset.table_name}).all()
        # Our changes do not fire a trigger on INSERT; for any other wording, nobody can be sure.
        only_inserts = re.compile(r"\b(BEFORE|AFTER)?\s*INSERT\s+ON\b", re.IGNORECASE)
        found = [f"trigger '{n}'" for n, sql in rows if not only_inserts.search(str(sql))]
        virtual = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL TABLE%'")  # fmt: skip
        named = re.compile(
            rf"\bcontent\s*=\s*['\"\[`]?{re.escape(dataset.table_name)}\b", re.IGNORECASE
        )
        indexes = connection.execute(virtual).all()
        return found + [f"full-text index '{n}'" for n, sql in indexes if named.search(str(sql))]
    name = {"name": quoted_name(dataset, connection)}
    found = []
    for kind, text in (
        # For each row or statement, on DELETE (8) or UPDATE (16).
        ("trigger", "SELECT DISTINCT tgname FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM whole) AND NOT "
         "tgisinternal AND tgenabled <> 'D' AND (tgtype & 24) <> 0 ORDER BY 1"),
        # What a table does instead of, or in addition to, DELETE (4) or UPDATE (2).
        ("rule", "SELECT DISTINCT rulename FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM whole) "
         "AND ev_type IN ('2', '4') AND ev_enabled <> 'D' ORDER BY 1"),
        ("materialized view", "SELECT DISTINCT c.relname FROM shown JOIN pg_class c ON c.oid = shown.oid "
         "WHERE c.relkind = 'm' ORDER BY 1"),
    ):  # fmt: skip
        listed = connection.execute(sa.text(f"{_TREE}{_ABOVE}{_SHOWN} {text}"), name)
        found += [f"{kind} '{row[0]}'" for row in listed]
    return found


def leaves(dataset: SqlDataset, connection: sa.Connection) -> list[str]:
    """The PostgreSQL tables that hold rows of a table: itself, its partitions, and those that inherit."""
    query = sa.text(
        f"{_TREE} SELECT c.oid::regclass::text FROM pg_class c WHERE c.oid IN (SELECT oid FROM tree) AND c.relkind = 'r'"  # noqa: S608
    )
    rows = connection.execute(query, {"name": quoted_name(dataset, connection)})
    return [str(row[0]) for row in rows]


@contextlib.contextmanager
def warnings_of(connection: sa.Connection) -> Iterator[list[str]]:
    """The warnings of PostgreSQL, by their code, while something is done."""
    raw: Any = connection.connection.driver_connection
    found: list[str] = []

    def told(notice: Any) -> None:
        if notice.severity_nonlocalized == "WARNING":
            found.append(notice.sqlstate)

    raw.add_notice_handler(told)
    try:
        yield found
    finally:
        raw.remove_notice_handler(told)


# A table with all that is below it, and all that is above.
_TREE = (
    "WITH RECURSIVE tree AS (SELECT to_regclass(:name)::oid AS oid UNION "
    "SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid)"
)
_ABOVE = (
    ", above AS (SELECT to_regclass(:name)::oid AS oid UNION "
    "SELECT i.inhparent FROM pg_inherits i JOIN above ON i.inhrelid = above.oid)"
)
# Both, and the views that show something of them, however many views are in between.
_SHOWN = (
    ", whole AS (SELECT oid FROM tree UNION SELECT oid FROM above), shown AS (SELECT oid FROM whole UNION "
    "SELECT r.ev_class FROM pg_rewrite r JOIN pg_depend d ON d.objid = r.oid AND d.classid = 'pg_rewrite'::regclass "
    "AND d.refclassid = 'pg_class'::regclass JOIN shown ON d.refobjid = shown.oid)"
)


def quoted_name(dataset: SqlDataset, connection: sa.Connection) -> str:
    """The table's name with its schema, for SQL of PostgreSQL."""
    quote = connection.dialect.identifier_preparer.quote
    return f"{quote(dataset.schema_name or 'public')}.{quote(dataset.table_name)}"


def _referring(dataset: SqlDataset, connection: sa.Connection) -> Iterator[_Reference]:
    """Foreign keys of PostgreSQL to a table, from any schema; to its partitions, and to what it is a partition of."""
    query = sa.text(
        f"{_TREE}{_ABOVE} SELECT n.nspname, c.relname, con.confdeltype::text, con.confupdtype::text, "  # noqa: S608
        "ARRAY(SELECT a.attname::text FROM unnest(con.conkey) WITH ORDINALITY k(num, at) "
        "JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.num ORDER BY k.at), "
        "ARRAY(SELECT a.attname::text FROM unnest(con.confkey) WITH ORDINALITY k(num, at) "
        "JOIN pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.num ORDER BY k.at) "
        "FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE con.contype = 'f' AND con.conparentid = 0 "
        "AND (con.confrelid IN (SELECT oid FROM tree) OR con.confrelid IN (SELECT oid FROM above))"
    )
    for row in connection.execute(query, {"name": quoted_name(dataset, connection)}):
        schema, table, on_delete, on_update, columns, referred = row
        yield _Reference(
            str(schema), str(table), tuple(columns), tuple(referred),
            _ACTIONS[on_delete], _ACTIONS[on_update],
        )  # fmt: skip
