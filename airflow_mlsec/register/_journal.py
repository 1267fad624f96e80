"""The audit log's entries: every change of a protected row, written in the transaction that changes it.

Triggers note which rows change, whatever changes them. At its end, a transaction of `Register.write` turns each note
into an entry: when, which table and key, and the row as it is now (RFC 9162: a leaf is the hash of a salted hash, so
an entry's text can be erased while the tree over the log stays valid). A noted row without an entry was
changed by something other than this package; the log records that permanently.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from airflow_mlsec import merkle_log
from airflow_mlsec.errors import BrokenLog, UsageError
from airflow_mlsec.register import tables as t
from airflow_mlsec.register._bulk import insert_rows
from airflow_mlsec.register._log_entries import LastRows, Row, read_entries, row_name, text_digest
from airflow_mlsec.register._row_text import canonical, readable, row_text

# Tables whose every change the log records.
PROTECTED: Mapping[str, sa.Table] = {
    table.name: table
    for table in (
        t.api_key, t.evidence, t.finding, t.act, t.review, t.review_item, t.request, t.request_step,
        t.suppression, t.legal_hold, t.alert, t.ring, t.ring_key, t.rule, t.retention,
        t.access_snapshot, t.document,
    )
}  # fmt: skip
SALT_BYTES = 16
# "mlsec" and "log", for PostgreSQL's advisory lock.
_LOG_LOCK = 0x6D6C_7365_636C
_CHUNK = 400
_IMPORTED = 5_000


def begin_log(connection: sa.Connection, now: str) -> None:
    """Start the log, unless it exists, with the rows that already exist: marked as imported, not witnessed."""
    if connection.execute(sa.select(t.log.c.origin)).first() is not None:
        return
    lock_log(connection)
    if connection.execute(sa.select(t.log.c.origin)).first() is not None:
        return
    origin = f"airflow-mlsec/{secrets.token_hex(16)}"
    values = {"id": 1, "origin": origin, "size": 0, "began_at": now}
    connection.execute(sa.insert(t.log).values(values))
    for table in PROTECTED.values():
        rows = protected_rows(connection, table)
        _append_in_parts(
            connection, (entry_text(now, table.name, key, row, imported=True) for key, row in rows)
        )
    connection.execute(sa.delete(t.change))


def not_accounted_for(connection: sa.Connection, now: str) -> set[Row]:
    """Rows that the log does not account for. Called before a migration, on the tables as they are: the migration
    must not legitimize changes that somebody made outside this package."""
    if not sa.inspect(connection).has_table(t.log.name):
        return set()
    note_strangers(connection, now)
    last, found = LastRows.of(read_entries(connection)), set[Row]()
    for name in _protected_now(connection):
        table = sa.Table(name, sa.MetaData(), autoload_with=connection)
        for key, text in protected_rows(connection, table):
            row = row_name(name, key)
            if last.rows.pop(row, None) != text_digest(text):
                found.add(row)
    return found | set(last.rows)


def account_anew(connection: sa.Connection, now: str, revision: str, but: Collection[Row]) -> None:
    """After a migration: append entries for the protected rows that it changed. Rows that the log did not account
    for before (``but``) stay findings."""
    connection.execute(sa.delete(t.change).where(_is_mine(connection)))
    last = LastRows.of(read_entries(connection))
    begun = bool(last.tables)

    def changed() -> Iterator[str]:
        for name, table in PROTECTED.items():
            for key, text in protected_rows(connection, table):
                row = row_name(name, key)
                known = last.rows.pop(row, None)
                if known != text_digest(text):
                    if row in but:
                        yield entry_text(now, name, key, None, stranger=True)
                    more: dict[str, Any] = {"upgraded": revision}
                    if begun and name not in last.tables:
                        more["imported"] = True
                    yield entry_text(now, name, key, text, **more)
        for row in sorted(last.rows):
            name, _, key_ = row.partition(" ")
            if row in but:
                yield entry_text(now, name, json.loads(key_), None, stranger=True)
            yield entry_text(now, name, json.loads(key_), None, upgraded=revision)

    lock_log(connection)
    _append_in_parts(connection, changed())


def _append_in_parts(connection: sa.Connection, texts: Iterable[str]) -> None:
    texts = iter(texts)
    while part := list(itertools.islice(texts, _IMPORTED)):
        append(connection, part)


def _protected_now(connection: sa.Connection) -> list[str]:
    """The tables that have our triggers."""
    if connection.dialect.name == "postgresql":
        sql = "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE 'mlsec%noted'"
    else:
        sql = "SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'mlsec%noted'"
    return sorted(str(name) for (name,) in connection.execute(sa.text(sql)))


def lock_log(connection: sa.Connection) -> None:
    """Be the only writer to the log until the transaction ends. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOG_LOCK)))


def note_strangers(connection: sa.Connection, now: str) -> None:
    """Record which rows something else had changed before this transaction began."""
    noted = _noted(connection, mine=False)
    if noted:
        lock_log(connection)
        append(
            connection, [entry_text(now, table, key, None, stranger=True) for table, key in noted]
        )


def append_changes(connection: sa.Connection, now: str) -> None:
    """Append entries for what this transaction has changed."""
    noted = _noted(connection, mine=True)
    if not noted:
        return
    texts = []
    by_table: dict[str, list[tuple[Any, ...]]] = {}
    for table, key in noted:
        by_table.setdefault(table, []).append(key)
    for name, keys in by_table.items():
        there = dict(protected_rows(connection, PROTECTED[name], keys))
        texts += [entry_text(now, name, key, there.get(key)) for key in keys]
    lock_log(connection)
    append(connection, texts)


def append(connection: sa.Connection, texts: Sequence[str]) -> range:
    """Append entries; returns their numbers. The log must be locked and must exist."""
    if not texts:
        return range(0)
    size = log_size(connection)
    salts = os.urandom(SALT_BYTES * len(texts))
    rows, leaves = [], []
    for i, text in enumerate(texts):
        salt = salts[i * SALT_BYTES : (i + 1) * SALT_BYTES]
        commitment = hashlib.sha256(salt + text.encode()).digest()
        leaves.append(merkle_log.leaf_hash(commitment))
        rows.append((size + i, salt, text, commitment))
    names = ("number", "salt", "text", "commitment")
    insert_rows(connection, t.log_entry, names, rows)
    changed = merkle_log.append(Tiles(connection), size, leaves)
    tiles = [(level, index, hashes) for (level, index), hashes in changed.items()]
    columns = ("level", "number", "hashes")
    insert_rows(
        connection,
        t.log_tile,
        columns,
        tiles,
        "(level, number) DO UPDATE SET hashes = excluded.hashes",
    )
    connection.execute(sa.update(t.log).values(size=size + len(texts)))
    return range(size, size + len(texts))


def erase_text(connection: sa.Connection, number: int, by: str, why: str, now: str) -> None:
    """Erase the text of an entry because of what it says about somebody; a new entry records who erased it and why.
    The tree stays valid. If the row that the entry accounts for still exists, a new entry accounts for it.

    :raises UsageError: if there is no such entry, it is already erased, or it records the erasure of another.
    """
    lock_log(connection)
    e = t.log_entry.c
    text = connection.execute(sa.select(e.text).where(e.number == number)).scalar_one_or_none()
    about = json.loads(text.partition("\n")[0]) if text is not None else {}
    if "table" not in about:
        raise UsageError(f"the audit log has no entry {number} whose text could be erased")
    gone = sa.update(t.log_entry).where(e.number == number)
    connection.execute(gone.values(salt=None, text=None))
    said = {"at": now, "by": by, "erased": number, "v": 1, "why": why}
    texts = [f"{canonical(said)}\n"]
    table, key = PROTECTED[about["table"]], tuple(about["key"])
    # Not if the row has changed since: then another entry accounts for it, or none does.
    texts += [
        entry_text(now, table.name, key, row)
        for key, row in protected_rows(connection, table, [key])
        if text is not None and row == text.partition("\n")[2]
    ]
    append(connection, texts)


def log_size(connection: sa.Connection) -> int:
    """The number of entries in the log.

    :raises BrokenLog: if there is no log.
    """
    size = connection.execute(sa.select(t.log.c.size)).scalar_one_or_none()
    if size is None:
        raise BrokenLog("the register has no audit log: it was removed")
    return int(size)


# Made once: a proof reads a dozen tiles.
_TILE = sa.select(t.log_tile.c.hashes).where(
    t.log_tile.c.level == sa.bindparam("level"), t.log_tile.c.number == sa.bindparam("index")
)


class Tiles:
    """The tree's tiles, read from the register."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def __call__(self, level: int, index: int) -> bytes:
        given = {"level": level, "index": index}
        found = self._connection.execute(_TILE, given).scalar_one_or_none()
        if found is None:
            raise BrokenLog(f"the audit log has no tile {level}/{index}: it was removed")
        return bytes(found)


def entry_text(now: str, table: str, key: Sequence[Any], row: str | None, **more: Any) -> str:
    """The text of an entry: what it is about and, on a separate line, the row (empty if the row is gone)."""
    about = {"at": now, "key": list(key), "table": table, "v": 1, **more}
    return f"{canonical(about)}\n{row or ''}"


def protected_rows(
    connection: sa.Connection, table: sa.Table, keys: Sequence[tuple[Any, ...]] | None = None
) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Keys and rows of a protected table, in the form used in entries; all rows, or those with the given keys."""
    primary = list(table.primary_key.columns)
    query = readable(table)
    if keys is None:
        parts: Iterable[sa.Select[Any]] = [query.order_by(*primary)]
    else:
        parts = (
            query.where(sa.tuple_(*primary).in_(keys[start : start + _CHUNK]))
            for start in range(0, len(keys), _CHUNK)
        )
    text = row_text(table)
    keyed = [list(table.columns).index(c) for c in primary]
    for part in parts:
        for row in connection.execute(part).yield_per(5_000):
            yield tuple([row[place] for place in keyed]), text(row)


def _noted(connection: sa.Connection, mine: bool) -> list[tuple[str, tuple[Any, ...]]]:
    """The rows that triggers have noted, in this transaction or before it; their notes are removed."""
    c = t.change.c
    query = sa.select(c.id, c.table_name, c.row_key)
    if connection.dialect.name == "postgresql":
        # Something else may have changed other rows since this transaction began.
        chosen = _is_mine(connection)
        query = query.where(chosen if mine else sa.not_(chosen))
    rows = connection.execute(query.order_by(c.id)).all()
    if not rows:
        return []
    gone = sa.delete(t.change).where(c.id <= rows[-1].id)
    if connection.dialect.name == "postgresql":
        gone = sa.delete(t.change).where(c.id.in_([row.id for row in rows]))
    connection.execute(gone)
    found = ((row.table_name, tuple(json.loads(row.row_key))) for row in rows)
    return list(dict.fromkeys(found))


def _is_mine(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Whether this transaction changed a noted row. SQLite has no other transaction meanwhile."""
    if connection.dialect.name != "postgresql":
        return sa.true()
    return t.change.c.in_transaction == sa.func.pg_current_xact_id().cast(sa.Text)


def triggers(dialect: str) -> list[str]:
    """The statements that create or recreate the triggers."""
    made = []
    if dialect == "postgresql":
        made.append(_FUNCTION)
    for name, table in PROTECTED.items():
        keys = [c.name for c in table.primary_key.columns]
        if dialect == "postgresql":
            given = ", ".join(f"'{key}'" for key in keys)
            made.append(f"DROP TRIGGER IF EXISTS {name}_noted ON {name}")
            made.append(
                f"CREATE TRIGGER {name}_noted AFTER INSERT OR UPDATE OR DELETE ON {name} "
                f"FOR EACH ROW EXECUTE FUNCTION mlsec_note_change({given})"
            )
            continue
        for event, sides in (("INSERT", ["NEW"]), ("UPDATE", ["OLD", "NEW"]), ("DELETE", ["OLD"])):
            noted = "; ".join(
                f"INSERT INTO mlsec_change (table_name, row_key) VALUES ('{name}', json_array("  # noqa: S608
                + ", ".join(f'{side}."{key}"' for key in keys)
                + "))"
                for side in sides
            )
            made.append(f"DROP TRIGGER IF EXISTS {name}_{event.lower()}_noted")
            made.append(
                f"CREATE TRIGGER {name}_{event.lower()}_noted AFTER {event} ON {name} BEGIN {noted}; END"
            )
    return made


_FUNCTION = """
CREATE OR REPLACE FUNCTION mlsec_note_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    sides jsonb[] := CASE TG_OP WHEN 'INSERT' THEN ARRAY[to_jsonb(NEW)]
        WHEN 'DELETE' THEN ARRAY[to_jsonb(OLD)] ELSE ARRAY[to_jsonb(OLD), to_jsonb(NEW)] END;
BEGIN
    INSERT INTO mlsec_change (table_name, row_key, in_transaction)
    SELECT TG_TABLE_NAME,
        (SELECT jsonb_agg(side -> name ORDER BY place) FROM unnest(TG_ARGV) WITH ORDINALITY AS k(name, place))::text,
        pg_current_xact_id()::text
    FROM unnest(sides) AS s(side);
    RETURN NULL;
END $$
"""
