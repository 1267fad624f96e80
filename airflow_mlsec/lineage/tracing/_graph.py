"""Walking the graph: one recursive query that visits every node once.

From a column, the walk follows its own edges and those of its dataset as a whole; from a dataset
as a whole, it follows those of all its columns. These links are computed from the node's number
(see `airflow_mlsec.register.graph`), so they need no rows.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import sqlalchemy as sa

from airflow_mlsec.register import graph

Direction = Literal["up", "down"]
GraphEdge = tuple[int, int, int]

_M = graph.OUT_OF
# From node r.id to the edges that leave it, for each database and direction. PostgreSQL would
# not use an index twice for an OR, and SQLite has no LATERAL.
_ON_SQLITE = {
    "down": f"(e.source_id BETWEEN r.id AND CASE WHEN r.id & {_M} = 0 THEN r.id | {_M} ELSE r.id END "
    f"OR e.source_id = (r.id | {_M}))",
    "up": f"(e.target_id BETWEEN CASE WHEN r.id & {_M} = {_M} THEN r.id & ~{_M} ELSE r.id END AND r.id "
    f"OR e.target_id = (r.id & ~{_M}))",
}
_FROM_SQLITE = "FROM r CROSS JOIN mlsec_edge e ON {on}"
_FROM_POSTGRESQL = (
    "FROM r CROSS JOIN LATERAL (SELECT * FROM mlsec_edge WHERE {own} "
    "UNION ALL SELECT * FROM mlsec_edge WHERE {whole} AND {not_whole} "
    "UNION ALL SELECT * FROM mlsec_edge WHERE {inside}) e"
)
_PARTS_POSTGRESQL = {
    "down": {
        "own": "source_id = r.id",
        "whole": f"source_id = (r.id | {_M})",
        "not_whole": f"r.id & {_M} NOT IN (0, {_M})",
        "inside": f"source_id > r.id AND source_id <= (r.id | {_M}) AND r.id & {_M} = 0",
    },
    "up": {
        "own": "target_id = r.id",
        "whole": f"target_id = (r.id & ~{_M}::bigint)",
        "not_whole": f"r.id & {_M} NOT IN (0, {_M})",
        "inside": f"target_id < r.id AND target_id >= (r.id & ~{_M}::bigint) AND r.id & {_M} = {_M}",
    },
}


def _query(dialect: str, direction: Direction, what: str) -> str:
    there = "target_id" if direction == "down" else "source_id"
    if dialect == "postgresql":
        source = _FROM_POSTGRESQL.format(**_PARTS_POSTGRESQL[direction])
        start = "SELECT unnest(%s::bigint[])"
    else:
        source = _FROM_SQLITE.format(on=_ON_SQLITE[direction])
        start = "SELECT value FROM json_each(?)"
    recursion = f"WITH RECURSIVE r(id) AS ({start} UNION SELECT e.{there} {source}) "
    if what == "nodes":
        return f"{recursion} SELECT id FROM r"  # noqa: S608
    return f"{recursion} SELECT DISTINCT e.source_id, e.target_id, e.transformation_id {source}"


def _run(
    connection: sa.Connection, starts: Iterable[int], direction: Direction, what: str
) -> list[sa.Row]:  # type: ignore[type-arg]
    dialect = connection.dialect.name
    wanted = sorted(set(starts))
    given = (wanted,) if dialect == "postgresql" else (json.dumps(wanted),)
    return list(connection.exec_driver_sql(_query(dialect, direction, what), given).fetchall())


def reach(connection: sa.Connection, starts: Iterable[int], direction: Direction) -> set[int]:
    """All nodes that can be reached, the starts included."""
    return {row[0] for row in _run(connection, starts, direction, "nodes")}


def edges_within(
    connection: sa.Connection, starts: Iterable[int], direction: Direction
) -> list[GraphEdge]:
    """All edges that can be walked from the starts, history included."""
    return [(r[0], r[1], r[2]) for r in _run(connection, starts, direction, "edges")]


def all_edges(connection: sa.Connection) -> list[GraphEdge]:
    """Every edge of the graph."""
    sql = "SELECT source_id, target_id, transformation_id FROM mlsec_edge"
    return [(r[0], r[1], r[2]) for r in connection.exec_driver_sql(sql).fetchall()]


@dataclass(slots=True)
class Walk:
    """What a walk reached: how far each node is, and the edge that it was first reached by."""

    distance: dict[int, int] = field(default_factory=dict)
    by: dict[int, GraphEdge] = field(default_factory=dict)


def walk(edges: Sequence[GraphEdge], starts: Iterable[int], direction: Direction) -> Walk:
    """Breadth first over edges in memory. The links between a dataset and its columns do not
    count as steps."""
    here, there = (0, 1) if direction == "down" else (1, 0)
    whole, inside = (
        (graph.OUT_OF, graph.INTO) if direction == "down" else (graph.INTO, graph.OUT_OF)
    )
    leaving: dict[int, list[GraphEdge]] = defaultdict(list)
    of_dataset: dict[int, list[int]] = defaultdict(list)
    for edge in edges:
        if edge[here] not in leaving:
            of_dataset[edge[here] >> graph.SHIFT].append(edge[here])
        leaving[edge[here]].append(edge)
    found = Walk(dict.fromkeys(starts, 0))
    frontier = sorted(found.distance)
    while frontier:
        ahead = []
        for at in frontier:
            dataset, ordinal = at >> graph.SHIFT, at & graph.OUT_OF
            doors = of_dataset[dataset] if ordinal == inside else (at, graph.node(dataset, whole))
            for door in doors:
                for edge in leaving.get(door, ()):
                    if edge[there] not in found.distance:
                        found.distance[edge[there]] = found.distance[at] + 1
                        found.by[edge[there]] = edge
                        ahead.append(edge[there])
        frontier = ahead
    return found
