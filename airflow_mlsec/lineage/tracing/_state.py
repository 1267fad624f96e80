"""How personal each column is.

A column becomes *identified* because a policy declares its dataset to be about persons. The
state propagates along every edge that was ever given, including those of datasets that were
dropped since. Only our verified evidence lowers it, on the way from the source to the target
that the evidence names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from enum import IntEnum
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.datasets import DatasetName
from airflow_mlsec.lineage.evidence._evidence import RELEASE, latest_releases, moved
from airflow_mlsec.lineage.tracing._graph import all_edges, edges_within
from airflow_mlsec.policy import is_pattern, matches
from airflow_mlsec.register import column_documents, graph, rows_of
from airflow_mlsec.register import tables as t

# How long a run with no reported end may take, and how far off a clock may be that reports local time as UTC.
_MAY_RUN, _CLOCKS_OFF = timedelta(days=1), timedelta(hours=15)


class State(IntEnum):
    """From nothing personal, through anonymous and pseudonymous, to identified. Unknown is what a
    run wrote if nothing says what it read: above anonymous, since anything may be in it."""

    NONE = 0
    ANONYMOUS = 1
    UNKNOWN = 2
    PSEUDONYMOUS = 3
    IDENTIFIED = 4

    @property
    def label(self) -> str:
        return self.name.lower()


def column_states(
    connection: sa.Connection, nodes: Iterable[int] | None = None
) -> dict[int, State]:
    """The states of columns and of datasets as a whole, by node: the least fixed point over the
    graph. Nodes that nothing personal reaches are left out.

    With ``nodes``, only what can reach these is examined, and the states are correct for these.
    """
    if nodes is None:
        edges = all_edges(connection)
        datasets = None
    else:
        wanted = set(nodes)
        edges = edges_within(connection, wanted, "up")
        datasets = {n >> graph.SHIFT for n in wanted}
        datasets.update(n >> graph.SHIFT for edge in edges for n in edge[:2])
    declared = _declared(connection, datasets)
    untold = unexplained(connection, datasets) - declared
    if not declared and not untold:
        return {}
    names = _columns(connection, datasets)
    ceilings = _ceilings(connection, names)
    beginning = dict.fromkeys(declared, State.IDENTIFIED) | dict.fromkeys(untold, State.UNKNOWN)
    return _spread(edges, beginning, names, ceilings)


def _spread(
    edges: list[tuple[int, int, int]],
    beginning: dict[int, State],
    names: dict[int, dict[str, int]],
    ceilings: dict[tuple[int, int], dict[int, State]],
) -> dict[int, State]:
    following: dict[int, set[int]] = defaultdict(set)
    for source, target, _ in edges:
        following[source].add(target)
    states: dict[int, State] = {}
    todo: list[int] = []

    def raise_to(node: int, state: State) -> None:
        if state > states.get(node, State.NONE):
            states[node] = state
            todo.append(node)

    for dataset, known in beginning.items():
        raise_to(graph.node(dataset, graph.OUT_OF), known)
        for node in names.get(dataset, {}).values():
            raise_to(node, known)
    while todo:
        source = todo.pop()
        state, dataset = states[source], source >> graph.SHIFT
        if source & graph.OUT_OF == graph.INTO:
            for node in names.get(dataset, {}).values():
                raise_to(node, state)
        raise_to(graph.node(dataset, graph.OUT_OF), state)
        for target in following.get(source, ()):
            ceiling = ceilings.get((dataset, target >> graph.SHIFT))
            reached = state if ceiling is None else min(state, ceiling.get(target, state))
            raise_to(target, reached)
            if ceiling is not None and target & graph.OUT_OF == graph.INTO:
                # Evidence covers the columns that it names; data in other columns bypassed it.
                for node in names.get(target >> graph.SHIFT, {}).values():
                    if node not in ceiling:
                        raise_to(node, state)
    return states


def _columns(connection: sa.Connection, datasets: set[int] | None) -> dict[int, dict[str, int]]:
    """Nodes of the columns by dataset and name."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for dataset, name, ordinal in columns_of(connection, datasets):
        found[dataset][name] = graph.node(dataset, ordinal)
    return found


def columns_of(
    connection: sa.Connection, datasets: Iterable[int] | None
) -> list[tuple[int, str, int]]:
    """(dataset, name, ordinal) of the columns of some datasets, or of all."""
    return [
        (dataset, column[0], ordinal)
        for dataset, columns in column_documents(connection, datasets).items()
        for ordinal, column in enumerate(columns, graph.FIRST_COLUMN)
    ]


def declared_by_pattern(connection: sa.Connection) -> dict[int, dict[str, Any]]:
    """For each dataset that no operator has checked yet: the policy whose ``dataset`` is a pattern that covers
    it. The day partitions of a table are declared by such a policy."""
    p = t.policy.c
    # For each pattern, the policy that was recorded last: earlier ones are no longer in force.
    by_pattern = {
        document["dataset"]: document
        for document in connection.execute(
            sa.select(p.document).order_by(p.recorded_at, p.digest)
        ).scalars()
        if is_pattern(document.get("dataset", ""))
    }
    patterns = list(by_pattern.values())
    if not patterns:
        return {}
    d = t.dataset.c
    query = sa.select(d.id, d.namespace, d.name).where(d.policy_digest.is_(None))
    found = {}
    for identifier, namespace, name in connection.execute(query):
        named = str(DatasetName(namespace, name))
        # If several policies cover it, the most specific one.
        fitting = [p for p in patterns if matches(p["dataset"], named)]
        if fitting:
            found[identifier] = max(fitting, key=lambda p: len(p["dataset"]))
    return found


def _declared(connection: sa.Connection, datasets: set[int] | None) -> set[int]:
    d = t.dataset.c
    query = sa.select(d.id, t.policy.c.document).join(
        t.policy, d.policy_digest == t.policy.c.digest
    )
    found = set()
    listed = [tuple(row) for row in connection.execute(query.where(d.stage == "source"))]
    for identifier, document in (*listed, *declared_by_pattern(connection).items()):
        roles = {column["role"] for column in document["columns"].values()}
        about_persons = document["subject"] or "identifying" in roles
        if about_persons and (datasets is None or identifier in datasets):
            found.add(identifier)
    return found


def unexplained(connection: sa.Connection, datasets: Iterable[int] | None = None) -> set[int]:
    """Datasets that a run wrote without saying what it read, and without evidence of ours: a
    query that names no table and cannot be followed, a task that has only outlets."""
    touched, read = t.run_dataset, t.run_dataset.alias()
    query = (
        sa.select(touched.c.dataset_id, touched.c.flow_id)
        .join(t.run, t.run.c.id == touched.c.run_id)
        .where(touched.c.direction == "output", t.run.c.state != "declared")
        .where(~sa.exists().where(read.c.run_id == touched.c.run_id, read.c.direction == "input"))
    )
    wanted = None if datasets is None else set(datasets)
    rows = [r for r in connection.execute(query) if wanted is None or r[0] in wanted]
    flows = rows_of(
        connection, t.flow, ("id", "edges"), ("id",), sorted({r[1] for r in rows if r[1]})
    )
    told = {identifier for identifier, edges in flows if graph.unpack_flow(bytes(edges))[1]}
    found = {dataset for dataset, flow in rows if flow not in told}
    return (
        found - (latest_releases(connection).keys() - overwritten(connection)) if found else found
    )


def _ceilings(
    connection: sa.Connection, names: dict[int, dict[str, int]]
) -> dict[tuple[int, int], dict[int, State]]:
    """By source and target dataset: the highest state our latest evidence lets through, for the
    columns that it names and for the target as a whole."""
    releases = latest_releases(connection)
    if not releases:
        return {}
    sources = {(p.source.namespace, p.source.name) for p in releases.values()}
    known = {
        (r[0], r[1]): r[2]
        for r in rows_of(
            connection,
            t.dataset,
            ("namespace", "name", "id"),
            ("namespace", "name"),
            sorted(sources),
        )
    }
    written_over = overwritten(connection)
    found: dict[tuple[int, int], dict[int, State]] = {}
    for dataset, release in releases.items():
        source = known.get((release.source.namespace, release.source.name))
        if source is None or dataset in written_over:
            continue
        states = {n: State[c.state.upper()] for n, c in release.columns.items()}
        columns = names.get(dataset, {})
        ceiling = {columns[name]: state for name, state in states.items() if name in columns}
        whole = max(states.values(), default=State.IDENTIFIED)
        for name, node in columns.items():
            # A structure that contains fields that it names.
            inside = [s for n, s in states.items() if n.startswith((f"{name}.", f"{name}[]"))]
            if node not in ceiling and inside:
                ceiling[node] = max(inside)
        # What reaches the release as a whole is as personal as its most personal column.
        found[source, dataset] = {**ceiling, graph.node(dataset, graph.INTO): whole}
    return found


def overwritten(connection: sa.Connection) -> set[int]:
    """Datasets that another run has written since their latest evidence was recorded.

    A run that the register learnt of before the evidence came before it, whatever its clock said, unless the
    run was not over then. A run learnt of later may come from an old event that arrived late: this is believed if
    it is older than the evidence by more than clocks differ, including clocks that report local time as UTC.
    """
    e, r, touched = t.evidence.c, t.run.c, t.run_dataset.c
    latest: dict[int, tuple[str, str | None, int | None]] = {}
    query = sa.select(e.dataset_id, e.issued_at, e.run_uuid, e.after_run)
    query = query.where(e.predicate_type == RELEASE, e.outcome == "published")
    for dataset, issued_at, run, after in connection.execute(query.order_by(e.id)):
        latest[dataset] = issued_at, run, after
    writes = (
        sa.select(
            touched.dataset_id,
            r.id,
            r.uuid,
            r.started_at,
            r.ended_at,
        )
        .join(t.run, r.id == touched.run_id)
        # A run that failed, or is still running, may have written as well.
        .where(touched.direction == "output", r.state != "declared")
        .where(touched.dataset_id.in_(list(latest)))
    )
    found = set()
    for dataset, number, run, started_at, ended_at in connection.execute(writes):
        issued_at, own, after = latest[dataset]
        began = started_at or ended_at
        if run == own or began is None:
            continue
        # A run with no reported end may still be writing, for up to a day.
        over = ended_at or moved(began, _MAY_RUN)
        if after is None:
            # Evidence from before the order was stored: only clocks are available.
            if over > issued_at:
                found.add(dataset)
        elif number > after:
            if over > moved(issued_at, -_CLOCKS_OFF):
                found.add(dataset)
        elif started_at is not None and started_at <= issued_at < over:
            found.add(dataset)
    return found
