"""Walking the column graph up and down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from airflow_mlsec.errors import UsageError
from airflow_mlsec.lineage._state import State, column_states
from airflow_mlsec.register import Register, find_dataset
from airflow_mlsec.register import tables as t

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class TraceNode:
    """A column (or, with an empty ``column``, a whole dataset) that was reached."""

    dataset_id: int
    dataset: str
    kind: str
    column: str
    state: State
    distance: int
    via: str | None


@dataclass(frozen=True)
class Trace:
    """What a trace found, nearest first."""

    start: str
    direction: Direction
    nodes: tuple[TraceNode, ...]


def trace(register: Register, target: str, direction: Direction) -> Trace:
    """Where ``DATASET`` or ``DATASET#COLUMN`` goes to (down) or comes from (up).

    :raises UsageError: if the register does not know the dataset or column, or several match.
    """
    return register.read(lambda connection: _trace(connection, target, direction))


def _trace(connection: sa.Connection, target: str, direction: Direction) -> Trace:
    dataset, column = _start(connection, target)
    # The whole dataset is every column of it, and what concerns it as a whole.
    query = sa.select(t.column.c.id).where(t.column.c.dataset_id == dataset.id)
    if column is not None:
        query = query.where(t.column.c.name == column)
    starts = list(connection.execute(query).scalars())
    reached = reach(connection, starts, direction)
    return Trace(target, direction, tuple(_nodes(connection, reached, set(starts), direction)))


def reach(connection: sa.Connection, starts: list[int], direction: Direction) -> dict[int, int]:
    """Column ids that can be reached, with their distance: one recursive query with UNION, so
    that diamonds and cycles cost nothing."""
    here, there = (
        (t.edge.c.source_id, t.edge.c.target_id)
        if direction == "down"
        else (t.edge.c.target_id, t.edge.c.source_id)
    )
    first = sa.select(t.column.c.id.label("id")).where(t.column.c.id.in_(starts))
    found = first.cte("reached", recursive=True)
    found = found.union(sa.select(there).join(found, here == found.c.id))
    ids = set(connection.execute(sa.select(found.c.id)).scalars())
    # Distances by breadth, over the subgraph alone.
    edges = sa.select(here, there).where(here.in_(sa.select(found.c.id)))
    following: dict[int, list[int]] = {}
    for source, target in connection.execute(edges):
        following.setdefault(source, []).append(target)
    distance = dict.fromkeys(starts, 0)
    frontier = list(starts)
    while frontier:
        frontier = _breadth(frontier, following, distance)
    return {i: distance[i] for i in ids if i in distance}


def _breadth(
    frontier: list[int], following: dict[int, list[int]], distance: dict[int, int]
) -> list[int]:
    ahead = []
    for source in frontier:
        for target in following.get(source, ()):
            if target not in distance:
                distance[target] = distance[source] + 1
                ahead.append(target)
    return ahead


def _nodes(
    connection: sa.Connection, reached: dict[int, int], starts: set[int], direction: Direction
) -> list[TraceNode]:
    states = column_states(connection)
    c, d = t.column.c, t.dataset.c
    query = sa.select(c.id, c.name.label("column"), c.dataset_id, d.namespace, d.name, d.kind)
    query = query.join(t.dataset, c.dataset_id == d.id)
    via = _transformations(connection, reached, direction)
    nodes = []
    rows = list(connection.execute(query))
    with_columns = {row.dataset_id for row in rows if row.column not in ("", "*")}
    for row in rows:
        if row.id not in reached or row.id in starts or row.column == "*":
            continue
        # The dataset as a whole is an answer where there are no columns, else a step on the way.
        if row.column == "" and row.dataset_id in with_columns:
            continue
        where = row.name if row.namespace in ("file", "sqlite") else f"{row.namespace}/{row.name}"
        nodes.append(
            TraceNode(
                row.dataset_id,
                where,
                row.kind,
                row.column,
                states[row.id],
                reached[row.id],
                via.get(row.id),
            )
        )
    return sorted(nodes, key=lambda n: (n.distance, n.dataset, n.column))


def _transformations(
    connection: sa.Connection, reached: dict[int, int], direction: Direction
) -> dict[int, str]:
    e = t.edge.c
    found: dict[int, str] = {}
    query = sa.select(e.source_id, e.target_id, e.transformation).where(
        e.transformation.is_not(None)
    )
    for source, target, text in connection.execute(query):
        if source in reached and target in reached:
            found[target if direction == "down" else source] = text
    return found


def _start(connection: sa.Connection, target: str) -> tuple[Any, str | None]:
    """The dataset and column that are meant; names may hold a '#' themselves."""
    whole = find_dataset(connection, target)
    meant: list[tuple[Any, str | None]] = [(dataset, None) for dataset in whole]
    without: tuple[Any, str] | None = None
    for place in (i for i, character in enumerate(target) if character == "#"):
        name, column = target[:place], target[place + 1 :]
        for dataset in find_dataset(connection, name):
            without = without or (dataset, column)
            if column in _column_names(connection, dataset.id):
                meant.append((dataset, column))
    if len(meant) == 1:
        return meant[0]
    if meant:
        names = ", ".join(
            f"{d.namespace}/{d.name}{'' if c is None else f'#{c}'}" for d, c in meant[:5]
        )
        raise UsageError(f"'{target}' may mean {len(meant)} things ({names}); give the full name")
    if without is not None:
        names = ", ".join(sorted(_column_names(connection, without[0].id) - {"", "*"}))
        raise UsageError(f"dataset {without[0].name} has no column '{without[1]}'; it has {names}")
    raise UsageError(
        f"the register knows no dataset '{target.rpartition('#')[0] or target}'; "
        "`mlsec lineage list` shows those it knows"
    )


def _column_names(connection: sa.Connection, dataset: int) -> set[str]:
    query = sa.select(t.column.c.name).where(t.column.c.dataset_id == dataset)
    return set(connection.execute(query).scalars())
