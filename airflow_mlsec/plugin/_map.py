"""The personal-data map: what the register knows of datasets and columns. No values."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from airflow_mlsec.lineage import State, column_states, latest_releases
from airflow_mlsec.register import Register
from airflow_mlsec.register import tables as t


def personal_data_map(register: Register) -> dict[str, Any]:
    """Datasets with their columns, states, guarantees, checks and direct origins."""
    return register.read(_read)


def _read(connection: sa.Connection) -> dict[str, Any]:
    states = column_states(connection)
    columns: dict[int, list[dict[str, Any]]] = {}
    of_column: dict[int, tuple[int, str]] = {}
    highest: dict[int, State] = {}
    order = sa.select(t.column).order_by(t.column.c.dataset_id, t.column.c.position, t.column.c.id)
    for row in connection.execute(order):
        of_column[row.id] = (row.dataset_id, row.name)
        state = states[row.id]
        highest[row.dataset_id] = max(highest.get(row.dataset_id, State.NONE), state)
        if row.name in ("", "*"):
            continue
        columns.setdefault(row.dataset_id, []).append(
            {
                "name": row.name,
                "type": row.type,
                "role": row.role,
                "category": row.category,
                "state": state.label,
                "origins": [],
                "_id": row.id,
            }
        )
    names = {row.id: row.name for row in connection.execute(sa.select(t.dataset))}
    origins, sources = _origins(connection, of_column)
    evidence = latest_releases(connection)
    checks = _latest_checks(connection)
    datasets = []
    for row in connection.execute(sa.select(t.dataset).order_by(t.dataset.c.id)):
        listed = columns.get(row.id, [])
        for column in listed:
            found = origins.get(column.pop("_id"), [])
            column["origins"] = [
                {"dataset": _short(names[of_column[i][0]]), "column": of_column[i][1], "via": via}
                for i, via in found
            ]
        datasets.append(
            {
                "id": row.id,
                "namespace": row.namespace,
                "name": row.name,
                "short": _short(row.name),
                "uri": row.uri,
                "kind": row.kind,
                "stage": row.stage,
                "rows": row.rows,
                "state": highest.get(row.id, State.NONE).label,
                "guarantee": _guarantee(evidence.get(row.id)),
                "checks": checks.get(row.id),
                "sources": [
                    {"id": i, "short": _short(names[i])} for i in sorted(sources.get(row.id, ()))
                ],
                "columns": listed,
                "last_seen": row.last_seen,
            }
        )
    return {"datasets": datasets}


def _origins(
    connection: sa.Connection, of_column: dict[int, tuple[int, str]]
) -> tuple[dict[int, list[tuple[int, str | None]]], dict[int, set[int]]]:
    origins: dict[int, list[tuple[int, str | None]]] = {}
    sources: dict[int, set[int]] = {}
    query = sa.select(t.edge.c.source_id, t.edge.c.target_id, t.edge.c.transformation)
    for source, target, via in connection.execute(query.where(t.edge.c.kind != "whole")):
        sources.setdefault(of_column[target][0], set()).add(of_column[source][0])
        if of_column[source][1] not in ("", "*"):
            origins.setdefault(target, []).append((source, via))
    return origins, sources


def _latest_checks(connection: sa.Connection) -> dict[int, dict[str, Any]]:
    r = t.check_result.c
    latest = sa.select(r.dataset_id, sa.func.max(r.checked_at).label("at")).group_by(r.dataset_id)
    last = latest.subquery()
    query = sa.select(r.dataset_id, r.control, r.passed, r.checked_at).join(
        last, sa.and_(last.c.dataset_id == r.dataset_id, last.c.at == r.checked_at)
    )
    found: dict[int, dict[str, Any]] = {}
    for row in connection.execute(query):
        entry = found.setdefault(
            row.dataset_id, {"passed": 0, "failed": [], "checked_at": row.checked_at}
        )
        if row.passed:
            entry["passed"] += 1
        else:
            entry["failed"].append(row.control)
    return found


def _guarantee(predicate: dict[str, Any] | None) -> str | None:
    if predicate is None:
        return None
    k = predicate["numbers"].get("k_anonymity")
    suppressed, rows = predicate["numbers"]["suppressed"], predicate["numbers"]["rows"]
    parts = [f"k-anonymity {k}"] if k else []
    parts.append(f"{suppressed} of {rows} rows suppressed")
    return ", ".join(parts)


def _short(name: str) -> str:
    """The end of the name that tells `raw/people.parquet` from `safe/people.parquet`."""
    return "/".join(name.rstrip("/").split("/")[-2:])
