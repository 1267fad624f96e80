"""Several names of one dataset: symlinks, the name that it had before, and its parts."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

import sqlalchemy as sa

from airflow_mlsec.lineage.events._events import NOT_FOLLOWED, RENAMED, SAME, Name
from airflow_mlsec.lineage.writing._batch import Batch, KnownNames, SaidBy
from airflow_mlsec.lineage.writing._write_parts import PERHAPS, made_whole, related
from airflow_mlsec.naming import LOCAL
from airflow_mlsec.register import column_documents, dataset_id, graph, lock_graph
from airflow_mlsec.register import tables as t

# What is said of one also holds for the other.
_BOTH_WAYS = ("symlink", PERHAPS)
ALIAS_STEPS = (SAME, RENAMED, NOT_FOLLOWED)


def write_aliases(batch: Batch, new: set[int], written: set[int]) -> None:
    """``new`` are the datasets that were not known before, ``written`` those that a run has as outputs."""
    ids = batch.names.datasets
    pairs = related(batch.connection, ((ids[n], *n) for n in _named(batch) if ids[n] in new))
    pairs |= made_whole(batch.connection, written) | _links(batch, new)
    said_by = SaidBy()
    for event in batch.events:
        for name, said in event.said.items():
            for other in said.symlinks:
                one, two = sorted((ids[name], ids[other]))
                if one != two:
                    said_by.add((one, two, "symlink"), event.client)
            if said.previous and ids[said.previous] != ids[name]:
                said_by.add((ids[said.previous], ids[name], "rename"), event.client)
    for pair in pairs:
        said_by.add(pair, None)
    said_by.write(batch, t.alias, "dataset_id other_id kind")
    pairs.update(said_by.rows)
    if batch.connection.execute(sa.select(t.alias.c.dataset_id).limit(1)).first() is not None:
        mirror(batch, {d for pair in pairs for d in pair[:2]} | _touched(batch))


def relate_dataset(connection: sa.Connection, dataset: int, now: str) -> None:
    """Record how a declared dataset relates to others: a folder to what is below it."""
    lock_graph(connection)
    d = t.dataset.c
    row = connection.execute(sa.select(d.id, d.namespace, d.name).where(d.id == dataset)).one()
    pairs = related(connection, [(row.id, row.namespace, row.name)])
    if pairs:
        batch = Batch(KnownNames(), connection, [], now)
        batch.insert(t.alias, "dataset_id other_id kind", sorted(pairs))
        mirror(batch, {d for pair in pairs for d in pair[:2]})


def _links(batch: Batch, new: set[int]) -> set[tuple[int, int, str]]:
    """New local names that link to another name, if the file is visible from here."""
    ids, found = batch.names.datasets, set()
    for namespace, name in _named(batch):
        if namespace != LOCAL or ids[namespace, name] not in new or not name.startswith("/"):
            continue
        real = os.path.realpath(name)
        if real != name and os.path.exists(real):
            other = dataset_id(batch.connection, namespace, real, batch.now)
            ids[namespace, real] = other
            one, two = sorted((ids[namespace, name], other))
            found.add((one, two, "symlink"))
    return found


def _named(batch: Batch) -> set[Name]:
    """Every dataset that a batch names."""
    found: set[Name] = set()
    for event in batch.events:
        for name, said in event.said.items():
            found.add(name)
            found.update(edge.source for edge in said.edges)
            found.update(said.symlinks)
            found.update({said.previous} if said.previous else ())
        for _, _, inputs, outputs, _ in event.others:
            found.update((*inputs, *outputs))
    return found


def _touched(batch: Batch) -> set[int]:
    ids = batch.names.datasets
    found = set()
    for event in batch.events:
        for name, said in event.said.items():
            found.add(ids[name])
            found.update(ids[edge.source] for edge in said.edges)
    return found


def mirror(batch: Batch, todo: set[int]) -> None:
    """Give a dataset every column of its other names, of its earlier names, and of its parts; repeat until
    nothing is added."""
    while todo:
        near = [
            (r[0], r[1], r[2])
            for key in ("dataset_id", "other_id")
            for r in batch.rows(t.alias, "dataset_id other_id kind", key, sorted(todo))
        ]
        ends = {d for one, other, _ in near for d in (one, other)}
        for d, columns in column_documents(batch.connection, ends).items():
            batch.names.columns[d] = {c[0]: i for i, c in enumerate(columns, graph.FIRST_COLUMN)}
        names = {d: set(batch.names.columns.get(d, ())) for d in ends}
        wanted: dict[int, list[str]] = defaultdict(list)
        for one, other, kind in near:
            wanted[other] += sorted(names[one] - names[other])
            if kind in _BOTH_WAYS:
                wanted[one] += sorted(names[other] - names[one])
        todo = {d for d, new in wanted.items() if new}
        batch.ensure_columns({d: list(dict.fromkeys(wanted[d])) for d in todo})
        _mirror_edges(batch, near)


def _mirror_edges(batch: Batch, pairs: Iterable[tuple[int, int, str]]) -> None:
    edges = alias_edges(batch, pairs)
    batch.insert(t.edge, "source_id target_id transformation_id", sorted(edges))


def alias_edges(batch: Batch, pairs: Iterable[tuple[int, int, str]]) -> set[graph.Edge]:
    """The edges between the names of one dataset. The columns of all of them must be known to the batch."""
    batch.ensure_transformations(ALIAS_STEPS)
    columns = batch.names.columns
    edges = set()
    for one, other, kind in pairs:
        said = {"rename": RENAMED, PERHAPS: NOT_FOLLOWED}.get(kind, SAME)
        step = batch.names.transformations[said]
        shared = [
            (columns[one][name], columns[other][name])
            for name in columns.get(one, ())
            if name in columns.get(other, ())
        ]
        for here, there in [*shared, (graph.INTO, graph.INTO)]:
            edges.add((graph.node(one, here), graph.node(other, there), step))
            if kind in _BOTH_WAYS:
                edges.add((graph.node(other, there), graph.node(one, here), step))
    return edges
