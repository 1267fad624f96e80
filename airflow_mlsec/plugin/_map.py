"""The personal-data map: what the register knows about datasets and columns. No values."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.ledger import AssetKind, Outcome, ReleaseStatement
from airflow_mlsec.lineage import (
    State,
    all_edges,
    column_states,
    latest_releases,
    transformations,
)
from airflow_mlsec.register import Register, column_documents, find_dataset, graph
from airflow_mlsec.register import tables as t


def personal_data_map(register: Register, wanted: str | None = None) -> dict[str, Any]:
    """Datasets with their columns, states, guarantees, checks and direct origins.

    :param wanted: A dataset's name or URI, or that of a folder or schema. ``meant`` has the ids of the datasets that it
        names, or of those in it.
    """

    def read(connection: sa.Connection) -> dict[str, Any]:
        meant = None if wanted is None else _meant(connection, wanted)
        return {"datasets": _datasets(connection), "meant": meant}

    return register.read(read)


def _meant(connection: sa.Connection, wanted: str) -> list[int]:
    if named := find_dataset(connection, wanted):
        return [row.id for row in named]
    if not wanted:
        return []
    d = t.dataset.c
    full = d.namespace + "/" + d.name
    within = [
        column.startswith(wanted.rstrip(separator) + separator, autoescape=True)
        for column in (full, d.uri, d.name)
        for separator in ("/", ".")
    ]
    return list(connection.scalars(sa.select(d.id).where(sa.or_(*within)).order_by(d.id)))


def _datasets(connection: sa.Connection) -> list[dict[str, Any]]:
    states = column_states(connection)
    columns: dict[int, list[dict[str, Any]]] = {}
    of_node: dict[int, str] = {}
    highest: dict[int, State] = {}
    for node, state in states.items():
        dataset = graph.dataset_of(node)
        highest[dataset] = max(highest.get(dataset, State.NONE), state)
    declared = {
        (row.dataset_id, row.name): row for row in connection.execute(sa.select(t.declared_column))
    }
    for dataset, known in column_documents(connection, None).items():
        numbered = enumerate(known, graph.FIRST_COLUMN)
        for ordinal, (name, kind, _) in sorted(numbered, key=lambda item: _position(item[1])):
            node = graph.node(dataset, ordinal)
            of_node[node] = name
            said = declared.get((dataset, name))
            columns.setdefault(dataset, []).append(
                {
                    "name": name,
                    "type": kind,
                    "role": said.role if said else None,
                    "category": said.category if said else None,
                    "state": states.get(node, State.NONE).label,
                    "origins": [],
                    "_node": node,
                }
            )
    names = {row.id: row.name for row in connection.execute(sa.select(t.dataset))}
    origins, sources = _origins(connection, of_node)
    evidence = latest_releases(connection)
    checks = _latest_checks(connection)
    datasets = []
    for row in connection.execute(sa.select(t.dataset).order_by(t.dataset.c.id)):
        listed = columns.get(row.id, [])
        for column in listed:
            found = origins.get(column.pop("_node"), [])
            column["origins"] = [
                {
                    "dataset": _short(names[graph.dataset_of(node)]),
                    "column": of_node[node],
                    "via": via,
                }
                for node, via in found
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
                "checks": checks.get(str(DatasetName(row.namespace, row.name))),
                "sources": [
                    {"id": i, "short": _short(names[i])} for i in sorted(sources.get(row.id, ()))
                ],
                "columns": listed,
                "last_seen": row.last_seen,
            }
        )
    return datasets


def _position(column: Any) -> tuple[bool, int]:
    """Columns of the newest schema, in its order, before those that it no longer has."""
    return column[2] is None, column[2] or 0


def _origins(
    connection: sa.Connection, of_node: dict[int, str]
) -> tuple[dict[int, list[tuple[int, str | None]]], dict[int, set[int]]]:
    """Where each column, and each dataset, directly comes from."""
    origins: dict[int, list[tuple[int, str | None]]] = {}
    sources: dict[int, set[int]] = {}
    steps = transformations(connection)
    for source, target, step in all_edges(connection):
        sources.setdefault(graph.dataset_of(target), set()).add(graph.dataset_of(source))
        if source in of_node:
            origins.setdefault(target, []).append((source, steps[step].described()))
    return origins, sources


def _latest_checks(connection: sa.Connection) -> dict[str, dict[str, Any]]:
    """By dataset name: how many of the latest evaluated controls passed, and which did not."""
    f = t.finding.c
    of_datasets = f.asset_kind == AssetKind.DATASET.value
    latest = sa.select(f.asset, sa.func.max(f.at).label("at")).where(of_datasets).group_by(f.asset)
    last = latest.subquery()
    query = (
        sa.select(f.asset, f.control, f.outcome, f.at)
        .join(last, sa.and_(last.c.asset == f.asset, last.c.at == f.at))
        .where(of_datasets)
        .order_by(f.id)
    )
    found: dict[str, dict[str, Any]] = {}
    for row in connection.execute(query):
        entry = found.setdefault(row.asset, {"passed": 0, "failed": [], "checked_at": row.at})
        if Outcome(row.outcome).holds:
            entry["passed"] += 1
        else:
            entry["failed"].append(row.control)
    return found


def _guarantee(release: ReleaseStatement | None) -> str | None:
    if release is None:
        return None
    numbers = release.numbers
    parts = [f"k-anonymity {numbers.k_anonymity}"] if numbers.k_anonymity else []
    parts.append(f"{numbers.suppressed} of {numbers.rows} rows suppressed")
    return ", ".join(parts)


def _short(name: str) -> str:
    """The end of the name, which distinguishes `raw/people.parquet` from `safe/people.parquet`."""
    return "/".join(name.rstrip("/").split("/")[-2:])
