"""Files read by separate code, to check again what was changed: Parquet with DuckDB, text line by line."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_mlsec import files
from airflow_mlsec.connections import Connections
from airflow_mlsec.datasets._connector import Reading
from airflow_mlsec.datasets.connectors.files._folders import partition_values, refuse_tables
from airflow_mlsec.datasets.connectors.files._location import FileUri
from airflow_mlsec.errors import DatasetError

_BATCH = 4_096
_DATA_FILES = (".parquet", ".pq", ".csv", ".jsonl", ".ndjson")
_NOTHING = "nothing is there any more"

_Rows = Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]


def read_again(location: FileUri, connections: Connections, left_out: Sequence[str]) -> Reading:
    """The rows of a file, or of the data files below a folder or a name.

    :raises DatasetError: if it cannot be read.
    """
    if location.protocol != "file":
        return _objects(location, connections, left_out)
    path = Path(location.path)
    refuse_tables(str(path), None, str(location))
    found = _without(_pieces(path), left_out)
    how = f"every column of {len(found)} file{'s' if len(found) != 1 else ''}"

    def rows() -> _Rows:
        for piece in found:
            yield from _rows(piece, str(piece))

    return Reading(rows(), how if found else _NOTHING)


def _objects(location: FileUri, connections: Connections, left_out: Iterable[str]) -> Reading:
    filesystem = connections.filesystem(location.protocol, location.conn_id)
    path = location.path
    refuse_tables(path, filesystem, str(location))
    # An object and others below its name may both exist. A path's exact spelling is an object's name: two slashes
    # are not one.
    above = path.rstrip("/").rpartition("/")[0]
    try:
        listed = filesystem.ls(above, detail=True) if above else []
    except FileNotFoundError:
        listed = []
    found = [path] if any(e["type"] == "file" and e["name"] == path for e in listed) else []
    found += sorted(p for p in filesystem.find(path) if p.lower().endswith(_DATA_FILES))
    away = [str(other).rstrip("/") for other in left_out]
    found = [
        p
        for p in dict.fromkeys(found)
        if not any(p == other or p.startswith(f"{other}/") for other in away)
    ]

    def rows() -> _Rows:
        for piece in found:
            with files.unnamed() as (file, local), filesystem.open(piece, "rb") as there:
                shutil.copyfileobj(there, file)
                file.flush()
                yield from _rows(local, piece)

    return Reading(rows(), f"every column of {len(found)} objects" if found else _NOTHING)


def _rows(path: Path, name: str) -> _Rows:
    """The rows of a file; ``name`` is its name."""
    try:
        # What the names of folders say applies to every row.
        said = partition_values(name)
        for row in _reader(Path(name))(path):
            yield row, said
    except (ValueError, OSError, csv.Error) as error:
        # Its message may quote a value.
        raise DatasetError(f"{name} cannot be read again ({type(error).__name__})") from None


def _without(paths: list[Path], left_out: Iterable[str]) -> list[Path]:
    others = [Path(path) for path in left_out]
    return [p for p in paths if not any(p == other or other in p.parents for other in others)]


def _pieces(path: Path) -> list[Path]:
    """The data files below a folder, including those behind links; or a file.

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
            # `partition_values` reads the names of folders.
            read = f"read_parquet('{escaped}', hive_partitioning=false)"
            result: Any = connection.execute(f"SELECT * FROM {read}")  # noqa: S608
            names = [column[0] for column in result.description]
            while rows := result.fetchmany(_BATCH):
                yield from (dict(zip(names, row, strict=True)) for row in rows)
    except duckdb.Error as error:
        raise ValueError(type(error).__name__) from None
    yield from _beside_rows(path)


def _beside_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """What a Parquet file holds in addition to its rows: metadata of the file and of its columns, and
    values of dictionaries (pandas' categories) that no row has any more."""
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
            # Fields beyond the header's are checked as well.
            yield {names[i] if i < len(names) else f"#{i}": value for i, value in enumerate(row)}


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for line in file:
            if line.strip():
                found = json.loads(line, parse_float=str, parse_int=str)
                yield found if isinstance(found, dict) else {"": found}
