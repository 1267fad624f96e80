"""What else changes when rows of a table go, or are changed: rows that refer to them, and what triggers do."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_mlsec.errors import DatasetError

if TYPE_CHECKING:
    from airflow_mlsec.datasets._sql import SqlDataset

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
    """Other rows must not go, or change, with these: they may have to be kept, or be other people's. Asked of rows that
    go, or whose columns are ``changed``.

    :raises DatasetError: if some would.
    """
    own = sa.inspect(connection).get_pk_constraint(dataset.table_name, schema=dataset.schema_name)
    for key in _referring(dataset, connection, own["constrained_columns"]):
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
            # Rows that go themselves need nobody's leave.
            mine = [child.c[c] == target.c[c] for c in own["constrained_columns"]]
            meant = sa.select(sa.literal(1)).select_from(target).where(*mine, condition)
            query = query.where(sa.not_(sa.exists(meant)))
        if rows := connection.execute(query).scalar_one():
            verb = f"ON UPDATE {action}" if changed else f"ON DELETE {action}"
            raise DatasetError(
                f"'{dataset.uri}': {rows} rows of table '{key.table}' refer to these rows and would change "
                f"with them ({verb}); erase or settle those first"
            )


def is_view(dataset: SqlDataset, connection: sa.Connection) -> bool:
    """Whether it is no table of this database."""
    if dataset.dialect == "sqlite":
        query = sa.text("SELECT type FROM sqlite_master WHERE name = :name AND type = 'view'")
        found = connection.execute(query, {"name": dataset.table_name}).scalar_one_or_none()
    else:
        query = sa.text("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(:name) AND relkind IN ('v', 'm', 'f')")  # fmt: skip
        found = connection.execute(query, {"name": _quoted(dataset, connection)}).scalar_one_or_none()  # fmt: skip
    return found is not None


def refuse_views(dataset: SqlDataset, connection: sa.Connection) -> None:
    """Rows are changed in tables: of what a view shows nobody can tell from here what is left elsewhere.

    :raises DatasetError: if it is none.
    """
    if is_view(dataset, connection):
        raise DatasetError(
            f"'{dataset.uri}' is a view, or a table elsewhere: rows are changed in the tables that it shows, each with a "
            "policy of its own"
        )


def side_effects(dataset: SqlDataset, connection: sa.Connection) -> list[str]:
    """What may have copies of rows that are deleted from a table, or does something when they are: triggers, and
    materialized views over it."""
    if dataset.dialect == "sqlite":
        query = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(:name)")  # fmt: skip
        rows = connection.execute(query, {"name": dataset.table_name}).all()
        return [f"trigger '{n}'" for n, sql in rows if "DELETE" in str(sql).upper()]
    name = {"name": _quoted(dataset, connection)}
    triggers = sa.text(  # the texts are constants
        f"{_TREE} SELECT DISTINCT tgname FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM tree) AND NOT tgisinternal "  # noqa: S608
        "AND tgenabled <> 'D' AND (tgtype & 8) <> 0 ORDER BY 1"
    )
    views = sa.text(
        f"{_TREE} SELECT DISTINCT c.relname FROM pg_rewrite r JOIN pg_depend d ON d.objid = r.oid "  # noqa: S608
        "AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass "
        "JOIN pg_class c ON c.oid = r.ev_class "
        "WHERE c.relkind = 'm' AND d.refobjid IN (SELECT oid FROM tree) ORDER BY 1"
    )
    found = [f"trigger '{row[0]}'" for row in connection.execute(triggers, name)]
    return found + [f"materialized view '{row[0]}'" for row in connection.execute(views, name)]


def leaves(dataset: SqlDataset, connection: sa.Connection) -> list[str]:
    """The tables of PostgreSQL in which rows of a table are: itself, its partitions, and those that inherit."""
    query = sa.text(
        f"{_TREE} SELECT c.oid::regclass::text FROM pg_class c WHERE c.oid IN (SELECT oid FROM tree) AND c.relkind = 'r'"  # noqa: S608
    )
    rows = connection.execute(query, {"name": _quoted(dataset, connection)})
    return [str(row[0]) for row in rows]


# A table with all that is below it, and all that is above.
_TREE = (
    "WITH RECURSIVE tree AS (SELECT to_regclass(:name)::oid AS oid UNION "
    "SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid)"
)
_ABOVE = (
    ", above AS (SELECT to_regclass(:name)::oid AS oid UNION "
    "SELECT i.inhparent FROM pg_inherits i JOIN above ON i.inhrelid = above.oid)"
)


def _quoted(dataset: SqlDataset, connection: sa.Connection) -> str:
    quote = connection.dialect.identifier_preparer.quote
    return f"{quote(dataset.schema_name or 'public')}.{quote(dataset.table_name)}"


def _referring(
    dataset: SqlDataset, connection: sa.Connection, own: list[str]
) -> Iterator[_Reference]:
    """Foreign keys to a table, from whatever schema; to its partitions, and to what it is a partition of."""
    if dataset.dialect != "sqlite":
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
        for row in connection.execute(query, {"name": _quoted(dataset, connection)}):
            schema, table, on_delete, on_update, columns, referred = row
            yield _Reference(
                str(schema), str(table), tuple(columns), tuple(referred),
                _ACTIONS[on_delete], _ACTIONS[on_update],
            )  # fmt: skip
        return
    for name in sa.inspect(connection).get_table_names():
        quoted = connection.dialect.identifier_preparer.quote_identifier(name)
        found: dict[int, list[Any]] = {}
        for row in connection.exec_driver_sql(f"PRAGMA foreign_key_list({quoted})"):
            if str(row[2]).lower() == dataset.table_name.lower():
                found.setdefault(row[0], []).append(row)
        for rows in found.values():
            referred = tuple(row[4] or own[row[1]] for row in rows)
            yield _Reference(
                dataset.schema_name, name, tuple(row[3] for row in rows), referred,
                str(rows[0][6]).upper(), str(rows[0][5]).upper(),
            )  # fmt: skip
