"""A table of SQLite, read through its own driver to check again what was changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_mlsec.errors import DatasetError


def read_again(database: str, table: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """:raises DatasetError: if it cannot be read."""
    if not Path(database).exists():
        raise DatasetError("the database is not there: it was moved, or a disk is not mounted")
    try:
        # Not "ro", which cannot roll back what a killed writer left.
        connection = sqlite3.connect(f"file:{quote(database)}?mode=rw", uri=True, timeout=60)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            quoted = '"' + table.replace('"', '""') + '"'
            result = connection.execute(f"SELECT * FROM {quoted}")  # noqa: S608
            names = [column[0] for column in result.description]
            for row in result:
                yield dict(zip(names, row, strict=True)), {}
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatasetError(f"{database} cannot be read again ({type(error).__name__})") from None
