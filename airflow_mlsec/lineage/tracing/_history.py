"""What was known when: edges by the runs that gave them, and what was dropped or overwritten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from airflow_mlsec.errors import UsageError
from airflow_mlsec.lineage.tracing._graph import GraphEdge
from airflow_mlsec.register import graph, rows_of
from airflow_mlsec.register import tables as t


@dataclass(frozen=True)
class Observation:
    """A run that gave an edge."""

    at: str
    run: str
    job: str | None


def moment(text: str) -> str:
    """A date or time as the register writes it; a date means its last moment.

    :raises UsageError: if it is neither.
    """
    from datetime import UTC, datetime

    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"'{text}' is not a date or time; write 2026-03-01 or 2026-03-01T12:00Z"
        ) from None
    if "T" not in text and " " not in text:
        time = time.replace(hour=23, minute=59, second=59, microsecond=999_999)
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return f"{time.year:04}-{time:%m-%dT%H:%M:%S.%f}Z"


class History:
    """The observations of the edges into some datasets, up to a moment."""

    def __init__(
        self, connection: sa.Connection, targets: Iterable[int], until: str | None
    ) -> None:
        self.first: dict[GraphEdge, str] = {}
        self.last: dict[GraphEdge, Observation] = {}
        self._connection = connection
        self._until = until
        wanted = sorted(set(targets))
        self._read_flows(wanted)
        self._read_assumed(wanted)

    def _read_flows(self, targets: list[int]) -> None:
        touched = rows_of(
            self._connection,
            t.run_dataset,
            ("run_id", "flow_id", "direction"),
            ("dataset_id",),
            targets,
        )
        by_run: dict[int, list[int]] = defaultdict(list)
        for run, flow, _ in touched:
            if flow is not None:
                by_run[run].append(flow)
        seen: dict[int, tuple[Observation, Observation]] = {}
        for run, observation in self._runs(by_run).items():
            for flow in by_run[run]:
                _widen(seen, flow, observation)
        packed = rows_of(self._connection, t.flow, ("id", "edges"), ("id",), sorted(seen))
        for flow, content in packed:
            target, edges = graph.unpack_flow(bytes(content))
            for source, ordinal, step in edges:
                if (source, ordinal, step) == graph.EXPLAINED:
                    continue
                self._note((source, graph.node(target, ordinal), step), *seen[flow])

    def _read_assumed(self, targets: list[int]) -> None:
        rows = []
        for start in range(0, len(targets), 500):
            a = t.assumed.c
            query = sa.select(a.source_id, a.target_id, a.run_id)
            query = query.where(a.target_id.in_(targets[start : start + 500]))
            rows += list(self._connection.execute(query))
        steps = sa.select(t.transformation.c.id).where(t.transformation.c.kind == "assumed")
        step = self._connection.execute(steps).scalar() if rows else None
        runs = self._runs({row.run_id for row in rows})
        for source, target, run in rows:
            if run in runs and step is not None:
                edge = graph.node(source, graph.OUT_OF), graph.node(target, graph.INTO), step
                self._note(edge, runs[run], runs[run])

    def _runs(self, identifiers: Iterable[int]) -> dict[int, Observation]:
        names = ("id", "uuid", "job_id", "started_at", "ended_at")
        rows = rows_of(self._connection, t.run, names, ("id",), sorted(set(identifiers)))
        jobs = {
            row[0]: row[1]
            for row in rows_of(
                self._connection,
                t.job,
                ("id", "name"),
                ("id",),
                sorted({row[2] for row in rows if row[2] is not None}),
            )
        }
        found = {}
        for identifier, uuid, job, started, ended in rows:
            at = ended or started or ""
            if self._until is None or at <= self._until:
                found[identifier] = Observation(at, uuid, jobs.get(job))
        return found

    def _note(self, edge: GraphEdge, first: Observation, last: Observation) -> None:
        self.first[edge] = min(self.first.get(edge, first.at), first.at)
        known = self.last.get(edge)
        if known is None or (last.at, last.run) > (known.at, known.run):
            self.last[edge] = last


def _widen(
    seen: dict[int, tuple[Observation, Observation]], flow: int, observation: Observation
) -> None:
    if flow not in seen:
        seen[flow] = observation, observation
        return
    first, last = seen[flow]
    key = observation.at, observation.run
    if key < (first.at, first.run):
        first = observation
    if key > (last.at, last.run):
        last = observation
    seen[flow] = first, last


def edges_known_by(
    connection: sa.Connection, edges: Iterable[GraphEdge], until: str
) -> list[GraphEdge]:
    """The edges that some run had given by then. Names of one dataset count for all times."""
    edges = list(edges)
    targets = {edge[1] >> graph.SHIFT for edge in edges}
    history = History(connection, targets, until)
    tr, life = t.transformation.c, t.lifecycle.c
    kinds = dict(
        connection.execute(sa.select(tr.id, tr.kind).where(tr.kind.in_(("renamed", "same")))).all()
    )
    query = sa.select(life.dataset_id).where(life.change == "RENAME", life.at <= until)
    renamed = set(connection.execute(query).scalars())
    found = []
    for edge in edges:
        kind = kinds.get(edge[2])
        before = edge[0] >> graph.SHIFT in renamed if kind == "renamed" else kind == "same"
        if before or edge in history.first:
            found.append(edge)
    return found


def gone_since(
    connection: sa.Connection, datasets: Iterable[int], until: str | None = None
) -> dict[int, tuple[str, str]]:
    """Datasets that were dropped or renamed away, and not written since: (change, when)."""
    rows = rows_of(
        connection,
        t.lifecycle,
        ("dataset_id", "change", "at"),
        ("dataset_id",),
        sorted(set(datasets)),
    )
    ended: dict[int, tuple[str, str]] = {}
    alive: dict[int, str] = {}
    for dataset, change, at in rows:
        if until is not None and at > until:
            continue
        if change in ("DROP", "RENAME"):
            if at >= ended.get(dataset, ("", ""))[1]:
                ended[dataset] = change.lower(), at
        elif at > alive.get(dataset, ""):
            alive[dataset] = at
    if not ended:
        return {}
    touched, r = t.run_dataset.c, t.run.c
    when = sa.func.max(sa.func.coalesce(r.ended_at, r.started_at))
    query = (
        sa.select(touched.dataset_id, when)
        .join(t.run, r.id == touched.run_id)
        .where(touched.direction == "output", touched.dataset_id.in_(list(ended)))
        .group_by(touched.dataset_id)
    )
    if until is not None:
        query = query.where(sa.func.coalesce(r.ended_at, r.started_at) <= until)
    for dataset, at in connection.execute(query):
        alive[dataset] = max(alive.get(dataset, ""), at or "")
    return {d: found for d, found in ended.items() if found[1] >= alive.get(d, "")}
