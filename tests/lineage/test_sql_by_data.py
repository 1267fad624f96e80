"""Lineage of SQL, judged by data: a changed source column changes the columns that lineage names.

Every statement runs on a real database, once as it is and once for each way of changing each
column of each table that it may read. What then comes out otherwise must be reached by an edge,
and an edge that says a column's value went somewhere must be seen to. The judge reads rows and
knows no SQL.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pytest

from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.lineage import ingest_event
from airflow_mlsec.register import Register
from tests.lineage.snapshot import snapshot
from tests.lineage.sql_statements import DUCKDB, EVERY, POSTGRESQL, SQLITE, STATEMENTS

Rows = list[tuple[Any, ...]]
Tables = dict[str, tuple[list[str], Rows]]
Pair = tuple[tuple[str, str], tuple[str, str]]

COLUMNS = {
    "customers": ["id int", "email text", "name text", "city text", "boss int", "tags text"],
    "orders": ["oid int", "customer_id int", "amount int", "note text"],
    "visits": ["vid int", "cid int", "place text"],
    "mart": ["contact text", "spent int", "extra text"],
}
DATA: dict[str, Rows] = {
    "customers": [
        (1, "a@x", "Ann", "Rome", None, "p,q"), (2, "b@x", "Bob", "Oslo", 1, "q"),
        (3, "c@x", "Cid", "Rome", 1, "r,p"), (4, "d@x", "Dan", "Bonn", 2, ""),
    ],
    "orders": [(10, 1, 5, "n1"), (11, 1, 7, "n2"), (12, 2, 9, "n3"), (13, 3, 2, "n4")],
    "visits": [(1, 1, "u"), (2, 3, "v"), (3, 3, "w")],
    "mart": [("z@x", 1, "e1"), ("b@x", 3, "e2")],
}  # fmt: skip
_WRITES_MART = re.compile(
    r"(into|update|delete from|truncate|alter table|drop table)\s+mart\b", re.IGNORECASE
)
# A value's way that this data cannot show: what is ranked, left over, or never equal.
_UNSEEN = ("row_number()", "coalesce(", "nullif(", "= any (", "{'e'", "update a1")


def _other(rows: Rows, at: int, kind: str, way: int) -> Rows:
    """The rows with one column changed, in one of four ways."""

    def value(number: int, row: tuple[Any, ...]) -> Any:
        old = row[at]
        if kind == "int":
            return [(number + 7) * 11, (old or 0) + 1, len(rows) - number, None][way]
        return [f"zz{number}", f"{old or ''}k", "same", str(rows[-1 - number][at])][way]

    return [(*r[:at], value(n, r), *r[at + 1 :]) for n, r in enumerate(rows)]


def _filled(execute: Callable[..., Any], data: dict[str, Rows], sql: str, mark: str) -> None:
    keyed = any(word in sql for word in ("conflict", "replace into"))
    for table, columns in COLUMNS.items():
        unique = ", unique (contact)" if table == "mart" and keyed else ""
        execute(f"create table {table} ({', '.join(columns)}{unique})")
        rows = data[table]
        marks = ", ".join(f"({', '.join([mark] * len(columns))})" for _ in rows)
        execute(f"insert into {table} values {marks}", [value for row in rows for value in row])


def _read(execute: Callable[..., Any], tables: list[str]) -> Tables:
    found = {}
    for table in tables:
        cursor = execute(f'select * from "{table}"')
        rows = cursor.fetchall()
        found[table] = [column[0] for column in cursor.description], rows
    return found


def on_sqlite(sql: str, data: dict[str, Rows]) -> Tables:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        _filled(connection.execute, data, sql, "?")
        connection.executescript(sql)
        listed = "select name from sqlite_master where type in ('table', 'view')"
        return _read(connection.execute, [row[0] for row in connection.execute(listed)])
    finally:
        connection.close()


def on_duckdb(sql: str, data: dict[str, Rows]) -> Tables:
    with duckdb.connect() as connection:
        _filled(connection.execute, data, sql, "?")
        connection.execute(sql)
        listed = "select table_name from information_schema.tables where table_schema = 'main'"
        tables = [row[0] for row in connection.execute(listed).fetchall()]
        return _read(connection.execute, tables)


def on_postgresql(uri: str) -> Callable[[str, dict[str, Rows]], Tables]:
    import psycopg

    def run(sql: str, data: dict[str, Rows]) -> Tables:
        with psycopg.connect(uri, autocommit=True) as connection:
            execute: Any = connection.execute
            execute("drop schema if exists judged cascade; create schema judged")
            execute("set search_path to judged")
            _filled(execute, data, sql, "%s")
            for part in sql.split(";"):
                execute(part)
            listed = (
                "select table_name from information_schema.tables where table_schema = 'judged'"
            )
            return _read(execute, [row[0] for row in execute(listed).fetchall()])

    return run


def needed(run: Callable[[str, dict[str, Rows]], Tables], sql: str) -> tuple[set[Pair], Tables]:
    """(source column, column that changes with it), and what comes out of the true data."""
    base = run(sql, DATA)
    found: set[Pair] = set()
    for table, columns in COLUMNS.items():
        for at, column in enumerate(columns):
            name, kind = column.split()
            for way in range(4):
                data = {**DATA, table: _other(DATA[table], at, kind, way)}
                try:
                    after = run(sql, data)
                except Exception as error:  # a key that is no more unique
                    assert "unique" in str(error).lower() or "duplicate" in str(error).lower(), (
                        error
                    )
                    continue
                for other, (names, rows) in after.items():
                    if other == table or (other in COLUMNS and other != "mart"):
                        continue
                    for place, changed in enumerate(names):
                        before = sorted(repr(row[place]) for row in base[other][1])
                        if before != sorted(repr(row[place]) for row in rows):
                            found.add(((table, name), (other.lower(), changed.lower())))
    return found, base


def _event(name: str, sql: str | None, dialect: str, outputs: list[Any]) -> dict[str, Any]:
    facets = {"sql": {"query": sql, "dialect": dialect}} if sql else {}
    return {
        "eventType": "COMPLETE", "eventTime": "2026-03-01T12:00:00Z",
        "producer": "https://x.test", "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
        "run": {"runId": f"00000000-0000-0000-0000-{len(name):012d}"},
        "job": {"namespace": "n", "name": name, "facets": facets},
        "inputs": [], "outputs": outputs,
    }  # fmt: skip


def _said(register: Register, keys: KeyRing, dialect: str, sql: str, after: Tables) -> set[Any]:
    """(source, target, kind) of the edges that the event of the statement gives. The event
    names its outputs alone; what it reads is known from events before."""
    namespace, prefix = {
        POSTGRESQL: ("postgres://h:5432", "shop.public."),
        SQLITE: ("sqlite", "/shop.db/"),
        DUCKDB: ("duckdb:///shop.db", "shop.main."),
    }[dialect]

    def dataset(table: str, columns: list[str]) -> dict[str, Any]:
        fields = [{"name": column} for column in columns]
        facets = {"schema": {"fields": fields}}
        return {"namespace": namespace, "name": prefix + table, "facets": facets}

    before = [dataset(t, [c.split()[0] for c in columns]) for t, columns in COLUMNS.items()]
    trusted = keys.verification_keys()
    ingest_event({**_event("load", None, dialect, []), "inputs": before}, register, trusted)
    outputs = [
        dataset(table, columns)
        for table, (columns, _) in after.items()
        if table not in COLUMNS or (table == "mart" and _WRITES_MART.search(sql))
    ]
    ingest_event(_event("a query", sql, dialect, outputs), register, trusted)

    def plain(node: Any) -> tuple[str, str]:
        return re.split(r"[./]", node[1])[-1].lower(), node[2].lower()

    kept = snapshot(register)
    known = {re.split(r"[./]", name[1])[-1].lower() for name in kept["datasets"]}
    assert known <= {*COLUMNS, *(table.lower() for table in after)}, "a dataset that is none"
    columns = {plain((0, row[1], row[2])) for row in kept["columns"]}
    real = {(t.lower(), c.lower()) for t, (names, _) in after.items() for c in names}
    assert columns <= real | {(t, c.split()[0]) for t, cs in COLUMNS.items() for c in cs}
    return {(plain(source), plain(target), step[0]) for source, target, step in kept["edges"]}


def judge(
    run: Callable[[str, dict[str, Rows]], Tables],
    register: Register,
    keys: KeyRing,
    dialect: str,
    sql: str,
) -> int:
    need, after = needed(run, sql)
    said = _said(register, keys, dialect, sql, after)
    assert not any(kind == "assumed" for *_, kind in said), said
    # A table that the statement makes on its way is walked through.
    reached: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for start in {source for source, _ in need}:
        todo, found = [start], reached.setdefault(start, set())
        while todo:
            here = todo.pop()
            for source, target, _ in said:
                if source != here:
                    continue
                every = [(target[0], c.lower()) for c in _columns_of(after, target[0])]
                for there in every if target[1] == "<into>" else [target]:
                    if there not in found:
                        found.add(there)
                        todo.append(there)
    assert {(s, t) for s, t in need if t not in reached[s]} == set(), "missing"
    if not any(word in sql for word in _UNSEEN):
        direct = {(s, t) for s, t, kind in said if kind == "direct" and s[0] in COLUMNS}
        false = {(s, t) for s, t in direct if s[0] != t[0]} - need
        assert false == set(), "false"
    return len(need)


def _columns_of(after: Tables, table: str) -> list[str]:
    return next((names for name, (names, _) in after.items() if name.lower() == table), [])


def _cases() -> Iterator[Any]:
    for number, (dialects, sql) in enumerate(STATEMENTS):
        for dialect in dialects:
            # SQLite takes milliseconds; the others are judged on all only where there is time.
            often = dialect == SQLITE or (dialects != EVERY and number % 4 == 0)
            marks = [] if often else [pytest.mark.slow]
            yield pytest.param(dialect, sql, marks=marks, id=f"{dialect}: {sql}"[:90])


@pytest.mark.parametrize(("dialect", "sql"), list(_cases()))
def test_a_changed_column_changes_what_lineage_names(
    dialect: str, sql: str, sqlite_register: Register, keys: KeyRing, request: pytest.FixtureRequest
) -> None:
    run = {SQLITE: on_sqlite, DUCKDB: on_duckdb}.get(dialect) or on_postgresql(
        request.getfixturevalue("postgres_uri")
    )
    judge(run, sqlite_register, keys, dialect, sql)


def test_the_judge_finds_an_edge_that_is_missing_or_false(
    sqlite_register: Register, keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lineage by name, as clients take it from an INSERT that is by position."""
    sql = "insert into mart (spent, contact) select id as contact, email as extra from customers"
    need, _ = needed(on_sqlite, sql)
    assert need == {(("customers", "id"), ("mart", "spent")), (("customers", "email"), ("mart", "contact"))}  # fmt: skip
    monkeypatch.setattr(
        "airflow_mlsec.lineage.sql._script._inserted",
        lambda found, columns, written, by_name: [(c.name, c.flow) for c in found.columns],
    )
    with pytest.raises(AssertionError, match="missing"):
        judge(on_sqlite, sqlite_register, keys, SQLITE, sql)
