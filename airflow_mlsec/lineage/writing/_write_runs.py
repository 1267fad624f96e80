"""Runs, what they touched, the column edges that they gave, and those that are assumed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from airflow_mlsec.lineage.events._events import (
    ASSUMED,
    DECLARED,
    FINAL,
    INTO,
    OUT_OF,
    Event,
    Name,
)
from airflow_mlsec.lineage.writing._batch import Batch
from airflow_mlsec.register import graph
from airflow_mlsec.register import tables as t

# If events give two states for one run, the one that is later in this list counts.
_RANK = {DECLARED: 0, "running": 1, "complete": 2, "aborted": 3, "failed": 4}


# In the place of a client's name: tasks, files, the command line.
ELSEWHERE = ""


@dataclass(slots=True)
class Run:
    """Everything that the events of a batch say about one run, and what was known before."""

    uuid: str
    job: Name | None
    state: str
    started_at: str | None = None
    ended_at: str | None = None
    parent: str | None = None
    nominal: tuple[str | None, str | None] = (None, None)
    task_instance: str | None = None
    inputs: set[int] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)
    versions: dict[tuple[int, str], str] = field(default_factory=dict)
    # Edges by dataset: of outputs, and of inputs that an event describes.
    edges: dict[int, set[graph.Edge]] = field(default_factory=dict)
    flows: dict[int, int] = field(default_factory=dict)
    id: int = 0
    # Whether the register knew it before this batch.
    existed: bool = False
    # The clients that reported it over HTTP; an empty name stands for everybody else.
    clients: set[str] = field(default_factory=set)


def gather_runs(batch: Batch) -> dict[str, Run]:
    runs: dict[str, Run] = {}
    ids = batch.names.datasets
    batch.ensure_transformations(
        edge.transformation
        for event in batch.events
        for said in event.said.values()
        for edge in said.edges
    )
    for event in batch.events:
        if event.job is None and not any(
            said.edges or said.complete for said in event.said.values()
        ):
            continue  # only a dataset is described
        run = _gather(runs, event)
        run.clients.add(event.client or ELSEWHERE)
        for name in event.inputs:
            run.inputs.add(ids[name])
        for name in event.outputs:
            run.outputs.add(ids[name])
        for name, said in event.said.items():
            if said.edges or said.complete:
                # How an input was made is not the work of this run.
                identifier = ids[name]
                (
                    run.inputs
                    if name in event.inputs and name not in event.outputs
                    else run.outputs
                ).add(identifier)
                edges = run.edges.setdefault(identifier, set())
                edges.update(_numbered(batch, identifier, said.edges))
                if said.complete:
                    edges.add(graph.EXPLAINED)
            for direction, version in said.versions.items():
                key = ids[name], direction
                run.versions[key] = max(run.versions.get(key, ""), version)
        for named in event.others:
            other = runs.setdefault(named.run, Run(named.run, named.job, DECLARED))
            other.started_at = _least(other.started_at, event.time)
            other.clients.add(event.client or ELSEWHERE)
            other.inputs.update(ids[name] for name in named.inputs)
            other.outputs.update(ids[name] for name in named.outputs)
    return runs


def _numbered(batch: Batch, target: int, edges: Iterable[Any]) -> Iterable[graph.Edge]:
    ids, columns = batch.names.datasets, batch.names.columns
    steps, into = batch.names.transformations, columns[target]
    for edge in edges:
        source = ids[edge.source]
        ordinal = graph.OUT_OF if edge.field == OUT_OF else columns[source][edge.field]
        to = graph.INTO if edge.target_field == INTO else into[edge.target_field]
        yield source << graph.SHIFT | ordinal, to, steps[edge.transformation]


def write_runs(batch: Batch, runs: dict[str, Run]) -> None:
    jobs = batch.names.jobs
    batch.ensure_jobs(run.job for run in runs.values() if run.job is not None)
    known = batch.rows(
        t.run,
        "id uuid state started_at ended_at parent_uuid nominal_start nominal_end task_instance",
        "uuid",
        runs,
    )
    changed = []
    for identifier, uuid, state, started, ended, parent, start, end, instance in known:
        run = runs[uuid]
        run.id, run.existed = identifier, True
        before = (state, started, ended, parent, start, end, instance)
        run.state = max(run.state, state, key=_RANK.__getitem__)
        run.started_at = _least(run.started_at, started)
        run.ended_at = _greatest(run.ended_at, ended)
        run.parent = _least(run.parent, parent)
        run.nominal = _least(run.nominal[0], start), _least(run.nominal[1], end)
        run.task_instance = _least(run.task_instance, instance)
        if _values(run) != before:
            changed.append(run)
    columns = (
        "uuid job_id state started_at ended_at parent_uuid nominal_start nominal_end task_instance"
    )
    rows = [
        (run.uuid, jobs[run.job] if run.job is not None else None, *_values(run))
        for run in runs.values()
        if run.id == 0 or run in changed
    ]
    updated = ", ".join(f"{name} = excluded.{name}" for name in columns.split()[2:])
    # A run that another job's event only named gets its own job when that job sends an event.
    updated += ", job_id = coalesce(mlsec_run.job_id, excluded.job_id)"
    batch.insert(t.run, columns, rows, f"(uuid) DO UPDATE SET {updated}")
    new = [run.uuid for run in runs.values() if run.id == 0]
    for uuid, identifier in batch.rows(t.run, "uuid id", "uuid", new):
        runs[uuid].id = identifier


def write_clients(batch: Batch, runs: dict[str, Run]) -> None:
    """Which clients reported which runs, and when. A run that no client has reported needs no rows."""
    there: dict[int, set[str]] = {run.id: set() for run in runs.values() if run.existed}
    for run_id, client in batch.rows(t.run_client, "run_id client", "run_id", there):
        there[run_id].add(client)
    rows = []
    for run in runs.values():
        before = there[run.id] or {ELSEWHERE} if run.existed else set()
        if run.clients | before != {ELSEWHERE}:
            clients = run.clients | (before - there.get(run.id, set()))
            rows += [(run.id, client, batch.now, batch.now) for client in sorted(clients)]
    batch.insert(
        t.run_client,
        "run_id client first_at last_at",
        rows,
        "(run_id, client) DO UPDATE SET last_at = excluded.last_at",
    )


def write_flows(batch: Batch, runs: dict[str, Run]) -> None:
    """What each run touched, and the column edges that it gave for each output."""
    by_id = {run.id: run for run in runs.values()}
    before: dict[tuple[int, int, str], tuple[int | None, str | None]] = {}
    for run_id, dataset, direction, flow, version in batch.rows(
        t.run_dataset,
        "run_id dataset_id direction flow_id version",
        "run_id",
        [run.id for run in runs.values() if run.existed],
    ):
        before[run_id, dataset, direction] = flow, version
        run = by_id[run_id]
        (run.inputs if direction == "input" else run.outputs).add(dataset)
        if flow is not None:
            run.flows[dataset] = flow
    # Edges that came with earlier events of the same run.
    needed = {flow for run in runs.values() for flow in run.flows.values()}
    packed = {row[0]: bytes(row[1]) for row in batch.rows(t.flow, "id edges", "id", needed)}
    new: dict[bytes, bytes] = {}
    digests: dict[tuple[int, int], bytes] = {}
    for run in runs.values():
        for dataset, flow in run.flows.items():
            earlier = set(graph.unpack_flow(packed[flow])[1])
            run.edges.setdefault(dataset, set()).update(earlier)
        for dataset, edges in run.edges.items():
            content = graph.pack_flow(dataset, edges)
            digest = hashlib.blake2b(content, digest_size=16).digest()
            digests[run.id, dataset] = digest
            if digest not in batch.names.flows:
                new[digest] = content
    _store_flows(batch, new)
    rows = []
    for run in runs.values():
        for direction, datasets in (("input", run.inputs), ("output", run.outputs)):
            for dataset in datasets:
                described = direction == "output" or dataset not in run.outputs
                flow = digests.get((run.id, dataset)) if described else None
                flow_id = batch.names.flows[flow] if flow else None
                version = run.versions.get((dataset, direction))
                key = run.id, dataset, direction
                if key in before:
                    version = _greatest(version, before[key][1])
                    if before[key] == (flow_id, version):
                        continue
                rows.append((*key, flow_id, version))
    batch.insert(
        t.run_dataset,
        "run_id dataset_id direction flow_id version",
        rows,
        "(run_id, dataset_id, direction) DO UPDATE SET flow_id = excluded.flow_id, "
        "version = excluded.version",
    )


def _store_flows(batch: Batch, new: dict[bytes, bytes]) -> None:
    known = batch.names.flows
    for digest, identifier in batch.rows(t.flow, "digest id", "digest", sorted(new)):
        known[bytes(digest)] = identifier
        del new[bytes(digest)]
    edges: set[graph.Edge] = set()
    for content in new.values():
        target, found = graph.unpack_flow(content)
        edges.update(
            (source, graph.node(target, to), step)
            for source, to, step in found
            if (source, to, step) != graph.EXPLAINED
        )
    batch.insert(t.edge, "source_id target_id transformation_id", sorted(edges))
    batch.insert(t.flow, "digest edges", sorted(new.items()))
    for digest, identifier in batch.rows(t.flow, "digest id", "digest", sorted(new)):
        known[bytes(digest)] = identifier


def write_assumed(batch: Batch, runs: dict[str, Run]) -> None:
    """Where nothing says how an input of a run reached an output, assume that all of it did. This
    includes a run that failed, since it may have written before it failed, and a run that has not
    ended, since a stream never ends."""
    wanted: set[tuple[int, int, int]] = set()
    for run in runs.values():
        for target in run.outputs:
            edges = run.edges.get(target, set())
            if graph.EXPLAINED in edges:
                continue
            explained = {source >> graph.SHIFT for source, _, _ in edges}
            wanted.update(
                (source, target, run.id)
                for source in run.inputs
                if source != target and source not in explained
            )
    there = {
        (r[0], r[1], r[2])
        for r in batch.rows(
            t.assumed,
            "source_id target_id run_id",
            "run_id",
            [run.id for run in runs.values() if run.existed],
        )
    }
    added, gone = sorted(wanted - there), sorted(there - wanted)
    if added:
        batch.ensure_transformations([ASSUMED])
        step = batch.names.transformations[ASSUMED]
        batch.insert(t.assumed, "source_id target_id run_id", added)
        whole = sorted({whole_edge(source, target, step) for source, target, _ in added})
        batch.insert(t.edge, "source_id target_id transformation_id", whole)
    for source, target, run_id in gone:
        _stop_assuming(batch, source, target, run_id)


def _stop_assuming(batch: Batch, source: int, target: int, run_id: int) -> None:
    a = t.assumed.c
    pair = sa.and_(a.source_id == source, a.target_id == target)
    batch.connection.execute(sa.delete(t.assumed).where(pair, a.run_id == run_id))
    if batch.connection.execute(sa.select(a.run_id).where(pair).limit(1)).first() is None:
        batch.ensure_transformations([ASSUMED])
        e = t.edge.c
        edge = whole_edge(source, target, batch.names.transformations[ASSUMED])
        batch.connection.execute(
            sa.delete(t.edge).where(
                e.source_id == edge[0],
                e.target_id == edge[1],
                e.transformation_id == edge[2],
            )
        )


def _gather(runs: dict[str, Run], event: Event) -> Run:
    run = runs.get(event.run)
    if run is None:
        run = runs[event.run] = Run(event.run, event.job, event.state)
    # A run that another job's event only named gets its job's name when that job sends one.
    if run.state == DECLARED or run.job is None or (event.job and event.job < run.job):
        run.job = event.job or run.job
    run.state = max(run.state, event.state, key=_RANK.__getitem__)
    if event.state in FINAL:
        run.ended_at = _greatest(run.ended_at, event.time)
    else:
        run.started_at = _least(run.started_at, event.time)
    run.parent = _least(run.parent, event.parent)
    if event.nominal != (None, None):
        run.nominal = (
            _least(run.nominal[0], event.nominal[0]),
            _least(run.nominal[1], event.nominal[1]),
        )
    run.task_instance = _least(run.task_instance, event.task_instance)
    return run


def _values(run: Run) -> tuple[Any, ...]:
    times = run.started_at, run.ended_at
    return (run.state, *times, run.parent, *run.nominal, run.task_instance)


def whole_edge(source: int, target: int, step: int) -> tuple[int, int, int]:
    return graph.node(source, graph.OUT_OF), graph.node(target, graph.INTO), step


def _least(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)


def _greatest(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return one if other is None else other
    return max(one, other)
