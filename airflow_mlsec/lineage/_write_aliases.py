"""Several names of one dataset: symlinks, and the name that it had before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import sqlalchemy as sa

from airflow_mlsec.lineage._batch import Batch
from airflow_mlsec.lineage._events import RENAMED, SAME
from airflow_mlsec.register import column_documents, graph
from airflow_mlsec.register import tables as t


def write_aliases(batch: Batch) -> None:
    ids = batch.names.datasets
    pairs = set()
    for event in batch.events:
        for name, said in event.said.items():
            for other in said.symlinks:
                one, two = sorted((ids[name], ids[other]))
                if one != two:
                    pairs.add((one, two, "symlink"))
            if said.previous and ids[said.previous] != ids[name]:
                pairs.add((ids[said.previous], ids[name], "rename"))
    batch.insert(t.alias, "dataset_id other_id kind", sorted(pairs))
    if batch.connection.execute(sa.select(t.alias.c.dataset_id).limit(1)).first() is not None:
        _mirror(batch, {d for pair in pairs for d in pair[:2]} | _touched(batch))


def _touched(batch: Batch) -> set[int]:
    ids = batch.names.datasets
    found = set()
    for event in batch.events:
        for name, said in event.said.items():
            found.add(ids[name])
            found.update(ids[edge.source] for edge in said.edges)
    return found


def _mirror(batch: Batch, todo: set[int]) -> None:
    """A dataset has every column of its other names, and of those that it had before; until
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
            if kind == "symlink":
                wanted[one] += sorted(names[other] - names[one])
        todo = {d for d, new in wanted.items() if new}
        batch.ensure_columns({d: list(dict.fromkeys(wanted[d])) for d in todo})
        _mirror_edges(batch, near)


def _mirror_edges(batch: Batch, pairs: Iterable[tuple[int, int, str]]) -> None:
    batch.ensure_transformations([SAME, RENAMED])
    columns = batch.names.columns
    edges = set()
    for one, other, kind in pairs:
        step = batch.names.transformations[SAME if kind == "symlink" else RENAMED]
        shared = [
            (columns[one][name], columns[other][name])
            for name in columns[one]
            if name in columns[other]
        ]
        for here, there in [*shared, (graph.INTO, graph.INTO)]:
            edges.add((graph.node(one, here), graph.node(other, there), step))
            if kind == "symlink":
                edges.add((graph.node(other, there), graph.node(one, here), step))
    batch.insert(t.edge, "source_id target_id transformation_id", sorted(edges))
