"""What is in a file of SQLite, whatever its columns are declared as: rows, statements, and pages that no table uses any
more."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from airflow_mlsec.datasets._connector import Container, Part
from airflow_mlsec.datasets._uri import parts_of
from airflow_mlsec.errors import UnsupportedDataset
from airflow_mlsec.naming import canonical_path

_ROWS = 65_536
_CHUNK = 4 << 20

_MAGIC = b"SQLite format 3\0"
# How the files that SQLite keeps next to a database begin.
_LOGS = {
    "-wal": (b"\x37\x7f\x06",),
    "-journal": (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",),
}
_SHARED_MEMORY = 32_768


class SqliteFiles(Container):
    """Databases of SQLite."""

    def recognises(self, head: bytes) -> bool:
        return head.startswith(_MAGIC)

    def is_beside(self, path: Path) -> bool:
        suffix = next((end for end in (*_LOGS, "-shm") if path.name.endswith(end)), None)
        if suffix is None or not _is_sqlite(path.with_name(path.name.removesuffix(suffix))):
            return False
        try:
            with path.open("rb") as file:
                head = file.read(1 << 16)
        except OSError:
            return False
        if suffix == "-shm":
            return len(head) % _SHARED_MEMORY == 0
        return head.startswith(_LOGS[suffix]) or not head.strip(b"\0")

    def uri(self, path: Path, table: str) -> str:
        return f"sqlite://{quote(str(path))}/{quote(table, safe='')}"

    def split(self, uri: str) -> tuple[Path, str]:
        database, table = split(uri)
        return Path(database), table

    def tables(self, path: Path) -> list[str]:
        with _opened(path) as connection:
            query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
            return [str(row[0]) for row in connection.execute(query)]

    def rows(self, path: Path, table: str) -> Iterator[pa.RecordBatch]:
        """A column's values as text, or as bytes where they are bytes.

        :raises sqlite3.Error: if it cannot be read.
        """
        with _opened(path) as connection:
            quoted = '"' + table.replace('"', '""') + '"'
            result = connection.execute(f"SELECT * FROM {quoted}")  # noqa: S608
            names = [column[0] for column in result.description]
            while rows := result.fetchmany(_ROWS):
                columns = [_column(list(values)) for values in zip(*rows, strict=True)]
                yield pa.RecordBatch.from_arrays(columns, names)

    def beside(self, path: Path, tables_are_searched: bool) -> list[Part]:
        parts = []
        if statements := _statements_with_values(path):
            parts.append(Part("sqlite_schema", 0, lambda: _as_rows(statements)))
        free = _has_free_pages(path)
        if _is_wide(path):
            why = "free pages of a database in UTF-16"
            none = Part("", 0, lambda: iter(()))
            return [*parts, Part("free pages", 0, unread=why) if free else none]
        if not tables_are_searched:
            return [*parts, Part("", path.stat().st_size, lambda: _bytes_of(path))]
        return [*parts, Part("free pages", 0, lambda: _free_pages(path))] if free else parts


def split(uri: str) -> tuple[str, str]:
    """The database and the table of a URI.

    :raises UnsupportedDataset: if it is not the URI of a table.
    """
    parts = parts_of(uri)
    # An encoded slash is part of the table's name.
    database, _, table = parts.raw.rpartition("/")
    if parts.authority or not table or database in ("", "/"):
        raise UnsupportedDataset(f"'{uri}': a SQLite table is sqlite:///path/file.db/table")
    return canonical_path(unquote(database)), unquote(table)


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _has_free_pages(path: Path) -> bool:
    return next(_free_pages(path), None) is not None


def _bytes_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_CHUNK), b"")


def _as_rows(statements: list[str]) -> Iterator[pa.RecordBatch]:
    yield pa.RecordBatch.from_arrays([pa.array(statements, pa.large_string())], ["sql"])


# The parts of a table's statement that may hold a value.
_WITH_VALUES = re.compile(r"(?i)\b(?:default|check|generated|as|where)\b")


def _statements_with_values(path: Path) -> list[str]:
    """The statements of a SQLite file that may hold values: of views and triggers, with defaults and conditions."""
    with _opened(path) as connection:
        query = "SELECT type, sql FROM sqlite_master WHERE sql IS NOT NULL"
        rows = list(connection.execute(query))
    return [
        str(sql) for kind, sql in rows if kind in ("view", "trigger") or _WITH_VALUES.search(sql)
    ]


def _free_pages(path: Path) -> Iterator[bytes]:
    """The pages of a SQLite file that no table uses any more, an empty text after each; they keep what was deleted, or dropped
    (https://www.sqlite.org/fileformat2.html#the_freelist)."""
    with path.open("rb") as file:
        head = file.read(100)
        size = int.from_bytes(head[16:18], "big")
        size = 65_536 if size == 1 else size

        def page(number: int) -> bytes:
            file.seek((number - 1) * size)
            return file.read(size)

        trunk, seen = int.from_bytes(head[32:36], "big"), set()
        while trunk and trunk not in seen:
            seen.add(trunk)
            content = page(trunk)
            yield content
            yield b""
            leaves = min(int.from_bytes(content[4:8], "big"), size // 4 - 2)
            for at in range(leaves):
                yield page(int.from_bytes(content[8 + 4 * at : 12 + 4 * at], "big"))
                yield b""
            trunk = int.from_bytes(content[:4], "big")


def _is_wide(path: Path) -> bool:
    """Whether a SQLite file stores its texts in UTF-16."""
    with path.open("rb") as file:
        return file.read(60)[56:60] in (b"\0\0\0\2", b"\0\0\0\3")


def _column(values: list[Any]) -> pa.Array:
    if any(isinstance(value, bytes) for value in values):
        return pa.array(
            [v if v is None or isinstance(v, bytes) else str(v).encode() for v in values],
            pa.large_binary(),
        )
    return pa.array([None if v is None else str(v) for v in values], pa.large_string())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    # Not "ro", which cannot roll back what a killed writer left.
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=60)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        yield connection
    finally:
        connection.close()
