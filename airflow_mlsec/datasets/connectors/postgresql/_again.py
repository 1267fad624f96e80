"""A table of PostgreSQL, read through its own driver to check again what was changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_mlsec.connections import Connections
from airflow_mlsec.errors import DatasetError


def read_again(
    conn_id: str, database: str | None, schema: str, table: str, connections: Connections
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """:raises DatasetError: if it cannot be read."""
    import psycopg

    url = connections.sql_url(conn_id).replace("postgresql+psycopg://", "postgresql://")
    options = {"dbname": database} if database else {}
    try:
        with psycopg.connect(url, **options) as connection:  # type: ignore[arg-type]
            # Rows that a policy hides from this role would not be checked: the database refuses instead.
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
                for row in cursor:
                    yield dict(zip(columns, row, strict=True)), {}
    except psycopg.Error as error:
        raise DatasetError(f"{table} cannot be read again ({type(error).__name__})") from None


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
