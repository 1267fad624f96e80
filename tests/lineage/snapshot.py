"""Everything that a register knows of lineage, by names, so that two registers compare."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from airflow_mlsec.lineage import columns_of
from airflow_mlsec.register import Register, column_documents, graph
from airflow_mlsec.register import tables as t


def snapshot(register: Register) -> dict[str, set[Any]]:
    """Tables of the graph with names instead of ids."""
    return register.read(_snapshot)


def _snapshot(connection: sa.Connection) -> dict[str, set[Any]]:
    def rows(table: sa.Table) -> list[Any]:
        return list(connection.execute(sa.select(table)))

    names = {r.id: (r.namespace, r.name) for r in rows(t.dataset)}
    nodes: dict[int, Any] = {}
    columns = set()
    for dataset, listed in column_documents(connection, None).items():
        for ordinal, (name, kind, position) in enumerate(listed, graph.FIRST_COLUMN):
            nodes[graph.node(dataset, ordinal)] = (*names[dataset], name)
            columns.add((*names[dataset], name, kind, position))
    for dataset, name in names.items():
        nodes[graph.node(dataset, graph.INTO)] = (*name, "<into>")
        nodes[graph.node(dataset, graph.OUT_OF)] = (*name, "<out of>")
    steps = {
        r.id: (r.kind, r.type, r.subtype, r.description, r.masking, bool(r.inferred))
        for r in rows(t.transformation)
    }
    jobs = {r.id: (r.namespace, r.name) for r in rows(t.job)}
    runs = {r.id: r.uuid for r in rows(t.run)}
    flows = {
        r.id: frozenset(
            "explained"
            if (source, ordinal, step) == graph.EXPLAINED
            else (nodes[source], nodes[graph.node(target, ordinal)], steps[step])
            for target, edges in [graph.unpack_flow(bytes(r.edges))]
            for source, ordinal, step in edges
        )
        for r in rows(t.flow)
    }
    entities = {"dataset": names, "job": jobs, "run": runs}
    return {
        "datasets": {
            (r.namespace, r.name, r.first_seen, r.last_seen, r.schema_at, r.schema_digest)
            for r in rows(t.dataset)
        },
        "columns": columns,
        "edges": {
            (nodes[r.source_id], nodes[r.target_id], steps[r.transformation_id])
            for r in rows(t.edge)
        },
        "runs": {
            (r.uuid, jobs.get(r.job_id), r.state, r.started_at, r.ended_at, r.parent_uuid,
             r.nominal_start, r.nominal_end, r.task_instance)
            for r in rows(t.run)
        },
        "touched": {
            (runs[r.run_id], names[r.dataset_id], r.direction, flows.get(r.flow_id), r.version)
            for r in rows(t.run_dataset)
        },
        "assumed": {
            (names[r.source_id], names[r.target_id], runs[r.run_id]) for r in rows(t.assumed)
        },
        "aliases": {(names[r.dataset_id], names[r.other_id], r.kind) if r.kind == "rename" else
                    (*sorted((names[r.dataset_id], names[r.other_id])), r.kind) for r in rows(t.alias)},
        "lifecycle": {(names[r.dataset_id], r.change, r.at) for r in rows(t.lifecycle)},
        "facets": {
            (*key, *newest)
            for key, newest in {
                (entities[r.entity][r.entity_id], r.name): (r.at, r.digest)
                for r in sorted(rows(t.facet), key=lambda r: (r.at, r.digest))
            }.items()
        },
        "dependencies": {
            (runs[r.run_id], r.direction, jobs[r.job_id], r.run_uuid)
            for r in rows(t.run_dependency)
        },
    }  # fmt: skip


def names_of(connection: sa.Connection) -> dict[int, str]:
    """`dataset#column` by node, the dataset as a whole included."""
    found = {}
    for row in list(connection.execute(sa.select(t.dataset.c.id, t.dataset.c.name))):
        found[graph.node(row.id, graph.INTO)] = f"{row.name}#"
        found[graph.node(row.id, graph.OUT_OF)] = f"{row.name}#*"
        for _, column, ordinal in columns_of(connection, [row.id]):
            found[graph.node(row.id, ordinal)] = f"{row.name}#{column}"
    return found
