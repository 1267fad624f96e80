"""What an artifact was made from, according to signed evidence: lineage where no event says it."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from airflow_mlsec.lineage.events._events import Name, Transformation
from airflow_mlsec.register import dataset_id, graph, lock_graph, upsert
from airflow_mlsec.register import tables as t

SIGNED = Transformation("direct", "DIRECT", None, "as signed evidence says", None, False)


def write_origins(
    connection: sa.Connection, artifact: int, origins: Iterable[Name], now: str
) -> None:
    """Each of the origins as a whole reaches the artifact."""
    lock_graph(connection)
    said = dict(zip(SIGNED._fields, SIGNED, strict=True))
    step = upsert(connection, t.transformation, {"digest": SIGNED.digest}, {}, said)
    for namespace, name in origins:
        source = dataset_id(connection, namespace, name, now)
        if source != artifact:
            edge = {
                "source_id": graph.node(source, graph.OUT_OF),
                "target_id": graph.node(artifact, graph.INTO),
                "transformation_id": step,
            }
            upsert(connection, t.edge, edge, {})
