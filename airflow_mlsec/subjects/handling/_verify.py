"""Looking again after an erasure, with other code, in *every* column.

Shares nothing with what erased: Parquet is read with DuckDB, text files line by line, databases
through their own drivers. A text counts as found in any letter case and Unicode form, with no
letter or digit directly before or after it; a short one, such as a number, only as the whole
value, compared as a number as well.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from airflow_mlsec import files
from airflow_mlsec.datasets import (
    Connections,
    EnvironmentConnections,
    file_path,
    partition_values,
    refuse_tables,
)
from airflow_mlsec.errors import DatasetError

# Shorter texts, such as "7", stand in many values by chance: they must be the whole value.
_SHORTEST_PART = 6
_SHORTEST_NUMBER = 9
_BATCH = 4_096
_DATA_FILES = (".parquet", ".pq", ".csv", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class Rescan:
    """What the second look found in one place: rows, and how it looked."""

    rows: int
    how: str


class _Needles:
    """Texts that must not be there: anywhere, or in one column only."""

    def __init__(
        self,
        anywhere: Iterable[str],
        in_column: Mapping[str, Iterable[str]],
        only: Mapping[str, str],
        exact: bool,
    ) -> None:
        self._only = {column: _Matcher([text], True, exact) for column, text in only.items()}
        self._anywhere = _Matcher(anywhere, False, exact)
        self._in_column = {c: _Matcher(texts, False, exact) for c, texts in in_column.items()}

    def in_row(self, row: Mapping[str, Any]) -> bool:
        """Whether any value of a row, nested ones included, holds one."""
        for column, mine in self._only.items():
            texts = list(_texts(row.get(column)))
            if texts and not any(mine.holds(text) for text in texts):
                return False
        return any(
            self._anywhere.holds(text)
            or (column in self._in_column and self._in_column[column].holds(text))
            for column, value in row.items()
            for text in _texts(value)
        )


class _Matcher:
    def __init__(self, needles: Iterable[str], whole: bool, exact: bool) -> None:
        self._exact = exact
        folded = {self._as_compared(needle) for needle in needles if needle}
        self._whole = {
            n
            for n in folded
            if whole or len(n) < (_SHORTEST_PART if _number(n) is None else _SHORTEST_NUMBER)
        }
        self._numbers = {x for n in folded if (x := _number(n)) is not None}
        parts = "|".join(re.escape(n) for n in sorted(folded - self._whole))
        self._parts = re.compile(rf"(?<![^\W_])(?:{parts})(?![^\W_])") if parts else None

    def holds(self, text: str) -> bool:
        folded = self._as_compared(text)
        if folded in self._whole or (self._parts is not None and self._parts.search(folded)):
            return True
        return bool(self._numbers) and _number(folded) in self._numbers

    def _as_compared(self, text: str) -> str:
        return text if self._exact else _folded(text)


def rescan(
    uri: str,
    anywhere: Iterable[str],
    in_column: Mapping[str, Iterable[str]] | None = None,
    connections: Connections | None = None,
    only: Mapping[str, str] | None = None,
    left_out: Iterable[str] = (),
    exact: bool = False,
) -> Rescan:
    """How many rows of a dataset still hold one of the texts: of ``anywhere`` in any column, of
    ``in_column`` in that one. Rows that have another value than ``only`` says in one of its
    columns are another person's. ``left_out`` are paths below a folder that are looked at by themselves.
    Spellings of a text are the same unless texts are ``exact``.

    :raises DatasetError: if it cannot be read. What was not looked at is not clean.
    """
    needles = _Needles(anywhere, in_column or {}, only or {}, exact)
    scheme, _, rest = uri.partition("://")
    if scheme == "sqlite":
        return _sqlite(unquote(rest), needles)
    if scheme in ("postgresql", "postgres"):
        return _postgresql(rest, needles, connections or EnvironmentConnections())
    if scheme == "file":
        path = file_path(uri)
        refuse_tables(str(path), None, uri)
        return _files(_without(_pieces(path), left_out), needles)
    connections = connections or EnvironmentConnections()
    return _remote(scheme, unquote(rest), needles, connections, left_out)


def _without(paths: list[Path], left_out: Iterable[str]) -> list[Path]:
    others = [Path(path) for path in left_out]
    return [p for p in paths if not any(p == other or other in p.parents for other in others)]


def _pieces(path: Path) -> list[Path]:
    """The data files below a folder, behind links as well; or a file.

    :raises DatasetError: if nothing is there, or a folder cannot be listed: then it is not known to be clean.
    """
    if not path.exists():
        raise DatasetError("nothing is there: it was moved, or a disk is not mounted")
    if not path.is_dir():
        return [path]

    def unlisted(error: OSError) -> None:
        raise DatasetError(f"a folder of it cannot be listed ({error.strerror})")

    found, seen = [], set[tuple[int, int]]()
    for at, folders, names in os.walk(path, onerror=unlisted, followlinks=True):
        status = os.stat(at)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        found += [Path(at, n) for n in names if Path(n).suffix.lower() in _DATA_FILES]
        if any(not n.startswith(".") and not Path(at, n).exists() for n in names):
            raise DatasetError("a link in it leads to nothing: a disk may not be mounted")
    return sorted(found)


def _files(paths: list[Path], needles: _Needles) -> Rescan:
    rows = sum(_rows(path, needles, str(path)) for path in paths)
    how = f"every column of {len(paths)} file{'s' if len(paths) != 1 else ''}"
    return Rescan(rows, how if paths else "nothing is there any more")


def _rows(path: Path, needles: _Needles, name: str) -> int:
    """How many rows of a file hold a text; ``name`` is how it is called."""
    try:
        # What the names of folders say is said of every row.
        said = partition_values(name)
        return sum(
            needles.in_row(row) or (bool(said) and needles.in_row(said))
            for row in _reader(Path(name))(path)
        )
    except (ValueError, OSError, csv.Error) as error:
        # Its message may quote a value.
        raise DatasetError(f"{name} cannot be looked at again ({type(error).__name__})") from None


def _reader(path: Path) -> Callable[[Path], Iterator[Mapping[str, Any]]]:
    ending = path.suffix.lower()
    if ending in (".parquet", ".pq"):
        return _parquet
    return _csv if ending == ".csv" else _json_lines


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import duckdb

    escaped = re.sub(r"([*?\[\]])", r"[\1]", str(path)).replace("'", "''")
    try:
        with duckdb.connect() as connection:
            # Of folders' names `partition_values` tells.
            read = f"read_parquet('{escaped}', hive_partitioning=false)"
            result: Any = connection.execute(f"SELECT * FROM {read}")  # noqa: S608
            names = [column[0] for column in result.description]
            while rows := result.fetchmany(_BATCH):
                yield from (dict(zip(names, row, strict=True)) for row in rows)
    except duckdb.Error as error:
        raise ValueError(type(error).__name__) from None
    yield from _beside_rows(path)


def _beside_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """What a Parquet file holds beside its rows: notes of the file and of its columns, and values of
    dictionaries (pandas' categories) that no row has any more."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as source:
        schema = source.schema_arrow
        notes = [schema.metadata or {}, *(field.metadata or {} for field in schema)]
        for said in notes:
            for name, value in said.items():
                yield {"": f"{name.decode('utf-8', 'replace')} {value.decode('utf-8', 'replace')}"}
        coded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        for group in range(source.num_row_groups if coded else 0):
            table = source.read_row_group(group, columns=coded)
            for name, column in zip(table.schema.names, table.columns, strict=True):
                for chunk in column.chunks:
                    used = set(chunk.indices.to_pylist())
                    values = enumerate(chunk.dictionary.to_pylist())
                    yield from ({name: value} for i, value in values if i not in used)


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        delimiter = max(",;\t", key=header.count)
        names = next(csv.reader([header], delimiter=delimiter), [])
        file.seek(0)
        for row in csv.reader(file, delimiter=delimiter):
            # Fields past the header's are looked at as well.
            yield {names[i] if i < len(names) else f"#{i}": value for i, value in enumerate(row)}


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for line in file:
            if line.strip():
                found = json.loads(line, parse_float=str, parse_int=str)
                yield found if isinstance(found, dict) else {"": found}


def _remote(
    scheme: str, rest: str, needles: _Needles, connections: Connections, left_out: Iterable[str]
) -> Rescan:
    account, _, path = rest.rpartition("@") if "@" in rest.split("/", 1)[0] else ("", "", rest)
    filesystem = connections.filesystem(scheme, account or None)
    refuse_tables(path, filesystem, f"{scheme}://{rest}")
    # An object and others below its name may both be there. A path's own spelling is an object's name: two slashes
    # are not one.
    above = path.rstrip("/").rpartition("/")[0]
    listed = filesystem.ls(above, detail=True) if above else []
    found = [path] if any(e["type"] == "file" and e["name"] == path for e in listed) else []
    found += sorted(p for p in filesystem.find(path) if p.lower().endswith(_DATA_FILES))
    away = [str(other).rstrip("/") for other in left_out]
    found = [
        p
        for p in dict.fromkeys(found)
        if not any(p == other or p.startswith(f"{other}/") for other in away)
    ]
    rows = 0
    for piece in found:
        with files.unnamed() as (file, local), filesystem.open(piece, "rb") as there:
            shutil.copyfileobj(there, file)
            file.flush()
            rows += _rows(local, needles, piece)
    return Rescan(
        rows, f"every column of {len(found)} objects" if found else "nothing is there any more"
    )


def _sqlite(rest: str, needles: _Needles) -> Rescan:
    database, _, table = rest.rpartition("/")
    if not Path(database).exists():
        raise DatasetError("the database is not there: it was moved, or a disk is not mounted")
    try:
        # Not "ro", which cannot roll back what a killed writer left.
        connection = sqlite3.connect(f"file:{quote(database)}?mode=rw", uri=True, timeout=60)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            result = connection.execute(f"SELECT * FROM {_name(table)}")  # noqa: S608
            names = [column[0] for column in result.description]
            rows = sum(needles.in_row(dict(zip(names, row, strict=True))) for row in result)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatasetError(
            f"{database} cannot be looked at again ({type(error).__name__})"
        ) from None
    return Rescan(rows, "every column of the table")


def _postgresql(rest: str, needles: _Needles, connections: Connections) -> Rescan:
    import psycopg

    conn_id, _, dotted = rest.partition("/")
    names = [unquote(part) for part in dotted.split(".")]
    schema, table = (names[-2] if len(names) > 1 else "public"), names[-1]
    url = connections.sql_url(conn_id).replace("postgresql+psycopg://", "postgresql://")
    options = {"dbname": names[0]} if len(names) == 3 else {}
    try:
        with psycopg.connect(url, **options) as connection:  # type: ignore[arg-type]
            # Rows that a policy hides from this role have not been looked at: the database refuses instead.
            connection.execute("SET row_security = off")
            columns = [
                row[0]
                for row in connection.execute(
                    "SELECT column_name FROM information_schema.columns "
                    "WHERE table_schema = %s AND table_name = %s",
                    (schema, table),
                )
            ]
            if not columns:
                raise DatasetError("the table is not there")
            listed = ", ".join(f"{_name(column)}::text" for column in columns)
            with connection.cursor(name="mlsec_rescan") as cursor:
                cursor.execute(f"SELECT {listed} FROM {_name(schema)}.{_name(table)}".encode())  # noqa: S608
                rows = sum(needles.in_row(dict(zip(columns, row, strict=True))) for row in cursor)
    except psycopg.Error as error:
        raise DatasetError(f"{table} cannot be looked at again ({type(error).__name__})") from None
    return Rescan(rows, "every column of the table")


def _texts(value: Any) -> Iterator[str]:
    """Every text that a value prints as; of nested values every leaf."""
    if value is None:
        return
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple, set)):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        yield bytes(value).decode("utf-8", "replace")
    else:
        yield str(value)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def _number(text: str) -> Decimal | None:
    if not re.fullmatch(r"[+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?", text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
