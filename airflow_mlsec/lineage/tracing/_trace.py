"""Walking the column graph up and down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.errors import UsageError
from airflow_mlsec.lineage.events._events import Transformation
from airflow_mlsec.lineage.tracing._graph import Direction, GraphEdge, Walk, edges_within, walk
from airflow_mlsec.lineage.tracing._history import History, edges_known_by, gone_since, moment
from airflow_mlsec.lineage.tracing._state import State, column_states, columns_of
from airflow_mlsec.register import Register, find_dataset, graph, rows_of
from airflow_mlsec.register import tables as t


@dataclass(frozen=True)
class TraceNode:
    """A column (or, with an empty ``column``, a whole dataset) that was reached.

    ``via`` says how (everything that the last step did, what it made of the data before what influenced it), ``step`` the column (``dataset#column``) the last step came from, ``run``,
    ``job`` and ``at`` the run that gave it last, ``gone`` that the dataset was dropped or renamed.
    """

    dataset_id: int
    dataset: str
    kind: str
    column: str
    state: State
    distance: int
    via: str | None
    step: str | None = None
    run: str | None = None
    job: str | None = None
    at: str | None = None
    gone: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trace:
    """What a trace found, nearest first."""

    start: str
    direction: Direction
    nodes: tuple[TraceNode, ...]


def trace(register: Register, target: str, direction: Direction, as_of: str | None = None) -> Trace:
    """Where ``DATASET`` or ``DATASET#COLUMN`` goes to (down) or comes from (up).

    ``as_of`` is a date or time: what was known by then. The states are today's: what turned out
    to be personal already was then.

    :raises UsageError: if the register does not know the dataset or column, or several match.
    """
    until = moment(as_of) if as_of else None
    return register.read(lambda connection: _trace(connection, target, direction, until))


def _trace(
    connection: sa.Connection, target: str, direction: Direction, until: str | None
) -> Trace:
    dataset, column = find_start(connection, target)
    starts = start_nodes(connection, dataset.id, column, direction)
    edges = edges_within(connection, starts, direction)
    if until is not None:
        edges = edges_known_by(connection, edges, until)
    reached = walk(edges, starts, direction)
    nodes = describe(connection, reached, set(starts), direction, edges, until)
    return Trace(target, direction, tuple(nodes))


def start_nodes(
    connection: sa.Connection, dataset: int, column: str | None, direction: Direction
) -> list[int]:
    """The nodes where a walk from a column, or from a whole dataset, starts. The dataset's
    other names are the same dataset."""
    if column is None:
        inside = graph.INTO if direction == "down" else graph.OUT_OF
        return [graph.node(dataset, inside)]
    return [
        graph.node(d, ordinal)
        for d, name, ordinal in columns_of(connection, {dataset})
        if name == column
    ]


def describe(
    connection: sa.Connection,
    reached: Walk,
    starts: set[int],
    direction: Direction,
    edges: list[GraphEdge],
    until: str | None = None,
) -> list[TraceNode]:
    """The reached nodes in readable form."""
    inside = graph.INTO if direction == "down" else graph.OUT_OF
    datasets = {n >> graph.SHIFT for n in reached.distance}
    rows = rows_of(
        connection, t.dataset, ("id", "namespace", "name", "kind"), ("id",), sorted(datasets)
    )
    labels = {row[0]: (str(DatasetName(row[1], row[2])), row[3]) for row in rows}
    columns: dict[int, dict[int, str]] = {}
    for d, name, ordinal in columns_of(connection, datasets):
        columns.setdefault(d, {})[ordinal] = name
    aliases = _aliases(connection, datasets)
    shown: dict[tuple[int, str], tuple[int, int]] = {}
    beginning = {
        aliases.get(n >> graph.SHIFT, n >> graph.SHIFT)
        for n in starts
        if n & graph.OUT_OF in (0, graph.OUT_OF)
    }
    own = {
        (
            aliases.get(n >> graph.SHIFT, n >> graph.SHIFT),
            columns.get(n >> graph.SHIFT, {}).get(n & graph.OUT_OF),
        )
        for n in starts
    }
    # At equal distance, a column's own edge says more than one into its dataset as a whole.
    nearest = sorted(
        reached.distance.items(),
        key=lambda item: (item[1], item[0] & graph.OUT_OF in (graph.INTO, graph.OUT_OF)),
    )
    for n, distance in nearest:
        d, ordinal = n >> graph.SHIFT, n & graph.OUT_OF
        names = columns.get(d, {})
        if ordinal == inside:
            listed = list(names.values()) or [""]
        elif ordinal in (graph.INTO, graph.OUT_OF):
            continue
        else:
            listed = [names[ordinal]]
        one = aliases.get(d, d)
        for name in listed:
            if (one, name) in own or (one in beginning and distance == 0):
                continue
            shown.setdefault((one, name), (n, distance))
    steps = transformations(connection, {edge[2] for edge in edges})
    by = {n: reached.by[n] for n, _ in shown.values() if n in reached.by}
    beside: dict[tuple[int, int], list[Transformation]] = {}
    for source, target, kind in edges:
        beside.setdefault((source, target), []).append(steps[kind])
    history = History(connection, {edge[1] >> graph.SHIFT for edge in by.values()}, until)
    states = column_states(
        connection, [_node_of(columns, n, name) for (_, name), (n, _) in shown.items()]
    )
    gone = gone_since(connection, datasets, until)
    found = []
    for (one, name), (n, distance) in shown.items():
        d = n >> graph.SHIFT
        label, kind = labels.get(one) or labels[d]
        edge = by.get(n)
        seen = history.last.get(edge) if edge is not None else None
        step = _everything(beside[edge[0], edge[1]]) if edge is not None else None
        change = gone.get(d)
        found.append(
            TraceNode(
                d,
                label,
                kind,
                name,
                states.get(_node_of(columns, n, name), State.NONE),
                distance,
                step,
                _label(labels, columns, edge[0 if direction == "down" else 1]) if edge else None,
                seen.run if seen else None,
                seen.job if seen else None,
                seen.at if seen else None,
                f"{change[0]} {change[1]}" if change else None,
                tuple(
                    sorted(
                        labels[o][0]
                        for o in datasets
                        if aliases.get(o, o) == one and o != one and o in labels
                    )
                ),
            )
        )
    return sorted(found, key=lambda node: (node.distance, node.dataset, node.column))


# What was made of the data says more than what influenced it.
_ORDER = ("direct", "renamed", "same", "assumed", "indirect")


def _everything(steps: Iterable[Transformation]) -> str | None:
    told = sorted((_ORDER.index(step.kind), step.described() or "") for step in steps)
    return "; ".join(dict.fromkeys(text for _, text in told if text)) or None


def _node_of(columns: dict[int, dict[int, str]], n: int, name: str) -> int:
    """The column's own node, where it was reached through its dataset as a whole."""
    d = n >> graph.SHIFT
    for ordinal, known in columns.get(d, {}).items():
        if known == name:
            return graph.node(d, ordinal)
    return graph.node(d, graph.INTO)


def _label(
    labels: dict[int, tuple[str, str]], columns: dict[int, dict[int, str]], n: int
) -> str | None:
    d, ordinal = n >> graph.SHIFT, n & graph.OUT_OF
    if d not in labels:
        return None
    name = columns.get(d, {}).get(ordinal)
    return labels[d][0] if name is None else f"{labels[d][0]}#{name}"


def _aliases(connection: sa.Connection, datasets: set[int]) -> dict[int, int]:
    """For each dataset that has several names, the one that represents all: the first known."""
    pairs = [
        (row[0], row[1])
        for key in ("dataset_id", "other_id")
        for row in rows_of(
            connection, t.alias, ("dataset_id", "other_id", "kind"), (key,), sorted(datasets)
        )
        if row[2] == "symlink"
    ]
    parent: dict[int, int] = {}

    def root(d: int) -> int:
        while parent.get(d, d) != d:
            d = parent[d]
        return d

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return {d: root(d) for d in {d for pair in pairs for d in pair}}


def transformations(
    connection: sa.Connection, identifiers: Iterable[int] | None = None
) -> dict[int, Transformation]:
    """Transformations by id; all of them if none are named."""
    names = ("id", "kind", "type", "subtype", "description", "masking", "inferred")
    if identifiers is None:
        rows = list(connection.execute(sa.select(*(t.transformation.c[name] for name in names))))
    else:
        rows = rows_of(connection, t.transformation, names, ("id",), sorted(set(identifiers)))
    return {
        row[0]: Transformation(
            row[1], row[2], row[3], row[4], None if row[5] is None else bool(row[5]), bool(row[6])
        )
        for row in rows
    }


def find_start(connection: sa.Connection, target: str) -> tuple[Any, str | None]:
    """The dataset and column that are meant; names may contain a '#' themselves.

    :raises UsageError: if nothing matches, or more than one thing does.
    """
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
        names = ", ".join(sorted(_column_names(connection, without[0].id)))
        raise UsageError(f"dataset {without[0].name} has no column '{without[1]}'; it has {names}")
    raise UsageError(
        f"the register knows no dataset '{target.rpartition('#')[0] or target}'; "
        "`mlsec lineage list` shows those it knows"
    )


def _column_names(connection: sa.Connection, dataset: int) -> set[str]:
    return {name for _, name, _ in columns_of(connection, {dataset})}
