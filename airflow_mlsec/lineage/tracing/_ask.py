"""Questions of the compliance team: who holds a category, what reaches a model, what changed."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.lineage.tracing._graph import edges_within, walk
from airflow_mlsec.lineage.tracing._history import History, moment
from airflow_mlsec.lineage.tracing._state import State, column_states, columns_of
from airflow_mlsec.lineage.tracing._trace import TraceNode, describe, find_start, start_nodes
from airflow_mlsec.register import Register, graph, rows_of
from airflow_mlsec.register import tables as t


@dataclass(frozen=True)
class Holder:
    """A column that holds data of a category: declared so, or made from one that was."""

    dataset: str
    column: str
    state: State
    declared: str | None
    via: str | None


@dataclass(frozen=True)
class Change:
    """Something new in the lineage. ``what`` is dataset, column edge, or the lifecycle
    change's own name."""

    at: str
    what: str
    dataset: str
    detail: str


def holders(register: Register, category: str) -> list[Holder]:
    """Columns that hold a Fideslang category, or one below it (``user.contact`` holds
    ``user.contact.email``). Data that flowed on without being anonymized still holds it."""
    return register.read(lambda connection: _holders(connection, category))


def _holders(connection: sa.Connection, category: str) -> list[Holder]:
    c, d = t.declared_column.c, t.dataset.c
    below = c.category.startswith(f"{category}.", autoescape=True)
    query = (
        sa.select(c.dataset_id, c.name.label("column"), c.category, d.namespace, d.name)
        .join(t.dataset, d.id == c.dataset_id)
        .where(sa.or_(c.category == category, below))
    )
    rows = {(r.dataset_id, r.column): r for r in connection.execute(query)}
    declared = {
        graph.node(dataset, ordinal): rows[dataset, name]
        for dataset, name, ordinal in columns_of(connection, {dataset for dataset, _ in rows})
        if (dataset, name) in rows
    }
    if not declared:
        return []
    # What only has an influence (filters, joins, order) does not pass the category on.
    direct = set(
        connection.execute(
            sa.select(t.transformation.c.id).where(t.transformation.c.kind != "indirect")
        ).scalars()
    )
    edges = [e for e in edges_within(connection, declared, "down") if e[2] in direct]
    reached = walk(edges, declared, "down")
    nodes = describe(connection, reached, set(), "down", edges)
    states = column_states(connection, declared)
    found = [
        Holder(
            str(DatasetName(row.namespace, row.name)),
            row.column,
            states.get(n, State.NONE),
            row.category,
            None,
        )
        for n, row in declared.items()
    ]
    known = {(holder.dataset, holder.column) for holder in found}
    found += [
        Holder(node.dataset, node.column, node.state, None, node.via)
        for node in nodes
        if node.state >= State.PSEUDONYMOUS and (node.dataset, node.column) not in known
    ]
    return sorted(found, key=lambda h: (h.dataset, h.column))


def columns_reaching(register: Register, target: str) -> list[TraceNode]:
    """The personal columns that reach a dataset or model, nearest first.

    :raises UsageError: if the register does not know it.
    """

    def work(connection: sa.Connection) -> list[TraceNode]:
        dataset, column = find_start(connection, target)
        starts = start_nodes(connection, dataset.id, column, "up")
        edges = edges_within(connection, starts, "up")
        nodes = describe(connection, walk(edges, starts, "up"), set(starts), "up", edges)
        return [node for node in nodes if node.column and node.state >= State.PSEUDONYMOUS]

    return register.read(work)


def changes_since(register: Register, since: str) -> list[Change]:
    """Datasets and column edges that were first seen since, and what was dropped, renamed,
    truncated or overwritten since; oldest first.

    :raises UsageError: if ``since`` is not a date or time.
    """
    start = moment(since) if "T" in since else moment(f"{since}T00:00:00+00:00")
    return register.read(lambda connection: _changes(connection, start))


def _changes(connection: sa.Connection, start: str) -> list[Change]:
    d, life, r, touched = t.dataset.c, t.lifecycle.c, t.run.c, t.run_dataset.c
    found = []
    query = sa.select(d.namespace, d.name, d.first_seen).where(d.first_seen >= start)
    for row in connection.execute(query):
        found.append(
            Change(
                row.first_seen, "dataset", str(DatasetName(row.namespace, row.name)), "first seen"
            )
        )
    lived = sa.select(d.namespace, d.name, life.change, life.at).join(
        t.dataset, d.id == life.dataset_id
    )
    for namespace, name, change, at in connection.execute(lived.where(life.at >= start)):
        label, verb = str(DatasetName(namespace, name)), change.lower()
        found.append(Change(at, verb, label, f"{verb} by a run"))
    recent = (
        sa.select(touched.dataset_id)
        .join(t.run, r.id == touched.run_id)
        .where(touched.direction == "output")
        .where(sa.func.coalesce(r.ended_at, r.started_at) >= start)
        .distinct()
    )
    targets = list(connection.execute(recent).scalars())
    history = History(connection, targets, None)
    new = {edge: at for edge, at in history.first.items() if at >= start}
    labels = _labels(connection, {n for edge in new for n in edge[:2]})
    for edge, at in new.items():
        source, target = labels[edge[0]], labels[edge[1]]
        found.append(
            Change(at, "edge", target[0], f"{_spelled(source)} now reaches {_spelled(target)}")
        )
    return sorted(found, key=lambda c: (c.at, c.what, c.dataset, c.detail))


def _labels(connection: sa.Connection, nodes: set[int]) -> dict[int, tuple[str, str]]:
    datasets = sorted({n >> graph.SHIFT for n in nodes})
    names = {
        row[0]: str(DatasetName(row[1], row[2]))
        for row in rows_of(connection, t.dataset, ("id", "namespace", "name"), ("id",), datasets)
    }
    columns = {
        graph.node(d, ordinal): name for d, name, ordinal in columns_of(connection, datasets)
    }
    return {n: (names[n >> graph.SHIFT], columns.get(n, "")) for n in nodes}


def _spelled(label: tuple[str, str]) -> str:
    return f"{label[0]}#{label[1]}" if label[1] else label[0]
