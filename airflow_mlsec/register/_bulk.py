"""Many rows at once, at the speed of the driver: `executemany` on SQLite, arrays on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.register import tables as t

_CHUNK = 20_000
_KEYS = 10_000

# "mlsec" and "graph", for PostgreSQL's advisory lock.
_GRAPH_LOCK = 0x6D6C_7365_6367


# Set in a connection's ``info`` once its transaction has been counted as a change of the graph.
COUNTED = "mlsec.graph_change"
_CHANGES = "graph"
# Transactions that removed what the ids that writers remember stand for.
_REMOVALS = "graph removals"


def graph_changes(connection: sa.Connection) -> int:
    """How often the graph, a policy in force or evidence may have changed so far."""
    return _counted(connection, _CHANGES)


def graph_removals(connection: sa.Connection) -> int:
    """How often ids of the graph have been removed. A writer that remembers ids forgets them when this grows."""
    return _counted(connection, _REMOVALS)


def count_removal(connection: sa.Connection) -> None:
    """Count a transaction that removes ids from the graph. The graph must be locked."""
    _count(connection, _REMOVALS)


def _counted(connection: sa.Connection, name: str) -> int:
    c = t.counter.c
    found = connection.execute(sa.select(c.value).where(c.name == name)).scalar_one_or_none()
    return int(found or 0)


def _count(connection: sa.Connection, name: str) -> None:
    c = t.counter.c
    more = sa.update(t.counter).where(c.name == name).values(value=c.value + 1)
    if not connection.execute(more).rowcount:
        connection.execute(sa.insert(t.counter).values(name=name, value=1))


def lock_graph(connection: sa.Connection) -> None:
    """Be the only writer of the graph until the transaction ends, and count the transaction as a change of it.
    Needed because column ordinals are assigned in sequence. SQLite has one writer anyway."""
    _lock(connection)
    if connection.info.get(COUNTED):
        return
    connection.info[COUNTED] = True
    _count(connection, _CHANGES)


def _lock(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_GRAPH_LOCK)))
        # Thousands of keys are looked up at a time; full table scans for that would get slower and
        # slower as the tables grow.
        connection.exec_driver_sql("SET LOCAL enable_hashjoin = off")
        connection.exec_driver_sql("SET LOCAL enable_mergejoin = off")


def insert_rows(
    connection: sa.Connection,
    table: sa.Table,
    names: Sequence[str],
    rows: Collection[Sequence[Any]],
    conflict: str = "DO NOTHING",
) -> None:
    """Insert rows of the columns ``names``; ``conflict`` is what follows ``ON CONFLICT``."""
    listed = ", ".join(_quoted(name) for name in names)
    if not rows:
        return
    ordered = list(rows)
    if connection.dialect.name != "postgresql":
        marks = ", ".join("?" * len(names))
        sql = f"INSERT INTO {table.name} ({listed}) VALUES ({marks}) ON CONFLICT {conflict}"  # noqa: S608
        connection.exec_driver_sql(sql, [tuple(row) for row in ordered])
        return
    arrays = ", ".join(f"%s::{_array(table.c[name])}" for name in names)
    read = ", ".join(
        f"c{i}::json" if isinstance(table.c[name].type, sa.JSON) else f"c{i}"
        for i, name in enumerate(names)
    )
    alias = ", ".join(f"c{i}" for i in range(len(names)))
    sql = (
        f"INSERT INTO {table.name} ({listed}) SELECT {read} FROM unnest({arrays}) AS u({alias}) "  # noqa: S608
        f"ON CONFLICT {conflict}"
    )
    for start in range(0, len(ordered), _CHUNK):
        part = ordered[start : start + _CHUNK]
        connection.exec_driver_sql(sql, array_literals(part))


def rows_of(
    connection: sa.Connection,
    table: sa.Table,
    names: Sequence[str],
    keys: Sequence[str],
    values: Iterable[Any],
) -> list[Any]:
    """The columns ``names`` of the rows whose ``keys`` are among ``values`` (tuples, or single
    values where there is one key)."""
    wanted = list(values)
    found: list[Any] = []
    listed = ", ".join(f"t.{_quoted(name)}" for name in names)
    for start in range(0, len(wanted), _KEYS):
        part = wanted[start : start + _KEYS]
        rows = [[value] if len(keys) == 1 else list(value) for value in part]
        if connection.dialect.name == "postgresql":
            arrays = ", ".join(f"%s::{_array(table.c[key])}" for key in keys)
            alias = ", ".join(f"k{i}" for i in range(len(keys)))
            matched = " AND ".join(f"t.{_quoted(key)} = k.k{i}" for i, key in enumerate(keys))
            sql = f"SELECT {listed} FROM unnest({arrays}) AS k({alias}) JOIN {table.name} t ON {matched}"  # noqa: S608
            found += connection.exec_driver_sql(sql, array_literals(rows)).fetchall()
        elif isinstance(table.c[keys[0]].type, sa.LargeBinary):
            for i in range(0, len(rows), 500):
                some = [row[0] for row in rows[i : i + 500]]
                marks = ", ".join("?" * len(some))
                sql = f"SELECT {listed} FROM {table.name} t WHERE t.{_quoted(keys[0])} IN ({marks})"  # noqa: S608
                found += connection.exec_driver_sql(sql, tuple(some)).fetchall()
        else:
            matched = " AND ".join(
                f"t.{_quoted(key)} = json_extract(k.value, '$[{i}]')" for i, key in enumerate(keys)
            )
            sql = f"SELECT {listed} FROM json_each(?) k CROSS JOIN {table.name} t ON {matched}"  # noqa: S608
            found += connection.exec_driver_sql(sql, (json.dumps(rows),)).fetchall()
    return found


def array_literals(rows: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """The columns of some rows, each as one array in PostgreSQL's text form: several times
    faster than the driver's own conversion, which works value by value."""
    return tuple(_array_literal(column) for column in zip(*rows, strict=True))


def _array_literal(values: Sequence[Any]) -> str:
    plain = type(values[0]) is int and None not in values
    return "{" + ",".join(map(str if plain else _element, values)) + "}"


def _element(value: Any) -> str:
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is str:
        if "\\" in value or '"' in value:
            value = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{value}"'
    if value is None:
        return "NULL"
    if kind is bool:
        return "t" if value else "f"
    assert kind is bytes
    return f'"\\\\x{value.hex()}"'


def _quoted(name: str) -> str:
    assert name.isidentifier()
    return f'"{name}"'


def _array(column: sa.Column[Any]) -> str:
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return "boolean[]"
    if isinstance(kind, sa.Integer):
        return "bigint[]"
    if isinstance(kind, sa.LargeBinary):
        return "bytea[]"
    return "text[]"


def lock_table(connection: sa.Connection, table: sa.Table) -> None:
    """Let only this transaction change the table until it ends: on PostgreSQL, transactions run concurrently."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE")
