"""No protected row changes without an entry of the audit log, whatever changes it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_mlsec import merkle_log
from airflow_mlsec.errors import BrokenLog
from airflow_mlsec.register import Register, _journal
from airflow_mlsec.register import tables as t

NOW = "2026-03-01T12:00:00.000000Z"
PROTECTED = sorted(_journal.PROTECTED)


def entries(register: Register) -> list[tuple[dict[str, Any], str]]:
    e = t.log_entry.c
    found = []
    for row in register.rows(sa.select(e.text, e.salt, e.commitment).order_by(e.number)):
        assert hashlib.sha256(row.salt + row.text.encode()).digest() == row.commitment
        about, _, content = row.text.partition("\n")
        found.append((json.loads(about), content))
    return found


def a_value(column: sa.Column[Any], number: int) -> Any:
    if isinstance(column.type, sa.Boolean):
        return bool(number % 2)
    if isinstance(column.type, sa.Integer):
        return number
    if isinstance(column.type, sa.JSON):
        return {"a": [number, None, "ä"]}
    if isinstance(column.type, sa.LargeBinary):
        return bytes([number])
    return f"{column.name[:6]}{number}"


def a_row(table: sa.Table, number: int) -> dict[str, Any]:
    return {
        c.name: a_value(c, number)
        for c in table.columns
        if not (c.primary_key and c.autoincrement is True)
    }


def parents(connection: sa.Connection) -> None:
    """What foreign keys of protected tables refer to."""
    for number in (1, 2, 3):
        connection.execute(
            sa.insert(t.dataset).values(
                id=number, namespace="n", name=f"d{number}", kind="table", first_seen=NOW, last_seen=NOW
            )
        )  # fmt: skip
        for table in (t.request, t.review):
            row = {**a_row(table, number), "id": number}
            connection.execute(sa.insert(table).values(row))


@pytest.mark.parametrize("name", PROTECTED)
def test_every_change_of_a_protected_table_has_an_entry(register: Register, name: str) -> None:
    """Inserted, changed and deleted: by our statements or by any other in the transaction."""
    table = _journal.PROTECTED[name]
    register.write(parents)
    before = len(entries(register))
    column = next(
        c for c in reversed(list(table.columns)) if not c.primary_key and not c.foreign_keys
    )
    if name in ("mlsec_request", "mlsec_review"):
        where = table.c.id == 1
    else:
        register.write(lambda c: c.execute(sa.insert(table).values(a_row(table, 1))))
        [(about, content)] = entries(register)[before:]
        assert about["table"] == name
        assert {"id", *a_row(table, 1)} >= json.loads(content).keys()
        where = sa.true()
    known = len(entries(register))
    register.write(
        lambda c: c.execute(sa.update(table).where(where).values({column.name: a_value(column, 2)}))
    )
    [(changed, content)] = entries(register)[known:]
    assert changed["table"] == name
    register.write(
        lambda c: c.exec_driver_sql(
            f"DELETE FROM {name} WHERE {table.primary_key.columns[0].name} IS NOT NULL"
        )
    )
    gone = [(about["table"], about["key"]) for about, content in entries(register) if not content]
    assert (name, changed["key"]) in gone


def test_a_transaction_that_fails_leaves_no_entry(register: Register) -> None:
    register.upgrade()

    def fails(connection: sa.Connection) -> None:
        connection.execute(sa.insert(t.rule).values(a_row(t.rule, 1)))
        raise KeyError

    with pytest.raises(KeyError):
        register.write(fails)
    assert entries(register) == []


def test_what_somebody_else_changed_is_said_for_ever(register: Register) -> None:
    """By hand, past this package: the next transaction does not make it its own."""
    register.write(lambda c: c.execute(sa.insert(t.rule).values(a_row(t.rule, 1))))
    with register._connect() as connection, connection.begin():
        connection.exec_driver_sql("UPDATE mlsec_rule SET set_by = 'mallory'")
    register.write(lambda c: c.execute(sa.insert(t.rule).values(a_row(t.rule, 2))))
    _, stranger, second = entries(register)
    assert (stranger[0]["stranger"], stranger[0]["key"], stranger[1]) == (True, [1], "")
    assert second[0]["key"] == [2]


def test_the_tree_is_that_of_the_entries(register: Register) -> None:
    for i in range(40):
        register.write(
            lambda c, i=i: [
                c.execute(sa.insert(t.alert).values(key=f"{i}-{j}", title="x", sent_at=NOW))
                for j in range(i)
            ]
        )
    commitments = register.rows(sa.select(t.log_entry.c.commitment).order_by(t.log_entry.c.number))
    root = merkle_log.tree_root(merkle_log.leaf_hash(row.commitment) for row in commitments)
    size = register.read(_journal.log_size)
    assert size == len(commitments) == 780
    assert register.read(lambda c: merkle_log.root(_journal.Tiles(c), size)) == root


def test_nothing_is_written_without_a_log(sqlite_register: Register, tmp_path: Path) -> None:
    """Who removes it stops the product, and is noticed."""
    sqlite_register.upgrade()
    with sqlite3.connect(tmp_path / "register.db") as connection:
        connection.execute("DELETE FROM mlsec_log")
    connection.close()
    with pytest.raises(BrokenLog, match="no audit log"):
        sqlite_register.write(lambda c: c.execute(sa.insert(t.rule).values(a_row(t.rule, 1))))
    assert sqlite_register.rows(sa.select(t.rule)) == []


def test_what_was_there_before_the_log_is_imported(register: Register) -> None:
    register.write(parents)

    def forget(connection: sa.Connection) -> None:
        for table in (t.log, t.log_entry, t.log_tile, t.change):
            connection.execute(sa.delete(table))
        _journal.begin_log(connection, NOW)

    with register._connect() as connection, connection.begin():
        forget(connection)
    found = entries(register)
    assert {(about["table"], about["imported"]) for about, _ in found} == {
        ("mlsec_request", True), ("mlsec_review", True),
    }  # fmt: skip
    assert len(found) == 6


def test_a_column_that_is_added_changes_no_entry(register: Register) -> None:
    """What nobody gave a value is left out."""
    register.write(parents)
    rows = dict(register.read(lambda c: list(_journal.protected_rows(c, t.request))))
    row = json.loads(rows[1,])
    assert "version" not in row or row["version"] != 0
    register.write(
        lambda c: c.execute(
            sa.update(t.request).where(t.request.c.id == 1).values(version=0, law="gdpr")
        )
    )
    row = json.loads(dict(register.read(lambda c: list(_journal.protected_rows(c, t.request))))[1,])
    assert {"version", "law"}.isdisjoint(row)
