"""Finds the database in which a query of the running task was executed.

Airflow's OpenLineage provider names the tables of a query only for hooks that report where their
database is. SQLite's hook does not, so its events hold the query and no dataset. While the task
still runs, Airflow's own collector knows which hook ran the query, and the hook knows its
connection.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from typing import Any

from airflow_mlsec.lineage import RunningTask
from airflow_mlsec.naming import canonical_path

# A table that stands for any table of the database.
_ANY = "any"


class AirflowTask(RunningTask):
    """The Airflow task that runs in this process (entry point ``airflow`` of `airflow_mlsec.running_task`)."""

    def connections(self) -> Any:
        from airflow_mlsec.hooks.mlsec import AirflowConnections

        return AirflowConnections()

    def database_of(self, query: str) -> dict[str, Any] | None:
        return _database_of(query)


def _database_of(query: str) -> dict[str, Any] | None:
    from airflow.providers.common.compat.sdk import get_hook_lineage_collector
    from airflow.providers.openlineage.sqlparser import SQLParser

    paths: set[str | None] = set()
    for extra in get_hook_lineage_collector().collected_assets.extra:
        value = extra.value
        text = value.get("sql") if isinstance(value, dict) else None
        if isinstance(text, str) and SQLParser.normalize_sql(text) == query:
            paths.add(_sqlite_file(extra.context))
    path = paths.pop() if len(paths) == 1 else None
    if path is None:
        return None
    return {"namespace": "sqlite", "name": f"{path}/{_ANY}", "tables": _columns(path, query)}


def _sqlite_file(hook: Any) -> str | None:
    if getattr(hook, "conn_type", None) != "sqlite":
        return None
    # As the hook itself reads it: an empty host is a database in memory.
    path = hook.get_connection(getattr(hook, hook.conn_name_attr)).host or ""
    return None if path in ("", ":memory:") else canonical_path(os.path.abspath(path))


def _columns(path: str, query: str) -> dict[str, list[str]]:
    """Columns by table, in order, of the tables whose names occur somewhere in the query."""
    words = {word.lower() for word in re.findall(r"\w+", query)}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        listed = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
        names = [row[0] for row in connection.execute(listed)]
        columns = "SELECT name FROM pragma_table_info(?) ORDER BY cid"
        return {
            name: [row[0] for row in connection.execute(columns, (name,))]
            for name in names
            if words >= {word.lower() for word in re.findall(r"\w+", name)}
        }
