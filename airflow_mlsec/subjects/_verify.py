"""Looking again after an erasure, with other code: SQL over every column, and the very bytes.

Shares nothing with what erased. It reads files with DuckDB and databases through their own
drivers, and looks for the person's keys, foreign keys and pseudonyms in *every* column, not
only in those that policy and lineage name.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from airflow_mlsec.datasets import Connections, EnvironmentConnections, file_path
from airflow_mlsec.errors import DatasetError

# Shorter texts, such as "7", stand in many values by chance: they must be the whole value.
_SHORTEST_PART = 6


@dataclass(frozen=True)
class Rescan:
    """What the second look found in one place: rows, and how it looked."""

    rows: int
    how: str


def rescan(uri: str, needles: Iterable[str], connections: Connections | None = None) -> Rescan:
    """How many rows of a dataset still have one of the needles in any column.

    :raises DatasetError: if it cannot be read. What was not looked at is not clean.
    """
    wanted = sorted({needle for needle in needles if needle})
    scheme, _, rest = uri.partition("://")
    if not wanted:
        return Rescan(0, "nothing to look for")
    if scheme == "sqlite":
        return _sqlite(unquote(rest), wanted)
    if scheme in ("postgresql", "postgres"):
        return _postgresql(rest, wanted, connections or EnvironmentConnections())
    if scheme == "file":
        return _files(_pieces(file_path(uri)), wanted)
    return _remote(scheme, unquote(rest), wanted, connections or EnvironmentConnections())


def _pieces(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.rglob("*.parquet") if p.is_file())
    return [path] if path.exists() else []


def _files(paths: list[Path], needles: list[str]) -> Rescan:
    import duckdb

    total = 0
    for path in paths:
        ending = path.suffix.lower()
        readers = {
            ".parquet": "read_parquet", ".pq": "read_parquet",
            ".csv": "read_csv", ".jsonl": "read_ndjson", ".ndjson": "read_ndjson",
        }  # fmt: skip
        options = ", all_varchar = true, header = true" if ending == ".csv" else ""
        relation = f"{readers[ending]}({_text(str(path))}{options})"
        with duckdb.connect() as connection:
            try:
                described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()  # noqa: S608
                condition, values = _condition([row[0] for row in described], needles, "duckdb")
                sql = f"SELECT count(*) FROM {relation} WHERE {condition}"  # noqa: S608
                counted: Any = connection.execute(sql, values).fetchall()
            except duckdb.Error as error:
                # Its message may quote a value.
                raise DatasetError(
                    f"{path} cannot be looked at again ({type(error).__name__})"
                ) from None
        total += int(counted[0][0])
    return Rescan(
        total, f"DuckDB over every column of {len(paths)} file{'s' if len(paths) != 1 else ''}"
    )


def _remote(scheme: str, rest: str, needles: list[str], connections: Connections) -> Rescan:
    account, _, path = rest.rpartition("@") if "@" in rest.split("/", 1)[0] else ("", "", rest)
    filesystem = connections.filesystem(scheme, account or None)
    found = [path]
    if filesystem.isdir(path):
        found = sorted(p for p in filesystem.find(path) if p.endswith(".parquet"))
    total = 0
    for piece in found:
        if filesystem.exists(piece):
            with tempfile.NamedTemporaryFile(suffix=Path(piece).suffix) as local:
                filesystem.get_file(piece, local.name)
                total += _files([Path(local.name)], needles).rows
    return Rescan(total, f"DuckDB over every column of {len(found)} objects")


def _sqlite(rest: str, needles: list[str]) -> Rescan:
    database, _, table = rest.rpartition("/")
    path = Path(database)
    if not path.exists():
        return Rescan(0, "the database is gone")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
        try:
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({_name(table)})")]
            if not names:
                return Rescan(0, "the table is gone")
            condition, values = _condition(names, needles, "sqlite")
            sql = f"SELECT count(*) FROM {_name(table)} WHERE {condition}"  # noqa: S608
            [(rows,)] = connection.execute(sql, values)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatasetError(f"{path} cannot be looked at again ({type(error).__name__})") from None
    return Rescan(int(rows), "SQL over every column")


def _postgresql(rest: str, needles: list[str], connections: Connections) -> Rescan:
    import psycopg

    conn_id, _, dotted = rest.partition("/")
    names = [unquote(part) for part in dotted.split(".")]
    schema, table = (names[-2] if len(names) > 1 else "public"), names[-1]
    url = connections.sql_url(conn_id).replace("postgresql+psycopg://", "postgresql://")
    options = {"dbname": names[0]} if len(names) == 3 else {}
    try:
        with psycopg.connect(url, **options) as connection:  # type: ignore[arg-type]
            found = connection.execute(
                "SELECT column_name FROM information_schema.columns "
                "WHERE table_schema = %s AND table_name = %s",
                (schema, table),
            ).fetchall()
            if not found:
                return Rescan(0, "the table is gone")
            condition, values = _condition([row[0] for row in found], needles, "postgresql")
            sql = f"SELECT count(*) FROM {_name(schema)}.{_name(table)} WHERE {condition}"  # noqa: S608
            [(rows,)] = connection.execute(sql.encode(), values).fetchall()
    except psycopg.Error as error:
        raise DatasetError(f"{table} cannot be looked at again ({type(error).__name__})") from None
    return Rescan(int(rows), "SQL over every column")


def _condition(columns: list[str], needles: list[str], dialect: str) -> tuple[str, list[str]]:
    """Any column, as text, holds any of the needles."""
    mark = "%s" if dialect == "postgresql" else "?"
    kind = "VARCHAR" if dialect == "duckdb" else "TEXT"
    within = {"duckdb": "contains({0}, {1})", "sqlite": "instr({0}, {1}) > 0", "postgresql": "position({1} in {0}) > 0"}  # fmt: skip
    parts, values = [], []
    for column in columns:
        name = _name(column).replace("%", "%%") if dialect == "postgresql" else _name(column)
        text = f"CAST({name} AS {kind})"
        for needle in needles:
            test = within[dialect] if len(needle) >= _SHORTEST_PART else "{0} = {1}"
            parts.append(test.format(text, mark))
            values.append(needle)
    return " OR ".join(parts) or "FALSE", values


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
